"""Stages whose portions are done by hand, such as by the jobs of a batch system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.calling import Command
from tests.data.conftest import png
from vicur.storage.folders import tree_sha256

CUES = ("--set", "cues.provider=annotation", "--set", "cues.max_leak_share=1")


@pytest.fixture
def run(vicur: Command) -> Command:
    Path("source").mkdir()
    Path("source/a.png").write_bytes(png())
    for name in "xyz":
        rows = [
            {"id": f"{name}{n}", "images": ["a.png"], "question": f"{name}{n}?", "answer": "1", "cue": "One."}
            for n in range(9)
        ]
        Path(f"source/{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    Path("config.yaml").write_text(json.dumps({"data": {"type": "folder", "path": "source", "required_splits": []}}))
    return vicur


def ok(run: Command, *arguments: str) -> None:
    result = run(*arguments, "--config", "config.yaml")
    assert result.code == 0, result.error


def test_portions_that_are_merged_by_hand_are_the_output_of_the_stage(run: Command) -> None:
    for number in (1, 2):
        ok(run, "data", "prepare", "--portion", f"{number}/2", "--output", f"parts/{number}")
    ok(run, "data", "merge", "parts/2", "parts/1", "--output", "merged")
    ok(run, "data", "prepare")
    assert tree_sha256(Path("merged")) == tree_sha256(Path("data"))
    for number in (1, 2):
        ok(run, "cues", "extract", *CUES, "--portion", f"{number}/2", "--output", f"cue-parts/{number}")
    ok(run, "cues", "merge", *CUES, "cue-parts/1", "cue-parts/2", "--output", "merged-cues")
    ok(run, "cues", "extract", *CUES)
    assert tree_sha256(Path("merged-cues")) == tree_sha256(Path("cues"))


@pytest.mark.parametrize(
    ("portion", "problem"),
    [
        ("3/2", "'3/2' is not a portion"),
        ("0/2", "such as 2/8"),
        ("two", "such as 2/8"),
        ("1/65", "there may be 64"),
        ("4/4", "there are only 3 portions, because the input cannot be divided further"),
    ],
)
def test_a_portion_that_does_not_exist_is_refused(run: Command, portion: str, problem: str) -> None:
    result = run("data", "prepare", "--config", "config.yaml", "--portion", portion, "--output", "out")
    assert result.code == 2
    assert problem in result.error
    assert not Path("out").exists()


def test_a_merge_without_all_portions_writes_nothing(run: Command) -> None:
    ok(run, "data", "prepare", "--portion", "1/2", "--output", "parts/1")
    for folders, problem in [(["parts/1"], "is missing"), (["parts/1", "parts/9"], "parts/9: is not a folder")]:
        result = run("data", "merge", *folders, "--config", "config.yaml", "--output", "merged")
        assert result.code == 2
        assert problem in result.error
        assert not Path("merged").exists()
