"""Invalid options are reported in this project's words, with what they allow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.calling import Command
from tests.config.test_validation import PHRASES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("clean --keep x", "Invalid value for '--keep': must be a whole number of at least 0, not 'x'."),
        ("clean --keep -1", "Invalid value for '--keep': must be a whole number of at least 0, not '-1'."),
        ("plan --gpu-memory much", "Invalid value for '--gpu-memory': must be a number, not 'much'."),
        ("serve x --port 99999", "Invalid value for '--port': must be a whole number from 1 to 65535, not '99999'."),
        ("compile -o p --pipeline clutser", "must be one of 'cluster', 'distill', 'ablation', not 'clutser'."),
        ("trian", "No such command 'trian'. Did you mean 'train'?"),
        ("install nope", "must be one of 'dev', 'gpu-pool', 'multi-user', not 'nope'."),
        ("train --method foo -o x", "--method must be one of 'opsd', "),
        ("rollout-server --method foo", "--method must be one of 'opsd', "),
        ("plan --method vicr", "--method must be one of 'opsd', "),
        ("train --base hf://owner/x -o x", "--base names no commit"),
        ("rollout-server --base s3://bucket", "--base names a bucket, but not a model in it"),
        ("train --checkpoints gs://bucket/x -o x", "--checkpoints is neither a folder nor an S3 address"),
        ("evaluate http://host/x -o x", "MODEL is an address with http://"),
        ("plan --bandwidth 0", "--bandwidth: hardware.bandwidth must be a number above 0, not 0.0."),
        ("plan --assume hardware=3", "--assume hardware=3: hardware must be a group of settings"),
        ("doctor --need pool.gpu=3", "--need pool.gpu=3: there is no setting 'pool.gpu'. Did you mean 'pool.gpus'?"),
        ("base train x --set stepz=3", "--set stepz=3: there is no setting 'stepz'. Did you mean 'steps'?"),
        ("cues extract --set cues.provider=pixel", "--set cues.provider=pixel: cues.provider must be one of"),
        ("ablate nowhere.yaml", "nowhere.yaml: the file cannot be read"),
        ("run small.yaml --set seed=x", "--set seed=x: seed must be a whole number"),
        ("compile small.yaml -o p --image @b", "--image must be the name of a container image, such as"),
    ],
)  # fmt: skip
def test_an_invalid_option_is_named_with_what_it_allows(vicur: Command, arguments: str, words: str) -> None:
    result = vicur(*arguments.split())
    # Typer draws a frame around its own messages and wraps them.
    error = re.sub(r"[\s│]+", " ", result.error)
    assert result.code == 2
    assert words in error
    assert not PHRASES.search(error)
    assert "Traceback" not in error


@pytest.mark.parametrize("file", ["nowhere/plan.json", "."])
def test_a_plan_that_cannot_be_written_is_reported(vicur: Command, file: str) -> None:
    result = vicur("plan", "--json", file)
    assert result.code == 2
    assert f"--json {file}: the file cannot be written" in result.error


def test_an_output_folder_below_a_file_is_rejected_before_any_work(project: Path, vicur: Command) -> None:
    for command in (["base", "train", "small.yaml"], ["evaluate", "tiny", "-o", "small.yaml/x"]):
        result = vicur(*command)
        assert result.code == 2
        assert f"the output folder cannot be created, because {project / 'small.yaml'} is a file" in result.error
