"""Policies for cues in which the audit finds something."""

from __future__ import annotations

from typing import Literal

from vicur.config.section import Section

CuePolicy = Literal["mark", "drop", "redact", "fail"]
"""``mark`` keeps the cue, which counts against its limit. ``drop`` skips the example. ``redact`` removes the clauses that violate a rule
and drops the cue if a finding remains. ``fail`` stops the stage if one cue is found."""


class CuePolicies(Section):
    """What happens to a cue, by what the audit finds."""

    answer_leak: CuePolicy = "mark"
    """Cues that reveal the answer."""
    solution_leak: CuePolicy = "mark"
    """Cues that state a step of a solution."""
    ungrounded: CuePolicy = "mark"
    """Cues that contradict what is known about the image."""
    injected: CuePolicy = "mark"
    """Cues with instructions to a model."""
    unusable: CuePolicy = "mark"
    """Refusals, echoes and other texts that are not cues."""

    def of(self, label: str) -> CuePolicy:
        """Return the policy for a label of the audit."""
        policy: CuePolicy = getattr(self, label)
        return policy


def are_default(policies: CuePolicies) -> bool:
    """Return whether all policies are the default. Identities leave them out then."""
    return policies == CuePolicies()
