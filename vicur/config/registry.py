"""The registered model, and what a student must show to become its champion."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vicur.config.allowed import Form
from vicur.config.section import Section


class GateConfig(Section):
    """What a candidate must show on the test questions. Shares: 0.02 is two points of accuracy."""

    margin: float = Field(default=0.02, ge=0, lt=1)
    """Least gain on the base. Besides, the interval of the difference must lie above zero."""
    champion_tolerance: float = Field(default=0.05, ge=0, lt=1)
    """Largest loss against the present champion that the test may leave possible: the interval of the difference must
    not reach below it. A candidate that is surely worse, by however little, does not pass either."""
    max_leak_share: float = Field(default=0.01, ge=0, le=1)
    """Largest share of responses that speak of a hint."""


class RegistryConfig(Section):
    """Registered model and gate."""

    model: Annotated[str, Form("a name of letters, digits, spaces, dashes, dots and underscores, at most 200")] = Field(
        default="vicur-student", pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$", max_length=200
    )
    """Name of the registered model. One for each line of students that compete for being champion."""
    gate: GateConfig = GateConfig()
    """What makes a candidate champion."""
    reevaluate_champion: bool = True
    """Whether a champion that was never asked these questions is asked them now. Where it is too large for this step
    (no GPU), turn it off: the gate then does not pass, and says why."""
    batch_size: int = Field(default=128, ge=1)
    """Questions answered at once when the champion is asked."""
    threads: int = Field(default=1, ge=0)
    """CPU threads while the champion is asked; 0 leaves torch's choice."""
