"""Gets the cues of a range of a dataset's examples, and audits each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import tee
from pathlib import Path

from vicur.config.cues import TRAINING_SPLIT, CuesConfig
from vicur.cues.audit import AuditedCue, audit_cue
from vicur.cues.policies import apply_policies
from vicur.cues.providers import provider_for
from vicur.cues.reader_check import check_before_requests
from vicur.data import read_manifest
from vicur.data.schema import Example
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError
from vicur.stage.runner import Context

# A range is read in order, so the cache needs to hold little more than one row group.
_CACHE_BYTES = 64 << 20


def splits_with_cues(dataset: Path, config: CuesConfig) -> list[str]:
    """Return the splits to extract cues for that the dataset has examples of, in the order of the configuration.

    Raises:
        VicurError: if there are no examples to train on.
    """
    present = _present(dataset)
    if TRAINING_SPLIT not in present:
        raise VicurError(
            f"the dataset has no examples in the split {TRAINING_SPLIT!r}, whose cues the teacher needs.",
            where=str(dataset),
            remedy=f"Assign examples to the split {TRAINING_SPLIT!r}.",
        )
    return [split for split in config.splits if split in present]


def audited_rows(
    dataset: Path, config: CuesConfig, context: Context, first: int = 0, end: int | None = None
) -> tuple[list[AuditedCue], str]:
    """Return the audited cues of a range of examples in order, and the provider's fingerprint.

    The provider is fitted on the whole dataset, so that a cue does not depend on the range that its example is in.

    Args:
        first: number of the first example, counted from 0 over all splits that get cues.
        end: number after the last one; by default, all remaining ones.

    Raises:
        VicurError: if no example can get a cue or, with a ``reader`` and before a cue is paid for, if the base cannot read the dataset.
    """
    provider = provider_for(config.provider, context, config.prompts)
    check_before_requests(config, dataset)
    present = _present(dataset)
    fitted_on = [split for split in provider.fitted_on if split in present]
    provider.fit(example for split in fitted_on for example in StoredSplit(dataset, split))
    rows = []
    for split, examples in _ranges(dataset, splits_with_cues(dataset, config), first, end):
        # Each example is read once. Those that the provider has taken and not answered yet are kept for the audit.
        asked, answered = tee(examples)
        for number, (example, cue) in enumerate(zip(answered, provider.cues(asked), strict=True), start=1):
            audited = audit_cue(example, cue)
            rows.append(
                apply_policies(audited, config.policies, partial(audit_cue, example)) if audited.findings else audited
            )
            context.events.progress(number, len(examples), f"{split} cues")
    return rows, provider.fingerprint


def _present(dataset: Path) -> list[str]:
    return [split for split, count in read_manifest(dataset).examples.items() if count]


def _ranges(
    dataset: Path, splits: Sequence[str], first: int, end: int | None
) -> Iterator[tuple[str, Sequence[Example]]]:
    """Yield each split that has examples in a range, with these examples."""
    counts = read_manifest(dataset).examples
    start = 0
    for split in splits:
        begin, stop = max(first - start, 0), counts[split] if end is None else min(end - start, counts[split])
        if (begin, stop) == (0, counts[split]):
            yield split, StoredSplit(dataset, split)
        elif begin < stop:
            yield split, StoredSplit(dataset, split, cache_bytes=_CACHE_BYTES)[begin:stop]
        start += counts[split]
