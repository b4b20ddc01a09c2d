"""Read YAML with the integers of YAML 1.2: ``050`` is fifty and ``1:30`` is text.

PyYAML implements YAML 1.1, in which ``050`` is octal (40) and ``1:30`` counts in sixties (90).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_INTEGER, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


class SettingsLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the integers of YAML 1.2. Its floats, booleans and dates are as in YAML 1.1."""


def _integer(loader: SettingsLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    sign, digits = (text[0], text[1:]) if text[0] in "+-" else ("", text)
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2].lower(), 10)
    return int(f"{sign}{digits[2:] if base != 10 else digits}", base)


# Copied, so that other users of PyYAML keep theirs.
SettingsLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        # PyYAML's pattern of floats contains numbers in sixties, which need a colon.
        if tag not in (_INTEGER, _FLOAT)
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
SettingsLoader.add_implicit_resolver(
    _INTEGER, re.compile(r"^[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+)$"), list("-+0123456789")
)
SettingsLoader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|\.(?:inf|Inf|INF))$"
        r"|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
SettingsLoader.add_constructor(_INTEGER, _integer)


def read_yaml(text: str) -> Any:
    """Return the value that a YAML document describes.

    Raises:
        Exception: if the text is not YAML, or has a value that cannot be read. PyYAML raises whatever int(), datetime() and its own
            look-ups raise.
    """
    return yaml.load(text, SettingsLoader)  # noqa: S506 (a SafeLoader)
