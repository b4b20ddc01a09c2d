"""Bodies of HTTP requests: JSON in the forms of MLflow's scoring protocol, or OpenAI's chat completions.

MLflow's own parser repeats the body and a traceback in its errors, reads Parquet, and has no limits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vicur.config.serving import ModelLimits

# Values take 20 times the memory of the shortest JSON for them (of "[],"), so they are counted before they are parsed. The largest
# legitimate request has some thousands.
_MAX_VALUES = 200_000
_STRUCTURE = b"[{,:"
_ROW_FORMS = ("dataframe_records", "dataframe_split", "instances", "inputs")
_FORMS = f"one of {', '.join(_ROW_FORMS)}, or messages"
_EXAMPLE = 'Send {"dataframe_records": [{"question": "...", "image": "<base64>"}]}.'
_PARAMETERS = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens"}
_SAMPLING = ("temperature", "top_p", "top_k", "presence_penalty", "max_new_tokens", "seed")
# Fields of OpenAI's requests that change nothing with these values.
_IGNORED: dict[str, tuple[Any, ...]] = {
    "stream": (False, None),
    "n": (1, None),
    "frequency_penalty": (0, None),
    "logprobs": (False, None),
    "stop": (None, []),
    "tools": (None, []),
}
_TEXTS = ("model", "user")


class BodyError(ValueError):
    """A body that is not a request. ``status`` is that of the response."""

    def __init__(self, problem: str, status: int = 400) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(frozen=True)
class Request:
    """Rows to answer."""

    rows: list[Mapping[str, Any]]
    params: Mapping[str, Any] = field(default_factory=dict)
    is_chat: bool = False
    """Whether the reply is a chat completion."""


def require_json(content_type: str) -> None:
    """Raise a :class:`BodyError` if a body of this content type is not read."""
    kind, *settings = [part.strip().lower() for part in content_type.split(";")]
    if kind != "application/json" or any(each not in ("", "charset=utf-8", 'charset="utf-8"') for each in settings):
        raise BodyError(
            f"The content type {content_type[:80]!r} is not supported. Send application/json in UTF-8.", 415
        )


def parse(body: bytes, limits: ModelLimits, *, is_chat: bool = False) -> Request:
    """Parse a body.

    Args:
        is_chat: whether the path is that of chat completions, which requires ``messages``.

    Raises:
        BodyError: if it is not valid, has no rows, or too many.
    """
    found = _object(body)
    if "messages" in found:
        return _chat(found)
    if is_chat:
        raise BodyError("The body has no messages.")
    form, *others = [name for name in _ROW_FORMS if name in found] or [""]
    if not form or others:
        raise BodyError(
            f"The body must have {_FORMS}; it has {', '.join((form, *others)) or 'none of them'}. {_EXAMPLE}"
        )
    if unknown := [name for name in found if name not in (*_ROW_FORMS, "params")]:
        raise BodyError(f"The body has an unknown field {unknown[0][:60]!r}. Known: {', '.join(_ROW_FORMS)}, params.")
    params = found.get("params")
    if not isinstance(params, dict | None):
        raise BodyError('The field params must be an object, such as {"max_new_tokens": 64}.')
    rows = _rows(form, found[form], limits.max_rows)
    return Request(rows, params or {})


def _object(body: bytes) -> dict[str, Any]:
    if sum(body.count(each) for each in (_STRUCTURE[n : n + 1] for n in range(len(_STRUCTURE)))) > _MAX_VALUES:
        raise BodyError(f"The body has more than {_MAX_VALUES:,} values.", 413)
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BodyError(f"The body is not UTF-8 (at byte {error.start}).") from None
    except RecursionError:
        raise BodyError("The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise BodyError(
            f"The body is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg})."
        ) from None
    except ValueError as error:  # a number of thousands of digits, NaN
        raise BodyError(f"The body is not valid JSON ({error}).") from None
    if not isinstance(found, dict):
        raise BodyError(f"The body must be an object with {_FORMS}. {_EXAMPLE}")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _rows(form: str, value: Any, max_rows: int) -> list[Mapping[str, Any]]:
    rows: Any = value
    if form == "dataframe_split":
        rows = _of_split(value, max_rows)
    elif form == "inputs" and isinstance(value, dict):
        rows = _of_columns(value, max_rows)
    if not isinstance(rows, list):
        raise BodyError(f"The field {form} must be a list of rows. {_EXAMPLE}")
    if not rows:
        raise BodyError(f"The field {form} has no rows.")
    if len(rows) > max_rows:
        raise BodyError(f"The request has {len(rows):,} rows, but at most {max_rows} are allowed (max_rows).", 413)
    # A text is a question without an image.
    return [row if isinstance(row, dict) else {"question": row} for row in rows]


def _of_split(value: Any, max_rows: int) -> list[Any]:
    columns = value.get("columns") if isinstance(value, dict) else None
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(columns, list) or not isinstance(data, list) or not all(isinstance(c, str) for c in columns):
        raise BodyError('The field dataframe_split must have the form {"columns": ["question"], "data": [["..."]]}.')
    for number, row in enumerate(data[: max_rows + 1]):
        if not isinstance(row, list) or len(row) != len(columns):
            raise BodyError(f"Row {number} of dataframe_split must have {len(columns)} values, one for each column.")
    if len(data) > max_rows:
        return data
    return [dict(zip(columns, row, strict=True)) for row in data]


def _of_columns(value: Mapping[str, Any], max_rows: int) -> list[Any]:
    # One row, or lists of the same length. An image may be a list itself, so only the question decides.
    question = value.get("question")
    if not isinstance(question, list):
        return [value]
    lengths = {len(column) if isinstance(column, list) else -1 for column in value.values()}
    if lengths != {len(question)}:
        raise BodyError("The columns of inputs must be lists of the same length.")
    if len(question) > max_rows:
        return question
    return [{name: column[n] for name, column in value.items()} for n in range(len(question))]


def _chat(found: Mapping[str, Any]) -> Request:
    params: dict[str, Any] = {}
    # MLflow's clients put parameters into a separate object.
    given = {name: value for name, value in found.items() if name not in ("messages", "params")}
    own = found.get("params") or {}
    if not isinstance(own, dict):
        raise BodyError("The field params must be an object.")
    for name, value in {**given, **own}.items():
        if name in _IGNORED:
            if value not in _IGNORED[name]:
                raise BodyError(f"The field {name} is not supported.")
        elif name in _TEXTS:
            if not isinstance(value, str | None):
                raise BodyError(f"The field {name} must be text.")
        elif name in _PARAMETERS or name in _SAMPLING:
            params[_PARAMETERS.get(name, name)] = value
        else:
            known = ", ".join(("messages", *_TEXTS, *_PARAMETERS, *_SAMPLING))
            raise BodyError(f"The body has an unknown field {name[:60]!r}. Known: {known}.")
    return Request([{"messages": found["messages"]}], params, is_chat=True)
