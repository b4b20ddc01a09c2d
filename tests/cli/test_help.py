"""The help is fast and complete, and every command shows examples."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from vicur.cli import PLUGINS, app

HEAVY = ("torch", "transformers", "kfp", "mlflow", "sklearn", "numpy", "pandas", "pyarrow", "PIL", "grimp", "boto3")


def leaves(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if hasattr(command, "commands"):
        return [leaf for name, each in command.commands.items() for leaf in leaves(each, (*path, name))]
    return [path]


def command_at(path: tuple[str, ...]) -> Any:
    command: Any = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return command


COMMANDS = leaves(typer.main.get_command(app))


def loaded_after(script: str) -> list[str]:
    """Return the heavy modules that a process has imported after running ``script``."""
    code = f"import json, sys\n{script}\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return list(json.loads(run.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert loaded_after("import vicur\nassert len([m for m in sys.modules if m.startswith('vicur')]) < 5") == []


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["data", "prepare", "--help"], ["train", "--help"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = f"from vicur.cli import main\nsys.argv[1:] = {arguments!r}\ntry: main()\nexcept SystemExit: pass"
    assert loaded_after(script) == []


def test_help_lists_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    for path in COMMANDS:
        assert path[0] in shown
    assert {("run",), ("compile",), ("data", "prepare"), ("cues", "extract"), ("base", "train")} <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_command_shows_examples_of_itself_and_describes_its_options(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "160", "TERM": "dumb"})
    assert result.exit_code == 0
    assert f"vicur {' '.join(path)}" in result.output.partition("Examples")[2]
    undescribed = [parameter.name for parameter in command_at(path).params if not getattr(parameter, "help", "")]
    assert undescribed == []


EXAMPLES = [(path, example) for path in COMMANDS for example in getattr(command_at(path).callback, "examples", ())]


@pytest.mark.parametrize(("path", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_every_example_can_be_parsed(path: tuple[str, ...], example: str) -> None:
    words = shlex.split(example)
    # Variables may come first: PET_NNODES=2 vicur cluster node.
    arguments = words[words.index("vicur") + 1 :]
    assert tuple(arguments[: len(path)]) == path
    command_at(path).make_context(path[-1], arguments[len(path) :])


@pytest.mark.parametrize("path", [(), *sorted({path[:1] for path in COMMANDS if len(path) > 1})], ids=" ".join)
def test_each_group_of_commands_shows_examples(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "160", "TERM": "dumb"})
    assert " ".join(("vicur", *path)) in result.output.partition("Examples")[2]


def test_brackets_in_an_example_are_shown() -> None:
    result = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "160", "TERM": "dumb"})
    assert "methods='[vicur]'" in result.output


def test_commands_of_other_packages_are_registered() -> None:
    registered = {entry.name for entry in entry_points(group=PLUGINS)}
    assert {"run", "compile"} <= registered
    assert registered <= {path[0] for path in COMMANDS}


def test_a_command_that_cannot_be_imported_is_reported_and_the_others_work(tmp_path: Path) -> None:
    broken = tmp_path / "broken-1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (broken / "entry_points.txt").write_text(f"[{PLUGINS}]\nmend = no_such_module:mend\nbreak = breaks:at_once\n")
    (tmp_path / "breaks.py").write_text("raise RuntimeError('out of order')\n")
    run = subprocess.run(
        [sys.executable, "-m", "vicur", "clean", "--help"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "vicur clean" in run.stdout
    assert sorted(run.stderr.splitlines()) == [
        "Command not available: break: breaks:at_once cannot be imported (RuntimeError: out of order).",
        "Command not available: mend: no_such_module:mend cannot be imported (ModuleNotFoundError: No module named 'no_such_module').",
    ]
