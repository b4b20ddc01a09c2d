"""Settings that messages name exist, and values that they suggest are accepted by ``--set``: read off the source, not off a list."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vicur.config.ablation import AblationConfig
from vicur.config.loading import load_config, load_overrides
from vicur.config.preflight import PreflightConfig
from vicur.config.run import RunConfig
from vicur.config.schema import names
from vicur.errors import VicurError

REPO = Path(__file__).parents[2]
SOURCES = [file for folder in ("vicur", "pipelines", "components") for file in sorted((REPO / folder).rglob("*.py"))]
SETTING = re.compile(
    r"(?<![\w./:@-])(?P<name>[a-z_]+(?:\.[a-z_]+)+)(?:=(?P<value>[^\s,;)\"'\0]*[^\s,;)\"'\0.]))?(?![\w/(])"
)
KNOWN = {name for kind in (RunConfig, AblationConfig) for name, _ in names(kind)}
NEEDS = {name for name, _ in names(PreflightConfig)}
SECTIONS = {part for name in KNOWN | NEEDS for part in name.split(".")[:-1]}
"""Every name that a section has anywhere, such as ``rollout``, which is one of ``training``."""
OTHERS = {"data.dvc", "report.html", "section.field", "registry.example"}
"""Names of files and examples that look like settings."""


def literals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of all strings but docstrings. What an f-string inserts is a NUL."""
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
            yield node.lineno, "".join(parts)


def mentions(tree: ast.Module) -> Iterator[tuple[int, str, str | None]]:
    """Yield line, name and value of what sentences name as settings."""
    for line, text in literals(tree):
        for found in SETTING.finditer(text) if " " in text.strip() else ():
            if found["name"] not in OTHERS and found["name"].split(".")[0] in SECTIONS:
                yield line, found["name"], found["value"]


ALL = [
    (f"{file.relative_to(REPO)}:{line}", name, value)
    for file in SOURCES
    for line, name, value in mentions(ast.parse(file.read_text(encoding="utf-8")))
]


def test_every_setting_in_a_message_exists() -> None:
    assert len(ALL) > 100
    unknown = {f"{where}: {name}" for where, name, _ in ALL if name not in KNOWN | NEEDS}
    assert unknown == set()


def problem_with(name: str, value: str) -> str:
    """Return what ``--set`` says about a setting alone, or an empty string."""
    try:
        if name in KNOWN:
            load_config(None, [f"{name}={value}"])
        else:
            load_overrides(PreflightConfig, [f"{name}={value}"], "--need")
    except VicurError as error:
        return error.problem
    return ""


@pytest.mark.parametrize(("name", "value"), sorted({(name, value) for _, name, value in ALL if value is not None}))
def test_every_value_in_a_message_is_accepted(name: str, value: str) -> None:
    # Examples in braces continue after a space, and are checked with the commands that they are part of.
    if not value.startswith(("{", "[")):
        # A setting may need others, which the message's reader has set.
        assert re.fullmatch(r"|\S+ is missing.*", problem_with(name, value))


def test_wrong_values_are_noticed() -> None:
    assert "must be" in problem_with("cluster.autoscaled", "maybe")
    assert "no setting" in problem_with("pool.autoscale", "true")


def test_names_that_look_right_are_noticed() -> None:
    text = (
        'raise ValueError(f"set pool.autoscale, rollout.engine={engine} or cluster.nodes=2.")\n"""pool.docstring x"""'
    )
    assert list(mentions(ast.parse(text))) == [
        (1, "pool.autoscale", None),
        (1, "rollout.engine", None),
        (1, "cluster.nodes", "2"),
    ]
    assert not {"pool.autoscale", "rollout.engine"} & (KNOWN | NEEDS)
