"""The configuration of a run is read, overridden and refused with reasons."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicur.config.run import RunConfig, load_config
from vicur.config.validation import validated
from vicur.errors import VicurError

ALL = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
CONFIGS = [file for file in ALL if not file.name.startswith("ablation")]


def write(folder: Path, text: str) -> Path:
    file = folder / "run.yaml"
    file.write_text(text)
    return file


def test_nothing_said_means_the_local_run() -> None:
    config = load_config(None)
    assert config == RunConfig()
    assert (config.seed, config.methods, config.base.path) == (0, ("opsd", "vicur"), "tiny")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_every_configuration_of_a_run_that_ships_is_valid(file: Path) -> None:
    load_config(file)


def test_overrides_win_over_the_file_and_are_read_as_yaml(tmp_path: Path) -> None:
    file = write(tmp_path, "seed: 3\ntraining:\n  steps: 10\n  batch_size: 8\n")
    config = load_config(file, ["training.steps=20", "methods=[vicur]", "training.rollout.temperature=0.5", "name=x-1"])
    assert (config.seed, config.training.steps, config.training.batch_size) == (3, 20, 8)
    assert (config.methods, config.training.rollout.temperature, config.name) == (("vicur",), 0.5, "x-1")


def test_an_override_may_choose_another_member_of_a_union(tmp_path: Path) -> None:
    config = load_config(None, ["data.type=folder", f"data.path={tmp_path}"])
    assert config.data.type == "folder"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nseed: [", "row 2"),
        ("seed: 2026-99-99\n", "is not YAML"),
        ("- a\n- b\n", "holds no settings"),
        ("trainings: {}\n", "no setting 'trainings'"),
        ("training:\n  stepz: 1\n", "no setting 'training.stepz'"),
        ("training:\n  steps: 0\n", "training.steps: input should be greater than or equal to 1 (given: 0)"),
        ("methods: [grpoo]\n", "'opd-vicur', 'grpo' or 'sft' (given: 'grpoo')"),
        ("methods: []\n", "methods: names no method"),
        ("methods: [vicur, vicur]\n", "names a method twice"),
        ("data:\n  type: folder\n", "path is missing"),
        ("data:\n  type: files\n", "'digit_scenes', 'folder'"),
        ("name: My Run\n", "name"),
        ("\xff", "is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_field(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(VicurError) as caught:
        load_config(file)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.learning_rate=.inf", "learning_rate: input should be a finite number"),
        ("data.path=x", "data needs its setting 'type'"),
        ("methods=vicur", r"methods wants a list, as in \[a, b\] \(given: 'vicur'\)"),
    ],
)
def test_a_wrong_shape_is_told_in_the_words_of_the_file(override: str, words: str) -> None:
    with pytest.raises(VicurError, match=words):
        load_config(None, [override])


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "# nothing\n")) == RunConfig()


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="cannot be read"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("override", ["seed", "=1", "training=", "a..b=1", "training.steps.more=1", "seed=[", ".=1"])
def test_an_override_that_is_none_is_told(tmp_path: Path, override: str) -> None:
    with pytest.raises(VicurError):
        load_config(write(tmp_path, "training:\n  steps: 5\n"), [override])


@given(st.text(max_size=40))
def test_no_override_is_a_traceback(text: str) -> None:
    with contextlib.suppress(VicurError):
        load_config(None, [text])


def test_many_mistakes_are_told_at_once_but_not_endlessly() -> None:
    with pytest.raises(VicurError) as caught:
        validated(RunConfig, {f"wrong{n}": 1 for n in range(9)}, "here")
    assert "wrong0" in caught.value.problem
    assert "and 4 more" in caught.value.problem
