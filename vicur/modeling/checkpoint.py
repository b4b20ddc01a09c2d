"""Students and their backbones on disk: plain safetensors folders in the layout of ``save_pretrained``.

A student without cue recovery is a Qwen3-VL checkpoint and is saved as one. Only files are read: no pickle is opened, no remote code is
run, nothing is downloaded. A checkpoint whose weights do not fit its configuration exactly is refused rather than filled up at random.
"""

from __future__ import annotations

import copy
import json
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
from vicur.modeling.image_blocking import bar_images, is_barred
from vicur.modeling.student import Qwen3VLStudentConfig, Qwen3VLStudentForConditionalGeneration
from vicur.storage.folders import new_folder

_CLASSES: dict[str, type[Qwen3VLForConditionalGeneration]] = {
    Qwen3VLConfig.model_type: Qwen3VLForConditionalGeneration,
    Qwen3VLStudentConfig.model_type: Qwen3VLStudentForConditionalGeneration,
}
_RECOVERY_PREFIX = "model.cue_recovery."
# Files of MLflow's and others' stores travel best below the size at which a proxied upload times out.
_SHARD_SIZE = "2GB"
_RECORD = "vicur.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_NOT_CHAT = ("config.json", "generation_config.json", "model.safetensors.index.json", _RECORD)


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters; tied ones count once.

    Attributes:
        total: of the whole model.
        cue_recovery: of the cue recovery module, its norms included.
    """

    total: int
    cue_recovery: int


def parameter_count(model: Qwen3VLForConditionalGeneration) -> ParameterCount:
    """Counts the parameters of a student or a backbone (on the meta device too)."""
    named = dict(model.named_parameters())
    recovery = sum(p.numel() for name, p in named.items() if name.startswith(_RECOVERY_PREFIX))
    return ParameterCount(sum(p.numel() for p in named.values()), recovery)


def load_model(
    folder: Path, *, device: str = "cpu", dtype: torch.dtype | None = None
) -> Qwen3VLForConditionalGeneration:
    """Loads a student, with or without cue recovery, or a Qwen3-VL checkpoint. It comes in evaluation mode.

    Args:
        folder: a folder in the layout of ``save_pretrained``.
        device: where to put it.
        dtype: type of its weights; left out, that of the checkpoint.

    Raises:
        VicurError: where the folder holds no such checkpoint, or one that is damaged or does not fit its configuration.
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
            f"cannot be loaded ({_first_line(error)}).",
            where=str(folder),
            remedy="Copy or download the checkpoint again.",
        ) from error
    model, report = loaded
    _require_exact_fit(folder, report)
    placed: Qwen3VLForConditionalGeneration = model.to(device).eval()
    if is_barred(placed.config):
        bar_images(placed)
    return placed


def weight_files(folder: Path) -> list[Path]:
    """Files that hold the weights of the checkpoint in ``folder``, by name.

    Raises:
        VicurError: where there are none that may be opened.
    """
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        pickled = any(path.suffix in _PICKLES for path in folder.iterdir())
        raise VicurError(
            "holds its weights as pickle files, which can run code." if pickled else "holds no weights.",
            where=str(folder),
            remedy="Use a checkpoint with *.safetensors files.",
        )
    return found


def read_config(folder: Path) -> Qwen3VLConfig:
    """Configuration of the checkpoint in ``folder``, without its weights.

    Raises:
        VicurError: where the folder holds no checkpoint that can be loaded here.
    """
    kind: Any = _CLASSES[_model_type(folder)].config_class
    try:
        config: Qwen3VLConfig = kind.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise VicurError(
            f"cannot be read as a model configuration ({_first_line(error)}).",
            where=str(folder / "config.json"),
            remedy="Copy or download the checkpoint again.",
        ) from error
    return config


def _model_type(folder: Path) -> str:
    """Model type of the checkpoint in ``folder``: one that can be loaded here."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"is no readable model configuration ({_first_line(error)}).",
            where=str(path),
            remedy="Point to a folder that was written by save_pretrained.",
        ) from error
    if "auto_map" in config:
        raise VicurError(
            "asks for code of its own to be run, which is never done.",
            where=f"{path}:auto_map",
            remedy="Use a plain Qwen3-VL checkpoint.",
        )
    found = config.get("model_type")
    if found not in _CLASSES:
        raise VicurError(
            f"has model type {found!r}.",
            where=f"{path}:model_type",
            remedy=f"Use a checkpoint of type {' or '.join(map(repr, _CLASSES))}.",
        )
    return str(found)


def _require_exact_fit(folder: Path, report: Mapping[str, Any]) -> None:
    """Raises where weights are missing, left over or of another shape."""
    problems = {
        "lacks": sorted(report["missing_keys"]),
        "has others than its configuration says:": sorted(report["unexpected_keys"]),
        "has in another shape:": sorted(key[0] for key in report["mismatched_keys"]),
    }
    for what, keys in problems.items():
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise VicurError(
                f"{what} weights {', '.join(keys[:3])}{more}.",
                where=str(folder),
                remedy="Use a whole checkpoint whose config.json belongs to its weights.",
            )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def save_model(
    model: Qwen3VLForConditionalGeneration,
    folder: Path,
    *,
    chat_folder: Path | None = None,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint, whole or not at all; one that stands at ``folder`` is replaced.

    Args:
        model: a student or a backbone.
        folder: where to.
        chat_folder: a checkpoint whose tokenizer and image processor the new one gets.
        record: what is known of its making, for ``vicur.json``.

    Raises:
        VicurError: where the folder cannot be written.
        OSError: where the disk is full.
    """
    with new_folder(folder) as partial:
        with disk_errors(folder):
            model.save_pretrained(partial, max_shard_size=_SHARD_SIZE)
        if chat_folder is not None:
            for path in sorted(chat_folder.iterdir()):
                if path.is_file() and path.suffix in (".json", ".txt", ".jinja") and path.name not in _NOT_CHAT:
                    shutil.copyfile(path, partial / path.name)
        if record is not None:
            text = json.dumps(dict(record), indent=1, sort_keys=True, ensure_ascii=False)
            (partial / _RECORD).write_text(text + "\n", encoding="utf-8")


def with_cue_recovery(
    model: Qwen3VLForConditionalGeneration,
    settings: CueRecoverySettings,
    seed: int,
    *,
    im_start_token_id: int | None = None,
) -> Qwen3VLStudentForConditionalGeneration:
    """A student with a copy of the weights of ``model`` and a new cue recovery module, which adds nothing yet.

    Args:
        model: the backbone; it is left as it is.
        settings: the module's settings.
        seed: root seed of the module's weights.
        im_start_token_id: id of ``<|im_start|>`` from the tokenizer, for sink ``assistant``; left out, the one in the backbone's
            configuration.

    Raises:
        VicurError: where the settings do not fit the backbone.
    """
    config = config_with_cue_recovery(model.config, settings, im_start_token_id=im_start_token_id)
    student: Qwen3VLStudentForConditionalGeneration = _rebuilt(Qwen3VLStudentForConditionalGeneration, config, model)
    student.model.cue_recovery.initialise(config.get_text_config().initializer_range, seed)
    return student


def config_with_cue_recovery(
    backbone: Qwen3VLConfig, settings: CueRecoverySettings, *, im_start_token_id: int | None = None
) -> Qwen3VLStudentConfig:
    """Configuration of the student that :func:`with_cue_recovery` makes of a backbone with this one."""
    if im_start_token_id is None:
        im_start_token_id = getattr(backbone, "im_start_token_id", None)
    known = {"cue_recovery": settings.model_dump(), "im_start_token_id": im_start_token_id}
    return Qwen3VLStudentConfig.from_dict({**_architecture(backbone), **known})


def without_cue_recovery(student: Qwen3VLStudentForConditionalGeneration) -> Qwen3VLForConditionalGeneration:
    """The student's backbone, with a copy of its weights: a plain Qwen3-VL."""
    config = Qwen3VLConfig.from_dict(_architecture(student.config))
    backbone: Qwen3VLForConditionalGeneration = _rebuilt(Qwen3VLForConditionalGeneration, config, student)
    return backbone


def _architecture(known: Qwen3VLConfig) -> dict[str, Any]:
    """A configuration without what belongs to the model's class and to cue recovery."""
    config: dict[str, Any] = known.to_dict()
    for key in ("model_type", "architectures", "cue_recovery", "im_start_token_id"):
        config.pop(key, None)
    return config


def _rebuilt(kind: Any, config: Qwen3VLConfig, source: Qwen3VLForConditionalGeneration) -> Any:
    """A model of another class with the weights of ``source`` where both have them; the others are not initialised."""
    # Built in its dtype rather than cast to it: rotary frequencies stay float32, as after from_pretrained.
    with no_init_weights():
        model = kind._from_config(config, dtype=source.dtype, attn_implementation=source.config._attn_implementation)
    model = model.to(source.device)
    model.load_state_dict(source.state_dict(), strict=False)
    model.tie_weights()
    model.generation_config = copy.deepcopy(source.generation_config)
    if is_barred(config):
        bar_images(model)
    return model.train(source.training)
