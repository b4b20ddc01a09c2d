"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]
Scope = Literal["laptop", "cluster"]
"""Whether a run on this machine needs it, or only one in a cluster."""


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        status: ``ok``; ``warning`` where it works but may not be what is meant; ``failed`` where a run would fail of it.
        what: the finding in a sentence.
        remedy: what to do about it; empty where all is well.
    """

    status: Status
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """Something to look at.

    Attributes:
        name: what people call it.
        scope: who needs it.
        look: looks. It raises nothing but what it did not foresee, and errors that say what to do.
    """

    name: str
    scope: Scope
    look: Callable[[], Finding]


@dataclass(frozen=True)
class Result:
    """A check with what it found, and in how many seconds."""

    check: Check
    finding: Finding
    seconds: float
