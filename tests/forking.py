"""Processes that are forked from a server with imported modules. A test process has at most one such server at a time."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

_imported: list[tuple[str, ...]] = []


def stop_server() -> None:
    """Stop the server that an earlier test has started: it has imported other modules."""
    forkserver._forkserver._stop()
    _imported.clear()


def forking(*modules: str) -> ForkServerContext:
    """Return a context whose processes are forks of a server that has imported ``modules``."""
    if _imported != [modules]:
        stop_server()
        _imported.append(modules)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    return context
