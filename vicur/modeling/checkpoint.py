"""Load and save students and their backbones as safetensors folders in the layout of ``save_pretrained``.

A student without cue recovery is saved as a plain Qwen3-VL checkpoint. Loading never opens pickle files, runs remote code or downloads
anything. A checkpoint whose weights do not fit its configuration exactly is rejected instead of being completed with random weights.
"""

from __future__ import annotations

import copy
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.initialization import no_init_weights

from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.modeling.disk import disk_errors
from vicur.modeling.image_blocking import block_images, blocks_images
from vicur.modeling.processor_files import name_processor
from vicur.modeling.student import Qwen3VLStudentConfig, Qwen3VLStudentForConditionalGeneration
from vicur.storage.folders import new_folder
from vicur.wording import listed

log = logging.getLogger(__name__)

_CLASSES: dict[str, type[Qwen3VLForConditionalGeneration]] = {
    Qwen3VLConfig.model_type: Qwen3VLForConditionalGeneration,
    Qwen3VLStudentConfig.model_type: Qwen3VLStudentForConditionalGeneration,
}
_RECOVERY_PREFIX = "model.cue_recovery."
# Larger files risk a timeout when they are uploaded through a proxy, such as MLflow's.
_SHARD_SIZE = "2GB"
_RECORD = "vicur.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_NOT_CHAT = ("config.json", "generation_config.json", "model.safetensors.index.json", _RECORD)


@dataclass(frozen=True)
class ParameterCount:
    """Number of parameters; tied parameters count once."""

    total: int
    cue_recovery: int  # of the cue recovery module, including its norms


def parameter_count(model: Qwen3VLForConditionalGeneration) -> ParameterCount:
    """Count the parameters of a student or a backbone, which may be on the meta device."""
    named = dict(model.named_parameters())
    recovery = sum(p.numel() for name, p in named.items() if name.startswith(_RECOVERY_PREFIX))
    return ParameterCount(sum(p.numel() for p in named.values()), recovery)


def load_model(
    folder: Path, *, device: str = "cpu", dtype: torch.dtype | None = None
) -> Qwen3VLForConditionalGeneration:
    """Load a student, with or without cue recovery, or a Qwen3-VL checkpoint, in evaluation mode and in the checkpoint's dtype by default.

    Raises:
        VicurError: if the folder has no such checkpoint, or one that is damaged or does not fit its configuration.
    """
    kind = _CLASSES[_model_type(folder)]
    weight_files(folder)
    try:
        loaded: Any = kind.from_pretrained(
            folder,
            dtype="auto" if dtype is None else dtype,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise VicurError(
            f"the checkpoint cannot be loaded ({_first_line(error)}).",
            where=str(folder),
            remedy="Copy or download the checkpoint again.",
        ) from error
    # Mismatches are allowed above only to be reported together here.
    model, report = loaded
    _require_exact_fit(folder, report)
    _correct_tie(model, folder)
    placed: Qwen3VLForConditionalGeneration = model.to(device).eval()
    if blocks_images(placed.config):
        block_images(placed)
    return placed


def _correct_tie(model: Qwen3VLForConditionalGeneration, folder: Path) -> None:
    """Make the configuration say whether the output layer is tied to the embedding, as the weights decide it."""
    tied = model.lm_head.weight is model.model.language_model.embed_tokens.weight
    if model.config.tie_word_embeddings and not tied:
        # transformers keeps such a head, but readers of the flag (a copy of the model, vLLM) would replace it by the embedding.
        log.warning(
            "%s: tie_word_embeddings is set, but the checkpoint has its own output layer, which is kept.", folder
        )
    for config in (model.config, model.config.get_text_config()):
        if getattr(config, "tie_word_embeddings", tied) != tied:
            config.tie_word_embeddings = tied


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a checkpoint, sorted by name.

    Raises:
        VicurError: if the folder contains no safetensors files.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = any(path.suffix in _PICKLES for path in folder.iterdir())
        problem = "the weights are pickle files, which can run code." if pickled else "the folder has no weights."
        raise VicurError(problem, where=str(folder), remedy="Use a checkpoint with *.safetensors files.")
    return files


def read_config(folder: Path) -> Qwen3VLConfig:
    """Read the configuration of a checkpoint without its weights. Raises VicurError like :func:`load_model`."""
    kind: Any = _CLASSES[_model_type(folder)].config_class
    try:
        config: Qwen3VLConfig = kind.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise VicurError(
            f"the file is not a valid model configuration ({_first_line(error)}).",
            where=str(folder / "config.json"),
            remedy="Copy or download the checkpoint again.",
        ) from error
    return config


def _model_type(folder: Path) -> str:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"the file is not a readable model configuration ({_first_line(error)}).",
            where=str(path),
            remedy="Use a folder that was written by save_pretrained.",
        ) from error
    if "auto_map" in config:
        raise VicurError(
            "the checkpoint requires custom code to load, which is never run.",
            where=f"{path}:auto_map",
            remedy="Use a plain Qwen3-VL checkpoint.",
        )
    model_type = config.get("model_type")
    if model_type not in _CLASSES:
        raise VicurError(
            f"the model type is {model_type!r}.",
            where=f"{path}:model_type",
            remedy=f"Use a checkpoint of type {' or '.join(map(repr, _CLASSES))}.",
        )
    return str(model_type)


def _require_exact_fit(folder: Path, report: Mapping[str, Any]) -> None:
    problems = {
        "lacks weights": sorted(report["missing_keys"]),
        "has weights that its config.json does not describe": sorted(report["unexpected_keys"]),
        "has weights of a different shape than its config.json describes": sorted(
            key[0] for key in report["mismatched_keys"]
        ),
    }
    for problem, keys in problems.items():
        if keys:
            raise VicurError(
                f"the checkpoint {problem}: {listed(keys, shown=3)}.",
                where=str(folder),
                remedy="Use a complete checkpoint whose config.json belongs to its weights.",
            )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def save_model(
    model: Qwen3VLForConditionalGeneration,
    folder: Path,
    *,
    chat_folder: Path | None = None,  # a checkpoint whose tokenizer and image processor are copied
    record: Mapping[str, Any] | None = None,  # provenance, saved as vicur.json
    end_id: int | None = None,  # token that ends a response
) -> None:
    """Save a checkpoint atomically, replacing one that exists at ``folder``.

    Raises:
        VicurError: if the folder cannot be written.
        OSError: if the disk is full.
    """
    with new_folder(folder) as partial:
        if end_id is not None:
            _end_with(model, end_id)
        with disk_errors(folder):
            model.save_pretrained(partial, max_shard_size=_SHARD_SIZE)
        if chat_folder is not None:
            for path in sorted(chat_folder.iterdir()):
                if path.is_file() and path.suffix in (".json", ".txt", ".jinja") and path.name not in _NOT_CHAT:
                    shutil.copyfile(path, partial / path.name)
            if isinstance(model, Qwen3VLStudentForConditionalGeneration):
                name_processor(partial)
        if record is not None:
            text = json.dumps(dict(record), indent=1, sort_keys=True, ensure_ascii=False)
            (partial / _RECORD).write_text(text + "\n", encoding="utf-8")


def _end_with(model: Qwen3VLForConditionalGeneration, end_id: int) -> None:
    """Let other programs end a response at ``end_id``, too: a base that is not a chat model ends at ``<|endoftext|>`` alone."""
    generation = model.generation_config
    known = generation.eos_token_id
    ends = known if isinstance(known, list) else [] if known is None else [known]
    if end_id not in ends:
        generation.eos_token_id = [end_id, *ends] if ends else end_id


def with_cue_recovery(
    model: Qwen3VLForConditionalGeneration,
    settings: CueRecoverySettings,
    seed: int,
    *,
    im_start_token_id: int | None = None,
) -> Qwen3VLStudentForConditionalGeneration:
    """Return a student with a copy of the weights of ``model`` and a new cue recovery module, which initially adds zero.

    Sink ``assistant`` needs the id of ``<|im_start|>``, unless the backbone's configuration contains it.

    Raises:
        VicurError: if the settings do not fit the backbone.
    """
    config = config_with_cue_recovery(model.config, settings, im_start_token_id=im_start_token_id)
    student: Qwen3VLStudentForConditionalGeneration = _rebuilt(Qwen3VLStudentForConditionalGeneration, config, model)
    student.model.cue_recovery.initialise(config.get_text_config().initializer_range, seed)
    return student


def config_with_cue_recovery(
    backbone: Qwen3VLConfig, settings: CueRecoverySettings, *, im_start_token_id: int | None = None
) -> Qwen3VLStudentConfig:
    """Return the configuration that :func:`with_cue_recovery` gives a student with this backbone."""
    if im_start_token_id is None:
        im_start_token_id = getattr(backbone, "im_start_token_id", None)
    added = {"cue_recovery": settings.model_dump(), "im_start_token_id": im_start_token_id}
    return Qwen3VLStudentConfig.from_dict({**_architecture(backbone), **added})


def without_cue_recovery(student: Qwen3VLStudentForConditionalGeneration) -> Qwen3VLForConditionalGeneration:
    """Return the student's backbone, a plain Qwen3-VL, with a copy of its weights."""
    config = Qwen3VLConfig.from_dict(_architecture(student.config))
    backbone: Qwen3VLForConditionalGeneration = _rebuilt(Qwen3VLForConditionalGeneration, config, student)
    return backbone


def _architecture(source: Qwen3VLConfig) -> dict[str, Any]:
    """Return a configuration without the fields of the model's class and of cue recovery."""
    config: dict[str, Any] = source.to_dict()
    for key in ("model_type", "architectures", "cue_recovery", "im_start_token_id"):
        config.pop(key, None)
    return config


def _rebuilt(kind: Any, config: Qwen3VLConfig, source: Qwen3VLForConditionalGeneration) -> Any:
    """Return a model of another class with the weights that it shares with ``source``. Other weights are not initialised."""
    # Build the model in its dtype instead of casting it, so that rotary frequencies stay float32, as after from_pretrained.
    with no_init_weights():
        model = kind._from_config(config, dtype=source.dtype, attn_implementation=source.config._attn_implementation)
    model = model.to(source.device)
    model.load_state_dict(source.state_dict(), strict=False)
    model.tie_weights()
    model.generation_config = copy.deepcopy(source.generation_config)
    if blocks_images(config):
        block_images(model)
    return model.train(source.training)
