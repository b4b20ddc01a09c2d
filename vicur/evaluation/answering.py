"""Answer a part of a split's questions and check the responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import Qwen3VLForConditionalGeneration

from vicur.config.evaluation import EvaluationConfig
from vicur.data.schema import Example
from vicur.evaluation.predictions import Prediction, check_response, unanswered
from vicur.modeling.chat import Chat, Prompt
from vicur.modeling.generation import generate
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
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Return the predictions of a part, in order. Questions with a prompt of more than ``limit`` tokens are left out.

    Args:
        part: the questions.
        prompts: their prompts.
        split: name of the split in the predictions.
        seed: root of the random streams of this part.
        on_progress: called with the number of answered questions and of all that are to be answered.
    """
    asked = fitting(prompts, limit)
    responses = generate(
        model,
        chat,
        [prompts[n] for n in asked],
        config.sampling,
        seed=seed,
        batch_size=config.batch_size,
        fit_memory=True,
        on_progress=on_progress,
    )
    answers = dict(zip(asked, responses, strict=True))
    return [
        check_response(example, r.text, tokens=len(r.ids), finished=r.finished, split=split)
        if (r := answers.get(n)) is not None
        else unanswered(example, "prompt too long", split=split)
        for n, example in enumerate(part)
    ]
