"""A stage's code version changes with the code that its result depends on, and with no other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from vicur.stage.code_version import code_version, modules_behind, without_docstrings

FILES = {
    "vicur/__init__.py": '__version__ = "1"\n',
    "vicur/stage/__init__.py": "",
    "vicur/stage/code_version.py": "",
    "vicur/stage/events.py": "from vicur.only_watching import show\n",
    "vicur/only_watching.py": "def show(): return 1\n",
    "vicur/seeds.py": 'def draw():\n    """Draws."""\n    return 1\n',
    "vicur/data/__init__.py": "from vicur.data.reading import read\nfrom .drawing import draw as draw_scenes\n__all__ = ['read']\n",
    "vicur/data/reading.py": "def read(): return 1\n",
    "vicur/data/drawing.py": "def draw(): return 1\n",
    "vicur/modeling/__init__.py": "from vicur.modeling.student import Student\nregister(Student)\n",
    "vicur/modeling/student.py": "class Student: pass\n",
    "vicur/modeling/chat.py": "def chat(): return 1\n",
    "vicur/training/__init__.py": "from vicur.training.train import train\n",
    "vicur/training/train.py": (
        "import installed.beside\n"
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
    "installed/beside.py": "def help(): return 1\n",
}


def version_of(folder: Path, module: str = "vicur.training.train") -> str:
    """Runs the real code over a small package of the same name, in a process of its own."""
    real = Path(sys.modules[code_version.__module__].__file__ or "").read_text()
    (folder / "vicur" / "stage" / "code_version.py").write_text(real)
    script = f"from vicur.stage.code_version import code_version; print(code_version({module!r}))"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


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
        "what its package hands on",
        "a package that registers something",
        "what that package registers",
        "a file that it names",
        "what is imported where no type checker looks",
    ],
)
def test_it_changes_with(package: Path, file: str, text: str) -> None:
    before = version_of(package)
    (package / file).write_text(text)
    assert version_of(package) != before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("vicur/seeds.py", '# How chance works.\ndef draw():\n    """Draws once."""\n\n    return  1\n'),
        ("vicur/stage/events.py", "from vicur.only_watching import show\nnew = 1\n"),
        ("vicur/only_watching.py", "def show(): return 2\n"),
        ("vicur/data/drawing.py", "def draw(): return 2\n"),
        ("vicur/data/__init__.py", FILES["vicur/data/__init__.py"] + "from vicur.data.drawing import draw\n"),
        ("vicur/__init__.py", '__version__ = "2"\n'),
        ("vicur/evaluation/evaluate.py", "def evaluate(): return 2\n"),
        ("vicur/evaluation/templates/report.html", "<p>better report</p>"),
        ("vicur/training/README.md", "how else"),
        ("vicur/training/other.css", "p { color: red }"),
        ("installed/beside.py", "def help(): return 2\n"),
    ],
    ids=[
        "docstrings and comments",
        "a watcher",
        "what only a watcher needs",
        "what its package hands on to others",
        "another name that a package hands on",
        "the release",
        "another stage, of which a type checker alone is told",
        "a template of another stage",
        "a readme",
        "a file that it does not name",
        "what another package holds that is installed beside it",
    ],
)
def test_it_does_not_change_with(package: Path, file: str, text: str) -> None:
    before = version_of(package)
    (package / file).write_text(text)
    assert version_of(package) == before


def test_another_stages_template_counts_for_that_stage(package: Path) -> None:
    before = version_of(package, "vicur.evaluation.evaluate")
    (package / "vicur/evaluation/templates/report.html").write_text("<p>better report</p>")
    assert version_of(package, "vicur.evaluation.evaluate") != before


def test_docstrings_anywhere_are_not_code() -> None:
    plain = "class A:\n    x: int = 1\n    def f(self): return 'text'\n"
    documented = (
        '"""M."""\nclass A:\n    """A."""\n    x: int = 1\n    """X."""\n'
        '    def f(self):\n        """F."""\n        return "text"\n'
    )
    assert ast.dump(without_docstrings(plain)) == ast.dump(without_docstrings(documented))
    assert ast.dump(without_docstrings(plain)) != ast.dump(without_docstrings(plain.replace("'text'", "'other'")))


def test_training_depends_on_what_it_trains_with_and_not_on_how_data_is_made_or_reported() -> None:
    behind = modules_behind("vicur.training.train")
    assert {"vicur.training.objectives.sampled", "vicur.modeling.student", "vicur.cues.hints", "vicur.seeds"} <= behind
    strangers = ("vicur.data.digit_scenes", "vicur.data.prepare", "vicur.cues.extract", "vicur.tracking.tracker")
    assert [name for name in behind if name.startswith((*strangers, "vicur.evaluation", "vicur.registry"))] == []


def test_a_module_that_is_started_by_name_counts() -> None:
    assert "vicur.answers.math_worker" in modules_behind("vicur.evaluation.evaluate")


def test_an_unknown_module_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vicur\.nothing"):
        code_version("vicur.nothing")


def test_asking_for_a_version_imports_no_stage() -> None:
    script = (
        "import sys; from vicur.stage.code_version import code_version; code_version('vicur.modeling.generation');"
        "print([m for m in ('torch', 'transformers', 'vicur.modeling') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_training_does_not_depend_on_how_cues_are_audited() -> None:
    behind = modules_behind("vicur.training.train")
    assert {"vicur.cues.store", "vicur.cues.hints"} <= behind
    assert not behind & {"vicur.cues.audit", "vicur.cues.leaks", "vicur.cues.extract", "vicur.cues.pixels"}
