"""Worker process of :mod:`vicur.answers.mathematics`: reads ``[gold, candidate]`` lines and writes ``true`` or ``false``.

Run as ``python -m vicur.answers.math_worker DEADLINE``. It exits at the end of standard input, or if a comparison exceeds the deadline.
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
    """Parse all of ``text`` with math-verify. The list is empty if it contains only words."""
    # math-verify takes the whole content of a box as the expression; outside a box it would pick the last number.
    # An unescaped percent sign would start a LaTeX comment.
    boxed = "\\boxed{" + _PERCENT.sub(r"\\%", text) + "}"
    return [e for e in parse(boxed, parsing_timeout=None) if not isinstance(e, str)]


def equal(gold: str, candidate: str) -> bool:
    """Return whether math-verify considers two formulas equal, without a time limit."""
    left, right = _expressions(gold), _expressions(candidate)
    return bool(left and right) and bool(verify(left, right, timeout_seconds=None))


def main() -> None:
    """Answer comparison requests until standard input ends."""
    deadline = float(sys.argv[1])
    with contextlib.suppress(ValueError, OSError):
        # A tower of powers then raises MemoryError instead of filling the machine's swap.
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    # Warm up: the first comparison takes longer, which must not count against the deadline of a request.
    equal("1", "1")
    print("ready", flush=True)
    for line in sys.stdin:
        gold, candidate = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, deadline)
        try:
            result = equal(gold, candidate)
        except Exception:  # noqa: BLE001 (sympy may raise anything on a malformed formula)
            result = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
