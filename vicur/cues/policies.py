"""Apply the configured policies to cues with findings: keep and count, drop, or redact the clauses that violate a rule.

A redacted cue is audited again, and dropped if a finding remains that its policy does not keep. A dropped or redacted cue keeps a record
of what was found, which ``findings.jsonl`` lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

from vicur.config.cue_policies import CuePolicies
from vicur.cues.audit import AuditedCue, Treated
from vicur.cues.findings import Finding

_MOST_REDACTIONS = 3


def apply_policies(row: AuditedCue, policies: CuePolicies, audit: Callable[[str], AuditedCue]) -> AuditedCue:
    """Return ``row`` with its cue dropped or redacted, as the policies of its findings require.

    Args:
        audit: audits another cue of the same example.
    """
    treated: list[Treated] = []
    for _ in range(_MOST_REDACTIONS):
        found = _found(row, policies)
        if row.cue is None or not found:
            break
        dropping = [each for each in found if policies.of(each.label) == "drop"]
        text = "" if dropping else redacted(row.cue, found)
        action = "redact" if text else "drop"
        treated += [Treated(action=action, before=row.cue, **asdict(each)) for each in dropping or found]
        row = audit(text) if text else _dropped(row, (dropping or found)[0])
    if row.cue is not None and (found := _found(row, policies)):
        treated += [Treated(action="drop", before=row.cue, **asdict(each)) for each in found]
        row = _dropped(row, found[0])
    return replace(row, treated=tuple(treated)) if treated else row


def redacted(cue: str, findings: Iterable[Finding]) -> str:
    """Return ``cue`` without the parts that violate a rule, empty if no words remain."""
    kept, start = [], 0
    for begin, end in sorted((each.start, each.end) for each in findings):
        if begin > start:
            kept.append(cue[start:begin])
        start = max(start, end)
    kept.append(cue[start:])
    parts = [part.strip(" \t\n,;:-|") for part in kept]
    text = " ".join(part for part in (each.lstrip(".!? ") for each in parts) if any(map(str.isalnum, part)))
    return text[:-4].rstrip(" ,;") if text.endswith(" and") else text


def _found(row: AuditedCue, policies: CuePolicies) -> list[Finding]:
    return [each for each in row.findings if policies.of(each.label) in ("drop", "redact")]


def _dropped(row: AuditedCue, finding: Finding) -> AuditedCue:
    return AuditedCue(
        row.example_id, row.split, row.kind, cue=None, skipped=f"dropped for {finding.label} ({finding.rule})"
    )
