"""Where the time of a step goes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Phases:
    """Seconds spent by phase of a step."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def end(self, name: str) -> None:
        """Counts the time since the last call for phase ``name``."""
        now = time.perf_counter()
        self.seconds[f"seconds/{name}"] = self.seconds.get(f"seconds/{name}", 0.0) + now - self._last
        self._last = now
