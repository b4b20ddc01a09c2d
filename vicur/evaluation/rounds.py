"""The rounds of an evaluation: the questions of a split as they are, without their images, with other ones, or several times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from vicur.config.blind import BlindView
from vicur.config.evaluation import EvaluationConfig
from vicur.config.sampling import Sampling
from vicur.data.schema import Example
from vicur.evaluation.swapping import swapped_rows, with_images_of
from vicur.seeds import numpy_generator, substream

REPEATED = "repeats"
"""Variant of the rounds with several responses to each question."""


@dataclass(frozen=True, eq=False)
class Round:
    """Questions whose prompts are all built in one way.

    Attributes:
        split: the split, or the name of the evaluation set.
        view: what is shown in place of the images; ``None`` shows them.
        sampling: parameters of the responses.
        repeats: responses to each question.
    """

    split: str
    questions: Sequence[Example]
    sampling: Sampling
    view: BlindView | None = None
    repeats: int = 1
    variant: str = ""
    """What distinguishes the round from that of the split itself."""

    @property
    def name(self) -> str:
        """Return the name of the round in progress and files."""
        return "-".join(filter(None, (self.split, self.variant)))

    @property
    def responses(self) -> int:
        """Return the number of responses to all questions."""
        return len(self.questions) * self.repeats

    def seed(self, root: int, start: int) -> int:
        """Return the root of the random streams of the part that begins at ``start``."""
        # One substream per part: the samples of a split do not depend on which other splits are evaluated.
        names = (self.split, start, self.variant) if self.variant else (self.split, start)
        return substream(root, "evaluation", *names)


@dataclass(frozen=True)
class Part:
    """Questions of a round that are prepared and answered together."""

    round: Round
    start: int
    size: int

    @property
    def file(self) -> str:
        """Return the name of the part's journal."""
        return f"{self.round.name}-{self.start:09}.jsonl"

    def read(self) -> list[Example]:
        """Read the questions."""
        return list(self.round.questions[self.start : self.start + self.size])


def rounds_of(questions: Mapping[str, Sequence[Example]], config: EvaluationConfig, seed: int) -> Iterator[Round]:
    """Yield the rounds of an evaluation: all splits and sets as they are, each blind view of them, then the repeated samples."""
    for split, examples in questions.items():
        yield Round(split, examples, config.sampling)
    for split, examples in questions.items() if config.blind.views else ():
        rows = sampled_rows(len(examples), config.blind.max_examples, seed, "blind", split)
        for view in config.blind.views:
            blind = _Blind(examples, rows, swapped_rows(examples, rows, seed, split) if view == "other_image" else None)
            if len(blind):
                yield Round(split, blind, config.sampling, view, variant=view)
    repeats = config.repeats
    for split, examples in questions.items() if repeats.count else ():
        rows = sampled_rows(len(examples), repeats.max_examples, seed, "repeats", split)
        chosen = Chosen(examples, rows)
        sampling = repeats.decoding.sampling_within(config.rollout_tokens)
        yield Round(split, chosen, sampling, repeats=repeats.count, variant=REPEATED)


def parts_of(rounds: Sequence[Round], size: int) -> list[Part]:
    """Divide rounds into parts of at most ``size`` responses, but all of those to a question."""
    return [
        Part(each, start, min(questions, len(each.questions) - start))
        for each in rounds
        for questions in [max(1, size // each.repeats)]
        for start in range(0, len(each.questions), questions)
    ]


def sampled_rows(count: int, most: int | None, seed: int, *names: str) -> list[int]:
    """Return at most ``most`` of ``count`` rows, in their order, drawn from the substream ``names``."""
    if most is None or most >= count:
        return list(range(count))
    return sorted(numpy_generator(seed, *names).choice(count, size=most, replace=False).tolist())


class Chosen(Sequence[Example]):
    """Some of the questions. Reads a question when it is needed."""

    def __init__(self, questions: Sequence[Example], rows: Sequence[int]) -> None:
        self._questions = questions
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | Sequence[Example]:
        if isinstance(place, slice):
            return [self[n] for n in range(len(self))[place]]
        return self._example(self._rows[place])

    def _example(self, row: int) -> Example:
        return self._questions[row]


class _Blind(Chosen):
    """Questions with images, some of them with those of another question."""

    def __init__(self, questions: Sequence[Example], rows: Sequence[int], swapped: Mapping[int, int] | None) -> None:
        # A question without an image loses nothing, so it says nothing about looking.
        super().__init__(
            questions, [row for row in rows if questions[row].images] if swapped is None else list(swapped)
        )
        self._swapped = swapped

    def _example(self, row: int) -> Example:
        example = self._questions[row]
        return example if self._swapped is None else with_images_of(example, self._questions[self._swapped[row]])
