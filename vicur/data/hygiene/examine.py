"""Rules over the facts of all examples: duplicates across splits, repeated questions and contradicting answers.

A training example (split ``distill`` or ``base``) is *leaked* if a held-out split has the same question, with the same choices,

- about identical images (or about none), whatever the answer; or
- about nearly identical images, with the same answer. With another answer it is kept and reported: drawings that differ in a single label
  look alike, and their answers tell them apart.

Leaked examples are dropped from training, never from a held-out split. Everything else is only reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vicur.answers.correct import same_answer
from vicur.config.data import Duplicates
from vicur.data.hygiene.columns import fixed_bytes
from vicur.data.hygiene.dropped import DROPPED
from vicur.data.hygiene.findings import Finding, Findings, Instance, Rule
from vicur.data.hygiene.links import Links, mix, row_keys
from vicur.data.hygiene.similar import alike

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRAINING = ("distill", "base")
_QUESTION = 16  # bytes of the hash of a question
_SHOWN = 20  # instances of a finding
_IDS = 8  # examples in an instance
# Held-out examples with the same question that a training example is compared with.
_COMPARED = 256


@dataclass(frozen=True, eq=False)
class _Rows:
    """The facts of N examples in columns."""

    facts: pa.Table
    links: Links

    @cached_property
    def split(self) -> NDArray[np.object_]:
        return np.asarray(self.facts["split"].to_numpy(zero_copy_only=False))

    @cached_property
    def training(self) -> NDArray[np.bool_]:
        return np.asarray(pc.is_in(self.facts["split"], pa.array(_TRAINING)).to_numpy())

    @cached_property
    def question(self) -> NDArray[np.uint64]:
        column = self.facts["question"].combine_chunks()
        words = np.ascontiguousarray(fixed_bytes(column, _QUESTION)).view(np.uint64)
        return mix(words[:, 0]) + words[:, 1]

    @cached_property
    def same(self) -> NDArray[np.uint64]:
        """Hash of question and images, equal for the same question about identical images [N]."""
        return mix(self.question + row_keys(self.links, self.links.exact))

    @cached_property
    def alike(self) -> NDArray[np.uint64]:
        """Hash of question and images, equal for the same question about nearly identical images, too [N]."""
        return mix(self.question + row_keys(self.links, self.links.near))

    @cached_property
    def answer(self) -> NDArray[np.int64]:
        codes = pc.dictionary_encode(self.facts["answer"].combine_chunks()).indices
        return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)

    def text(self, column: str, row: int) -> str:
        return str(self.facts[column][int(row)].as_py())

    def instance(self, rows: NDArray[np.int64], detail: str) -> Instance:
        shown = rows[:_IDS]
        ids = tuple(self.text("id", row) for row in shown)
        return Instance(ids=ids, splits=tuple(dict.fromkeys(self.text("split", row) for row in shown)), detail=detail)


def examine(facts: pa.Table, links: Links, duplicates: Duplicates) -> tuple[pa.Table, Findings]:
    """Apply the rules to all examples.

    Args:
        facts: the facts of each example (:data:`~vicur.data.importing.facts.FACTS`), whose splits are known, with a column ``position``.
        links: the result of :func:`~vicur.data.hygiene.links.link_images` for the same examples.
        duplicates: the setting ``data.duplicates``.

    Returns:
        The examples to drop (:data:`~vicur.data.hygiene.dropped.DROPPED`), and the findings.
    """
    rows = _Rows(facts, links)
    if duplicates == "off" or not facts.num_rows:
        return DROPPED.empty_table(), Findings(images=links.distinct, near_copies=links.near_copies, findings=())
    leaks, similar = _leaks(rows)
    drop = duplicates == "drop"
    found = [
        _finding("leaked", len(leaks), _leak_instances(rows, leaks), dropped=drop),
        _finding("similar_question", len(similar), _leak_instances(rows, similar)),
        _shared_images(rows),
        _repeated(rows),
        _contradictions(rows),
    ]
    findings = Findings(
        images=links.distinct, near_copies=links.near_copies, findings=tuple(each for each in found if each.count)
    )
    return _dropped(rows, leaks) if drop else DROPPED.empty_table(), findings


def _finding(rule: Rule, count: int, instances: Iterator[Instance], *, dropped: bool = False) -> Finding:
    shown = tuple(instance for instance, _ in zip(instances, range(_SHOWN), strict=False))
    return Finding(rule=rule, count=count, dropped=dropped and count > 0, instances=shown)


def _leaks(rows: _Rows) -> tuple[dict[int, int], dict[int, int]]:
    """Return the leaked training examples, and those with a similar held-out question, each with its held-out example."""
    held_out = np.flatnonzero(~rows.training)
    order = held_out[np.argsort(rows.alike[held_out], kind="stable")]
    keys = rows.alike[order]
    training = np.flatnonzero(rows.training)
    starts = np.searchsorted(keys, rows.alike[training], "left")
    ends = np.searchsorted(keys, rows.alike[training], "right")
    leaks: dict[int, int] = {}
    similar: dict[int, int] = {}
    for row, start, end in zip(training[ends > starts], starts[ends > starts], ends[ends > starts], strict=True):
        others = order[start : min(end, start + _COMPARED)]
        identical = others[rows.same[others] == rows.same[row]]
        if len(identical):
            leaks[int(row)] = int(identical[0])
            continue
        others = others[_look_alike(rows, row, others)]
        agreeing = others[rows.answer[others] == rows.answer[row]]
        if len(agreeing):
            leaks[int(row)] = int(agreeing[0])
        elif len(others):
            similar[int(row)] = int(others[0])
    return leaks, similar


def _look_alike(rows: _Rows, row: int, others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the examples have images that are near-duplicates of those of ``row``, and not only linked by a chain of images."""
    links = rows.links
    count = links.first[row + 1] - links.first[row]
    result = np.ones(len(others), dtype=np.bool_)
    if links.prints is None:
        return result
    for place in range(count):
        own, theirs = (links.exact[links.first[rows_] + place] for rows_ in (np.full(len(others), row), others))
        result &= alike(links.prints, own, theirs)
    return result


def _leak_instances(rows: _Rows, pairs: dict[int, int]) -> Iterator[Instance]:
    for row, other in pairs.items():
        answers = list(dict.fromkeys((rows.text("answer", row), rows.text("answer", other))))
        yield rows.instance(np.array([row, other]), " | ".join(answers))


def _dropped(rows: _Rows, leaks: dict[int, int]) -> pa.Table:
    positions = rows.facts["position"].take(pa.array(list(leaks), type=pa.int64())).combine_chunks()
    reasons = []
    for row, other in leaks.items():
        identical = rows.same[row] == rows.same[other]
        image = "identical images" if identical else "nearly identical images"
        where = f"{rows.text('id', other)!r} of the split {rows.text('split', other)}"
        reasons.append(f"asks the same about {image} as {where}, so the held-out score would count what was trained on")
    remedy = "Remove the row, or set data.duplicates to report to keep it."
    count = len(reasons)
    return pa.table(
        [positions, pa.array(["question"] * count), pa.array(reasons), pa.array([remedy] * count)], schema=DROPPED
    )


def _shared_images(rows: _Rows) -> Finding:
    """Find training examples about an image of a held-out example, with another question."""
    links = rows.links
    owner = np.repeat(np.arange(len(rows.training)), np.diff(links.first))
    in_training = rows.training[owner]
    shared = np.intersect1d(links.near[in_training], links.near[~in_training])
    hits = in_training & np.isin(links.near, shared)
    concerned = np.unique(owner[hits])
    # Those with the same question are counted by another rule.
    concerned = concerned[~np.isin(rows.alike[concerned], rows.alike[~rows.training])]
    return _finding("shared_image", len(concerned), _shared_instances(rows, concerned, owner))


def _shared_instances(rows: _Rows, concerned: NDArray[np.int64], owner: NDArray[np.int64]) -> Iterator[Instance]:
    near = rows.links.near
    for row in concerned[:_SHOWN]:
        own = near[rows.links.first[row] : rows.links.first[row + 1]]
        others = np.unique(owner[np.isin(near, own)])
        others = others[~rows.training[others]]
        yield rows.instance(np.concatenate([[row], others[: _IDS - 1]]), "one image")


def _repeated(rows: _Rows) -> Finding:
    """Find the same question about identical images, with the same answer, several times in one split."""
    splits = pc.dictionary_encode(rows.facts["split"].combine_chunks()).indices.to_numpy(zero_copy_only=False)
    groups = _Equal(mix(rows.same + mix(rows.answer.astype(np.uint64))) + splits.astype(np.uint64))
    return _finding("repeated", len(groups), (rows.instance(each, rows.text("answer", each[0])) for each in groups))


def _contradictions(rows: _Rows) -> Finding:
    """Find the same question about identical images with different answers. Equal quantities (``0.5``, ``1/2``) do not differ."""
    count = 0
    instances = []
    for group in _Equal(rows.same):
        answers = list(dict.fromkeys(rows.answer[group].tolist()))
        if len(answers) == 1:
            continue
        texts = [rows.text("answer", group[rows.answer[group] == code][0]) for code in answers[:_IDS]]
        if any(not same_answer(texts[0], other) for other in texts[1:]):
            count += 1
            if count <= _SHOWN:
                instances.append(rows.instance(group, " | ".join(texts)))
    return _finding("contradiction", count, iter(instances))


class _Equal:
    """The rows of each key that occurs several times, in the order of their first rows."""

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._order = np.argsort(keys, kind="stable")
        ordered = keys[self._order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        ends = np.append(starts[1:], len(ordered))
        several = ends - starts > 1
        starts, ends = starts[several], ends[several]
        by_first = np.argsort(self._order[starts], kind="stable")
        self._starts, self._ends = starts[by_first], ends[by_first]

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return (self._order[start:end] for start, end in zip(self._starts, self._ends, strict=True))
