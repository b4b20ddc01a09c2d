"""How ``vllm serve`` is started for a student: its arguments and its environment."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vicur.config.serving import ServerLimits
from vicur.errors import VicurError
from vicur_vllm.arguments import engine_arguments, flags
from vicur_vllm.bounds import VARIABLE

_LONGEST = 8192
_STUDENT = "qwen3_vl_cue_recovery"
_ENVIRONMENT = {
    # Nothing is fetched, and nobody is told of the use.
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_MEDIA_CONNECTOR": "vicur",
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
    "VLLM_SERVER_DEV_MODE": "0",
}
_FIXED = {
    "--config": "a file could set what is refused here",
    "--hf-overrides": "it says which class runs the model",
    "--limit-mm-per-prompt": "use --limit max_images=...",
    "--max-model-len": "use --limit max_model_len=...",
    "--middleware": "one stands before the routes already",
    "--mm-processor-kwargs": "images are prepared as in training",
    "--model-impl": "the plugin is the implementation",
    "--override-generation-config": "use --limit max_tokens=..., and requests' own settings",
    "--tokenizer-mode": "text of users would be read for control tokens",
    "--trust-remote-code": "code of a checkpoint is never run",
    "--trust-request-chat-template": "requests would write control tokens",
    "--trust-request-mm-kwargs": "requests would change how images are prepared",
}
"""Arguments that are no choice of whoever starts a server, and why."""
_NAMES_OF_THEIR_OWN = ("--model", "--tokenizer")
"""Arguments of vLLM whose names are the beginnings of others."""


@dataclass(frozen=True)
class ServerCommand:
    """A server to start.

    Attributes:
        words: the command and its arguments.
        environment: variables that it needs beside the present ones.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str]

    def __str__(self) -> str:
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in sorted(self.environment.items()))
        return f"{variables} {shlex.join(self.words)}"


def server_command(
    folder: Path, name: str, limits: ServerLimits, *, host: str, port: int, extra: Sequence[str] = ()
) -> ServerCommand:
    """The command that serves a checkpoint.

    Args:
        folder: a student, with or without cue recovery, or a Qwen3-VL checkpoint.
        name: what requests call it (``model``).
        limits: what requests are held to.
        host, port: where it listens.
        extra: further arguments of ``vllm serve``. What a student cannot run with, the plugin refuses when the model is built.

    Raises:
        VicurError: where the model does not take prompts as long as the limits say, or ``extra`` undoes what keeps the server safe.
    """
    for word in extra:
        flag = word.partition("=")[0].replace("_", "-")
        fixed = next((each for each in _FIXED if _stands_for(flag, each)), None)
        if fixed is not None:
            raise VicurError(
                f"{fixed} cannot be given: {_FIXED[fixed]}.", where="vicur serve", remedy="Leave it out after --."
            )
    config = _read(folder / "config.json")
    length = _length(folder, config, limits)
    is_student = config.get("model_type") == _STUDENT
    arguments: dict[str, Any] = {
        **(engine_arguments(length) if is_student else {"max_model_len": length}),
        "limit_mm_per_prompt": {"image": limits.max_images, "video": 0},
        "hf_overrides": {"architectures": ["VicurServedStudent" if is_student else "VicurServedBackbone"]},
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


def _stands_for(flag: str, fixed: str) -> bool:
    """Whether vLLM reads ``flag`` as ``fixed`` or one of its settings: argparse takes the beginning of a name for the whole."""
    name = flag.partition(".")[0]
    return name == fixed or (name.startswith("--") and fixed.startswith(name) and name not in _NAMES_OF_THEIR_OWN)


def _length(folder: Path, config: Mapping[str, Any], limits: ServerLimits) -> int:
    """Tokens of the longest prompt with its answer."""
    takes = int(config.get("text_config", {}).get("max_position_embeddings", _LONGEST))
    takes = min(takes, int(_read(folder / "tokenizer_config.json").get("model_max_length", takes)))
    if limits.max_model_len is None:
        return min(_LONGEST, takes)
    if limits.max_model_len > takes:
        raise VicurError(
            f"max_model_len is {limits.max_model_len}, and the model takes {takes} tokens.",
            where=str(folder),
            remedy="Set a smaller max_model_len, or leave it out.",
        )
    return limits.max_model_len


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).",
            where=str(path),
            remedy="Serve a folder that holds a checkpoint, or models:/name@alias.",
        ) from error
    return found if isinstance(found, dict) else {}
