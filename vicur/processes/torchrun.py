"""Run torchrun so that it ends with the stage that started it: ``python -m vicur.processes.torchrun LIFELINE ARGUMENTS...``.

The workers watch the lifeline themselves, but torchrun may wait a long time for other machines before it starts any.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

from vicur.processes.lifeline import watch


def run(arguments: list[str]) -> int:
    """Run the workers, print a line for each that failed, and return the exit status."""
    # A failing worker has already reported its error, so torchrun's own long report is dropped.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        main(arguments)
    except ChildFailedError as error:
        for rank, failure in sorted(error.failures.items()):
            # After the first failure, torchrun itself ends the other workers with SIGTERM.
            if failure.exitcode != -signal.SIGTERM:
                print(f"Training process {rank} {_outcome(failure.exitcode)}.", file=sys.stderr, flush=True)
        return 1
    return 0


def _outcome(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"


if __name__ == "__main__":
    watch(Path(sys.argv[1]), lambda: os._exit(1))
    raise SystemExit(run(sys.argv[2:]))
