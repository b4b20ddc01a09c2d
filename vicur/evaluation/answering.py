"""Answer a part of a split's questions and check the responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from transformers import Qwen3VLForConditionalGeneration

from vicur.config.evaluation import EvaluationConfig
from vicur.config.sampling import Sampling
from vicur.data.schema import Example
from vicur.evaluation.journal import Answered, Journal
from vicur.evaluation.predictions import Prediction, check_response, unanswered
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.generation import Response, generate, generation_order
from vicur.modeling.prompt_lengths import fitting

# Batches whose prompts are prepared together: enough for prompts of similar length to share a batch, yet little memory.
_BATCHES_PER_PART = 16


@dataclass(frozen=True)
class Share:
    """The batches that one of several processes answers: those whose number has the remainder ``number``."""

    number: int = 0
    processes: int = 1

    def rows(self, prompts: Sequence[Prompt], batch_size: int, repeats: int = 1) -> list[int]:
        """Return the numbers of this process's prompts in the order in which they are answered."""
        order, size = generation_order(prompts), _batch(batch_size, repeats)
        return [n for place, n in enumerate(order) if place // size % self.processes == self.number]


ALL = Share()
"""All batches."""


def _batch(batch_size: int, repeats: int) -> int:
    """Return the prompts per batch: a multiple of the repeats, so that a question's samples share a batch."""
    return batch_size // repeats * repeats or batch_size


def part_size(config: EvaluationConfig) -> int:
    """Return the number of questions that are prepared and answered together."""
    return config.batch_size * _BATCHES_PER_PART


def answer_part(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    part: Sequence[Example],
    prompts: Sequence[Prompt],
    config: EvaluationConfig,
    limit: int,
    *,
    split: str,
    seed: int,
    sampling: Sampling | None = None,
    repeats: int = 1,
    journal: Journal | None = None,
    share: Share = ALL,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Return the predictions of a part, in order. Questions with a prompt of more than ``limit`` tokens are left out.

    Args:
        part: the questions.
        prompts: their prompts.
        split: name of the split in the predictions.
        seed: root of the random streams of this part.
        sampling: parameters of the responses; by default those of ``config``.
        repeats: consecutive questions that are one question. They share a batch, which encodes their image once.
        journal: responses that an interrupted run has kept. New ones are added after each batch.
        share: the batches to answer. Questions of the others are left out.
        on_progress: called with the number of answered questions and of all that are to be answered.
    """
    fits = fitting(prompts, limit)
    # The number of a question's random stream does not depend on which others are still to be answered.
    streams = sorted(share.rows([prompts[n] for n in fits], config.batch_size, repeats))
    asked = {fits[stream]: stream for stream in streams}
    answers = {} if journal is None else {n: answer for n, answer in journal.read().items() if n in asked}
    known = len(answers)
    missing = [(stream, n) for n, stream in asked.items() if n not in answers]

    def keep(responses: Mapping[int, Response]) -> None:
        if journal is not None:
            journal.add({missing[index][1]: response for index, response in responses.items()})

    responses = generate(
        model,
        chat,
        [prompts[n] for _, n in missing],
        config.sampling if sampling is None else sampling,
        seed=seed,
        batch_size=_batch(config.batch_size, repeats),
        fit_memory=True,
        streams=[stream for stream, _ in missing],
        on_progress=None if on_progress is None else lambda done, _: on_progress(known + done, len(asked)),
        on_responses=keep,
    )
    answers |= {n: Answered(r.text, len(r.ids), r.finished) for (_, n), r in zip(missing, responses, strict=True)}
    return [
        check_response(example, r.text, tokens=r.tokens, finished=r.finished, split=split)
        if (r := answers.get(n)) is not None
        else unanswered(example, "prompt too long", split=split)
        for n, example in enumerate(part)
        if share is ALL or n in asked
    ]
