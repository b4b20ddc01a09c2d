"""Parameters of a request: known names and bounded values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicur.config.sampling import LEAST_TEMPERATURE, Sampling
from vicur.errors import VicurError
from vicur.wording import listed

LONGEST_ANSWER = 2048
"""Default of ``ModelLimits.max_tokens``, unless the student was evaluated with longer answers."""
_BATCH = 32
_LONGEST_NAME = 60
_BOUNDS: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0, 2),
    "top_p": (float, 0.0001, 1),
    "top_k": (int, 0, 1_000_000),
    "presence_penalty": (float, -2, 2),
    "max_new_tokens": (int, 1, 1),  # the maximum is a limit of the server
    "seed": (int, 0, 2**63 - 1),
    "batch_size": (int, 1, 1024),
}


@dataclass(frozen=True)
class Parameters:
    """How the rows of one request are answered."""

    sampling: Sampling
    seed: int = 0
    batch_size: int = _BATCH


def longest_answer(decoding: Mapping[str, Any], limit: int | None) -> int:
    """Return the maximum number of tokens of an answer."""
    return limit or max(LONGEST_ANSWER, int(decoding["max_new_tokens"]))


def parameters_of(given: Mapping[str, Any], decoding: Mapping[str, Any], limit: int | None) -> Parameters:
    """Return the parameters of a request.

    Args:
        given: what the request sets; ``None`` is the default.
        decoding: sampling settings of the student's evaluation, which are the defaults.
        limit: maximum number of tokens of an answer.

    Raises:
        VicurError: if a name is unknown, or a value is out of bounds; it names the parameter.
    """
    longest = longest_answer(decoding, limit)
    defaults = {**decoding, "max_new_tokens": min(longest, int(decoding["max_new_tokens"]))}
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if not isinstance(name, str) or name not in _BOUNDS:
            raise _unknown(str(name))
        # MLflow passes the defaults of the signature as well. These need no check: the student was evaluated with them.
        if value is not None and value != decoding.get(name):
            chosen[name] = _checked(name, value, longest)
    seed, batch_size = chosen.pop("seed", 0), chosen.pop("batch_size", _BATCH)
    return Parameters(Sampling.model_validate({**defaults, **chosen}), seed, batch_size)


def _unknown(name: str) -> VicurError:
    # A name may have as many characters as a body, and the comparison takes time and memory for each.
    close = difflib.get_close_matches(name[:_LONGEST_NAME], _BOUNDS, 1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return VicurError(
        f"there is no parameter {name[:_LONGEST_NAME]!r}.",
        where="params",
        remedy=f"{hint}Use {listed(sorted(_BOUNDS), shown=len(_BOUNDS))}.",
    )


def _checked(name: str, value: Any, longest: int) -> int | float:
    kind, low, high = _BOUNDS[name]
    high = longest if name == "max_new_tokens" else high
    # NumPy's numbers count; bool is an int in Python, but True is not a temperature.
    number = value.item() if hasattr(value, "item") and getattr(value, "shape", None) == () else value
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if is_number and kind is int and isinstance(number, float) and number.is_integer():
        number = int(number)
    # NaN is in no interval.
    if not is_number or (kind is int and not isinstance(number, int)) or not low <= number <= high:
        what = "a whole number" if kind is int else "a number"
        raise VicurError(
            f"must be {what} from {low:g} to {high if kind is int else f'{high:g}'}, not {value!r:.60}.",
            where=f"params.{name}",
            remedy="Change the value, or leave it out for that of the student's evaluation.",
        )
    if name == "temperature" and 0 < number < LEAST_TEMPERATURE:
        raise VicurError(
            f"must be 0, or at least {LEAST_TEMPERATURE:g}, not {value!r:.60}.",
            where=f"params.{name}",
            remedy="Use 0 for greedy decoding.",
        )
    return kind(number)  # type: ignore[no-any-return]
