"""What stores and networks do wrong while a dataset is fetched, by hash, by address, and with ``vicur data fetch``."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import make_context, upload
from tests.data.cutting_proxy import CuttingProxy
from vicur.config.data import DataConfig, PinnedConfig, RemoteConfig
from vicur.data import dvc_hash, pin, prepare, stage_inputs
from vicur.data.download import download
from vicur.data.fetch import RemoteFile, fetch
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.storage.folders import files_below
from vicur.storage.object_store import objects_at

Fetch = Callable[[Path], str]


@pytest.fixture(scope="module")
def pushed(small: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Hash of the small dataset, and DVC's cache with it, which has the layout of a remote."""
    repository = tmp_path_factory.mktemp("repository")
    shutil.copytree(small, repository / "data")
    (repository / ".dvc").mkdir()
    return pin(repository / "data", repository / "data.dvc").md5, repository / ".dvc" / "cache"


def prepared(config: DataConfig, folder: Path) -> str:
    config = config.model_copy(update={"required_splits": ()})
    output = folder / "prepared"
    if output.exists():
        shutil.rmtree(output)
    output.mkdir(parents=True)
    return prepare(config, stage_inputs(config), output, make_context(folder / "work")).dataset_hash


@pytest.fixture(params=["pinned", "remote", "fetch by hash", "fetch by address"])
def fetch_dataset(
    request: pytest.FixtureRequest, pushed: tuple[str, Path], small: Path, bucket: Any, proxy: CuttingProxy
) -> Fetch:
    """Each way to fetch the small dataset through the proxy to a folder. Returns the hash of what was fetched."""
    del proxy
    folder_hash, cache = pushed
    is_dvc = request.param in ("pinned", "fetch by hash")
    remote = upload(cache, bucket, "dvc") if is_dvc else upload(small, bucket, "plain")
    if request.param == "pinned":
        return lambda folder: prepared(PinnedConfig(hash=folder_hash, remote=remote), folder)
    if request.param == "remote":
        return lambda folder: prepared(RemoteConfig(uri=remote), folder)
    reference = f"{folder_hash}@{remote}" if request.param == "fetch by hash" else remote
    return lambda folder: download(reference, folder / "data", Events("fetch", None)).dataset_hash


@pytest.fixture
def objects_behind(bucket: Any, proxy: CuttingProxy) -> Any:  # noqa: ARG001 (the client must find the proxy)
    bucket.put_object(Key="p/a", Body=b"content")
    return objects_at("s3://bucket/p")


@pytest.mark.parametrize("refusals", [[(503, "SlowDown")] * 4, [(503, "ServiceUnavailable"), (500, "InternalError")]])
def test_busy_store_is_asked_again(
    fetch_dataset: Fetch, proxy: CuttingProxy, tmp_path: Path, small: Path, refusals: list[tuple[int, str]]
) -> None:
    proxy.refusals = list(refusals)
    assert fetch_dataset(tmp_path) == dvc_hash(small).md5
    # And again between the files.
    proxy.refusals, proxy.refuse_after = list(refusals), 3
    assert fetch_dataset(tmp_path / "again") == dvc_hash(small).md5
    assert not proxy.refusals


def test_cut_connections_and_short_bodies_are_resumed(
    fetch_dataset: Fetch, proxy: CuttingProxy, tmp_path: Path, small: Path
) -> None:
    proxy.cut_after, proxy.cuts = 3000, 5
    assert fetch_dataset(tmp_path / "cut") == dvc_hash(small).md5
    assert any(requested for _, requested in proxy.requests)
    proxy.cut_after, proxy.short = None, 1
    assert fetch_dataset(tmp_path / "short") == dvc_hash(small).md5


def test_wrong_byte_is_noticed_and_fetched_again(
    fetch_dataset: Fetch, proxy: CuttingProxy, tmp_path: Path, small: Path
) -> None:
    proxy.wrong = 1
    assert fetch_dataset(tmp_path) == dvc_hash(small).md5
    assert not proxy.wrong


def test_damage_that_stays_is_reported_and_not_kept(
    fetch_dataset: Fetch, proxy: CuttingProxy, tmp_path: Path, small: Path
) -> None:
    proxy.wrong = 1000
    with pytest.raises(VicurError, match="damaged"):
        fetch_dataset(tmp_path)
    assert not (tmp_path / "data").exists()
    proxy.wrong = 0
    assert fetch_dataset(tmp_path) == dvc_hash(small).md5


class Encrypted:
    """Objects whose ETags look like MD5s and are none, as in buckets with SSE-KMS."""

    address = "s3://encrypted"

    def __init__(self) -> None:
        self.copies = 0

    def copy(self, key: str, target: Path, on_bytes: Callable[[int], None], version: str = "") -> None:
        del key, on_bytes, version
        self.copies += 1
        target.write_bytes(b"content")


def test_etag_that_only_looks_like_an_md5_is_accepted_if_the_content_stays_the_same(tmp_path: Path) -> None:
    objects: Any = Encrypted()
    folder = fetch([RemoteFile("a", "a", version="0" * 32)], objects, tmp_path, Events("fetch", None))
    assert (folder / "a").read_bytes() == b"content"
    assert objects.copies == 2


def test_wrong_byte_in_a_file_with_a_hash_is_fetched_again_at_once(
    objects_behind: Any, proxy: CuttingProxy, tmp_path: Path
) -> None:
    proxy.wrong = 1
    file = RemoteFile("a", "a", md5=hashlib.md5(b"content").hexdigest())  # noqa: S324
    folder = fetch([file], objects_behind, tmp_path, Events("fetch", None))
    assert (folder / "a").read_bytes() == b"content"
    assert len(proxy.requests) == 2


def test_file_that_is_wrong_twice_is_reported(objects_behind: Any, proxy: CuttingProxy, tmp_path: Path) -> None:
    proxy.wrong = 2
    file = RemoteFile("a", "a", md5=hashlib.md5(b"content").hexdigest())  # noqa: S324
    with pytest.raises(VicurError, match=r"p/a: is damaged: "):
        fetch([file], objects_behind, tmp_path, Events("fetch", None))


def test_expired_login_is_named_and_not_retried_and_the_next_attempt_resumes(
    fetch_dataset: Fetch, proxy: CuttingProxy, tmp_path: Path, small: Path
) -> None:
    proxy.refusals, proxy.refuse_after = [(403, "ExpiredToken")] * 100, 3
    with pytest.raises(VicurError, match="The credentials have expired: log in again") as failed:
        fetch_dataset(tmp_path)
    assert "AWS_SESSION_TOKEN" in failed.value.remedy
    assert not failed.value.retryable
    served = {path for path, _ in proxy.requests}
    proxy.refusals = []
    proxy.requests.clear()
    assert fetch_dataset(tmp_path) == dvc_hash(small).md5
    again = {path for path, _ in proxy.requests} & served
    # Listings are read again, and so are files that were still being fetched.
    assert len(again) < len(served)


def test_store_that_stays_busy_is_reported_and_retryable(
    fetch_dataset: Fetch, proxy: CuttingProxy, tmp_path: Path
) -> None:
    proxy.refusals = [(503, "SlowDown")] * 1000
    with pytest.raises(VicurError, match="overloaded: try again later") as failed:
        fetch_dataset(tmp_path)
    assert failed.value.retryable


def test_listing_of_many_pages_is_complete(small: Path, bucket: Any, proxy: CuttingProxy, tmp_path: Path) -> None:
    remote = upload(small, bucket, "plain")
    proxy.page = 2
    count = len(files_below(small))
    assert len(objects_at(remote).all()) == count
    assert proxy.listings == (count + 1) // 2
    assert download(remote, tmp_path / "data", Events("fetch", None)).dataset_hash == dvc_hash(small).md5
