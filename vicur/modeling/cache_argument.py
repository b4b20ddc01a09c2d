"""The name of a forward's argument for the KV cache: ``past_key_values``, or ``cache`` from transformers 5.24 on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from transformers import Cache
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from vicur.errors import VicurError

_NAMES = ("cache", "past_key_values")


def cache_argument(cache: Cache | None) -> dict[str, Any]:
    """Return the argument that passes ``cache`` to a forward of the installed transformers.

    Raises:
        VicurError: if its models have no such argument.
    """
    return {_name_in(Qwen3VLTextModel.forward): cache}


# Decoding calls this once for each token, and reading a signature takes as long as a small kernel.
@lru_cache(maxsize=8)
def _name_in(forward: Callable[..., Any]) -> str:
    # A decorator accepts the old name for some releases; the signature is that of the function below it.
    parameters = inspect.signature(inspect.unwrap(forward)).parameters
    name = next((name for name in _NAMES if name in parameters), None)
    if name is None:
        raise _unknown("the models of this release of transformers")
    return name


def cache_of(arguments: Mapping[str, Any], *, required: bool = False) -> Cache | None:
    """Return the KV cache among the arguments of a forward.

    Args:
        required: whether the argument must be there, though it may be ``None``.

    Raises:
        VicurError: if it is required and missing.
    """
    found = [arguments[name] for name in _NAMES if name in arguments]
    if required and not found:
        raise _unknown("this forward")
    return next((cache for cache in found if cache is not None), None)


def _unknown(what: str) -> VicurError:
    return VicurError(
        f"no argument for the KV cache is known: {what} has neither {' nor '.join(_NAMES)}.",
        where="transformers",
        remedy="Install a release of transformers within the bounds of vicur's requirements.",
    )
