"""Datasets by an address on S3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.data.conftest import make_context, png, row, upload
from vicur.config.data import FolderConfig, RemoteConfig
from vicur.data import PREPARE, SOURCES, PrepareSummary, dvc_hash, prepare, stage_inputs
from vicur.errors import VicurError
from vicur.stage.runner import stage_identity
from vicur.storage.folders import tree_sha256

Source = Callable[..., Path]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VICUR_SCRATCH", str(tmp_path / "scratch"))


def prepared(config: RemoteConfig | FolderConfig, output: Path) -> PrepareSummary:
    config = config.model_copy(update={"required_splits": ()})
    output.mkdir(parents=True)
    return prepare(config, stage_inputs(config), output, make_context(output.parent / "work"))


def identity(config: RemoteConfig) -> dict[str, Any]:
    return stage_identity(PREPARE, config, stage_inputs(config), 0)


def test_a_source_on_s3_gives_the_same_bytes_as_the_folder(source: Source, bucket: Any, tmp_path: Path) -> None:
    folder = source(row("a"), row("b", split="distill", question="Which?"))
    summary = prepared(RemoteConfig(uri=upload(folder, bucket, "team/mine")), tmp_path / "remote" / "data")
    prepared(FolderConfig(path=folder), tmp_path / "local" / "data")
    assert summary.key_figure == "2 examples (distill 1, test 1)"
    assert tree_sha256(tmp_path / "remote" / "data") == tree_sha256(tmp_path / "local" / "data")


def test_a_prepared_dataset_on_s3_is_copied_unchanged(small: Path, bucket: Any, tmp_path: Path) -> None:
    summary = prepared(RemoteConfig(uri=upload(small, bucket, "prepared")), tmp_path / "data")
    assert tree_sha256(tmp_path / "data") == tree_sha256(small)
    assert summary.dataset_hash == dvc_hash(small).md5


def test_the_address_may_be_a_whole_bucket(source: Source, bucket: Any, tmp_path: Path) -> None:
    for name in ("examples.jsonl", "a.png"):
        bucket.put_object(Key=name, Body=(source(row("a"), name=name) / name).read_bytes())
    bucket.put_object(Key="deep/", Body=b"")  # consoles create such objects for folders
    assert prepared(RemoteConfig(uri="s3://bucket"), tmp_path / "data").examples == {"test": 1}


def test_the_identity_depends_on_the_content_and_not_on_the_address(source: Source, bucket: Any) -> None:
    folder = source(row("a"))
    here, there = (RemoteConfig(uri=upload(folder, bucket, name)) for name in ("here", "there/too"))
    before = identity(here)
    assert identity(there) == before
    bucket.put_object(Key="here/a.png", Body=png(colour=(1, 2, 3)))
    assert identity(here) != before
    assert identity(there) == before


def test_a_hash_is_the_identity_and_the_fetched_files_must_have_it(
    source: Source, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = source(row("a"))
    config = RemoteConfig(uri=upload(folder, bucket, "mine"), hash=dvc_hash(folder).md5)
    assert prepared(config, tmp_path / "data").examples == {"test": 1}

    # A file of the right size with wrong bytes, which the next attempt in the same work folder must not keep.
    image = (folder / "a.png").read_bytes()
    bucket.put_object(Key="mine/a.png", Body=image[:-1] + b"?")
    with pytest.raises(VicurError, match=r"s3://bucket/mine: has hash \w+\.dir, but data\.hash is \w+\.dir"):
        prepared(config, tmp_path / "again" / "data")
    bucket.put_object(Key="mine/a.png", Body=image)
    assert prepared(config, tmp_path / "again" / "mended").examples == {"test": 1}

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    elsewhere = RemoteConfig(uri="s3://elsewhere/x", hash=config.hash)
    assert identity(elsewhere) == identity(config)


def test_a_configured_hash_is_enough_for_the_platforms_cache() -> None:
    # No bucket exists here: listing it would raise an error.
    config = RemoteConfig(uri="s3://bucket/mine", hash=f"{'0' * 32}.dir")
    assert SOURCES["remote"].cache_token(config) is None


def test_data_that_change_between_listing_and_fetching_are_rejected(
    source: Source, bucket: Any, tmp_path: Path
) -> None:
    config = RemoteConfig(uri=upload(source(row("a")), bucket, "mine"))
    inputs = stage_inputs(config)
    bucket.put_object(Key="mine/a.png", Body=png(colour=(1, 2, 3)))
    (tmp_path / "data").mkdir()
    with pytest.raises(VicurError, match=r"mine/a\.png: was changed while it was being fetched"):
        prepare(config, inputs, tmp_path / "data", make_context(tmp_path / "work"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ((), r"s3://bucket/mine: is empty\. Correct data\.uri"),
        (("other.txt",), "contains neither a prepared dataset"),
        (("examples.jsonl", "../escaped"), "'../escaped', which is not a path inside"),
        (("examples.jsonl", "a//b"), "'a//b', which is not a path inside"),
    ],
)
def test_an_address_without_a_dataset_is_rejected(
    bucket: Any, tmp_path: Path, keys: tuple[str, ...], message: str
) -> None:
    for key in keys:
        bucket.put_object(Key=f"mine/{key}", Body=json.dumps(row("a")).encode())
    bucket.put_object(Key="minefield/examples.jsonl", Body=b"another folder, whose name begins alike")
    with pytest.raises(VicurError, match=message):
        prepared(RemoteConfig(uri="s3://bucket/mine"), tmp_path / "data")
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.usefixtures("bucket")
def test_a_missing_bucket_is_reported_before_the_stage_starts() -> None:
    with pytest.raises(VicurError, match="NoSuchBucket") as refused:
        stage_inputs(RemoteConfig(uri="s3://elsewhere/x"))
    assert not refused.value.retryable


@pytest.mark.parametrize("uri", ["/mnt/x", "s3://", "s3://B/x", "http://bucket/x", "s3://bucket\n"])
def test_an_invalid_address_is_rejected(uri: str) -> None:
    with pytest.raises(ValidationError, match="uri"):
        RemoteConfig(uri=uri)


def test_an_invalid_hash_is_rejected() -> None:
    with pytest.raises(ValidationError, match="is not DVC's hash of a folder"):
        RemoteConfig(uri="s3://bucket/x", hash="0" * 32)
