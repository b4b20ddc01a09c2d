"""Run our student with the weights and inputs of a golden model, and compare its outputs with the recorded ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.modeling import without_cue_recovery
from vicur.modeling.reference import student_from_reference

TOLERANCE = 1e-4
_FIELDS = (
    "text_config",
    "vision_config",
    "image_token_id",
    "video_token_id",
    "vision_start_token_id",
    "vision_end_token_id",
    "tie_word_embeddings",
)


@dataclass(frozen=True)
class Differences:
    """Differences from a golden model's outputs."""

    with_module: float  # largest difference of the last positions' logits
    without_module: float  # the same without the module
    argmax: int  # number of tokens with a different most likely successor, without padding and sinks
    generated: int  # number of greedily generated tokens that differ

    @property
    def agree(self) -> bool:
        """Whether both logits agree within ``TOLERANCE`` and all tokens are equal."""
        close = self.with_module <= TOLERANCE and self.without_module <= TOLERANCE
        return close and self.argmax == 0 and self.generated == 0


@torch.no_grad()
def compare(prefix: Path) -> Differences:
    """Compare with the golden model at ``prefix``.

    Raises:
        VicurError: if a file is missing or damaged, or the weights do not fit.
    """
    fields, weights, io = _read(prefix)
    config = Qwen3VLConfig(**{name: fields[name] for name in _FIELDS if name in fields})
    student = student_from_reference(config, weights, CueRecoverySettings())
    inputs = {k: io[k] for k in ("input_ids", "attention_mask", "pixel_values", "image_grid_thw")}
    inputs["mm_token_type_ids"] = (io["input_ids"] == config.image_token_id).int()
    logits_BTV = student(**inputs).logits
    token_BT = io["attention_mask"].bool()
    # The golden model has a module on the last layer, which ours drops; it changes the logits at its sink only.
    behind_sink_BT = token_BT & (io["attention_mask"].cumsum(-1) > 1)
    generated = student.generate(
        **inputs, do_sample=False, max_new_tokens=io["generated"].shape[1] - token_BT.shape[1], eos_token_id=None
    )
    return Differences(
        with_module=_last_difference(logits_BTV, io["logits_last"]),
        without_module=_last_difference(_backbone_logits(student, inputs), io["logits_no_sink_last"]),
        argmax=int((logits_BTV.argmax(-1) != io["argmax"])[behind_sink_BT].sum()),
        generated=int((generated != io["generated"]).sum()),
    )


def _read(prefix: Path) -> tuple[dict[str, object], dict[str, Tensor], dict[str, Tensor]]:
    try:
        fields = json.loads(Path(f"{prefix}_config.json").read_text(encoding="utf-8"))
        return fields, load_file(f"{prefix}_weights.safetensors"), load_file(f"{prefix}_io.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise VicurError(
            f"there is no golden model with this prefix ({error}).",
            where=str(prefix),
            remedy="Pass the common prefix of its _config.json, _weights.safetensors and _io.safetensors.",
        ) from error


def _backbone_logits(student: Qwen3VLForConditionalGeneration, inputs: dict[str, Tensor]) -> Tensor:
    logits: Tensor = without_cue_recovery(student)(**inputs).logits
    return logits


def _last_difference(logits_BTV: Tensor, golden_BLV: Tensor) -> float:
    return float((logits_BTV[:, -golden_BLV.shape[1] :] - golden_BLV).abs().max())
