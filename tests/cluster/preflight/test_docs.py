"""The pages on doctor and submit are consistent with the commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from vicur.cli import app
from vicur.config.preflight import GpuPool, PreflightConfig

DOCS = Path(__file__).parents[3] / "docs"
LINES = sorted(
    {
        line.strip()
        for page in ("doctor.md", "submitting.md")
        for line in (DOCS / page).read_text(encoding="utf-8").splitlines()
        if line.startswith("    vicur ")
    }
    # Example output, not a command.
    - {line.strip() for line in (DOCS / "submitting.md").read_text(encoding="utf-8").splitlines() if "sha256-" in line}
)


@pytest.mark.parametrize("line", LINES)
def test_commands_on_the_pages_are_valid(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.make_context(name, arguments).params


def test_every_need_is_documented() -> None:
    page = (DOCS / "doctor.md").read_text(encoding="utf-8").partition("## What a run needs")[2]
    named = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)?)`", page))
    fields = {*PreflightConfig.model_fields} - {"pool"} | {f"pool.{name}" for name in GpuPool.model_fields}
    assert fields <= named
