"""A stage's code version changes with the code that its result depends on, and with nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from vicur.stage import code_version as module
from vicur.stage.code_version import EXCLUDED, code_version, modules_behind, without_docstrings

FILES = {
    "vicur/__init__.py": '__version__ = "1"\n',
    "vicur/stage/__init__.py": "",
    "vicur/stage/events.py": "from vicur.only_logging import show\n",
    "vicur/only_logging.py": "def show(): return 1\n",
    "vicur/seeds.py": 'def draw():\n    """Draws."""\n    return 1\n',
    "vicur/data/__init__.py": "from vicur.data.reading import read\nfrom .rendering import render as render_scenes\n__all__ = ['read']\n",
    "vicur/data/reading.py": "def read(): return 1\n",
    "vicur/data/rendering.py": "def render(): return 1\n",
    "vicur/modeling/__init__.py": "from vicur.modeling.student import Student\nregister(Student)\n",
    "vicur/modeling/student.py": "class Student: pass\n",
    "vicur/modeling/chat.py": "def chat(): return 1\n",
    "vicur/training/__init__.py": "from vicur.training.train import train\n",
    "vicur/training/train.py": (
        "import installed.helper\n"
        "import vicur.modeling.chat\n"
        "from vicur.data import read\n"
        "from vicur.stage.events import Events\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from vicur.evaluation.evaluate import Evaluated\n"
        "else:\n    from vicur.evaluation.names import NAMES\n"
        "from .deep.loss import loss\n"
        "def train():\n    from vicur.seeds import draw\n    return PAGE\n"
        "PAGE = 'page.html'\n"
    ),
    "vicur/training/deep/__init__.py": "",
    "vicur/training/deep/loss.py": "def loss(): return 1\n",
    "vicur/training/page.html": "<p>curve</p>",
    "vicur/training/README.md": "how",
    "vicur/training/other.css": "p {}",
    "vicur/evaluation/__init__.py": "",
    "vicur/evaluation/names.py": "NAMES = ()\n",
    "vicur/evaluation/evaluate.py": "TEMPLATES = 'templates'\n",
    "vicur/evaluation/templates/report.html": "<p>report</p>",
    "installed/__init__.py": "",
    "installed/helper.py": "def help(): return 1\n",
}


def clear_caches() -> None:
    for each in vars(module).values():
        if hasattr(each, "cache_clear"):
            each.cache_clear()


def version_of(name: str = "vicur.training.train") -> str:
    clear_caches()
    return code_version(name)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let a small package take the place of ``vicur``."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(module, "_root", lambda: tmp_path)
    yield tmp_path
    clear_caches()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("vicur/seeds.py", "def draw():\n    return 2\n"),
        ("vicur/training/train.py", FILES["vicur/training/train.py"] + "more = 1\n"),
        ("vicur/training/deep/loss.py", "def loss(): return 2\n"),
        ("vicur/data/reading.py", "def read(): return 2\n"),
        ("vicur/modeling/__init__.py", FILES["vicur/modeling/__init__.py"] + "register_again(Student)\n"),
        ("vicur/modeling/student.py", "class Student: x = 1\n"),
        ("vicur/training/page.html", "<p>curves</p>"),
        ("vicur/evaluation/names.py", "NAMES = ('a',)\n"),
    ],
    ids=[
        "a function imported in a function",
        "the stage",
        "a relative import",
        "a name that its package re-exports",
        "a package that registers something",
        "a class that this package registers",
        "a data file that it names",
        "an import in the else of TYPE_CHECKING",
    ],
)
def test_version_changes_with(package: Path, file: str, text: str) -> None:
    before = version_of()
    (package / file).write_text(text)
    assert version_of() != before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("vicur/seeds.py", '# Comment.\ndef draw():\n    """Draws once."""\n\n    return  1\n'),
        ("vicur/stage/events.py", "from vicur.only_logging import show\nnew = 1\n"),
        ("vicur/only_logging.py", "def show(): return 2\n"),
        ("vicur/data/rendering.py", "def render(): return 2\n"),
        ("vicur/data/__init__.py", FILES["vicur/data/__init__.py"] + "from vicur.data.rendering import render\n"),
        ("vicur/__init__.py", '__version__ = "2"\n'),
        ("vicur/evaluation/evaluate.py", "def evaluate(): return 2\n"),
        ("vicur/evaluation/templates/report.html", "<p>better report</p>"),
        ("vicur/training/README.md", "how else"),
        ("vicur/training/other.css", "p { color: red }"),
        ("installed/helper.py", "def help(): return 2\n"),
    ],
    ids=[
        "docstrings and comments",
        "an excluded module",
        "a module that only an excluded one imports",
        "a name that its package re-exports to others",
        "another re-export of its package",
        "the release",
        "another stage that is imported for type checkers only",
        "a template of another stage",
        "a readme",
        "a data file that it does not name",
        "another installed package",
    ],
)
def test_version_does_not_change_with(package: Path, file: str, text: str) -> None:
    before = version_of()
    (package / file).write_text(text)
    assert version_of() == before


def test_template_counts_for_the_stage_that_names_it(package: Path) -> None:
    before = version_of("vicur.evaluation.evaluate")
    (package / "vicur/evaluation/templates/report.html").write_text("<p>better report</p>")
    assert version_of("vicur.evaluation.evaluate") != before


def test_docstrings_are_not_code() -> None:
    plain = "class A:\n    x: int = 1\n    def f(self): return 'text'\n"
    documented = (
        '"""M."""\nclass A:\n    """A."""\n    x: int = 1\n    """X."""\n'
        '    def f(self):\n        """F."""\n        return "text"\n'
    )
    assert ast.dump(without_docstrings(plain)) == ast.dump(without_docstrings(documented))
    assert ast.dump(without_docstrings(plain)) != ast.dump(without_docstrings(plain.replace("'text'", "'other'")))


def test_training_does_not_depend_on_data_preparation_or_reports() -> None:
    behind = modules_behind("vicur.training.train")
    assert {"vicur.training.objectives.sampled", "vicur.modeling.student", "vicur.cues.hints", "vicur.seeds"} <= behind
    unrelated = ("vicur.data.digit_scenes", "vicur.data.prepare", "vicur.cues.extract", "vicur.tracking.tracker")
    assert [name for name in behind if name.startswith((*unrelated, "vicur.evaluation", "vicur.registry"))] == []


def test_module_started_by_name_counts() -> None:
    assert "vicur.answers.math_worker" in modules_behind("vicur.evaluation.evaluate")


def test_unknown_module_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"vicur\.nothing"):
        code_version("vicur.nothing")


def test_computing_a_version_imports_no_stage() -> None:
    script = (
        "import sys; from vicur.stage.code_version import code_version; code_version('vicur.modeling.generation');"
        "print([m for m in ('torch', 'transformers', 'vicur.modeling') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_excluded_modules_exist() -> None:
    """A renamed module would silently count again."""
    assert [name for name in EXCLUDED if find_spec(name) is None] == []


def test_training_does_not_depend_on_how_cues_are_audited() -> None:
    behind = modules_behind("vicur.training.train")
    assert {"vicur.cues.store", "vicur.cues.hints"} <= behind
    assert not behind & {"vicur.cues.audit", "vicur.cues.leaks", "vicur.cues.extract", "vicur.cues.pixels"}
