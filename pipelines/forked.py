"""Start the steps of a local run by forking a process that has imported their libraries.

kfp.local starts a new interpreter for each step. Importing kfp, mlflow, torch and transformers takes it 7 to 9 seconds of processor time.
:class:`ForkedSteps` runs the same component code in a fork of a server (:mod:`multiprocessing.forkserver`) that has imported them once.
A step remains a separate process, in the process group of the pipeline: it is stopped, killed or ended for lack of memory alone, and its
libraries share their memory with those of concurrent steps.

The server starts once a step has begun to work, and imports while that step runs in a new interpreter. A run that reuses all
results needs none of the libraries. Meanwhile, steps that compute wait for the server, which imports what they need, and all others do not.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver, util
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from vicur.stage.events import read_events

log = logging.getLogger(__name__)

PRELOADED = "vicur_pipelines.preloaded"
_PAUSE = 0.2  # seconds between two looks at the events
_COMPUTING = ("evaluate", "train")  # prefixes of the components that import torch
_DEEPEST = 70  # bytes; Linux allows 107 for a socket, of which multiprocessing needs up to 32
RUNTIME = "_KFP_RUNTIME"
"""Variable that leaves the compiler out of kfp. The command of a component sets it, and so does the server, but not the run itself."""


class ForkedSteps:
    """Replaces kfp's function that runs the command of a step.

    Args:
        events: event log of the run, which shows whether a step has begun to work.
        otherwise: kfp's own function. It runs the steps before the server has been started, and those that cannot be forked.
        preload: modules that the server imports.
    """

    def __init__(self, events: Path, otherwise: Callable[..., int], preload: Sequence[str] = (PRELOADED,)) -> None:
        self._events = events
        self._otherwise = otherwise
        self._preload = preload
        self._starting = False
        self._works = False  # whether the server can fork
        self._settled = threading.Event()  # set once that is known
        # multiprocessing collects ended processes whenever one starts. It loses an exit code that two threads read at the same time.
        self._bookkeeping = threading.Lock()

    def start(self) -> None:
        """Start the server in the background when a step has begun to work."""
        threading.Thread(target=self._start, daemon=True).start()

    def run(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """Run the command of a step and return its exit code: negative if a signal ended it."""
        split = component_command(full_command)
        if split is None:
            return self._otherwise(full_command, env_vars)
        source, arguments = split
        if self._starting and arguments[-1].startswith(_COMPUTING):
            self._settled.wait()
        if not self._works:
            return self._otherwise(full_command, env_vars)
        step = _process(execute_component, source, arguments, env_vars or {})
        try:
            with self._bookkeeping:
                step.start()
        except (OSError, EOFError) as error:
            log.warning("The step starts in a new interpreter, because it could not be forked: %s", error)
            return self._otherwise(full_command, env_vars)
        wait([step.sentinel])
        with self._bookkeeping:
            step.join()
        code = step.exitcode
        assert code is not None
        return code

    def _start(self) -> None:
        offset = 0
        while True:
            events, offset = read_events(self._events, offset)
            if any(event.status == "started" for event in events):
                break
            time.sleep(_PAUSE)
        self._starting = True
        # The server inherits the mask of this thread. Until it ignores the signal, its interpreter would print a traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        forkserver.set_forkserver_preload(list(self._preload))
        try:
            _use_short_folder()
            first = _process(int)
            first.start()  # returns when the server has imported everything
            first.join()
            self._works = first.exitcode == 0
        except (OSError, EOFError) as error:
            log.warning(
                "Steps start in new interpreters, because the server that forks them could not start: %s", error
            )
        finally:
            self._settled.set()


def _process(target: Callable[..., object], *arguments: object) -> ForkServerProcess:
    return multiprocessing.get_context("forkserver").Process(target=target, args=arguments)


def _use_short_folder() -> None:
    """Keep the server's socket in ``/tmp`` if the run's own folder of temporary files is too deep for the path of a socket."""
    own = tempfile.gettempdir()
    if len(os.fsencode(own)) > _DEEPEST:
        tempfile.tempdir = "/tmp"  # noqa: S108 - mkdtemp makes a private folder in it
        try:
            util.get_temp_dir()  # is kept for this process
        finally:
            tempfile.tempdir = own


def can_fork() -> bool:
    """Return whether steps can be forked from a process that has imported torch."""
    # On macOS, system libraries do not survive a fork. With a GPU, a library that touches CUDA on import would break its forks.
    return sys.platform == "linux" and not any(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/kfd").exists()


def component_command(full_command: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return source and arguments of a Python component, or ``None`` for any other command."""
    if len(full_command) < 4 or full_command[0] != "sh" or "kfp.dsl.executor_main" not in full_command[2]:
        return None
    return full_command[3], list(full_command[4:])


def execute_component(source: str, arguments: list[str], variables: dict[str, str]) -> None:
    """Execute a component in this process, as the command of its container does."""
    os.environ[RUNTIME] = "true"
    from kfp.dsl.executor_main import executor_main

    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.environ.update(variables)
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "ephemeral_component.py"
        module.write_text(source, encoding="utf-8")
        sys.argv = ["executor_main", "--component_module_path", str(module), *arguments]
        executor_main()
