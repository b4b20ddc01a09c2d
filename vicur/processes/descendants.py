"""The processes that a process has started, and those that they have started."""

from __future__ import annotations

from pathlib import Path

_PARENT = 1  # index of the parent's id among the fields after the name


def descendants(pid: int) -> list[int]:
    """Return the ids of all running descendants of a process, parents before their children. Empty where there is no ``/proc``."""
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name may contain spaces and parentheses.
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        children.setdefault(int(fields[_PARENT]), []).append(int(file.parent.name))
    found = [*children.get(pid, ())]
    for parent in found:
        found += children.get(parent, ())
    return found
