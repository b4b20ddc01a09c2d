"""Transfers between step and nodes are complete or fail, and a node only does the work of its step."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from vicur.cluster.jobs import node
from vicur.cluster.jobs.task import VARIABLE, NodeTask
from vicur.cluster.jobs.transfer import (
    download_inputs,
    download_student,
    student_exists,
    upload_inputs,
    upload_student,
)
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


def upload(root: str, folder: Path, *shared: str) -> dict[str, str]:
    return upload_inputs(root, {"dataset": folder}, {"dataset": tree_sha256(folder)}, shared)


def keys(bucket: Any) -> list[str]:
    return sorted(each.key for each in bucket.objects.all())


def test_inputs_arrive_as_they_were(folder, root, tmp_path):
    there = download_inputs(upload(root, folder), tmp_path / "there")
    assert tree_sha256(there["dataset"]) == tree_sha256(folder)


def test_inputs_below_a_shared_folder_are_not_uploaded(folder, root, bucket, tmp_path):
    places = upload(root, folder, "/elsewhere", str(tmp_path))
    assert places == {"dataset": str(folder)}
    assert download_inputs(places, tmp_path / "there") == {"dataset": folder}
    assert keys(bucket) == []


def test_input_is_uploaded_once(folder, root, bucket):
    upload(root, folder)
    before = {each.key: each.last_modified for each in bucket.objects.all()}
    upload(root, folder)
    assert {each.key: each.last_modified for each in bucket.objects.all()} == before


@pytest.mark.parametrize("lost", ["a.txt", "whole"])
def test_missing_parts_of_an_input_are_uploaded_again(folder, root, bucket, tmp_path, lost):
    """An upload was interrupted, or a lifecycle rule of the bucket deleted an object."""
    places = upload(root, folder)
    bucket.Object(next(key for key in keys(bucket) if key.endswith(lost))).delete()
    assert upload(root, folder) == places
    assert tree_sha256(download_inputs(places, tmp_path / "there")["dataset"]) == tree_sha256(folder)


def test_incomplete_input_is_not_read(folder, root, bucket, tmp_path):
    places = upload(root, folder)
    bucket.Object(next(key for key in keys(bucket) if key.endswith("whole"))).delete()
    with pytest.raises(VicurError, match="does not exist or is incomplete"):
        download_inputs(places, tmp_path / "there")


def test_student_is_moved_from_s3_with_its_summary(folder, root, bucket, tmp_path):
    place = f"{root}/0123"
    assert not student_exists(place)
    upload_student(place, folder, {"key_figure": "good"})
    assert student_exists(place)
    assert download_student(place, tmp_path / "student") == {"key_figure": "good"}
    assert tree_sha256(tmp_path / "student") == tree_sha256(folder)
    assert keys(bucket) == []


def test_damaged_student_is_rejected_and_removed(folder, root, bucket, tmp_path):
    place = f"{root}/0123"
    upload_student(place, folder, {})
    bucket.Object("checkpoints/0123/student/a.txt").put(Body=b"other")
    with pytest.raises(VicurError, match="differs from what the nodes uploaded") as caught:
        download_student(place, tmp_path / "student")
    assert caught.value.exit_code == EXIT_CODE
    assert not student_exists(place)


def test_incomplete_student_does_not_exist(folder, root, bucket, tmp_path):
    place = f"{root}/0123"
    upload_student(place, folder, {})
    bucket.Object("checkpoints/0123/student/result.json").delete()
    with pytest.raises(VicurError, match="did not upload a student") as caught:
        download_student(place, tmp_path / "student")
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


def test_task_is_unchanged_by_its_variable(monkeypatch):
    original = task(section={"method": "vicur", "note": 'costs $(HOME) $$ "quoted"'})
    assert "$" not in original.to_variable()
    monkeypatch.setenv(VARIABLE, original.to_variable())
    assert NodeTask.from_environment() == original


@pytest.mark.parametrize("value", [None, "{", json.dumps({"label": "x"})])
def test_node_without_a_valid_task_fails(monkeypatch, value):
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(VicurError, match="missing or invalid"):
        NodeTask.from_environment()


def test_node_refuses_work_that_differs_from_its_steps(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VICUR_SCRATCH", str(tmp_path))
    identity = stage_identity(STAGES["train"].reference, TrainConfig(method="vicur"), {"dataset": folder}, seed=1)
    with pytest.raises(
        VicurError, match=r"something else than the step .*\(seed: 1 in the step, 0 on the node\)"
    ) as caught:
        node.run_node(task(identity=identity, inputs={"dataset": str(folder)}))
    assert "cluster.image" in caught.value.remedy


@pytest.mark.parametrize(("retryable", "code"), [(True, EXIT_CODE), (False, 2)])
def test_temporary_failure_of_a_server_is_not_invalid_input(tmp_path, monkeypatch, retryable, code):
    def refuse(*_: Any) -> None:
        raise VicurError("S3 does not answer.", remedy="Check the address.", retryable=retryable)

    monkeypatch.setenv("VICUR_SCRATCH", str(tmp_path))
    monkeypatch.setattr(node, "download_inputs", refuse)
    with pytest.raises(VicurError, match="does not answer") as caught:
        node.run_node(task())
    assert caught.value.exit_code == code


def test_node_stopped_while_downloading_exits_immediately_with_75(tmp_path, monkeypatch):
    """Without a handler it would not: the kernel ignores SIGTERM for the first process of a container."""

    def fetch(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setenv("VICUR_SCRATCH", str(tmp_path))
    monkeypatch.setattr(node, "download_inputs", fetch)
    with pytest.raises(VicurError, match="SIGTERM") as caught:
        node.run_node(task())
    assert caught.value.exit_code == EXIT_CODE
    assert list(tmp_path.iterdir()) == []
