"""Formulas: which texts are formulas, which of them are small enough to calculate, and their LaTeX form for the math worker."""

from __future__ import annotations

import re

from vicur.answers.mathematics import math_equal
from vicur.answers.notation import SET_CLOSE, SET_OPEN
from vicur.answers.words import signs

_MAX_LENGTH = 300
_MAX_NESTING = 12
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "arcsin", "arccos", "arctan", "pi", "theta"}
)
# More than digits and spaces: a letter, a command, a sign, a bracket, a root.
_COMPUTABLE = re.compile(r"[^\W\d_]|[\\^=+*/(){}\[\]<>|!%√∛±≤≥≠∞∪-]|\d")
# What sympy would need minutes or gigabytes for: long numbers, large exponents, towers of powers, factorials of anything but small numbers.
_TOO_LARGE = re.compile(
    r"""
      \d{41} | \^\s*[({]?\s*-?\d{4}             # long numbers and large exponents
    | \^\s*[\w.]+\s*[\^!] | \^\s*[({][^{}()]*[\^!({]  # towers of powers
    | [)}]\s*\^\s*[{(]?\s*\d{3} | (?:[)}]\s*\^.*){6}  # powers of powers
    | \d{4}\s*! | [^\d\s]\s*! | !\s*[!^]         # factorials of anything but small numbers
    """,
    re.VERBOSE,
)
# "B. 15" and "1 2" are not formulas, but math-verify would read a part of them.
_NO_FORMULA = re.compile(r"[A-Za-z][.:;]|(?<!_)\d\s+\d|[^\w\s\\^=+*/(){}\[\]<>|!.%,√∛≤≥≠∞∪∩°'-]|[-+*/^=]$|…")
_ATOM = re.compile(r"-?(?:[\d.,]+|[^\W\d_])")
_GREEK = {
    "π": r"\pi ",
    "α": r"\alpha ",
    "β": r"\beta ",
    "γ": r"\gamma ",
    "δ": r"\delta ",
    "θ": r"\theta ",
    "λ": r"\lambda ",
}
_GREEK |= {
    "μ": r"\mu ",
    "φ": r"\phi ",
    "ω": r"\omega ",
    "σ": r"\sigma ",
    "ρ": r"\rho ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
}
_GREEK |= {
    "∞": r"\infty ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "°": r"^\circ ",
    "*": r"\cdot ",
    "≈": "=",
    SET_OPEN: r"\{",
    SET_CLOSE: r"\}",
}
_LATEX = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=\d),(?=\d{3}(?!\d))", ""),
        (r"(?<![A-Za-z\\])(\d+(?:\.\d+)?)[eE]([-+]?\d{1,3})(?![\w.])", r"\1\\cdot 10^{\2}"),
        (r"(?<!\\)\b(?:sqrt|root)\s*(?=[(\d])", "√"),
        (r"(?<![A-Za-z\\])pi(?![A-Za-z])", "π"),
        (r"√\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"√\s*(\d+(?:\.\d+)?|[A-Za-z])", r"\\sqrt{\1}"),
        (r"∛\s*\(?(\d+|[A-Za-z])\)?", r"\\sqrt[3]{\1}"),
        (r"(?<!\\)(?<![A-Za-z])(arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|exp)(?![A-Za-z])", r"\\\1 "),
        (r"\^\s*\(([^()]*)\)", r"^{\1}"),
        (r"\^\s*(-?\d+(?:\.\d+)?)", r"^{\1}"),
        (r"(?<![\d.])(\d+)\s?(\\frac\{\d+\}\{\d+\})", r"(\1+\2)"),
        (r"(\d+)\s?(?<=\d)!", r"\1!"),
    )
)


def is_formula(text: str) -> bool:
    """Return whether plain ``text`` reads as mathematics: it has something to compute and no words."""
    if len(text) > _MAX_LENGTH or not _COMPUTABLE.search(text) or _NO_FORMULA.search(text):
        return False
    # sympy would parse other words as products of variables.
    return all(word.lower() in _FUNCTIONS for word in _WORD.findall(_COMMAND.sub(" ", text)))


def is_small(text: str) -> bool:
    """Return whether plain ``text`` can be calculated quickly."""
    depth = deepest = 0
    for character in text:
        depth += (character in "({[") - (character in ")}]")
        deepest = max(deepest, depth)
    return deepest <= _MAX_NESTING and depth == 0 and not _TOO_LARGE.search(text)


def same_formula(gold: str, stated: str) -> bool:
    """Return whether two plain texts are equal formulas. Formulas too large to calculate are equal only if written the same."""
    if signs(gold) == signs(stated):
        return bool(gold)
    # Numbers were compared before; letters are equal only if they are the same.
    if _ATOM.fullmatch(gold) and _ATOM.fullmatch(stated):
        return False
    if not (is_formula(gold) and is_formula(stated) and is_small(gold) and is_small(stated)):
        return False
    return math_equal(latex(gold), latex(stated))


def latex(text: str) -> str:
    """Return a plain formula as LaTeX."""
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    for sign, command in _GREEK.items():
        text = text.replace(sign, command)
    return text
