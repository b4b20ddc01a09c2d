"""Reading configuration files and command-line overrides."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicur.config.loading import load_config, load_overrides
from vicur.config.run import RunConfig
from vicur.config.serving import ServerLimits
from vicur.errors import VicurError


def write(folder: Path, text: str) -> Path:
    file = folder / "run.yaml"
    file.write_text(text)
    return file


def refused(*arguments: Any) -> VicurError:
    with pytest.raises(VicurError) as caught:
        load_config(*arguments)
    return caught.value


def test_overrides_win_over_the_file_and_are_read_as_yaml(tmp_path: Path) -> None:
    file = write(tmp_path, "seed: 3\ntraining:\n  steps: 10\n  batch_size: 8\n")
    config = load_config(file, ["training.steps=20", "methods=[vicur]", "training.rollout.temperature=0.5", "name=x-1"])
    assert (config.seed, config.training.steps, config.training.batch_size) == (3, 20, 8)
    assert (config.methods, config.training.rollout.temperature, config.name) == (("vicur",), 0.5, "x-1")


def test_options_win_over_overrides() -> None:
    config = load_config(None, ["methods=[opsd, sft]"], {"methods": ("--method", ["grpo"])})
    assert config.methods == ("grpo",)


@pytest.mark.parametrize("text", ["", "# nothing\n", "training: {}\n"])
def test_an_empty_file_means_the_defaults(tmp_path: Path, text: str) -> None:
    assert load_config(write(tmp_path, text)) == RunConfig()


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.type=folder", "data.path=mine"],
        ["data.path=mine", "data.type=folder"],
        ["data=folder", "data.path=mine"],
        ["data.path=mine", "data=folder"],
        ["data={type: folder, path: mine}"],
    ],
    ids=str,
)
def test_overrides_may_choose_another_type_and_its_settings_in_any_order(tmp_path: Path, overrides: list[str]) -> None:
    file = write(tmp_path, "data: {type: digit_scenes, test: {digits_per_class: 2, scenes: 3}}\n")
    assert load_config(file, overrides).data.model_dump(include={"type", "path"}) == {
        "type": "folder",
        "path": Path("mine"),
    }


@pytest.mark.parametrize("start", ["", "training: {objective: k1}", "training: {objective: {type: k1, clip: 0.1}}"])
def test_a_nested_override_may_follow_a_bare_name(tmp_path: Path, start: str) -> None:
    overrides = ["training.objective=jsd", "training.objective.beta=0.3"]
    for order in (overrides, overrides[::-1]):
        objective = load_config(write(tmp_path, start), order).training.objective
        assert objective is not None
        assert objective.model_dump() == {"type": "jsd", "beta": 0.3}


def test_a_nested_override_changes_a_section_that_the_file_gives_by_name(tmp_path: Path) -> None:
    file = write(tmp_path, "training: {objective: jsd}\n")
    objective = load_config(file, ["training.objective.beta=0.3"]).training.objective
    assert objective is not None
    assert objective.model_dump() == {"type": "jsd", "beta": 0.3}


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("name: x\nseed: [", ", line 2", "this is not YAML: expected the node content"),
        ("seed: 2026-99-99\n", "", "this is not YAML: it has a value that cannot be read (month must be in 1..12)"),
        ("seed: !!int ''\n", "", "this is not YAML"),
        ("[" * 3000, "", "this is not YAML"),
        ("- a\n- b\n", "", "the file has no settings"),
        ("\xff", "", "the file is not UTF-8 text. Save it as UTF-8."),
        ("seed: 1\ntraining:\n  steps: 0\n", ", line 3", "training.steps must be a whole number of at least 1, not 0."),
        ("seed: 1\ntraining:\n  stepz: 1\n", ", line 3", "there is no setting 'training.stepz'. Did you mean 'training.steps'?"),
        ("seed: 1\ndata:\n  type: folder\n", ", line 2", "data.path is missing, which data.type 'folder' requires. It must be a path."),
        (
            "methods: [opsd]\ntraining:\n  per_method:\n    opsd:\n      steps: 0\n",
            ", line 5",
            "training.per_method.opsd.steps must be a whole number of at least 1, not 0.",
        ),
        ("methods: [opd]\ntraining:\n  steps: 3\n", ", line 2, training.teacher, method opd", "its folder is not set"),
        (
            "training:\n  bar_images: 3\nsead: 1\n",
            "",
            "training.bar_images must be true or false, not 3 (line 2). There is no setting 'sead' (line 3). Did you mean 'seed'?",
        ),
    ],
)  # fmt: skip
def test_an_error_names_the_file_and_the_line(tmp_path: Path, text: str, where: str, words: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(text.encode("latin-1"))
    error = refused(file)
    assert error.where == f"{file}{where}"
    assert words in str(error)
    assert error.exit_code == 2


def test_lines_are_found_in_what_a_merge_key_brings_in(tmp_path: Path) -> None:
    file = write(tmp_path, "training: &one\n  steps: 0\n  per_method:\n    vicur: {<<: {batch_size: 8}}\n")
    assert refused(file).where == f"{file}, line 2"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.steps=0"], "--set training.steps=0: training.steps must be a whole number of at least 1, not 0."),
        (["training.learning_rate=.inf"], "training.learning_rate must be a finite number, not inf."),
        (["methods=vicur"], "methods must be a list, such as [a, b], not 'vicur'."),
        (["data.path=x"], "--set data.path=x: data.type is missing. It must be 'folder'."),
        (["data=folder"], "--set data=folder: data.path is missing, which data.type 'folder' requires."),
        (["training.objective=jsd", "training.objective.beta=2"], "--set training.objective.beta=2: training.objective.beta must be"),
        (["training.per_method.opsd.objective=k4"], "--set training.per_method.opsd.objective=k4: training.per_method.opsd.objective"),
        (["seed"], "--set seed: the setting has no value. Write section.field=value"),
        (["=1"], "--set =1: the name of the setting is incomplete."),
        (["a..b=1"], "--set a..b=1: the name of the setting is incomplete."),
        ([".=1"], "--set .=1: the name of the setting is incomplete."),
        (["seed=["], "--set seed=[: this is not YAML"),
        (["seed=1", "seed.more=1"], "--set seed.more=1: seed is a single value and has no setting 'seed.more'."),
        (["training="], "training must be a group of settings, such as {name: value}, not null."),
        (["seed=0x" + "f" * 5000], "seed must be a whole number from 0 to 2147483647, not a number that is too large."),
    ],
)  # fmt: skip
def test_an_error_names_the_override(overrides: list[str], words: str) -> None:
    assert words in str(refused(None, overrides))


def test_an_error_names_the_option_in_place_of_its_setting(tmp_path: Path) -> None:
    file = write(tmp_path, "seed: 3\n")
    error = refused(file, ["seed=4"], {"methods": ("--method", ["grpoo"])})
    assert error.where is None
    assert error.problem.startswith("--method must be one of 'opsd', ")
    assert error.problem.endswith(", not 'grpoo'.")
    assert error.remedy == "Did you mean 'grpo'?"
    address = refused(None, [], {"base.path": ("--base", "hf://owner/model")})
    assert address.problem.startswith("--base names no commit")


def test_other_sections_are_read_from_options_too() -> None:
    assert load_overrides(ServerLimits, ["max_images=1"], "--limit").max_images == 1
    with pytest.raises(VicurError, match="--limit max_images=many: max_images must be a whole number from 0 to 64"):
        load_overrides(ServerLimits, ["max_images=many"], "--limit")


@pytest.mark.parametrize("name", ["nowhere.yaml", "."])
def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path, name: str) -> None:
    error = refused(tmp_path / name)
    assert error.problem.startswith("the file cannot be read: ")
    assert error.where == str(tmp_path / name)


@given(st.text(max_size=40))
def test_any_text_is_read_as_an_override_or_rejected(text: str) -> None:
    with contextlib.suppress(VicurError):
        load_config(None, [text])
