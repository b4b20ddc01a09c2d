r"""Write an answer in one plain notation, whatever mix of LaTeX, Markdown and Unicode it arrived in.

``$\frac12$``, ``\text{east}``, ``90 ^ { \circ }``, ``1\,234``, full-width digits and the Unicode minus become ``\frac{1}{2}``, ``east``,
``90°``, ``1,234``, plain digits and ``-``. ``\frac``, ``\sqrt`` and functions keep their LaTeX form, which the math worker reads.
"""

from __future__ import annotations

import re
import unicodedata

SET_OPEN, SET_CLOSE = "⦃", "⦄"
"""Replace ``\\{`` and ``\\}``, so that a set differs from a LaTeX group."""
ROW_END = "⏎"
"""Replaces the ``\\\\`` that ends a row of a matrix."""

_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_CHARACTERS = str.maketrans(
    dict.fromkeys("−–—‐‑‒﹣", "-")
    | dict.fromkeys("·⋅∙×", "*")
    | dict.fromkeys("“”„″«»", '"')
    | dict.fromkeys("‘’′`", "'")
    | dict.fromkeys("º˚", "°")
    | {"÷": "/", "∶": ":", "µ": "μ", "⩽": "≤", "⩾": "≥", "。": ".", "、": ",", "Ω": "Ω", "⁄": "/"}
)
_COMMANDS = {
    **dict.fromkeys(("times", "cdot", "ast"), "*"),
    **dict.fromkeys(("le", "leq", "leqslant"), "≤"),
    **dict.fromkeys(("ge", "geq", "geqslant"), "≥"),
    **dict.fromkeys(("ne", "neq"), "≠"),
    **dict.fromkeys(("lt",), "<"),
    **dict.fromkeys(("gt",), ">"),
    **dict.fromkeys(("ldots", "dots", "cdots", "dotsc"), "…"),
    **dict.fromkeys(("emptyset", "varnothing"), "∅"),
    **dict.fromkeys(("quad", "qquad", "displaystyle", "textstyle", "limits", "bf", "rm", "it"), " "),
    **dict.fromkeys(("circ", "degree", "textdegree"), "°"),
    **dict.fromkeys(("lbrace",), SET_OPEN),
    **dict.fromkeys(("rbrace",), SET_CLOSE),
    **{"div": "/", "pm": "±", "mp": "∓", "infty": "∞", "cup": "∪", "cap": "∩", "angle": "∠", "triangle": "△"},
    **{
        "langle": "⟨",
        "rangle": "⟩",
        "approx": "≈",
        "in": "∈",
        "sim": "~",
        "to": "→",
        "rightarrow": "→",
        "therefore": "∴",
    },
    **{"pi": "π", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "theta": "θ", "lambda": "λ", "mu": "μ"},
    **{"phi": "φ", "varphi": "φ", "omega": "ω", "sigma": "σ", "rho": "ρ", "Delta": "Δ", "Omega": "Ω", "epsilon": "ε"},
    **{"mid": "|", "lvert": "|", "rvert": "|", "vert": "|", "prime": "'", "colon": ":", "land": " and ", "lor": " or "},
}
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|mbox|operatorname|boldsymbol|boxed|fbox|vec|hat)\s*\{([^{}]*)\}"
)
_LINE_OVER_LETTERS = re.compile(r"\\overline\s*\{([A-Za-z ]*)\}")
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])\s*", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\^\s*\{?\s*\\(?:circ|degree)(?![A-Za-z])\s*\}?", "°"),
        (r"\{\s*,\s*\}", ","),
        (r"(?<=\d)(?:\\[,!;: ]|~)(?=\d{3}(?!\d))", ","),
        (r"\\[()\[\]]", " "),
        (r"\\[,;:! ]|~(?=\S)(?<=\S~)", " "),
        (r"\\\{", SET_OPEN),
        (r"\\\}", SET_CLOSE),
        (r"\\%", "%"),
        (r"\\#", "#"),
        (r"\\&", "&"),
    )
)
_ONE = r"[0-9A-Za-zπ]"
_BRACES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"\\frac\s*({_ONE})\s*({_ONE})", r"\\frac{\1}{\2}"),
        (rf"\\frac\s*(\{{[^{{}}]*\}})\s*({_ONE})", r"\\frac\1{\2}"),
        (rf"\\frac\s*({_ONE})\s*\{{", r"\\frac{\1}{"),
        (rf"\\sqrt\s*({_ONE})", r"\\sqrt{\1}"),
        (r"\\(frac|sqrt)\s+(?=[\[{])", r"\\\1"),
        (r"(?<=\})\s+(?=\{)", ""),
        (r"\{\s+", "{"),
        (r"\s+\}", "}"),
    )
)
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_DOLLARS = re.compile(r"\$\$?([^$]+?)\$\$?(?!\d)")
_SPACE = re.compile(r"\s+")
# Keeps the point of ".5" and of "…", and strips exclamation marks only after a letter: "5!" is a different number than "5".
_OUTER = re.compile(r"^[\s,;:?*_#>]+|[\s.,;:?*_]+$|(?<=[^\W\d_])!+$")
_QUOTED = re.compile(r"""(["'])([^"']+)\1""")


_EMPHASIS = re.compile(r"(?<![\w)*])\*\*(?=\S)([^*]+)(?<=\S)\*\*(?![\w(*])|(?<![\w`])`([^`\n]+)`(?![\w`])")


def visible(text: str) -> str:
    """Return ``text`` without characters that cannot be seen: zero-width spaces, soft hyphens, directional marks."""
    return text if text.isascii() else "".join(c for c in text if unicodedata.category(c) != "Cf")


def plain(text: str) -> str:
    """Return ``text`` in plain notation, on one line and without outer punctuation."""
    if not text.isascii():
        text = _ascii_signs(visible(text))
    if "**" in text or "`" in text:
        text = _EMPHASIS.sub(lambda m: m[1] or m[2], text)
    if "\\" in text or "$" in text or "{" in text:
        text = _without_latex(text)
    for sign, replacement in ((">=", "≥"), ("<=", "≤"), ("!=", "≠"), ("...", "…"), ("+/-", "±"), ("+-", "±")):
        if sign in text:
            text = text.replace(sign, replacement)
    if "**" in text:
        text = re.sub(r"(?<=[\w)])\*\*(?=[\w(-])", "^", text)
    return stripped(_SPACE.sub(" ", text))


def stripped(text: str) -> str:
    """Strip quotes and punctuation around ``text``."""
    previous = None
    while text != previous:
        previous = text
        text = _OUTER.sub("", text)
        if quoted := _QUOTED.fullmatch(text):
            text = quoted[2]
    return text


def _ascii_signs(text: str) -> str:
    text = _SUPERSCRIPT.sub(lambda m: "^{" + m[0].translate(_SUPERSCRIPTS) + "}", text).translate(_SUBSCRIPTS)
    text = "".join(map(_vulgar_fraction, " " + text, text))
    # NFKC would turn the degree sign º into the letter o, so these come first.
    return unicodedata.normalize("NFKC", text.translate(_CHARACTERS).replace("…", "...")).translate(_CHARACTERS)


def _vulgar_fraction(before: str, character: str) -> str:
    if character.isascii() or not unicodedata.decomposition(character).startswith("<fraction>"):
        return character
    return (" " if before.isdigit() else "") + unicodedata.normalize("NFKC", character).replace("⁄", "/")


def _without_latex(text: str) -> str:
    if "\\begin" in text:
        text = re.sub(r"\\\\(?:\[[^\]]*\])?", ROW_END, text)
    text = text.replace("\\$", "＄")
    text = _DOLLARS.sub(r" \1 ", text).replace("＄", "$")
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    for _ in range(5):
        shorter = _LINE_OVER_LETTERS.sub(r" \1 ", _TEXT.sub(r" \1 ", text))
        if shorter == text:
            break
        text = shorter
    text = _COMMAND.sub(lambda m: _COMMANDS.get(m[1], m[0]), text)
    for pattern, replacement in _BRACES:
        text = pattern.sub(replacement, text)
    text = re.sub(r"\s*(?=[°^])", "", text)
    inner = text.strip()
    return inner[1:-1] if re.fullmatch(r"\{[^{},;]*\}", inner) else text
