"""Checkpoints of versions, brought here from the embedded store and from a real server: checked, kept, refused where they are others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.registry.conftest import Make
from tests.registry.factory import GOOD, run_register
from tests.tracking.server import Server
from vicur.config.registry import RegistryConfig
from vicur.config.tracking import TrackingConfig
from vicur.errors import VicurError
from vicur.modeling import load_model
from vicur.registry.checkpoints import fetch
from vicur.registry.lineage import checkpoint_sha256
from vicur.tracking.mlflow import connect


@pytest.fixture(params=["embedded", "server"])
def client(request: pytest.FixtureRequest, students: Make, tmp_path: Path) -> MlflowClient:
    """MLflow with a student, registered under the test's name."""
    if request.param == "embedded":
        shutil.copytree(request.getfixturevalue("empty_store"), "mlflow")
        tracking = TrackingConfig()
    else:
        server: Server = request.getfixturevalue("server")
        tracking = TrackingConfig(uri=server.uri, experiment=tmp_path.name)
    run_register(students(GOOD), config=RegistryConfig(model=tmp_path.name), tracking=tracking)
    return connect(tracking)


@pytest.fixture
def embedded(students: Make, empty_store: Path, tmp_path: Path) -> MlflowClient:
    """The embedded store with a student, registered under the test's name."""
    shutil.copytree(empty_store, "mlflow")
    run_register(students(GOOD), config=RegistryConfig(model=tmp_path.name))
    return connect(TrackingConfig())


def stored_weights() -> Path:
    (found,) = Path("mlflow/artifacts").rglob("checkpoint/model.safetensors")
    return found


def change(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()  # It may share its bytes with the student's own file.
    file.write_bytes(content)


def test_a_version_is_fetched_once_by_its_alias_and_its_number(
    client: MlflowClient, students: Make, tmp_path: Path
) -> None:
    first = fetch(client, f"models:/{tmp_path.name}@champion", Path("served"))
    assert first.fetched
    assert first.version.number == "1"
    student = students(GOOD)["student"]
    assert first.folder == Path("served") / checkpoint_sha256(student)
    assert (first.folder / "model.safetensors").read_bytes() == (student / "model.safetensors").read_bytes()
    assert load_model(first.folder).config.model_type == "qwen3_vl_cue_recovery"
    assert not [path for path in first.folder.iterdir() if path.name.startswith(".")]
    again = fetch(client, f"models:/{tmp_path.name}/1", Path("served"))
    assert (again.folder, again.fetched) == (first.folder, False)


def test_a_kept_checkpoint_that_was_changed_is_fetched_again(embedded: MlflowClient, tmp_path: Path) -> None:
    address = f"models:/{tmp_path.name}@champion"
    kept = fetch(embedded, address, Path("served")).folder
    change(kept / "model.safetensors")
    again = fetch(embedded, address, Path("served"))
    assert again.fetched
    assert checkpoint_sha256(kept) == kept.name


def test_files_that_are_not_what_was_registered_are_refused_and_not_kept(
    embedded: MlflowClient, tmp_path: Path
) -> None:
    change(stored_weights())
    with pytest.raises(VicurError, match=r"version 1: its checkpoint has the checksum .* was registered") as caught:
        fetch(embedded, f"models:/{tmp_path.name}@champion", Path("served"))
    assert "register the student again" in caught.value.remedy
    assert [path for path in Path("served").iterdir() if path.is_dir()] == []


def test_files_that_are_gone_are_told(embedded: MlflowClient, tmp_path: Path) -> None:
    shutil.rmtree(stored_weights().parent)
    with pytest.raises(VicurError, match=r"version 1: (holds no checkpoint|its files cannot be fetched)"):
        fetch(embedded, f"models:/{tmp_path.name}@champion", Path("served"))


def test_a_version_without_a_checksum_is_refused(embedded: MlflowClient, tmp_path: Path) -> None:
    embedded.delete_model_version_tag(tmp_path.name, "1", "vicur.checkpoint")
    with pytest.raises(VicurError, match="has no checksum of its checkpoint"):
        fetch(embedded, f"models:/{tmp_path.name}@champion", Path("served"))


def test_an_alias_or_a_model_that_does_not_exist_is_told_with_what_there_is(
    embedded: MlflowClient, tmp_path: Path
) -> None:
    with pytest.raises(VicurError, match=r"no version or alias 'production'.*It has 1\."):
        fetch(embedded, f"models:/{tmp_path.name}@production", Path("served"))
    with pytest.raises(VicurError, match=r"no version or alias '1'.*It has no versions\."):
        fetch(embedded, "models:/absent/1", Path("served"))


@pytest.mark.parametrize(
    "address", ["models:/students", "models:/students/latest", "models:students@x", "models:/a/b@c"]
)
def test_an_address_that_names_no_version_is_refused(address: str) -> None:
    with pytest.raises(VicurError, match=r"Write models:/NAME@ALIAS or models:/NAME/NUMBER\."):
        fetch(MlflowClient("sqlite:///never-opened.db"), address, Path("served"))
