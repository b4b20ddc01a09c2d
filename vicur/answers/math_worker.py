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
from typing import Any

import sympy
from math_verify import parse, verify

_MEMORY = 2 << 30
_PERCENT = re.compile(r"(?<!\\)%")
# Digits to which two constants must agree. verify() compares 15, to which 2^60 and 2^60 + 1 are equal.
_DIGITS = 300
_PRIMES = (2, 3, 5, 11, 13, 17, 19, 23)


def _expressions(text: str) -> list[Any]:
    """Parse all of ``text`` with math-verify. The list is empty if it contains only words."""
    # math-verify takes the whole content of a box as the expression; outside a box it would pick the last number.
    # An unescaped percent sign would start a LaTeX comment.
    boxed = "\\boxed{" + _PERCENT.sub(r"\\%", text) + "}"
    return [e for e in parse(boxed, parsing_timeout=None) if not isinstance(e, str)]


def equal(gold: str, candidate: str) -> bool:
    """Return whether two formulas are equal, without a time limit."""
    left, right = _expressions(gold), _expressions(candidate)
    if not (left and right):
        return False
    a, b = left[0], right[0]
    if isinstance(a, sympy.Eq) and isinstance(b, sympy.Eq):
        return _same_equation(a, b)
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        return _same_expression(_exact(a), _exact(b))
    return bool(verify(left, right, float_rounding=30, numeric_precision=60, timeout_seconds=None))


def _exact(expression: Any) -> Any:
    """Replace floating point numbers by the decimals that were written."""
    # Not only to be exact: sympy calculates large powers of floats with their 15 digits.
    return expression.xreplace({f: sympy.Rational(str(f)) for f in expression.atoms(sympy.Float)}).doit()


def _same_expression(a: Any, b: Any) -> bool:
    if a == b:
        return True
    difference = a - b
    if difference.is_Rational:
        return bool(difference == 0)
    if difference.free_symbols:
        # Unequal at one point is unequal, without expanding what may be large.
        point = {
            symbol: sympy.Rational(p, 7) for symbol, p in zip(_sorted(difference.free_symbols), _PRIMES, strict=False)
        }
        value = difference.subs(point).evalf(15, maxn=100)
        if value.is_number and value.is_finite and abs(value) > sympy.Float(10) ** -9:
            return False
        return bool(sympy.expand(difference) == 0 or sympy.simplify(difference) == 0)
    if not difference.is_finite:
        return False
    return bool(abs(difference.evalf(15, maxn=2 * _DIGITS)) < sympy.Float(10) ** -_DIGITS)


def _sorted(symbols: set[Any]) -> list[Any]:
    return sorted(symbols, key=str)


def _same_equation(a: Any, b: Any) -> bool:
    """Return whether two equations are the same up to a constant factor."""
    ratio = sympy.simplify(_exact(a.lhs - a.rhs) / _exact(b.lhs - b.rhs))
    return bool(ratio.is_number and ratio.is_finite and ratio != 0)


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
