"""Commands, options, make targets and links in README.md and docs/ exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from vicur.cli import app

REPO = Path(__file__).parents[2]
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").glob("*.md"))]
_COMMAND = re.compile(r"(?:^ {4,}|^|`|[|&;] )((?:vicur|make) [^`\n]*)", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```|^ {4,}\S.*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def commands(text: str, name: str) -> Iterator[list[str]]:
    """Yield the words of each call of ``name`` in the code of a page. A backslash continues a line."""
    for code in _CODE.findall(text.replace("\\\n", " ")):
        for command in _COMMAND.findall(code.strip("`\n")):
            first, *words = command.split()
            if first == name:
                yield words


def missing(words: list[str]) -> list[str]:
    """Return the sub-command or the options in a call of ``vicur`` that do not exist. Words after ``--`` belong to another program."""
    words = words[: words.index("--")] if "--" in words else words
    command: Any = get_command(app)
    while hasattr(command, "commands") and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        if words[0] not in command.commands:
            return [words[0]]
        command, words = command.commands[words[0]], words[1:]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
    return sorted(given - options - {"--help"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_everything_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPO / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert [words for words in commands(text, "vicur") if missing(words)] == []
    assert [words for words in commands(text, "make") if words[0] not in targets] == []
    assert [link for link in _LINK.findall(text) if not (page.parent / link).exists()] == []


def test_unknown_commands_and_options_are_found() -> None:
    page = "See `vicur data build`.\n\n    vicur train --outptu x \\\n      --checkpoints y\n\n```sh\nmake run\nvicur doctor --json\n```\n"
    assert list(commands(page, "make")) == [["run"]]
    assert [missing(words) for words in commands(page, "vicur")] == [["build"], ["--outptu"], []]
