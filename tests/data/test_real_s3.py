"""Fetching from a real S3 server that checks signatures, with faults in between, and from more keys than a listing's page has."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.data.conftest import make_context, png
from tests.data.cutting_proxy import CuttingProxy, cutting_proxy
from tests.seaweed import KEY, SECRET, program_of_server, seaweed
from vicur.config.data import DataConfig, PinnedConfig, RemoteConfig
from vicur.data import dvc_hash, pin, prepare, stage_inputs
from vicur.data.download import download
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.storage.folders import files_below
from vicur.storage.object_store import objects_at

pytestmark = pytest.mark.slow
MIB = 1 << 20
KEYS = 1100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program_of_server()
    with seaweed(tmp_path_factory.mktemp("seaweed") / "store") as address:
        yield address


@pytest.fixture(scope="module")
def client(server: str) -> Any:
    session = boto3.session.Session(KEY, SECRET, region_name="us-east-1")
    made = session.client("s3", endpoint_url=server)
    made.create_bucket(Bucket="real")
    return made


@pytest.fixture
def behind(server: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[CuttingProxy]:  # noqa: ARG001
    with cutting_proxy(server) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # which may have the credentials of another test
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # which may have the credentials of another test
        monkeypatch.setattr("vicur.storage.object_store._PAUSE", 0.0)
        yield running


@pytest.fixture(scope="module")
def stored(client: Any, small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The small dataset with a large file on the server: by hash and by address."""
    repository = tmp_path_factory.mktemp("repository")
    shutil.copytree(small, repository / "data")
    (repository / "data" / "notes.bin").write_bytes(bytes(range(256)) * 4096 * 5)
    (repository / ".dvc").mkdir()
    folder_hash = pin(repository / "data", repository / "data.dvc").md5
    for root, prefix in ((repository / ".dvc" / "cache", "dvc"), (repository / "data", "plain")):
        for file in files_below(root):
            client.put_object(
                Bucket="real", Key=f"{prefix}/{file.relative_to(root).as_posix()}", Body=file.read_bytes()
            )
    return {"hash": folder_hash, "by hash": f"{folder_hash}@s3://real/dvc", "by address": "s3://real/plain"}


@pytest.mark.parametrize("way", ["by hash", "by address"])
def test_faults_between_are_survived(way: str, stored: dict[str, str], behind: CuttingProxy, tmp_path: Path) -> None:
    behind.refusals = [(503, "SlowDown"), (503, "SlowDown"), (500, "InternalError")]
    behind.cut_after, behind.cuts, behind.short, behind.wrong = 2 * MIB + 11, 2, 1, 1
    assert download(stored[way], tmp_path / "data", Events("fetch", None)).dataset_hash == stored["hash"]
    assert any(requested for _, requested in behind.requests)


@pytest.mark.parametrize("way", ["by hash", "by address"])
def test_damage_in_every_transfer_is_reported_as_damage(
    way: str, stored: dict[str, str], behind: CuttingProxy, tmp_path: Path
) -> None:
    behind.wrong = 1000
    with pytest.raises(VicurError, match="damaged"):
        download(stored[way], tmp_path / "data", Events("fetch", None))
    behind.wrong = 0
    assert download(stored[way], tmp_path / "data", Events("fetch", None)).dataset_hash == stored["hash"]


def test_wrong_secret_is_reported(stored: dict[str, str], behind: CuttingProxy, tmp_path: Path) -> None:
    del behind
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        patch.setattr(boto3, "DEFAULT_SESSION", None)  # which has the right one
        patch.setattr(boto3, "DEFAULT_SESSION", None)  # which has the right one
        with pytest.raises(VicurError, match="correct AWS_SECRET_ACCESS_KEY"):
            download(stored["by hash"], tmp_path / "data", Events("fetch", None))


def test_more_keys_than_a_page_are_listed_and_fetched(client: Any, behind: CuttingProxy, tmp_path: Path) -> None:
    for number in range(KEYS):
        client.put_object(Bucket="real", Key=f"many/{number:05d}.png", Body=png(colour=(number % 250, 1, 1)))
    client.put_object(Bucket="real", Key="many/examples.jsonl", Body=b"{}\n")
    assert len(objects_at("s3://real/many").all()) == KEYS + 1
    assert behind.listings == 2
    assert download("s3://real/many", tmp_path / "many", Events("fetch", None)).files == KEYS + 1


@pytest.mark.parametrize("way", ["pinned", "remote"])
def test_killed_prepare_resumes_at_the_byte(
    way: str, stored: dict[str, str], behind: CuttingProxy, tmp_path: Path
) -> None:
    config: DataConfig = (
        PinnedConfig(hash=stored["hash"], remote="s3://real/dvc", required_splits=())
        if way == "pinned"
        else RemoteConfig(uri="s3://real/plain", required_splits=())
    )
    script = (
        "import sys; from pathlib import Path; from pydantic import TypeAdapter; from tests.data.conftest import make_context\n"
        "from vicur.config.data import DataConfig; from vicur.data import prepare, stage_inputs\n"
        "config = TypeAdapter(DataConfig).validate_json(sys.argv[1]); output = Path(sys.argv[2]); output.mkdir()\n"
        "prepare(config, stage_inputs(config), output, make_context(Path(sys.argv[3])))\n"
    )
    behind.halt_after = 3 * MIB + 5
    work = tmp_path / "work"
    command = [sys.executable, "-c", script, config.model_dump_json(), str(tmp_path / "killed"), str(work)]
    with subprocess.Popen(command) as running:
        until = time.monotonic() + 100
        while not any(path.stat().st_size >= 3 * MIB for path in work.rglob("parts/*")):
            assert time.monotonic() < until
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
    behind.halt_after = None
    behind.requests.clear()
    (tmp_path / "data").mkdir()
    prepare(config, stage_inputs(config), tmp_path / "data", make_context(work))
    assert dvc_hash(tmp_path / "data").md5 == stored["hash"]
    assert f"bytes={3 * MIB}-" in [requested for _, requested in behind.requests]
