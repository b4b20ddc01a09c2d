"""How many threads a process computes with: set where it starts, before a library that counts them is loaded."""

from __future__ import annotations

from collections.abc import MutableMapping


def limit_threads(environment: MutableMapping[str, str]) -> None:
    """Sets one thread a process that sleeps while it waits, unless the user chose otherwise.

    OpenMP reads these variables when a library that uses it is loaded. Two processes on two cores slow each other down
    eightfold when their threads spin, and steps run side by side.
    """
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
