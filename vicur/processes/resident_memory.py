"""The resident memory of this process, from Linux's ``/proc``."""

from __future__ import annotations

from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_bytes() -> int:
    """Return the memory that this process holds now."""
    return _field("VmRSS:")


def peak_resident_bytes() -> int:
    """Return the most memory that this process has held since it started, or since :func:`reset_peak`."""
    # Not getrusage, whose maximum a process takes over from the one that started it.
    return _field("VmHWM:")


def reset_peak() -> None:
    """Begin a new peak at the memory that this process holds now."""
    # Linux does that when 5 is written here.
    _RESET.write_text("5", encoding="ascii")


def _field(name: str) -> int:
    (line,) = (line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
