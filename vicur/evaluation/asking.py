"""Ask a model the questions of all rounds, part by part. An interrupted run continues behind its last batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from transformers import Qwen3VLForConditionalGeneration

from vicur.config.evaluation import EvaluationConfig
from vicur.data.schema import Example
from vicur.evaluation.answering import ALL, Share, answer_part, part_size
from vicur.evaluation.journal import Journal
from vicur.evaluation.predictions import Prediction
from vicur.evaluation.prompts import prompts_for
from vicur.evaluation.rounds import Part, Round, parts_of
from vicur.modeling.ahead import DecodeAhead
from vicur.modeling.chat import Chat
from vicur.modeling.prompt_lengths import fitting

_JOURNALS = "answers"

Progress = Callable[[int, int, str], None]
"""Receives the number of responses, that of all, and the name of the round."""


def ask(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    rounds: Sequence[Round],
    config: EvaluationConfig,
    limit: int,
    seed: int,
    work: Path,
    on_progress: Progress,
    *,
    share: Share = ALL,
) -> list[list[Prediction]]:
    """Return the predictions of each round. Questions with a prompt of more than ``limit`` tokens get no response.

    Args:
        work: scratch folder that keeps the responses. Those of other processes in it are used, too.
        share: the batches to answer. With less than all, predictions whose responses are not known are left out.
    """
    predictions: dict[Round, list[Prediction]] = {each: [] for each in rounds}
    total, done = response_count(rounds), 0
    with DecodeAhead(chat, config.image_threads) as ahead:
        for part, questions in _read_ahead(parts_of(rounds, part_size(config))):
            answered = _answer(
                model,
                chat,
                part,
                questions,
                ahead,
                config,
                limit,
                seed,
                (done, total),
                work / _JOURNALS,
                on_progress,
                share,
            )
            predictions[part.round] += answered
            done += len(questions) * part.round.repeats if share is ALL else len(answered)
    return [predictions[each] for each in rounds]


def response_count(rounds: Sequence[Round]) -> int:
    """Return the number of responses in all rounds."""
    return sum(each.responses for each in rounds)


def _answer(
    model: Qwen3VLForConditionalGeneration,
    chat: Chat,
    part: Part,
    questions: Sequence[Example],
    ahead: DecodeAhead,
    config: EvaluationConfig,
    limit: int,
    seed: int,
    place: tuple[int, int],
    folder: Path,
    on_progress: Progress,
    share: Share,
) -> list[Prediction]:
    """Answer a part. ``place`` is the number of responses before it, and of all."""
    before, total = place
    repeats = part.round.repeats
    # The samples of a question follow each other, so that they share the features of their image.
    built = [
        prompt
        for prompt in prompts_for(chat, questions, ahead, images=part.round.view != "no_image")
        for _ in range(repeats)
    ]
    questions = [question for question in questions for _ in range(repeats)]
    prompts = [built[n] for n in fitting(built, limit)]
    ahead.drop_before(before)
    rows = share.rows(prompts, config.batch_size, repeats)
    ahead.expect(before, [image for n in rows for image in prompts[n].pixels])
    return answer_part(
        model,
        chat,
        questions,
        built,
        config,
        limit,
        split=part.round.split,
        seed=part.round.seed(seed, part.start),
        sampling=part.round.sampling,
        repeats=repeats,
        journal=Journal(folder / part.file, share.number),
        share=share,
        on_progress=lambda done, _: on_progress(before + done, total, part.round.name),
    )


def _read_ahead(parts: Sequence[Part]) -> Iterator[tuple[Part, list[Example]]]:
    """Yield parts with their questions. The next part is read while the caller answers one."""
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as pool:
        coming = [pool.submit(part.read) for part in parts[:1]]
        for number, part in enumerate(parts):
            questions = coming.pop(0).result()
            coming += [pool.submit(following.read) for following in parts[number + 1 : number + 2]]
            yield part, questions
