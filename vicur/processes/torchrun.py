"""torchrun that ends with the stage that started it: ``python -m vicur.processes.torchrun LIFELINE ARGUMENTS...``.

Workers watch the lifeline themselves. Before there are any, torchrun may wait for other machines for a long time.
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
    """Runs the workers.

    Returns:
        Exit status. A worker that failed has said why, so torchrun's own account of it is cut down to a line each.
    """
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        main(arguments)
    except ChildFailedError as error:
        for rank, failure in sorted(error.failures.items()):
            # torchrun sends SIGTERM to what is left of them.
            if failure.exitcode != -signal.SIGTERM:
                print(f"Process {rank} of the training {_end(failure.exitcode)}.", file=sys.stderr, flush=True)
        return 1
    return 0


def _end(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


if __name__ == "__main__":
    watch(Path(sys.argv[1]), lambda: os._exit(1))
    raise SystemExit(run(sys.argv[2:]))
