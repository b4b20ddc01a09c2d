"""Download, verify and cache checkpoints of versions, from the embedded store and from a real server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.registry.conftest import Make, Registration
from tests.registry.factory import GOOD, run_register
from vicur.config.tracking import TrackingConfig
from vicur.config.training import MASTERS
from vicur.errors import VicurError
from vicur.modeling import load_model
from vicur.registry.checkpoints import fetch
from vicur.registry.lineage import checkpoint_sha256
from vicur.registry.provenance import PROVENANCE
from vicur.tracking.mlflow import connect


@pytest.fixture
def embedded(registered: TrackingConfig) -> MlflowClient:
    """The embedded store with a student."""
    return connect(registered)


@pytest.fixture(params=["in_store", "on_server"])
def client(request: pytest.FixtureRequest) -> MlflowClient:
    """The embedded store and a server, each with a student. Tests must not change it."""
    found: Registration = request.getfixturevalue(request.param)
    return connect(found.tracking)


def stored_weights() -> Path:
    (found,) = Path("mlflow/artifacts").rglob("checkpoint/model.safetensors")
    return found


def change(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    # It may be a hard link to the student's own file.
    file.unlink()
    file.write_bytes(content)


def test_a_version_is_downloaded_once_for_its_alias_and_its_number(client: MlflowClient, students: Make) -> None:
    first = fetch(client, "models:/students@champion", Path("served"))
    assert first.fetched
    assert first.version.number == "1"
    student = students(GOOD)["student"]
    assert first.folder == Path("served") / checkpoint_sha256(student)
    assert (first.folder / "model.safetensors").read_bytes() == (student / "model.safetensors").read_bytes()
    assert load_model(first.folder).config.model_type == "qwen3_vl_cue_recovery"
    assert not [path for path in first.folder.iterdir() if path.name.startswith(".")]
    again = fetch(client, "models:/students/1", Path("served"))
    assert (again.folder, again.fetched) == (first.folder, False)


def test_float32_weights_beside_a_student_are_not_registered(
    students: Make, embedded: MlflowClient, registered: TrackingConfig, tmp_path: Path
) -> None:
    student = shutil.copytree(students(GOOD)["student"], tmp_path / "student")
    shutil.copytree(student, student / MASTERS)
    # Another student than the one that is registered.
    (student / "generation_config.json").write_text('{"transformers_version": "5.0"}')
    run_register({**students(GOOD), "student": student}, tracking=registered, run_id="run-2")
    folder = fetch(embedded, "models:/students/2", Path("served")).folder
    assert not (folder / MASTERS).exists()
    assert (folder / "generation_config.json").read_bytes() == (student / "generation_config.json").read_bytes()


def test_a_cached_checkpoint_that_was_changed_is_downloaded_again(embedded: MlflowClient) -> None:
    address = "models:/students@champion"
    cached = fetch(embedded, address, Path("served")).folder
    change(cached / "model.safetensors")
    again = fetch(embedded, address, Path("served"))
    assert again.fetched
    assert checkpoint_sha256(cached) == cached.name


def test_files_with_another_checksum_are_refused_and_not_cached(embedded: MlflowClient) -> None:
    change(stored_weights())
    with pytest.raises(VicurError, match=r"version 1: its checkpoint has the checksum .* was registered") as caught:
        fetch(embedded, "models:/students@champion", Path("served"))
    assert "register the student again" in caught.value.remedy
    assert [path for path in Path("served").iterdir() if path.is_dir()] == []


def test_missing_files_are_reported(embedded: MlflowClient) -> None:
    shutil.rmtree(stored_weights().parent)
    with pytest.raises(VicurError, match=r"version 1: (contains no checkpoint|its files cannot be downloaded)"):
        fetch(embedded, "models:/students@champion", Path("served"))


def test_a_version_without_a_checksum_is_refused(embedded: MlflowClient) -> None:
    # Neither a tag, as in earlier releases, nor a file has it.
    for file in Path("mlflow").rglob(PROVENANCE):
        file.unlink()
    with pytest.raises(VicurError, match="has no checksum of its checkpoint"):
        fetch(embedded, "models:/students@champion", Path("served"))


def test_an_unknown_alias_or_model_is_refused_with_the_existing_versions(embedded: MlflowClient) -> None:
    with pytest.raises(VicurError, match=r"no version or alias 'production'.*Choose one of its versions: 1\."):
        fetch(embedded, "models:/students@production", Path("served"))
    with pytest.raises(VicurError, match=r"no version or alias '1'.*It has no versions\."):
        fetch(embedded, "models:/absent/1", Path("served"))


@pytest.mark.parametrize(
    "address", ["models:/students", "models:/students/latest", "models:students@x", "models:/a/b@c"]
)
def test_an_address_without_a_version_is_refused(address: str) -> None:
    with pytest.raises(VicurError, match=r"Write models:/NAME@ALIAS or models:/NAME/NUMBER\."):
        fetch(MlflowClient("http://never-requested.invalid"), address, Path("served"))
