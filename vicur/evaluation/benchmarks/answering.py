"""``vicur benchmarks answer``: a model answers a staged benchmark. Resumable after each batch, and shared by several processes if asked.

Each question has its own random stream, so answers depend neither on the batch size nor on the number of processes, beyond rounding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.decoding import PaperDecoding
from vicur.config.evaluation import EvaluationConfig
from vicur.config.prompts import PixelBudgets, PromptConfig
from vicur.data.schema import Example
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.answers import RECORD as ANSWER_RECORD
from vicur.evaluation.benchmarks.answers import (
    Answer,
    AnswerRecord,
    manifest_sha256,
    read_record,
    staged_benchmark,
)
from vicur.evaluation.benchmarks.content import content_of_parts
from vicur.evaluation.benchmarks.parts import Parts
from vicur.evaluation.benchmarks.staging import SPLIT
from vicur.modeling import load_model
from vicur.modeling.ahead import example_pixels
from vicur.modeling.chat import Chat
from vicur.modeling.device import resolve_device
from vicur.modeling.generation import generate
from vicur.modeling.prompt_lengths import fitting
from vicur.modeling.readability import check_readable, context_length
from vicur.modeling.student import cue_recovery_off
from vicur.prompts.record import RECORD as STUDENT_RECORD
from vicur.seeds import substream
from vicur.storage.folders import tree_sha256

PAPER_PROMPTS = PromptConfig(
    system="You are a helpful assistant.", pixels=PixelBudgets(evaluation={"min": 3584, "max": 401_408})
)
"""System message and pixel budget of the paper's evaluation."""
_CACHE_BYTES = 64 << 20


@dataclass(frozen=True)
class Shard:
    """Which questions a process answers: those whose number is ``number`` modulo ``count``."""

    number: int = 0
    count: int = 1


@dataclass(frozen=True)
class AnswerCounts:
    """What is answered."""

    rows: int
    answered: int
    """Rows with an answer, by this process and others."""
    resumed: int
    """Rows that were answered before."""
    unfinished: int
    unanswered: int

    @property
    def is_complete(self) -> bool:
        """Whether all rows are answered, so that the output was written."""
        return self.answered == self.rows


def paper_settings(config: EvaluationConfig) -> EvaluationConfig:
    """Return settings with the decoding, system message and pixel budget of the paper."""
    return config.model_copy(update={"decoding": PaperDecoding(), "prompts": PAPER_PROMPTS})


def answer(
    dataset: Path,
    model: Path,
    output: Path,
    config: EvaluationConfig,
    *,
    seed: int,
    shard: Shard = Shard(),
    kept: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> AnswerCounts:
    """Answer a staged benchmark, and write ``answers.parquet`` and ``answers.json`` once all questions are answered.

    Args:
        dataset: folder that ``vicur benchmarks stage`` has written.
        model: checkpoint of a student or a base.
        output: folder of the answers. Until it is complete, answers are kept in ``<output>.parts``, which processes of one run share.
        config: decoding, prompts, batch size and device.
        shard: the questions that this process answers.
        kept: durable folder or S3 address at which answers are kept as well, so that another machine continues.
        on_progress: called with the number of answered rows and of all rows of this shard.

    Raises:
        VicurError: if dataset or model cannot be read, or the parts of another run are in the way.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    record = _record(dataset, model, config, seed)
    questions = StoredSplit(dataset, SPLIT, cache_bytes=_CACHE_BYTES)[: config.max_examples]
    if (output / ANSWER_RECORD).is_file() and read_record(output) == record:
        return AnswerCounts(len(questions), len(questions), len(questions), 0, 0)
    parts = Parts(output, record, kept)
    before = parts.read()
    mine = range(shard.number, len(questions), shard.count)
    todo = [row for row in mine if row not in before]
    if todo:
        chat = Chat.load(model, config.prompts)
        check_readable(chat, dataset, [SPLIT], model)
        loaded = load_model(model, device=resolve_device(config.device, "evaluation.device"))
        limit = min(config.max_prompt_tokens, context_length(model))
        with nullcontext() if config.cue_recovery else cue_recovery_off(loaded):
            done = len(mine) - len(todo)
            for rows in _batches(todo, config.batch_size):
                parts.add(
                    shard.number,
                    shard.count,
                    _answered(loaded, chat, questions, rows, config, limit, seed, record.benchmark),
                )
                done += len(rows)
                if on_progress is not None:
                    on_progress(done, len(mine))
    found = parts.join(len(questions), output)
    return AnswerCounts(
        len(questions),
        len(found),
        len(before),
        sum(not each.finished for each in found.values()),
        sum(each.unanswered is not None for each in found.values()),
    )


def _answered(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    questions: Sequence[Example],
    rows: Sequence[int],
    config: EvaluationConfig,
    limit: int,
    seed: int,
    benchmark: str,
) -> dict[int, Answer]:
    """Return the answers to a batch of questions by their row."""
    examples = [questions[row] for row in rows]
    prompts = [chat.prompt(content_of_parts(each), example_pixels(chat, each, "evaluation", None)) for each in examples]
    asked = fitting(prompts, limit)
    responses = generate(
        model,
        chat,
        [prompts[n] for n in asked],
        config.sampling,
        seed=substream(seed, "benchmark", benchmark),
        batch_size=config.batch_size,
        fit_memory=True,
        streams=[rows[n] for n in asked],
    )
    by_place = dict(zip(asked, responses, strict=True))
    return {
        row: Answer(id=example.id, response=r.text, tokens=len(r.ids), finished=r.finished)
        if (r := by_place.get(n)) is not None
        else Answer(id=example.id, response="", tokens=0, finished=True, unanswered="prompt too long")
        for n, (row, example) in enumerate(zip(rows, examples, strict=True))
    }


def _batches(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(rows), size):
        yield [*rows[start : start + size]]


def _record(dataset: Path, model: Path, config: EvaluationConfig, seed: int) -> AnswerRecord:
    method = "base"
    try:
        method = str(json.loads((model / STUDENT_RECORD).read_text(encoding="utf-8"))["method"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VicurError(
            f"cannot be read ({error}).", where=str(model / STUDENT_RECORD), remedy="Train the student again."
        ) from error
    return AnswerRecord(
        benchmark=staged_benchmark(dataset),
        dataset=manifest_sha256(dataset),
        model=tree_sha256(model),
        method=method,
        settings={
            "sampling": config.sampling.model_dump(mode="json"),
            "prompts": config.prompts.model_dump(mode="json"),
            "seed": seed,
            "max_prompt_tokens": config.max_prompt_tokens,
            "max_examples": config.max_examples,
            "cue_recovery": config.cue_recovery,
        },
    )
