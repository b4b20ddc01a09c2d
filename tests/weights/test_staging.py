"""Models at addresses: pinned once, staged once, and read from the staged folder."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.weights.factory import STAGED, model_files, names_below, write_model
from tests.weights.hub_double import COMMIT, REPOSITORY, Hub
from vicur.config.ablation import AblationConfig
from vicur.config.model_address import MODELS_VARIABLE, models_folder
from vicur.config.run import RunConfig
from vicur.errors import VicurError
from vicur.weights import check, install, is_staged, model_source, newest, pinned, pinned_path, staged

HUB_ADDRESS = f"hf://{REPOSITORY}@{COMMIT}"


def upload(bucket: Any, seed: int = 0, prefix: str = "base/tiny") -> str:
    for name, content in model_files(seed).items():
        bucket.put_object(Key=f"{prefix}/{name}", Body=content)
    return f"s3://models/{prefix}"


def test_a_model_is_staged_once_below_its_commit(hub: Hub, volume: Path) -> None:
    folder = staged(HUB_ADDRESS)
    assert folder == volume / f"tiny-model@{COMMIT}"
    assert names_below(folder) == STAGED
    requests = len(hub.requests)
    assert staged(HUB_ADDRESS) == folder
    assert len(hub.requests) == requests


def test_a_staged_model_is_found_without_reading_its_bytes_or_writing(
    hub: Hub, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = staged(HUB_ADDRESS)
    assert hub.requests
    (volume / f".tiny-model@{COMMIT}.lock").unlink()
    monkeypatch.setattr("vicur.weights.record.file_sha256", lambda _: pytest.fail("read every byte"))
    assert staged(HUB_ADDRESS) == folder
    assert [path.name for path in volume.iterdir()] == [folder.name]


@pytest.mark.parametrize("damage", [b"", b"{ }", b'{"model_type": "qwen3_vX"}'])
@pytest.mark.usefixtures("volume")
def test_a_changed_file_of_a_staged_model_is_noticed_and_fetched_again(hub: Hub, damage: bytes) -> None:
    folder = staged(HUB_ADDRESS)
    (folder / "config.json").write_bytes(damage)
    staged(HUB_ADDRESS)
    assert (folder / "config.json").read_bytes() == hub.files["config.json"]
    assert check(folder)


def test_a_folder_without_its_record_is_fetched_again(hub: Hub, volume: Path) -> None:
    folder = staged(HUB_ADDRESS)
    (folder / "vicur-model.json").unlink()
    requests = len(hub.requests)
    assert staged(HUB_ADDRESS).parent == volume
    assert len(hub.requests) > requests
    assert check(folder)


def test_concurrent_runs_fetch_a_model_once(hub: Hub, volume: Path) -> None:
    hub.delay = 0.05
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(staged, [HUB_ADDRESS] * 4))
    assert folders == {volume / f"tiny-model@{COMMIT}"}
    fetched = [path for path in hub.requests if path.startswith("GET") and path.endswith("model.safetensors")]
    assert len(fetched) == 1


def test_a_run_that_waits_for_another_one_says_so(hub: Hub, volume: Path, caplog: pytest.LogCaptureFixture) -> None:
    volume.mkdir()
    lock = FileLock(volume / f".tiny-model@{COMMIT}.lock")
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(1) as pool:
        with lock:
            running = pool.submit(staged, HUB_ADDRESS)
            waited = threading.Event()
            while "waiting for another process" not in caplog.text and not running.done():
                waited.wait(0.01)
        assert running.result() == volume / f"tiny-model@{COMMIT}"
    assert hub.requests


def test_a_volume_that_the_group_cannot_write_names_the_job_that_repairs_it(
    hub: Hub, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(volume))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(VicurError, match=r"cannot be written by user \d+, group \d+.*k8s/jobs/stage-models") as caught:
        staged(HUB_ADDRESS)
    assert hub.requests == []
    assert not caught.value.retryable


def test_a_laptop_stages_below_the_cache_of_its_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(MODELS_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "vicur" / "models"


def test_a_model_that_was_staged_beforehand_needs_no_hub(hub: Hub, volume: Path) -> None:
    install(model_source(HUB_ADDRESS), str(volume), f"tiny-model@{COMMIT}")
    hub.files.clear()
    assert is_staged_text(HUB_ADDRESS)
    assert staged(HUB_ADDRESS).is_dir()


def is_staged_text(text: str) -> bool:
    from vicur.config.model_address import ModelAddress, model_address

    address = model_address(text)
    assert isinstance(address, ModelAddress)
    return is_staged(address)


def test_other_content_at_an_s3_address_is_another_model(bucket: Any, volume: Path) -> None:
    address = upload(bucket)
    first = pinned_path(address)
    assert first.startswith(f"{address}@sha256:")
    assert pinned_path(address) == pinned_path(first) == first
    folder = staged(first)
    assert folder == volume / f"tiny@{first.rpartition(':')[2]}"
    upload(bucket, seed=1)
    second = pinned_path(address)
    assert second != first
    assert (staged(second) / "model.safetensors").read_bytes() == model_files(1)["model.safetensors"]
    # The first run still reads its own, although S3 has it no longer.
    assert (staged(first) / "model.safetensors").read_bytes() == model_files(0)["model.safetensors"]


def test_content_that_changed_after_the_run_began_is_refused(bucket: Any, volume: Path) -> None:
    first = pinned_path(upload(bucket))
    upload(bucket, seed=1)
    with pytest.raises(VicurError, match="has changed"):
        staged(first)
    assert not list(volume.glob("tiny@*"))


def test_copies_of_a_staged_model_on_s3_have_one_identity(bucket: Any, tmp_path: Path) -> None:
    source = model_source(str(write_model(tmp_path / "tiny")))
    for place in ("s3://models/a", "s3://models/b"):
        install(source, place)
    assert pinned_path("s3://models/a/tiny").rpartition("@")[2] == pinned_path("s3://models/b/tiny").rpartition("@")[2]
    assert bucket.name == "models"


@pytest.mark.usefixtures("hub")
def test_the_current_commit_of_a_branch_is_looked_up() -> None:
    assert newest(f"hf://{REPOSITORY}") == newest(f"hf://{REPOSITORY}@main") == HUB_ADDRESS
    with pytest.raises(VicurError, match="has no such commit"):
        newest(f"hf://{REPOSITORY}@v9")


def test_a_configuration_pins_base_and_every_teacher(bucket: Any) -> None:
    address = upload(bucket)
    teacher = {"type": "checkpoint", "path": address}
    run = pinned(
        RunConfig.model_validate(
            {
                "base": {"path": address},
                "methods": ["opd", "vicur"],
                "training": {"per_method": {"opd": {"teacher": teacher}}},
            }
        )
    )
    expected = pinned_path(address)
    assert run.base.path == expected
    assert [cell.training.model_paths() for cell in run.cells()] == [{"teacher": expected}, {}]
    arm = {"name": "a", "about": "one", "method": "opd", "training": {"teacher": teacher}}
    ablation = pinned(AblationConfig.model_validate({"arms": [arm], "seeds": [0]}))
    assert [cell.training.model_paths() for cell in ablation.cells()] == [{"teacher": expected}]


def test_a_configuration_without_addresses_stays_the_same_object() -> None:
    config = RunConfig()
    assert pinned(config) is config


def test_a_volume_is_a_folder_of_the_steps() -> None:
    config = RunConfig.model_validate(
        {"base": {"path": "pvc://vicur-models/a/b"}, "cluster": {"data_claims": ["team"]}}
    )
    assert pinned(config, config.cluster.mounts).base.path == "/models/a/b"
    assert pinned_path("pvc://team/c/", config.cluster.mounts) == "/volumes/team/c"
    with pytest.raises(VicurError, match=r"not on a volume that the steps mount .*cluster\.data_claims=\[other\]"):
        pinned_path("pvc://other/c", config.cluster.mounts)
    with pytest.raises(VicurError, match="a volume of a cluster, which this machine cannot read"):
        staged("pvc://team/c")
