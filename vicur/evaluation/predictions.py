"""Predictions of a model as a parquet file. The same predictions give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vicur.answers import evidence_is_right, extract_answer, hint_leaks, is_correct
from vicur.data.parquet import write_table
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.prompts import shown_text

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTIONS = "predictions.parquet"


class Prediction(BaseModel, frozen=True):
    """A question, the model's response, and the result of checking it."""

    example_id: str
    split: str
    """The split, or the name of the evaluation set, that the question belongs to."""
    group: str
    kind: str
    question: str
    answer: str
    response: str
    extracted: str | None
    """Final answer that the response states."""
    correct: bool
    evidence_right: bool | None
    """Whether the response states the evidence correctly; ``None`` if the example has no evidence."""
    hint_leaks: int
    """Occurrences of the word "Hint" that the question does not explain."""
    words: int
    tokens: int
    finished: bool
    """Whether the response ended with its end-of-turn token rather than at the maximum length."""
    unanswered: str | None = None
    """Why the question got no response; ``None`` if it did. It counts as answered incorrectly."""


def check_response(example: Example, response: str, *, tokens: int, finished: bool, split: str = "") -> Prediction:
    """Check one response of ``tokens`` tokens against its example.

    ``split`` names the evaluation set that the example belongs to; if empty, the split of the example is used.
    """
    shown = shown_text(example.question, example.choices)
    return Prediction(
        example_id=example.id,
        split=split or example.split,
        group=example.group,
        kind=example.kind,
        question=shown,
        answer=example.answer,
        response=response,
        extracted=extract_answer(response),
        correct=is_correct(response, example),
        evidence_right=evidence_is_right(response, example),
        hint_leaks=hint_leaks(response, shown),
        words=len(response.split()),
        tokens=tokens,
        finished=finished,
    )


def unanswered(example: Example, reason: str, *, split: str = "") -> Prediction:
    """Return the prediction for a question without a response."""
    checked = check_response(example, "", tokens=0, finished=True, split=split)
    return checked.model_copy(update={"correct": False, "unanswered": reason})


def write_predictions(predictions: Sequence[Prediction], folder: Path) -> None:
    """Write ``predictions.parquet`` into ``folder``, one row per prediction, in their order."""
    write_table(predictions_table(predictions), folder / PREDICTIONS)


def predictions_table(predictions: Sequence[Prediction]) -> pa.Table:
    """Return predictions as a table, one row per prediction, in their order."""
    import pyarrow as pa

    # An explicit schema: with types inferred from the rows, a column of None only would change its type.
    types = {name: pa.string() for name in Prediction.model_fields}
    types |= dict.fromkeys(("correct", "evidence_right", "finished"), pa.bool_())
    types |= dict.fromkeys(("hint_leaks", "words", "tokens"), pa.int64())
    schema = pa.schema(list(types.items()))
    rows = [{k: _encodable(v) for k, v in prediction.model_dump().items()} for prediction in predictions]
    return pa.Table.from_pylist(rows, schema)


def read_predictions(folder: Path) -> list[Prediction]:
    """Read the predictions of the evaluation in ``folder``, in their order.

    Raises:
        VicurError: if the file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / PREDICTIONS
    try:
        return [Prediction.model_validate(row) for row in pq.read_table(path).to_pylist()]
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        raise VicurError(
            f"cannot be read ({str(error).splitlines()[0]}).", where=str(path), remedy="Run the evaluate stage again."
        ) from error


def _encodable(value: object) -> object:
    # A model may generate lone surrogates, which cannot be encoded as UTF-8.
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
