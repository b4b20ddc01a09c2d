"""Build the command and the environment of ``vllm serve`` for a student."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vicur.config.prompts import PixelBudget
from vicur.config.serving import ServerLimits
from vicur.errors import VicurError
from vicur_vllm.arguments import engine_arguments, flags, model_overrides
from vicur_vllm.bounds import VARIABLE

_DEFAULT_LENGTH = 8192
_STUDENT = "qwen3_vl_cue_recovery"
_ENVIRONMENT = {
    # No downloads and no usage statistics.
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_MEDIA_CONNECTOR": "vicur",
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
    "VLLM_SERVER_DEV_MODE": "0",
}
_FIXED = {
    "--config": "the file could contain options that are not allowed here",
    "--hf-overrides": "vicur serve selects the model class with it",
    "--limit-mm-per-prompt": "use --limit max_images=N",
    "--max-model-len": "use --limit max_model_len=N",
    "--middleware": "vicur serve sets its own",
    "--mm-processor-kwargs": "images are prepared as in training",
    "--model-impl": "the plugin implements the model",
    "--override-generation-config": "use --limit max_tokens=N and sampling parameters in requests",
    "--tokenizer-mode": "with another tokenizer mode, control tokens in the text of users would take effect",
    "--trust-remote-code": "code in checkpoints is never executed",
    "--trust-request-chat-template": "requests could insert control tokens",
    "--trust-request-mm-kwargs": "requests could change how images are prepared",
}
"""Arguments of ``vllm serve`` that users cannot set, with the reason."""
_EXACT_NAMES = ("--model", "--tokenizer")
"""Arguments of vLLM that are prefixes of fixed ones, but not abbreviations of them."""


@dataclass(frozen=True)
class ServerCommand:
    """Command that starts a server."""

    words: tuple[str, ...]
    environment: Mapping[str, str]  # in addition to the current environment

    def __str__(self) -> str:
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in sorted(self.environment.items()))
        return f"{variables} {shlex.join(self.words)}"


def server_command(
    folder: Path,
    name: str,
    limits: ServerLimits,
    *,
    host: str,
    port: int,
    extra: Sequence[str] = (),
    budget: PixelBudget | None = None,
) -> ServerCommand:
    """Return the command that serves a checkpoint.

    Args:
        folder: a student, with or without cue recovery, or a Qwen3-VL checkpoint.
        name: model name in requests.
        extra: additional arguments of ``vllm serve``. Settings that do not work with cue recovery are rejected when the model is built.
        budget: sizes of images in prompts. Default: the checkpoint's.

    Raises:
        VicurError: if ``limits.max_model_len`` exceeds what the model supports, or if ``extra`` sets a fixed argument.
    """
    for word in extra:
        flag = word.partition("=")[0].replace("_", "-")
        fixed = next((each for each in _FIXED if _sets(flag, each)), None)
        if fixed is not None:
            raise VicurError(
                f"{fixed} cannot be set: {_FIXED[fixed]}.", where="vicur serve", remedy=f"Remove {word} after --."
            )
    config = _read(folder / "config.json")
    length = _length(folder, config, limits)
    is_student = config.get("model_type") == _STUDENT
    arguments: dict[str, Any] = {
        **(engine_arguments(length) if is_student else {"max_model_len": length}),
        "limit_mm_per_prompt": {"image": limits.max_images, "video": 0},
        "hf_overrides": model_overrides(cue_recovery=is_student, pixels=_pixels(folder, budget)),
        "tokenizer_mode": "vicur",
        "override_generation_config": {"max_new_tokens": min(limits.max_tokens, length)},
        "middleware": "vicur_vllm.gate.Gate",
    }
    words = [str(Path(sys.executable).with_name("vllm")), "serve", str(folder), "--served-model-name", name]
    words += ["--host", host, "--port", str(port), *flags(arguments), *extra]
    environment = {
        **_ENVIRONMENT,
        VARIABLE: limits.model_dump_json(exclude_defaults=True),
        "VLLM_MAX_N_SEQUENCES": str(limits.max_choices),
    }
    return ServerCommand(tuple(words), environment)


def _sets(flag: str, fixed: str) -> bool:
    # argparse accepts abbreviations (--trust-remote), and vLLM accepts --name.key for values that are JSON.
    name = flag.partition(".")[0]
    return name == fixed or (name.startswith("--") and fixed.startswith(name) and name not in _EXACT_NAMES)


def _length(folder: Path, config: Mapping[str, Any], limits: ServerLimits) -> int:
    """Maximum number of tokens of a prompt with its response."""
    supported = int(config.get("text_config", {}).get("max_position_embeddings", _DEFAULT_LENGTH))
    supported = min(supported, int(_read(folder / "tokenizer_config.json").get("model_max_length", supported)))
    if limits.max_model_len is None:
        return min(_DEFAULT_LENGTH, supported)
    if limits.max_model_len > supported:
        raise VicurError(
            f"max_model_len is {limits.max_model_len}, but the model supports at most {supported} tokens.",
            where=str(folder),
            remedy=f"Pass --limit max_model_len={supported} or less, or remove this limit.",
        )
    return limits.max_model_len


def _pixels(folder: Path, budget: PixelBudget | None) -> dict[str, int] | None:
    """Return smallest and largest size of images, or ``None`` for the checkpoint's."""
    if budget is None or budget == PixelBudget():
        return None
    # Imported here because it takes seconds.
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    own = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True).size
    low, high = budget.completed(own["shortest_edge"], own["longest_edge"])
    return {"shortest_edge": low, "longest_edge": high}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"the file cannot be read ({str(error).splitlines()[0]}).",
            where=str(path),
            remedy="Pass a folder that contains a checkpoint, or models:/NAME@ALIAS for a registered student.",
        ) from error
    return content if isinstance(content, dict) else {}
