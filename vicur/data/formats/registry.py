"""The formats by name."""

from __future__ import annotations

from typing import TypeVar, get_args

from vicur.config.formats import FormatName
from vicur.data.formats.base import Format

FORMATS: dict[str, Format] = {}
"""Every format by its name."""

F = TypeVar("F", bound=type[Format])


def register(kind: F) -> F:
    """Add a format class to :data:`FORMATS`, or raise a ``TypeError`` if it leaves something out."""
    missing = sorted(kind.__abstractmethods__) + [each for each in ("name", "description") if not hasattr(kind, each)]
    if missing:
        raise TypeError(f"{kind.__name__} is not a complete format: it does not define {', '.join(missing)}")
    if kind.name not in get_args(FormatName) or kind.name == "auto":
        raise TypeError(f"data.format={kind.name} is not one of FormatName in vicur.config.formats")
    if kind.name in FORMATS:
        raise TypeError(f"data.format={kind.name} has a class already: {type(FORMATS[kind.name]).__name__}")
    FORMATS[kind.name] = kind()
    return kind


def require_all_registered() -> None:
    """Raise a ``TypeError`` if a name in ``FormatName`` has no class."""
    for name in get_args(FormatName):
        if name != "auto" and name not in FORMATS:
            raise TypeError(f"data.format={name} has no class in vicur.data.formats")
