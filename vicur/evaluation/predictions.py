"""What a model answered to each question, as a parquet file that is the same bytes for the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from vicur.answers import evidence_is_right, extract_answer, hint_leaks, is_correct
from vicur.data.parquet import write_table
from vicur.data.schema import Example
from vicur.errors import VicurError

PREDICTIONS = "predictions.parquet"


class Prediction(BaseModel, frozen=True):
    """One question with the model's response and what was found in it."""

    example_id: str
    split: str
    group: str
    kind: str
    question: str
    answer: str
    response: str
    extracted: str | None
    """The final answer that the response states."""
    correct: bool
    evidence_right: bool | None
    """Whether the response states the evidence rightly; ``None`` where the example holds none."""
    hint_leaks: int
    """Occurrences of the word "Hint"."""
    words: int
    tokens: int
    finished: bool
    """Whether the response reached its end of turn."""


def check_response(example: Example, response: str, *, tokens: int, finished: bool) -> Prediction:
    """Checks one response against its example.

    Args:
        example: the question and its answer.
        response: the model's text.
        tokens: its length in tokens.
        finished: whether it reached its end of turn.
    """
    return Prediction(
        example_id=example.id,
        split=example.split,
        group=example.group,
        kind=example.kind,
        question=example.question,
        answer=example.answer,
        response=response,
        extracted=extract_answer(response),
        correct=is_correct(response, example),
        evidence_right=evidence_is_right(response, example),
        hint_leaks=hint_leaks(response),
        words=len(response.split()),
        tokens=tokens,
        finished=finished,
    )


def write_predictions(predictions: Sequence[Prediction], folder: Path) -> None:
    """Writes ``predictions.parquet`` into ``folder``, a row a prediction, in their order."""
    import pyarrow as pa

    types = {name: pa.string() for name in Prediction.model_fields}
    types |= dict.fromkeys(("correct", "evidence_right", "finished"), pa.bool_())
    types |= dict.fromkeys(("hint_leaks", "words", "tokens"), pa.int64())
    schema = pa.schema(list(types.items()))
    rows = [{k: _encodable(v) for k, v in prediction.model_dump().items()} for prediction in predictions]
    write_table(pa.Table.from_pylist(rows, schema), folder / PREDICTIONS)


def read_predictions(folder: Path) -> list[Prediction]:
    """Predictions of the evaluation in ``folder``, in their order.

    Raises:
        VicurError: where the folder holds no whole evaluation.
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
    """Text without lone surrogates, which no file format takes."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
