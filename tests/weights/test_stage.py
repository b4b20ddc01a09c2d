"""Weights are staged whole or not at all, once, and from a folder or S3 (moto, which is a stand-in)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.weights.factory import STAGED, model_files, names_below, write_model
from vicur.errors import VicurError
from vicur.weights import check, source_of, stage


def staged_names(into: Path) -> set[str]:
    return {p.name for p in into.iterdir() if not p.name.endswith(".lock")}


def test_a_folder_is_staged_without_what_can_run_code(tmp_path: Path) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    staged = stage(source_of(str(source)), str(into))
    assert staged.fetched
    assert staged.place == str(into / "tiny")
    assert names_below(into / "tiny") == STAGED
    assert staged_names(into) == {"tiny"}
    assert (into / "tiny" / "model.safetensors").read_bytes() == model_files()["model.safetensors"]


def test_a_model_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    stage(source_of(str(source)), str(into))
    before = (into / "tiny" / "model.safetensors").stat()
    again = stage(source_of(str(source)), str(into))
    assert not again.fetched
    after = (into / "tiny" / "model.safetensors").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_change_of_the_source_does_not_reach_what_was_staged(tmp_path: Path) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    stage(source_of(str(source)), str(into))
    with (source / "model.safetensors").open("r+b") as stream:
        stream.write(b"\0\0")
    assert check(into / "tiny")


def test_a_damaged_model_is_fetched_again(tmp_path: Path) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    stage(source_of(str(source)), str(into))
    (into / "tiny" / "merges.txt").write_bytes(b"b a\n")
    with pytest.raises(VicurError, match=r"not what its record says: merges\.txt differ"):
        check(into / "tiny")
    assert stage(source_of(str(source)), str(into)).fetched
    assert check(into / "tiny")


def test_another_model_of_the_same_name_is_replaced_only_when_told(tmp_path: Path) -> None:
    into = tmp_path / "cache"
    stage(source_of(str(write_model(tmp_path / "a" / "tiny"))), str(into))
    other = source_of(str(write_model(tmp_path / "b" / "tiny", seed=1)))
    with pytest.raises(VicurError, match="another model"):
        stage(other, str(into))
    assert (into / "tiny" / "model.safetensors").read_bytes() == model_files()["model.safetensors"]
    assert stage(other, str(into), replace=True).fetched
    assert (into / "tiny" / "model.safetensors").read_bytes() == model_files(1)["model.safetensors"]
    assert staged_names(into) == {"tiny"}


def test_a_folder_that_is_there_and_was_not_staged_is_not_touched(tmp_path: Path) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    (into / "tiny").mkdir(parents=True)
    (into / "tiny" / "mine.txt").write_text("keep")
    with pytest.raises(VicurError, match="another model"):
        stage(source_of(str(source)), str(into))
    assert (into / "tiny" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json not found"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"\*\.safetensors not found"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 64), "not a whole safetensors file"),
    ],
)
def test_what_is_no_model_is_not_put_in_its_place(tmp_path: Path, spoil: Any, message: str) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    spoil(source)
    with pytest.raises(VicurError, match=message):
        stage(source_of(str(source)), str(into))
    assert not (into / "tiny").exists()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("https://ann:hush@host/model", "https://***@host/model: is neither a folder"),
        ("s3://key:hush@bucket/model", "s3://***@bucket/model: is not an S3 address"),
        ("s3://bucket", "names a bucket and no model in it"),
        ("", "an empty name: is neither a folder"),
    ],
)
def test_what_names_no_source_is_told_without_its_secrets(source: str, says: str) -> None:
    with pytest.raises(VicurError) as error:
        source_of(source)
    assert says in str(error.value)
    assert "hush" not in str(error.value)


def test_a_source_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="neither a folder"):
        stage(source_of(str(tmp_path / "none")), str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "..", "/root"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    source = source_of(str(write_model(tmp_path / "tiny")))
    with pytest.raises(VicurError, match="no name of a folder"):
        stage(source, str(tmp_path / "cache"), name)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["../../etc/cron.json", "/etc/x.json", "run.py"])
def test_a_record_that_names_other_files_is_refused(tmp_path: Path, name: str) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    stage(source_of(str(source)), str(into))
    record = into / "tiny" / "vicur-model.json"
    record.write_text(record.read_text().replace('"merges.txt"', f'"{name}"'))
    with pytest.raises(VicurError, match="no staged model has"):
        stage(source_of(str(into / "tiny")), str(tmp_path / "second"))
    assert not (tmp_path / "second" / "tiny").exists()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for key, value in (("AWS_ENDPOINT_URL", server), ("AWS_DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    bucket = boto3.resource("s3").Bucket("models")
    bucket.create()
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()


def test_a_model_goes_to_s3_and_from_there_into_a_cluster(tmp_path: Path, bucket: Any) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    sent = stage(source_of(str(source)), "s3://models/base")
    assert sent.fetched
    assert sent.place == "s3://models/base/tiny"
    assert {o.key.removeprefix("base/tiny/") for o in bucket.objects.all()} == STAGED
    assert not stage(source_of(str(source)), "s3://models/base").fetched
    assert stage(source_of("s3://models/base/tiny"), str(into)).fetched
    assert not stage(source_of("s3://models/base/tiny/"), str(into)).fetched
    # The model is the same to the byte, its record included, so a step's cache knows it again.
    assert check(into / "tiny") == sent.record
    assert names_below(into / "tiny") == STAGED


def test_bytes_that_changed_on_s3_are_not_taken(tmp_path: Path, bucket: Any) -> None:
    stage(source_of(str(write_model(tmp_path / "tiny"))), "s3://models/base")
    bucket.put_object(Key="base/tiny/merges.txt", Body=b"b a\n")
    with pytest.raises(VicurError, match=r"merges\.txt differ") as caught:
        stage(source_of("s3://models/base/tiny"), str(tmp_path / "cache"))
    assert caught.value.retryable
    assert not (tmp_path / "cache" / "tiny").exists()


def test_weights_on_s3_without_a_record_are_refused_with_the_remedy(tmp_path: Path, bucket: Any) -> None:
    bucket.put_object(Key="base/tiny/config.json", Body=b"{}")
    with pytest.raises(VicurError, match=r"holds no vicur-model\.json.*vicur models stage FOLDER --into s3://"):
        stage(source_of("s3://models/base/tiny"), str(tmp_path / "cache"))


@pytest.mark.usefixtures("bucket")
def test_another_model_on_s3_is_replaced_only_when_told(tmp_path: Path) -> None:
    stage(source_of(str(write_model(tmp_path / "a" / "tiny"))), "s3://models")
    other = source_of(str(write_model(tmp_path / "b" / "tiny", seed=1)))
    with pytest.raises(VicurError, match="another model"):
        stage(other, "s3://models")
    assert stage(other, "s3://models", replace=True).fetched
