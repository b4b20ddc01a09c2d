"""Pins are compared with DVC itself, whose command line runs in temporary repositories."""

import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.real_dvc import REPOSITORY, repository_of, run_dvc
from vicur.data import check_pin, dvc_hash, pin, read_pin, store_if_pinned
from vicur.errors import VicurError


def test_a_fresh_build_matches_data_dvc_and_dvc_agrees(embedded: Path, tmp_path: Path) -> None:
    """Fails if the dataset has changed. If that is intended, run ``vicur data prepare`` and ``vicur data pin``."""
    repository = repository_of(tmp_path / "repository", embedded)
    shutil.copy(REPOSITORY / "data.dvc", repository)
    assert check_pin(repository / "data", repository / "data.dvc").nfiles == 7
    assert store_if_pinned(repository / "data", repository / "data.dvc")
    assert "up to date" in run_dvc(repository, "status")

    shard = repository / "data" / "test-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert not store_if_pinned(repository / "data", repository / "data.dvc")
    with pytest.raises(VicurError, match=r"data: has hash \w+\.dir, but data\.dvc has \w+\.dir\."):
        check_pin(repository / "data", repository / "data.dvc")


def test_a_pin_equals_the_output_of_dvc_add(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    for name in ("b.txt", "a b.txt", "a/c.txt", "a-b/ü.txt", "a/b/empty", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("" if name.endswith("empty") else name)
    theirs, ours = (repository_of(tmp_path / name, folder) for name in ("theirs", "ours"))
    run_dvc(theirs, "add", "-q", "data")
    pin(ours / "data", ours / "data.dvc")
    assert (ours / "data.dvc").read_text() == (theirs / "data.dvc").read_text()
    assert _objects(ours) == _objects(theirs)


def _objects(repository: Path) -> dict[str, bytes]:
    cache = repository / ".dvc" / "cache" / "files" / "md5"
    return {path.relative_to(cache).as_posix(): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.from_regex(r"([a-z]{1,2}/)?[a-z]{1,2}\.txt", fullmatch=True), st.binary(max_size=9), min_size=1)
)
def test_the_hash_changes_with_every_byte(tmp_path: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(tmp_path / "f", ignore_errors=True)
    for name, content in files.items():
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).write_bytes(content)
    before = dvc_hash(tmp_path / "f")
    assert before == dvc_hash(tmp_path / "f")
    name = next(iter(files))
    (tmp_path / "f" / name).write_bytes(files[name] + b"!")
    assert dvc_hash(tmp_path / "f").md5 != before.md5


def test_pinning_again_keeps_other_settings_of_the_file(tmp_path: Path, small: Path) -> None:
    repository = repository_of(tmp_path / "repository", small)
    file = repository / "data.dvc"
    pin(repository / "data", file)
    document = yaml.safe_load(file.read_text())
    document["desc"] = "digits"
    document["outs"][0]["remote"] = "store"
    file.write_text(yaml.safe_dump(document))
    (repository / "data" / "more.txt").write_text("more")
    state = pin(repository / "data", file)
    changed = yaml.safe_load(file.read_text())
    assert changed["desc"] == "digits"
    assert changed["outs"][0]["remote"] == "store"
    assert read_pin(file) == state == dvc_hash(repository / "data")


def test_objects_go_to_the_configured_cache(tmp_path: Path, small: Path) -> None:
    repository = repository_of(tmp_path / "repository", small)
    (repository / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {tmp_path / 'elsewhere'}\n")
    state = pin(repository / "data", repository / "data.dvc")
    assert (tmp_path / "elsewhere" / "files" / "md5" / state.md5[:2] / state.md5[2:]).is_file()
    assert not (repository / ".dvc" / "cache").exists()


def test_without_a_dvc_folder_nothing_is_cached(tmp_path: Path, small: Path) -> None:
    shutil.copytree(small, tmp_path / "data")
    pin(tmp_path / "data", tmp_path / "data.dvc")
    assert store_if_pinned(tmp_path / "data", tmp_path / "data.dvc")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.dvc"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outs: [{md5: a.dir, path: data}]", r"data\.dvc:hash: has no 'hash: md5'"),
        ("outs: [{md5: a, hash: md5, path: data}]", r"data\.dvc:md5: is not the hash of a folder"),
        ("outs: []", r"data\.dvc:outs: does not list exactly one folder"),
        ("- 1", r"data\.dvc:outs: does not list exactly one folder"),
        ("{", r"data\.dvc: cannot be read"),
    ],
)
def test_other_dvc_files_are_rejected(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "data.dvc").write_text(text)
    with pytest.raises(VicurError, match=message):
        read_pin(tmp_path / "data.dvc")


def test_a_missing_file_or_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"data\.dvc: does not exist\. Write it with vicur data pin\."):
        read_pin(tmp_path / "data.dvc")
    with pytest.raises(VicurError, match=r"data: contains no files\."):
        pin(tmp_path / "data", tmp_path / "data.dvc")


def test_a_folder_outside_the_repository_cannot_be_pinned(tmp_path: Path, small: Path) -> None:
    with pytest.raises(VicurError, match=r"data: is not below .*, the folder of data\.dvc\."):
        pin(small, tmp_path / "data.dvc")
    assert not (tmp_path / "data.dvc").exists()
