"""The stage that provides the base model. It checks the model's folder before any other step needs it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path

from vicur.config.base import BaseModelConfig
from vicur.errors import VicurError
from vicur.stage.runner import Context, Stage, Summary
from vicur.storage.folders import copy_folder
from vicur.wording import listed

_REQUIRED = ("config.json", "tokenizer_config.json", "preprocessor_config.json")


class BaseModelSummary(Summary):
    """Number of weights of the base model."""

    parameters: int


def provide_base(
    config: BaseModelConfig, inputs: Mapping[str, Path], output: Path, context: Context
) -> BaseModelSummary:
    """Check the model in ``inputs["source"]``, and copy it to ``output``."""
    source = inputs["source"]
    parameters = model_parameters(source)
    # Not hard links: the source belongs to the user, or to the installed package.
    copy_folder(source, output)
    context.tracker.params({"base": config.path, "parameters": parameters})
    return BaseModelSummary(
        key_figure=f"{_short(parameters)} parameters", metrics={"parameters": float(parameters)}, parameters=parameters
    )


def model_parameters(folder: Path) -> int:
    """Count the weights of the model in a folder without loading them, or raise an error if it is incomplete."""
    weights = sorted(folder.glob("*.safetensors"))
    missing = [name for name in _REQUIRED if not (folder / name).is_file()] + ([] if weights else ["*.safetensors"])
    if missing:
        raise VicurError(
            f"is not a complete model: {listed(missing)} not found.",
            where=str(folder),
            remedy="Set base.path to a folder written by save_pretrained, with tokenizer, image processor and safetensors weights.",
        )
    return sum(_parameters(file) for file in weights)


def _parameters(file: Path) -> int:
    # A safetensors file starts with the length of its header (8 bytes, little-endian) and the header as JSON.
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            # Garbage reads as a length of exabytes.
            if length > file.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(stream.read(length))
        return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise VicurError(
            f"is not a complete safetensors file ({error}).", where=str(file), remedy="Copy the model again."
        ) from error


def _short(count: int) -> str:
    """Write ``count`` with three digits: 648 k, 2.13 B."""
    for factor, unit in ((10**9, " B"), (10**6, " M"), (10**3, " k")):
        if count >= factor:
            return f"{count / factor:.3g}{unit}"
    return str(count)


BASE_MODEL = Stage("base", provide_base, BaseModelSummary)
