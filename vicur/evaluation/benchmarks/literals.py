"""Lists that benchmarks' files store as Python literals (``['3 cm', '4 cm']``). They are parsed, never evaluated."""

from __future__ import annotations

import ast

from vicur.data.schema import UnusableRowError

_LONGEST = 1 << 16  # characters
_MOST = 64  # items


def listed_texts(text: str, column: str) -> tuple[str, ...]:
    """Return the texts in a list that is written as a Python literal. Numbers in it keep their notation.

    Raises:
        UnusableRowError: if it is not such a list.
    """
    try:
        if len(text) > _LONGEST:
            raise ValueError("too long")
        tree = ast.parse(text.strip(), mode="eval").body
        if not isinstance(tree, ast.List | ast.Tuple) or len(tree.elts) > _MOST:
            raise ValueError("not a list")
        return tuple(_text(each, text.strip()) for each in tree.elts)
    # RecursionError and MemoryError come from deeply nested input.
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise UnusableRowError(
            column, "is not a list of texts, such as ['3 cm', '4 cm']", "Use the benchmark's own file, without changes."
        ) from error


def _text(node: ast.expr, source: str) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    number = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node
    if (
        isinstance(number, ast.Constant)
        and isinstance(number.value, int | float)
        and not isinstance(number.value, bool)
    ):
        return ast.get_source_segment(source, node) or str(number.value)
    raise ValueError("not a text")
