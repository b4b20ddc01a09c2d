"""Swapped cues, the control condition: each example gets the cue of another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from vicur.seeds import numpy_generator


def swapped_cues(questions: Iterable[tuple[str, str]], cues: Mapping[str, str], seed: int) -> dict[str, str]:
    """Assign to each example a relevant but false cue: the cue of another example with the same question and a different cue.

    ``questions`` are pairs of an example's id and its question.

    Examples without a cue are left out, as are questions with one cue in more than half of their examples.
    """
    by_question: dict[str, list[str]] = {}
    for key, question in questions:
        if key in cues:
            by_question.setdefault(question, []).append(key)
    # Shuffle the examples of a question into an order that groups equal cues, then shift it by the count of the most
    # common cue: no example gets its own cue, provided that no cue belongs to more than half of them.
    swapped: dict[str, str] = {}
    # Sorted, so that the result does not depend on the order of the examples' questions.
    for question in sorted(by_question):
        ids = by_question[question]
        counts = Counter(cues[key] for key in ids)
        step = max(counts.values())
        if 2 * step > len(ids):
            continue
        generator = numpy_generator(seed, "cues", "swap", question)
        place = dict(zip(sorted(counts), generator.permutation(len(counts)).tolist(), strict=True))
        shuffled = [ids[n] for n in generator.permutation(len(ids))]
        order = sorted(shuffled, key=lambda key: place[cues[key]])
        swapped |= {key: cues[order[(n + step) % len(order)]] for n, key in enumerate(order)}
    return swapped
