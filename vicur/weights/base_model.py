"""The model that students start from, as a stage: it stands in the pipeline's graph, and a folder that is no model is told early."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path

from vicur.config.base import BaseModelConfig
from vicur.errors import VicurError
from vicur.stage.runner import Context, Stage, Summary
from vicur.storage.folders import link_or_copy

_NEEDED = ("config.json", "tokenizer_config.json", "preprocessor_config.json")


class BaseModelSummary(Summary):
    """What the base model is."""

    parameters: int
    """Number of weights."""


def provide_base(
    config: BaseModelConfig, inputs: Mapping[str, Path], output: Path, context: Context
) -> BaseModelSummary:
    """Puts the base model at ``output``.

    Args:
        config: how the user named the model.
        inputs: ``source``, the model's folder.
        output: folder for the model, which shares its bytes with the source where it can.
        context: the tracker.

    Raises:
        VicurError: where the folder lacks what a model needs.
    """
    source = inputs["source"]
    parameters = model_parameters(source)
    link_or_copy(source, output)
    context.tracker.params({"base": config.path, "parameters": parameters})
    return BaseModelSummary(
        key_figure=f"{_short(parameters)} parameters", metrics={"parameters": float(parameters)}, parameters=parameters
    )


def model_parameters(folder: Path) -> int:
    """Number of weights of the model in a folder.

    Raises:
        VicurError: where the folder lacks what a model needs, or a file of weights is torn.
    """
    weights = sorted(folder.glob("*.safetensors"))
    missing = [name for name in _NEEDED if not (folder / name).is_file()] + ([] if weights else ["*.safetensors"])
    if missing:
        raise VicurError(
            f"is not a model: {', '.join(missing)} not found.",
            where=str(folder),
            remedy="Set base to a folder that save_pretrained wrote, with tokenizer, image processor and safetensors weights.",
        )
    return sum(_parameters(file) for file in weights)


def _parameters(file: Path) -> int:
    """Number of weights in a safetensors file, read off its header (8 bytes of length, then JSON).

    Raises:
        VicurError: where the header is torn.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                raise ValueError("longer than the file")
            header = json.loads(stream.read(length))
        return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise VicurError(
            f"is not a whole safetensors file ({error}).", where=str(file), remedy="Copy the model again."
        ) from error


def _short(count: int) -> str:
    """``count`` to three digits: 648 k, 2.13 B."""
    for factor, unit in ((10**9, " B"), (10**6, " M"), (10**3, " k")):
        if count >= factor:
            return f"{count / factor:.3g}{unit}"
    return str(count)


BASE_MODEL = Stage("base", provide_base, BaseModelSummary)
