"""torchrun that ends with the stage that started it: ``python -m vicur.torchrun LIFELINE ARGUMENTS...``.

Workers watch the lifeline themselves. Before there are any, torchrun may wait for other machines for a long time.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

from vicur.lifeline import watch


def run(arguments: list[str]) -> int:
    """Runs the workers.

    Returns:
        Exit status. A worker that failed has said why, so torchrun's own account of it is cut down to a line.
    """
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        main(arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = (
            f"was ended by {failure.signal_name()}" if failure.exitcode < 0 else f"ended with status {failure.exitcode}"
        )
        print(f"Process {rank} of the training {how}.", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    watch(Path(sys.argv[1]), lambda: os._exit(1))
    raise SystemExit(run(sys.argv[2:]))
