"""Answer a part of a split's questions and check the responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from transformers import Qwen3VLForConditionalGeneration

from vicur.config.evaluation import EvaluationConfig
from vicur.config.sampling import Sampling
from vicur.data.schema import Example
from vicur.evaluation.journal import Answered, Journal
from vicur.evaluation.predictions import Prediction, check_response, unanswered
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.generation import Response, generate
from vicur.modeling.prompt_lengths import fitting

# Batches whose prompts are prepared together: enough for prompts of similar length to share a batch, yet little memory.
_BATCHES_PER_PART = 16


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
        on_progress: called with the number of answered questions and of all that are to be answered.
    """
    asked = fitting(prompts, limit)
    answers = {} if journal is None else journal.read()
    known = len(answers)
    # The number of a question's random stream does not depend on which others are still to be answered.
    missing = [(stream, n) for stream, n in enumerate(asked) if n not in answers]

    def keep(responses: Mapping[int, Response]) -> None:
        if journal is not None:
            journal.add({missing[index][1]: response for index, response in responses.items()})

    responses = generate(
        model,
        chat,
        [prompts[n] for _, n in missing],
        config.sampling if sampling is None else sampling,
        seed=seed,
        batch_size=config.batch_size // repeats * repeats or config.batch_size,
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
    ]
