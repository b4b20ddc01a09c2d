"""torchrun that ends with the stage that started it: ``python -m vicur.torchrun LIFELINE ARGUMENTS...``.

Workers watch the lifeline themselves. Before there are any, torchrun may wait for other machines for a long time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torch.distributed.run import main

from vicur.lifeline import watch

if __name__ == "__main__":
    watch(Path(sys.argv[1]), lambda: os._exit(1))
    main(sys.argv[2:])
