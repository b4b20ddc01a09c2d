"""The number of threads that a process computes with."""

from __future__ import annotations

from collections.abc import MutableMapping


def limit_threads(environment: MutableMapping[str, str]) -> None:
    """Set one OpenMP thread a process that sleeps while it waits, unless the user has set these variables.

    Call it before importing a library that uses OpenMP, which reads them when it is loaded.
    """
    # Steps run side by side. With spinning threads, two processes on two cores slow each other down eightfold.
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
