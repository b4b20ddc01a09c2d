"""``vicur data fetch``: by hash, address and .dvc file; what is there is kept, and a killed download resumes."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.data.conftest import upload
from tests.data.cutting_proxy import CuttingProxy
from tests.data.real_dvc import REPOSITORY
from vicur.cli import app
from vicur.data import dvc_hash, pin
from vicur.data.download import download
from vicur.errors import VicurError
from vicur.seeds import numpy_generator
from vicur.stage.events import Events
from vicur.storage.folders import tree_sha256

MIB = 1 << 20


@pytest.fixture(scope="module")
def repository(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose DVC cache, which has the layout of a remote, has the small dataset."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(small, folder / "data")
    (folder / ".dvc").mkdir()
    pin(folder / "data", folder / "data.dvc")
    return folder


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["data", "fetch", *arguments])


def fetched(reference: str, output: Path) -> bool:
    """Fetch a dataset, and return whether it was there already."""
    return download(reference, output, Events("fetch", None)).was_there


def reference_of(repository: Path) -> str:
    return f"{dvc_hash(repository / 'data').md5}@{repository / '.dvc' / 'cache'}"


def test_dataset_is_fetched_by_hash_from_a_folder_and_leaves_nothing_else(repository: Path, tmp_path: Path) -> None:
    result = run(reference_of(repository), "--output", str(tmp_path / "deep" / "data"))
    assert result.exit_code == 0, result.output
    assert dvc_hash(repository / "data").md5 in result.output
    assert tree_sha256(tmp_path / "deep" / "data") == tree_sha256(repository / "data")
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["data"]


def test_relative_remote_and_an_empty_output_folder(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository / ".dvc")
    (tmp_path / "data").mkdir()
    assert not fetched(f"{dvc_hash(repository / 'data').md5}@cache", tmp_path / "data")
    assert dvc_hash(tmp_path / "data") == dvc_hash(repository / "data")


def test_dataset_that_is_there_is_not_fetched_again_and_another_is_not_overwritten(
    repository: Path, tmp_path: Path
) -> None:
    reference = reference_of(repository)
    output = tmp_path / "data"
    assert not fetched(reference, output)
    # Not even the remote is needed.
    assert fetched(f"{reference.partition('@')[0]}@/nowhere", output)
    (output / "README.md").write_text("mine")
    before = tree_sha256(output)
    with pytest.raises(VicurError, match=r"contains the dataset [0-9a-f]{32}\.dir, not the folder") as refused:
        fetched(reference, output)
    assert "--output" in refused.value.remedy
    (output / "manifest.json").unlink()
    with pytest.raises(VicurError, match="contains other files, not the folder"):
        fetched(reference, output)
    (output / "manifest.json").write_bytes((repository / "data" / "manifest.json").read_bytes())
    assert tree_sha256(output) == before
    with pytest.raises(VicurError, match="is a file"):
        fetched(reference, output / "README.md")


def test_address_is_compared_by_content(small: Path, bucket: Any, tmp_path: Path) -> None:
    remote = upload(small, bucket, "plain")
    assert not fetched(remote, tmp_path / "data")
    assert fetched(remote, tmp_path / "data")
    bucket.put_object(Key="plain/README.md", Body=b"changed")
    with pytest.raises(VicurError, match=f"not {remote}"):
        fetched(remote, tmp_path / "data")


def test_source_is_fetched_with_the_command_that_reads_it(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="mine/examples.jsonl", Body=b"{}\n")
    result = run("s3://bucket/mine", "-o", str(tmp_path / "mine"))
    assert result.exit_code == 0, result.output
    assert f"--set data.path={tmp_path / 'mine'}" in result.output.replace("\n", "")


def test_dvc_file_is_fetched_from_the_repositorys_remote(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copy(repository / "data.dvc", clone)
    (clone / ".dvc").mkdir()
    config = clone / ".dvc" / "config"
    config.write_text((REPOSITORY / ".dvc" / "config").read_text())
    with pytest.raises(
        VicurError, match="names no default remote, so that neither dvc pull nor this command"
    ) as failed:
        fetched(str(clone / "data.dvc"), clone / "data")
    assert "vicur data prepare generates them" in failed.value.remedy
    assert "dvc remote add --default" in failed.value.remedy
    store = "[core]\n    remote = store\n['remote \"store\"']\n    url = "
    config.write_text(store + "gs://bucket/dvc\n")
    with pytest.raises(VicurError, match="neither on S3 nor a folder"):
        fetched(str(clone / "data.dvc"), clone / "data")
    shutil.copytree(repository / ".dvc" / "cache", tmp_path / "store")
    config.write_text(store + "../../store\n")
    assert not fetched(str(clone / "data.dvc"), clone / "data")
    shutil.rmtree(clone / "data")
    # Settings that are not in git come last.
    config.write_text(store + "s3://wrong/dvc\n")
    (clone / ".dvc" / "config.local").write_text(f"['remote \"store\"']\n    url = {tmp_path / 'store'}\n")
    assert not fetched(str(clone / "data.dvc"), clone / "data")
    (clone / ".dvc" / "config.local").unlink()
    config.write_text(store + "s3://bucket/dvc\n    endpointurl = http://127.0.0.1:9\n")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(VicurError, match=r"AWS_ENDPOINT_URL_S3=http://127\.0\.0\.1:9"):
        fetched(str(clone / "data.dvc"), tmp_path / "other")


def test_shipped_repository_says_why_its_dataset_is_not_pulled() -> None:
    assert "vicur data prepare" in (REPOSITORY / ".dvc" / "config").read_text()


@pytest.mark.parametrize(
    "reference", ["digit-scenes", "/mnt/folder", "hf://team/x", "data", "http://x/y", f"{'a' * 32}.dir"]
)
def test_what_cannot_be_fetched_is_refused_with_the_forms(reference: str, tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="s3://bucket"):
        fetched(reference, tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_two_processes_do_not_write_the_same_output(repository: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    reference = reference_of(repository)
    name = hashlib.sha256(reference.partition("@")[0].encode()).hexdigest()[:12]
    work = tmp_path / f".data.{name}.fetch"
    work.mkdir()
    with FileLock(work / "lock"), pytest.raises(VicurError, match="by another process"):
        fetched(reference, tmp_path / "data")


def test_killed_command_resumes_at_the_byte(bucket: Any, proxy: CuttingProxy, tmp_path: Path) -> None:
    source = tmp_path / "repository" / "mine"
    source.mkdir(parents=True)
    (source / "examples.jsonl").write_bytes(b"{}\n")
    (source / "video.mp4").write_bytes(numpy_generator(0, "video").bytes(3 * MIB))
    (tmp_path / "repository" / ".dvc").mkdir()
    folder_hash = pin(source, tmp_path / "repository" / "mine.dvc").md5
    reference = f"{folder_hash}@{upload(tmp_path / 'repository' / '.dvc' / 'cache', bucket, 'dvc')}"
    place = tmp_path / "place"
    proxy.halt_after = 2 * MIB + 5
    command = [sys.executable, "-m", "vicur", "data", "fetch", reference, "--output", str(place / "mine")]
    with subprocess.Popen(command) as running:
        until = time.monotonic() + 50
        # The small file is complete, and the large one is halted.
        while not (
            any(path.stat().st_size >= 2 * MIB for path in place.glob("*/parts/*"))
            and any(place.glob("*/files/examples.jsonl"))
        ):
            assert time.monotonic() < until
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
    assert not (place / "mine").exists()
    proxy.halt_after = None
    proxy.requests.clear()
    assert not fetched(reference, place / "mine")
    # The listing and the rest of one file.
    assert [requested for _, requested in proxy.requests] == [None, f"bytes={2 * MIB}-"]
    assert dvc_hash(place / "mine").md5 == folder_hash
    assert [each.name for each in place.iterdir()] == ["mine"]
