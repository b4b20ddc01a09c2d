"""Datasets by their DVC hash. One is pushed by DVC itself, the others by our equal implementation (test_pin)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.data.conftest import make_context, row, upload
from tests.data.real_dvc import repository_of, run_dvc, with_remote
from vicur.config.data import DataConfig, FolderConfig, PinnedConfig
from vicur.data import PREPARE, PrepareSummary, pin, prepare, read_pin, stage_inputs
from vicur.errors import VicurError
from vicur.stage.runner import stage_identity
from vicur.storage.folders import files_below, tree_sha256

Source = Callable[..., Path]
NO_HASH = f"{'0' * 32}.dir"


def prepared(config: DataConfig, output: Path) -> PrepareSummary:
    config = config.model_copy(update={"required_splits": ()})
    output.mkdir(parents=True)
    return prepare(config, stage_inputs(config), output, make_context(output.parent / "work"))


@pytest.fixture(scope="module")
def pushed(small: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Hash of the small dataset, and a DVC remote with it. Do not write to it."""
    repository = repository_of(tmp_path_factory.mktemp("pushed") / "repository", small)
    state = pin(repository / "data", repository / "data.dvc")
    # DVC's cache has the layout of a remote.
    return state.md5, repository / ".dvc" / "cache"


@pytest.fixture
def remote(pushed: tuple[str, Path], tmp_path: Path) -> Path:
    """A copy of DVC's remote that a test may damage."""
    copy = shutil.copytree(pushed[1], tmp_path / "remote")
    for path in files_below(copy):
        path.chmod(0o644)
    return copy


def object_of(remote: Path, file: Path) -> Path:
    md5 = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    return remote / "files" / "md5" / md5[:2] / md5[2:]


def with_listing(remote: Path, listing: Any) -> str:
    """Puts a listing into the remote under its right hash."""
    content = listing if isinstance(listing, bytes) else json.dumps(listing).encode()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    place = remote / "files" / "md5" / md5[:2] / f"{md5[2:]}.dir"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return f"{md5}.dir"


def test_a_prepared_dataset_is_copied_unchanged(pushed: tuple[str, Path], small: Path, tmp_path: Path) -> None:
    folder_hash, remote = pushed
    summary = prepared(PinnedConfig(hash=folder_hash, remote=str(remote)), tmp_path / "data")
    assert tree_sha256(tmp_path / "data") == tree_sha256(small)
    assert summary.dataset_hash == folder_hash
    assert summary.key_figure == "312 examples (base 18, distill 12, validation 6, test 270, ood 6)"


def test_a_dataset_pushed_to_s3_is_fetched_without_dvc(
    bucket: Any, s3_address: str, small: Path, tmp_path: Path
) -> None:
    repository = repository_of(tmp_path / "repository", small)
    with_remote(repository, url=f"s3://{bucket.name}/team/dvc", endpointurl=s3_address)
    pin(repository / "data", repository / "data.dvc")
    run_dvc(repository, "push", "-q")
    folder_hash = read_pin(repository / "data.dvc").md5
    shutil.rmtree(repository)
    summary = prepared(PinnedConfig(hash=folder_hash, remote="s3://bucket/team/dvc"), tmp_path / "data")
    assert tree_sha256(tmp_path / "data") == tree_sha256(small)
    assert summary.dataset_hash == folder_hash


def test_a_pinned_source_gives_the_same_bytes_as_the_folder(source: Source, tmp_path: Path) -> None:
    folder = source(row("a"), row("b", split="distill", question="Which?", images=["deep/ü.png"]))
    (folder / "deep").mkdir()
    shutil.copy(folder / "a.png", folder / "deep" / "ü.png")  # one object for two files
    repository = repository_of(tmp_path / "repository", folder)
    state = pin(repository / "data", repository / "data.dvc")  # what dvc add does
    config = PinnedConfig(hash=state.md5, remote=str(repository / ".dvc" / "cache"))
    summary = prepared(config, tmp_path / "by-hash" / "data")
    prepared(FolderConfig(path=folder), tmp_path / "by-path" / "data")
    assert summary.examples == {"distill": 1, "test": 1}
    assert tree_sha256(tmp_path / "by-hash" / "data") == tree_sha256(tmp_path / "by-path" / "data")


def test_the_hash_alone_is_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    here, there = (PinnedConfig(hash=NO_HASH, remote=remote) for remote in ("s3://bucket/a", "/mnt/dvc"))
    other = PinnedConfig(hash=f"{'1' * 32}.dir", remote="/mnt/dvc")
    of = [stage_identity(PREPARE, config, stage_inputs(config), 0) for config in (here, there, other)]
    assert of[0] == of[1] != of[2]


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:-1] + b"?", lambda _: b""])
def test_a_damaged_file_is_reported_by_name(
    pushed: tuple[str, Path], remote: Path, small: Path, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    damaged = object_of(remote, small / "test-00000.parquet")
    damaged.write_bytes(change(damaged.read_bytes()))
    with pytest.raises(
        VicurError, match=r"is damaged: it does not have the content of 'test-00000\.parquet'"
    ) as caught:
        prepared(PinnedConfig(hash=pushed[0], remote=str(remote)), tmp_path / "data")
    assert caught.value.where == str(damaged)
    assert "dvc push" in caught.value.remedy
    assert not any((tmp_path / "data").iterdir())


def test_a_missing_file_is_reported_by_name(
    pushed: tuple[str, Path], remote: Path, small: Path, tmp_path: Path
) -> None:
    missing = object_of(remote, small / "manifest.json")
    missing.unlink()
    with pytest.raises(VicurError, match="does not exist") as caught:
        prepared(PinnedConfig(hash=pushed[0], remote=str(remote)), tmp_path / "data")
    assert caught.value.where == str(missing)


@pytest.mark.parametrize("on_s3", [False, True])
def test_a_missing_folder_and_a_missing_file_are_reported_for_folders_and_s3(
    pushed: tuple[str, Path], remote: Path, small: Path, bucket: Any, tmp_path: Path, on_s3: bool
) -> None:
    address = upload(remote, bucket, "dvc") if on_s3 else str(remote)
    with pytest.raises(VicurError, match=f"has no folder with the hash {NO_HASH}"):
        prepared(PinnedConfig(hash=NO_HASH, remote=address), tmp_path / "none" / "data")
    missing = object_of(remote, small / "manifest.json")
    key = missing.relative_to(remote).as_posix()
    missing.unlink()
    bucket.delete_objects(Delete={"Objects": [{"Key": f"dvc/{key}"}]})
    with pytest.raises(VicurError, match=f"{key}: does not exist"):
        prepared(PinnedConfig(hash=pushed[0], remote=address), tmp_path / "data")


def test_a_damaged_listing_is_rejected(pushed: tuple[str, Path], remote: Path, tmp_path: Path) -> None:
    listing = remote / "files" / "md5" / pushed[0][:2] / pushed[0][2:]
    listing.write_bytes(listing.read_bytes().replace(b"README", b"readme"))
    with pytest.raises(VicurError, match=r"\.dir: is damaged: its content does not have the hash"):
        prepared(PinnedConfig(hash=pushed[0], remote=str(remote)), tmp_path / "data")


def test_the_layout_of_dvc_2_is_rejected(pushed: tuple[str, Path], remote: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.move(remote / "files" / "md5", old)
    with pytest.raises(VicurError, match="only in the layout of DVC 2") as caught:
        prepared(PinnedConfig(hash=pushed[0], remote=str(old)), tmp_path / "data")
    assert "dvc cache migrate" in caught.value.remedy


MD5 = "0" * 32


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ([{"md5": MD5, "relpath": "/etc/passwd"}], "'/etc/passwd', which is not a path inside"),
        ([{"md5": MD5, "relpath": "../escaped"}], "'../escaped', which is not a path inside"),
        ([{"md5": MD5, "relpath": "a/../../escaped"}], "is not a path inside"),
        ([{"md5": MD5, "relpath": "a\\..\\escaped"}], "is not a path inside"),
        ([{"md5": MD5, "relpath": "C:\\escaped"}], "is not a path inside"),
        ([{"md5": MD5, "relpath": "a//b"}], "is not a path inside"),
        ([{"md5": MD5, "relpath": "./a"}], "is not a path inside"),
        ([{"md5": MD5, "relpath": "a\0b"}], "is not a path inside"),
        ([{"md5": MD5, "relpath": ""}], "is not a path inside"),
        ([{"md5": MD5, "relpath": "a"}, {"md5": "1" * 32, "relpath": "a"}], "lists the file 'a' twice"),
        ([{"md5": MD5, "relpath": "a"}, {"md5": MD5, "relpath": "a/b/c"}], "lists 'a' as a file and as a folder"),
        (
            [{"md5": "../../../../etc/x", "relpath": "a"}],
            r"not a listing of a folder as DVC 3 writes it \(\[0\]\.md5 is not a hash",
        ),
        ([{"md5-dos2unix": MD5, "relpath": "a"}], r"not a listing .* \(\[0\]\.md5 is missing\)"),
        ([{"md5": MD5}], r"not a listing .* \(\[0\]\.relpath"),
        ({"md5": MD5}, "not a listing of a folder"),
        (b"[", "not a listing of a folder"),
        (b"\xff", "not a listing of a folder"),
        ([], "contains neither a prepared dataset"),
        ([{"md5": MD5, "relpath": "deep/manifest.yaml"}], "contains neither a prepared dataset"),
    ],
)
def test_an_unsafe_or_invalid_listing_is_rejected_before_anything_is_fetched(
    tmp_path: Path, listing: Any, message: str
) -> None:
    remote = tmp_path / "remote"
    folder_hash = with_listing(remote, listing)
    with pytest.raises(VicurError, match=message):
        prepared(PinnedConfig(hash=folder_hash, remote=str(remote)), tmp_path / "data")
    assert not (tmp_path / "work" / "fetched").exists()


def test_a_prepared_dataset_is_verified_before_it_is_copied(small: Path, tmp_path: Path) -> None:
    wrong = shutil.copytree(small, tmp_path / "wrong")
    shutil.copy(small / "ood-00000.parquet", wrong / "validation-00000.parquet")
    repository = repository_of(tmp_path / "repository", wrong)
    state = pin(repository / "data", repository / "data.dvc")  # what dvc add does
    config = PinnedConfig(hash=state.md5, remote=str(repository / ".dvc" / "cache"))
    with pytest.raises(VicurError, match="belongs to split ood, but the file to split validation"):
        prepared(config, tmp_path / "data")
    assert not any((tmp_path / "data").iterdir())


def test_a_remote_that_is_not_mounted_is_reported(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"none: is not a folder\. Correct the path, or mount the storage"):
        prepared(PinnedConfig(hash=NO_HASH, remote=str(tmp_path / "none")), tmp_path / "data")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hash": "0" * 32}, "hash"),
        ({"hash": f"{'A' * 32}.dir"}, "hash"),
        ({"remote": ""}, "remote"),
        ({"remote": "gs://bucket/x"}, "neither an S3 address .* nor a folder"),
        ({"remote": "s3://B/x"}, "neither an S3 address .* nor a folder"),
        ({"path": "x"}, "path"),
    ],
)
def test_invalid_settings_are_rejected(changes: dict[str, str], message: str) -> None:
    adapter: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)
    with pytest.raises(ValidationError, match=message):
        adapter.validate_python({"type": "pinned", "hash": NO_HASH, "remote": "s3://bucket/x", **changes})
