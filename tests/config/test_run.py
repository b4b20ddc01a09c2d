"""The configuration of a run: its defaults and the files that ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from vicur.config.loading import load_config
from vicur.config.run import RunConfig

ALL = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
CONFIGS = [file for file in ALL if not file.name.startswith("ablation")]


def test_the_defaults_are_the_local_run() -> None:
    config = load_config(None)
    assert config == RunConfig()
    assert (config.seed, config.methods, config.base.path) == (0, ("opsd", "vicur"), "tiny")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_every_shipped_configuration_of_a_run_is_valid(file: Path) -> None:
    load_config(file)
