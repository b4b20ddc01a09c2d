"""False cues for a control: each example gets the cue of another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from vicur.data.schema import Example
from vicur.seeds import numpy_generator


def swapped_cues(examples: Sequence[Example], cues: Mapping[str, str], seed: int) -> dict[str, str]:
    """Cues that are to the point and false: of an example with the same question, and never the example's own words.

    The examples of a question are drawn into an order in which those with the same cue stand together, and each takes the cue of the one
    that stands as many places on as the commonest cue is common: no two such examples share a cue, if that cue is held by no more than
    half of them.

    Args:
        examples: the examples whose cues are swapped among each other.
        cues: cues by example id.
        seed: root seed of the order.

    Returns:
        The swapped cues by example id. An example without a cue has none, nor has one whose question leaves no other cue for all.
    """
    asked: dict[str, list[str]] = {}
    for example in examples:
        if example.id in cues:
            asked.setdefault(example.question, []).append(example.id)
    swapped: dict[str, str] = {}
    for question in sorted(asked):
        ids = asked[question]
        counts = Counter(cues[key] for key in ids)
        step = max(counts.values())
        if 2 * step > len(ids):
            continue
        draw = numpy_generator(seed, "cues", "swap", question)
        place = dict(zip(sorted(counts), draw.permutation(len(counts)).tolist(), strict=True))
        shuffled = [ids[n] for n in draw.permutation(len(ids))]
        order = sorted(shuffled, key=lambda key: place[cues[key]])
        swapped |= {key: cues[order[(n + step) % len(order)]] for n, key in enumerate(order)}
    return swapped
