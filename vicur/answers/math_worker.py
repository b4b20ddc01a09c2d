"""The process behind :mod:`vicur.answers.mathematics`: reads ``[gold, candidate]``, answers ``true`` or ``false``.
``false``.

Run as ``python -m vicur.answers.math_worker DEADLINE``. It ends with its standard input, or at a deadline missed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import resource
import signal
import sys

from math_verify import parse, verify

_MEMORY = 2 << 30
_PERCENT = re.compile(r"(?<!\\)%")


def _expressions(text: str) -> list[object]:
    """The expressions that math-verify reads in ``text`` taken whole; none where it finds text only."""
    # Inside a box the whole text is the expression: elsewhere math-verify would take the last number that it finds.
    # A bare percent sign would begin a comment.
    boxed = "\\boxed{" + _PERCENT.sub(r"\\%", text) + "}"
    return [e for e in parse(boxed, parsing_timeout=None) if not isinstance(e, str)]


def equal(gold: str, candidate: str) -> bool:
    """Whether two formulas are equal by math-verify, however long that takes."""
    left, right = _expressions(gold), _expressions(candidate)
    return bool(left and right) and bool(verify(left, right, timeout_seconds=None))


def main() -> None:
    """Answers questions until there are no more."""
    deadline = float(sys.argv[1])
    with contextlib.suppress(ValueError, OSError):
        # A tower of powers ends in MemoryError, not in the machine's swap.
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    equal("1", "1")
    print("ready", flush=True)
    for line in sys.stdin:
        gold, candidate = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, deadline)
        try:
            result = equal(gold, candidate)
        except Exception:  # noqa: BLE001 (whatever sympy raises on a formula, it isn't equal)
            result = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
