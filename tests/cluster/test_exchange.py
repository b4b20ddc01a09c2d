"""What step and nodes hand each other arrives whole or not at all, and no node does other work than its step means."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from vicur.cluster.jobs import node
from vicur.cluster.jobs.exchange import fetch_inputs, fetch_student, has_student, send_inputs, send_student
from vicur.cluster.jobs.task import VARIABLE, NodeTask
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.processes.signals import EXIT_CODE
from vicur.stage.runner import stage_identity
from vicur.stage.table import STAGES
from vicur.storage.folders import tree_sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made" / "inner").mkdir(parents=True)
    (tmp_path / "made" / "a.txt").write_text("first")
    (tmp_path / "made" / "inner" / "b.txt").write_text("second")
    return tmp_path / "made"


@pytest.fixture
def root(bucket: Any) -> str:
    return f"s3://{bucket.name}/checkpoints"


def sent(root: str, folder: Path, *shared: str) -> dict[str, str]:
    return send_inputs(root, {"dataset": folder}, {"dataset": tree_sha256(folder)}, shared)


def keys(bucket: Any) -> list[str]:
    return sorted(each.key for each in bucket.objects.all())


def test_inputs_arrive_as_they_were(folder, root, tmp_path):
    there = fetch_inputs(sent(root, folder), tmp_path / "there")
    assert tree_sha256(there["dataset"]) == tree_sha256(folder)


def test_inputs_below_a_shared_folder_are_read_in_place(folder, root, bucket, tmp_path):
    places = sent(root, folder, "/elsewhere", str(tmp_path))
    assert places == {"dataset": str(folder)}
    assert fetch_inputs(places, tmp_path / "there") == {"dataset": folder}
    assert keys(bucket) == []


def test_an_input_is_uploaded_once(folder, root, bucket):
    sent(root, folder)
    before = {each.key: each.last_modified for each in bucket.objects.all()}
    sent(root, folder)
    assert {each.key: each.last_modified for each in bucket.objects.all()} == before


@pytest.mark.parametrize("lost", ["a.txt", "whole"])
def test_what_is_missing_of_an_input_is_uploaded_again(folder, root, bucket, tmp_path, lost):
    """An upload that was cut off, or a rule of the bucket that has removed a part."""
    places = sent(root, folder)
    bucket.Object(next(key for key in keys(bucket) if key.endswith(lost))).delete()
    assert sent(root, folder) == places
    assert tree_sha256(fetch_inputs(places, tmp_path / "there")["dataset"]) == tree_sha256(folder)


def test_an_input_that_is_not_whole_is_not_read(folder, root, bucket, tmp_path):
    places = sent(root, folder)
    bucket.Object(next(key for key in keys(bucket) if key.endswith("whole"))).delete()
    with pytest.raises(VicurError, match="does not exist or is incomplete"):
        fetch_inputs(places, tmp_path / "there")


def test_a_student_comes_back_with_its_summary_and_leaves_s3(folder, root, bucket, tmp_path):
    place = f"{root}/0123"
    assert not has_student(place)
    send_student(place, folder, {"key_figure": "good"})
    assert has_student(place)
    assert fetch_student(place, tmp_path / "student") == {"key_figure": "good"}
    assert tree_sha256(tmp_path / "student") == tree_sha256(folder)
    assert keys(bucket) == []


def test_a_damaged_student_is_not_taken_and_is_written_anew(folder, root, bucket, tmp_path):
    place = f"{root}/0123"
    send_student(place, folder, {})
    bucket.Object("checkpoints/0123/student/a.txt").put(Body=b"other")
    with pytest.raises(VicurError, match="is not what the nodes have written") as caught:
        fetch_student(place, tmp_path / "student")
    assert caught.value.exit_code == EXIT_CODE
    assert not has_student(place)


def test_a_student_that_was_not_uploaded_whole_is_none(folder, root, bucket, tmp_path):
    place = f"{root}/0123"
    send_student(place, folder, {})
    bucket.Object("checkpoints/0123/student/result.json").delete()
    with pytest.raises(VicurError, match="left no student") as caught:
        fetch_student(place, tmp_path / "student")
    assert caught.value.retryable


def task(**changes: Any) -> NodeTask:
    fields = {
        "label": "train vicur",
        "section": {"method": "vicur"},
        "seed": 0,
        "tracking": {},
        "identity": {"seed": 0},
    }
    return NodeTask(**{**fields, "checkpoints": "s3://bucket", "inputs": {}, **changes})


def test_a_task_survives_its_variable(monkeypatch):
    told = task(section={"method": "vicur", "note": 'costs $(HOME) $$ "quoted"'})
    assert "$" not in told.written()
    monkeypatch.setenv(VARIABLE, told.written())
    assert NodeTask.from_environment() == told


@pytest.mark.parametrize("written", [None, "{", json.dumps({"label": "x"})])
def test_a_node_that_was_told_nothing_says_so(monkeypatch, written):
    monkeypatch.delenv(VARIABLE, raising=False)
    if written is not None:
        monkeypatch.setenv(VARIABLE, written)
    with pytest.raises(VicurError, match="was not told what to do"):
        NodeTask.from_environment()


def test_a_node_refuses_other_work_than_its_step_means(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VICUR_SCRATCH", str(tmp_path))
    identity = stage_identity(STAGES["train"].reference, TrainConfig(method="vicur"), {"dataset": folder}, seed=1)
    with pytest.raises(VicurError, match=r"another training \(seed: 1 there, 0 here\)") as caught:
        node.run_node(task(identity=identity, inputs={"dataset": str(folder)}))
    assert "cluster.image" in caught.value.remedy


@pytest.mark.parametrize(("retryable", "code"), [(True, EXIT_CODE), (False, 2)])
def test_a_server_that_does_not_answer_a_node_is_no_wrong_input(tmp_path, monkeypatch, retryable, code):
    def refuse(*_: Any) -> None:
        raise VicurError("S3 does not answer.", remedy="Check the address.", retryable=retryable)

    monkeypatch.setenv("VICUR_SCRATCH", str(tmp_path))
    monkeypatch.setattr(node, "fetch_inputs", refuse)
    with pytest.raises(VicurError, match="does not answer") as caught:
        node.run_node(task())
    assert caught.value.exit_code == code


def test_a_node_that_is_stopped_while_it_fetches_ends_at_once_with_75(tmp_path, monkeypatch):
    """As the first process of its container it would not, by itself."""

    def fetch(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setenv("VICUR_SCRATCH", str(tmp_path))
    monkeypatch.setattr(node, "fetch_inputs", fetch)
    with pytest.raises(VicurError, match="SIGTERM") as caught:
        node.run_node(task())
    assert caught.value.exit_code == EXIT_CODE
    assert list(tmp_path.iterdir()) == []
