"""The checkpoint store: the newest intact checkpoint, on this machine or S3, and only for the training that wrote it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.test_checkpoint import checkpoint_of, trained
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.stage.runner import Context
from vicur.tracking.tracker import Tracker
from vicur.training.checkpoint_store import CheckpointStore

BUCKET = "s3://checkpoints"


def keys(client) -> list[str]:
    return [entry["Key"] for entry in client.list_objects_v2(Bucket="checkpoints").get("Contents", [])]


def store(
    work: Path, checkpoints: str | None = None, fork_from: str | None = None, **identity: object
) -> CheckpointStore:
    context = Context("run", 0, Tracker(), Events("train", None), work, identity, checkpoints, fork_from)
    return CheckpointStore.from_context(context, keep=2)


def fill(into: CheckpointStore, *steps: int) -> None:
    for step in steps:
        into.save(checkpoint_of(*trained(1), step, **into.identity))


def test_empty_store_has_no_newest_checkpoint(tmp_path):
    assert store(tmp_path).newest() is None


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    kept = store(tmp_path)
    fill(kept, 1, 2, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000002", "step-000010"]
    assert kept.newest().progress.step == 10


def test_leftover_of_a_killed_process_is_removed_although_its_step_is_never_saved_again(tmp_path):
    fill(store(tmp_path), 1)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    leftover = tmp_path / f".step-000007.{socket.gethostname()}-{int(gone.stdout)}.partial"
    leftover.mkdir()
    assert store(tmp_path).newest().progress.step == 1
    assert not leftover.exists()


def test_other_files_are_ignored_and_kept(tmp_path, s3):
    others = ("step-000001-old", "step-best", "step-zz", "notes")
    for name in others:
        (tmp_path / "named" / name).mkdir(parents=True)
        s3.put_object(Bucket="checkpoints", Key=f"{name}/checksums.json", Body=b"{}")
    for place in (str(tmp_path / "named"), BUCKET):
        kept = store(tmp_path / "work", place)
        fill(kept, 1, 2, 3)
        assert kept.newest().progress.step == 3
    assert {path.name for path in (tmp_path / "named").iterdir()} == {*others, "step-000002", "step-000003"}
    assert {key.split("/")[0] for key in keys(s3)} == {*others, "step-000002", "step-000003"}


def test_damaged_checkpoint_is_skipped_with_a_warning(tmp_path, caplog):
    fill(store(tmp_path), 1, 2)
    path = tmp_path / "step-000002" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert store(tmp_path).newest().progress.step == 1
    assert "step-000002 is damaged" in caplog.text


def test_configured_folder_replaces_the_work_folder(tmp_path):
    fill(store(tmp_path / "work", str(tmp_path / "named")), 1)
    assert (tmp_path / "named" / "step-000001").is_dir()
    assert store(tmp_path / "other", str(tmp_path / "named")).newest().progress.step == 1


def test_checkpoints_of_another_training_are_rejected_with_the_difference(tmp_path):
    fill(store(tmp_path, seed=0, config={"steps": 5, "learning_rate": 0.1}), 1)
    with pytest.raises(VicurError) as refused:
        store(tmp_path, seed=0, config={"steps": 5, "learning_rate": 0.2}).newest()
    assert "(config.learning_rate: 0.1 -> 0.2)" in str(refused.value)
    assert f"--fork-from {tmp_path}" in refused.value.remedy


def test_fork_starts_from_the_newest_checkpoint_and_does_not_change_it(tmp_path):
    fill(store(tmp_path / "old", seed=0), 1, 2)
    forked = store(tmp_path / "new", fork_from=str(tmp_path / "old"), seed=1)
    assert forked.newest().progress.step == 2
    fill(forked, 3)
    assert store(tmp_path / "new", fork_from=str(tmp_path / "old"), seed=1).newest().progress.step == 3
    assert store(tmp_path / "old", seed=0).newest().progress.step == 2


def test_fork_from_an_empty_folder_is_rejected(tmp_path):
    with pytest.raises(VicurError, match="there is no intact checkpoint to fork from"):
        store(tmp_path / "new", fork_from=str(tmp_path / "old")).newest()


def test_another_machine_resumes_from_s3(tmp_path, s3):
    fill(store(tmp_path / "pod1", f"{BUCKET}/run/vicur"), 1, 2, 3)
    assert {key.split("/")[2] for key in keys(s3)} == {"step-000002", "step-000003"}
    found = store(tmp_path / "pod2", f"{BUCKET}/run/vicur").newest()
    assert found.progress.step == 3
    assert (tmp_path / "pod2" / "step-000003").is_dir()


def test_interrupted_upload_is_ignored(tmp_path, s3):
    fill(store(tmp_path / "pod1", BUCKET), 1, 2)
    s3.delete_object(Bucket="checkpoints", Key="step-000002/checksums.json")
    assert store(tmp_path / "pod2", BUCKET).newest().progress.step == 1


@pytest.mark.usefixtures("s3")
def test_damaged_local_copy_is_downloaded_again(tmp_path):
    fill(store(tmp_path, BUCKET), 1)
    (tmp_path / "step-000001" / "state.json").write_text("{}")
    assert store(tmp_path, BUCKET).newest().progress.step == 1


def test_fork_from_s3_downloads_the_checkpoint(tmp_path, s3):
    fill(store(tmp_path / "pod1", f"{BUCKET}/old", seed=0), 4)
    forked = store(tmp_path / "pod2", f"{BUCKET}/new", f"{BUCKET}/old", seed=1)
    assert forked.newest().progress.step == 4
    assert not any(key.startswith("new/") for key in keys(s3))


def test_key_outside_its_folder_is_rejected(tmp_path, s3):
    fill(store(tmp_path / "pod1", BUCKET), 1)
    s3.put_object(Bucket="checkpoints", Key="step-000001/../../escaped", Body=b"x")
    with pytest.raises(VicurError, match="leads out of its folder"):
        store(tmp_path / "pod2", BUCKET).newest()
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("address", ["s3://", "s3://B/x", "s3:///x"])
def test_invalid_address_is_rejected(tmp_path, address):
    with pytest.raises(VicurError, match="is not an S3 address"):
        store(tmp_path, address)


@pytest.mark.usefixtures("s3")
def test_missing_bucket_is_not_retryable(tmp_path):
    with pytest.raises(VicurError, match="NoSuchBucket") as refused:
        store(tmp_path, "s3://elsewhere/x").newest()
    assert not refused.value.retryable


@pytest.mark.usefixtures("s3")
def test_unreachable_server_is_retryable_and_the_local_checkpoint_is_kept(tmp_path, monkeypatch):
    kept = store(tmp_path, BUCKET)
    fill(kept, 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(VicurError, match="S3 request failed") as refused:
        fill(store(tmp_path, BUCKET), 2)
    assert refused.value.retryable
    assert (tmp_path / "step-000002").is_dir()


@pytest.mark.usefixtures("s3")
def test_missing_credentials_are_not_retryable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # The default session caches credentials.
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with pytest.raises(VicurError, match="credentials") as refused:
        store(tmp_path, BUCKET).newest()
    assert not refused.value.retryable
