"""Models are installed once, completely or not at all, from a folder or from S3 (moto)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.weights.factory import STAGED, model_files, names_below, write_model
from vicur.errors import VicurError
from vicur.weights import check, install, model_source


def visible_names(into: Path) -> set[str]:
    return {p.name for p in into.iterdir() if not p.name.endswith(".lock")}


def test_files_that_can_run_code_are_not_installed(tmp_path: Path) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    installed = install(model_source(str(source)), str(into))
    assert installed.fetched
    assert installed.place == str(into / "tiny")
    assert names_below(into / "tiny") == STAGED
    assert visible_names(into) == {"tiny"}
    assert (into / "tiny" / "model.safetensors").read_bytes() == model_files()["model.safetensors"]


def test_an_installed_model_is_not_touched(tmp_path: Path) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    install(model_source(str(source)), str(into))
    before = (into / "tiny" / "model.safetensors").stat()
    again = install(model_source(str(source)), str(into))
    assert not again.fetched
    after = (into / "tiny" / "model.safetensors").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_changing_the_source_does_not_change_the_installed_model(tmp_path: Path) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    install(model_source(str(source)), str(into))
    with (source / "model.safetensors").open("r+b") as stream:
        stream.write(b"\0\0")
    assert check(into / "tiny")


def test_a_damaged_model_is_fetched_again(tmp_path: Path) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    install(model_source(str(source)), str(into))
    (into / "tiny" / "merges.txt").write_bytes(b"b a\n")
    with pytest.raises(VicurError, match=r"does not match its record, which lists other bytes for merges\.txt"):
        check(into / "tiny")
    assert install(model_source(str(source)), str(into)).fetched
    assert check(into / "tiny")


def test_another_model_of_the_same_name_needs_replace(tmp_path: Path) -> None:
    into = tmp_path / "cache"
    install(model_source(str(write_model(tmp_path / "a" / "tiny"))), str(into))
    other = model_source(str(write_model(tmp_path / "b" / "tiny", seed=1)))
    with pytest.raises(VicurError, match="another model"):
        install(other, str(into))
    assert (into / "tiny" / "model.safetensors").read_bytes() == model_files()["model.safetensors"]
    assert install(other, str(into), replace=True).fetched
    assert (into / "tiny" / "model.safetensors").read_bytes() == model_files(1)["model.safetensors"]
    assert visible_names(into) == {"tiny"}


def test_a_folder_that_was_not_staged_is_not_touched(tmp_path: Path) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    (into / "tiny").mkdir(parents=True)
    (into / "tiny" / "mine.txt").write_text("keep")
    with pytest.raises(VicurError, match="another model"):
        install(model_source(str(source)), str(into))
    assert (into / "tiny" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json not found"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"\*\.safetensors not found"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 64), "not a complete safetensors file"),
    ],
)
def test_an_incomplete_model_is_not_installed(tmp_path: Path, spoil: Any, message: str) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    spoil(source)
    with pytest.raises(VicurError, match=message):
        install(model_source(str(source)), str(into))
    assert not (into / "tiny").exists()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("https://ann:hush@host/model", "https://***@host/model: is neither a folder"),
        ("s3://key:hush@bucket/model", "s3://***@bucket/model: is not an S3 address"),
        ("s3://bucket", "names a bucket, but not a model in it"),
        ("", "an empty name: is neither a folder"),
    ],
)
def test_an_invalid_source_is_reported_without_its_secrets(source: str, says: str) -> None:
    with pytest.raises(VicurError) as error:
        model_source(source)
    assert says in str(error.value)
    assert "hush" not in str(error.value)


def test_a_missing_source_is_reported(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="neither a folder"):
        install(model_source(str(tmp_path / "none")), str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "..", "/root"])
def test_a_name_that_leads_out_of_the_folder_is_rejected(tmp_path: Path, name: str) -> None:
    source = model_source(str(write_model(tmp_path / "tiny")))
    with pytest.raises(VicurError, match="not the name of a folder"):
        install(source, str(tmp_path / "cache"), name)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["../../etc/cron.json", "/etc/x.json", "run.py"])
def test_a_record_that_lists_other_files_is_rejected(tmp_path: Path, name: str) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    install(model_source(str(source)), str(into))
    record = into / "tiny" / "vicur-model.json"
    record.write_text(record.read_text().replace('"merges.txt"', f'"{name}"'))
    with pytest.raises(VicurError, match="not a file of a staged model"):
        install(model_source(str(into / "tiny")), str(tmp_path / "second"))
    assert not (tmp_path / "second" / "tiny").exists()


def upload(bucket: Any, seed: int = 0) -> None:
    """Upload a model as other tools do, without a record."""
    for name, content in model_files(seed).items():
        bucket.put_object(Key=f"base/tiny/{name}", Body=content)


def test_a_model_is_installed_to_s3_and_from_there_to_a_folder(tmp_path: Path, bucket: Any) -> None:
    source, into = write_model(tmp_path / "tiny"), tmp_path / "cache"
    sent = install(model_source(str(source)), "s3://models/base")
    assert sent.fetched
    assert sent.place == "s3://models/base/tiny"
    assert {o.key.removeprefix("base/tiny/") for o in bucket.objects.all()} == STAGED
    assert not install(model_source(str(source)), "s3://models/base").fetched
    assert install(model_source("s3://models/base/tiny"), str(into)).fetched
    assert not install(model_source("s3://models/base/tiny/"), str(into)).fetched
    # The record is identical too, so a step's cache recognises the model.
    assert check(into / "tiny") == sent.record
    assert names_below(into / "tiny") == STAGED


def test_files_that_changed_on_s3_are_rejected(tmp_path: Path, bucket: Any) -> None:
    install(model_source(str(write_model(tmp_path / "tiny"))), "s3://models/base")
    bucket.put_object(Key="base/tiny/merges.txt", Body=b"b a\n")
    with pytest.raises(VicurError, match=r"merges\.txt: is damaged"):
        install(model_source("s3://models/base/tiny"), str(tmp_path / "cache"))
    assert not (tmp_path / "cache" / "tiny").exists()


def test_a_model_that_was_uploaded_by_other_means_gets_a_record(tmp_path: Path, bucket: Any) -> None:
    upload(bucket)
    installed = install(model_source("s3://models/base/tiny"), str(tmp_path / "cache"))
    assert names_below(tmp_path / "cache" / "tiny") == STAGED
    assert check(tmp_path / "cache" / "tiny") == installed.record
    assert sorted(installed.skipped) == ["README.md", "modeling_custom.py", "pytorch_model.bin"]


def test_an_incomplete_model_on_s3_is_rejected(tmp_path: Path, bucket: Any) -> None:
    bucket.put_object(Key="base/tiny/config.json", Body=b"{}")
    with pytest.raises(VicurError, match=r"not a complete model: tokenizer_config\.json"):
        install(model_source("s3://models/base/tiny"), str(tmp_path / "cache"))
    assert not (tmp_path / "cache" / "tiny").exists()


def test_a_record_on_s3_without_one_of_its_files_is_rejected(tmp_path: Path, bucket: Any) -> None:
    install(model_source(str(write_model(tmp_path / "tiny"))), "s3://models/base")
    bucket.Object("base/tiny/merges.txt").delete()
    with pytest.raises(VicurError, match=r"has no merges\.txt, which its record lists"):
        install(model_source("s3://models/base/tiny"), str(tmp_path / "cache"))


@pytest.mark.usefixtures("bucket")
def test_another_model_on_s3_needs_replace(tmp_path: Path) -> None:
    install(model_source(str(write_model(tmp_path / "a" / "tiny"))), "s3://models")
    other = model_source(str(write_model(tmp_path / "b" / "tiny", seed=1)))
    with pytest.raises(VicurError, match="another model"):
        install(other, "s3://models")
    assert install(other, "s3://models", replace=True).fetched
