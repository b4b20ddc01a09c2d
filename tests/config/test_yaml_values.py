"""Numbers in configurations, overrides and parameters are decimal, as in JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.submit.parameters import _read
from vicur.config.loading import load_config, load_overrides
from vicur.config.training import TrainConfig
from vicur.config.yaml_values import read_yaml
from vicur.errors import VicurError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("050", 50),
        ("-010", -10),
        ("+08", 8),
        ("09", 9),
        ("0", 0),
        ("00", 0),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("0123abc", "0123abc"),
        ("1e5", "1e5"),
        ("007.5", 7.5),
        ("1.5e-3", 1.5e-3),
        ("-.inf", float("-inf")),
        ("[050, {a: 010}]", [50, {"a": 10}]),
        ('"050"', "050"),
        ("2026-11-30", yaml.safe_load("2026-11-30")),
        ("yes", True),
    ],
)
def test_numbers_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    assert read_yaml(text) == value
    assert type(read_yaml(text)) is type(value)


@given(st.integers(), st.integers(0, 5))
def test_leading_zeros_do_not_change_a_number(number: int, zeros: int) -> None:
    sign = "-" if number < 0 else ""
    assert read_yaml(f"{sign}{'0' * zeros}{abs(number)}") == number


def test_every_way_to_set_a_number_reads_it_as_decimal(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("training: {steps: 050}\nseed: 010\n")
    config = load_config(file, ["training.batch_size=032"])
    assert (config.training.steps, config.seed, config.training.batch_size) == (50, 10, 32)
    assert load_overrides(TrainConfig, ["steps=011"], "--set").steps == 11
    assert _read("050", "ANY", "training.steps=050") == 50
    assert _read("{training: {steps: 050}}", "STRUCT", "overrides") == {"training": {"steps": 50}}
    assert _read("[010]", "LIST", "seeds") == [10]


def test_sexagesimal_numbers_are_rejected_where_a_number_is_expected() -> None:
    with pytest.raises(VicurError, match="steps"):
        load_overrides(TrainConfig, ["steps=1:30"], "--set")
