"""Render templates to HTML pages that need no other file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_STYLE = Path(__file__).with_name("page.css")


def page_environment(folder: Path) -> Environment:
    """Return a jinja2 environment for the templates in ``folder``, in which ``style`` is the shared stylesheet."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folder),
        # Questions, answers and cues come from data and may contain markup.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = _STYLE.read_text(encoding="utf-8")
    return environment
