"""Small datasets, built once, and a bucket."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings
from PIL import Image

from tests.data.cutting_proxy import CuttingProxy, cutting_proxy
from tests.moto_s3 import empty_bucket, use_s3
from vicur.config.data import DigitScenesConfig, Pool
from vicur.data import PrepareSummary, prepare
from vicur.stage.events import Events
from vicur.stage.runner import Context, Session
from vicur.storage.folders import files_below, new_folder

# No deadline: a busy machine may slow down any example.
settings.register_profile("data", deadline=None)
settings.load_profile("data")

SMALL = DigitScenesConfig(
    base=Pool(digits_per_class=2, scenes=6),
    distill=Pool(digits_per_class=2, scenes=4),
    validation=Pool(digits_per_class=2, scenes=2),
    test=Pool(digits_per_class=2, scenes=90),
    ood=Pool(digits_per_class=2, scenes=2),
)
"""All splits with few scenes; the test split has more than one row group."""


class NoTracker:
    """A tracker that does nothing."""

    def metrics(self, metrics: dict[str, float]) -> None: ...
    def artifact(self, path: Path, folder: str | None = None) -> None: ...


def make_context(work: Path, seed: int = 0) -> Context:
    """Create a context with a seed and a work folder."""
    work.mkdir(parents=True, exist_ok=True)
    return Context(run_id="test", seed=seed, tracker=NoTracker(), events=Events("prepare", None), work=work)


@contextmanager
def _no_tracker(_label: str) -> Iterator[NoTracker]:
    yield NoTracker()


def make_session(folder: Path) -> Session:
    """Create a session without cache and tracking."""
    return Session(run_id="test", seed=0, cache=None, scratch=folder / "scratch", tracker=_no_tracker)


def draw(folder: Path, config: DigitScenesConfig = SMALL, seed: int = 0) -> PrepareSummary:
    """Prepare digit scenes in a new folder."""
    folder.mkdir()
    return prepare(config, {}, folder, make_context(folder.parent / "work", seed))


def png(width: int = 4, height: int = 3, colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    """Encode a PNG with Pillow."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def row(name: str, **changes: Any) -> dict[str, Any]:
    """Return a usable row of a user's dataset; ``...`` removes a field."""
    fields = {"id": name, "images": ["a.png"], "question": "What?", "answer": "12", "split": "test", **changes}
    return {key: value for key, value in fields.items() if value is not ...}


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes rows (objects or raw lines) and one image, ``a.png``, to a folder."""

    def make(*rows: dict[str, Any] | bytes, name: str = "source") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a.png").write_bytes(png())
        lines = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in rows]
        (folder / "examples.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
        return folder

    return make


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset. Do not write to it."""
    folder = tmp_path_factory.mktemp("small") / "data"
    draw(folder)
    return folder


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The embedded dataset with default settings. Do not write to it."""
    # Workers share the parent of their base folders, so only one of them builds the dataset.
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "embedded-dataset"
    with FileLock(f"{folder}.lock"):
        if not (folder / "data").is_dir():
            with new_folder(folder / "data") as partial:
                prepare(DigitScenesConfig(), {}, partial, make_context(folder / "work"))
    return folder / "data"


@pytest.fixture
def bucket(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket called ``bucket``."""
    use_s3(s3_address, monkeypatch)
    with empty_bucket("bucket") as made:
        yield made


@pytest.fixture
def proxy(s3_address: str, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[CuttingProxy]:  # noqa: ARG001 (the bucket is created without the proxy)
    """The same server behind a proxy that can break connections, which the library connects to."""
    with cutting_proxy(s3_address) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.address)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setattr("vicur.storage.object_store._PAUSE", 0.0)
        yield running


def upload(folder: Path, bucket: Any, prefix: str) -> str:
    """Upload a folder and return its address."""
    for file in files_below(folder):
        bucket.put_object(Key=f"{prefix}/{file.relative_to(folder).as_posix()}", Body=file.read_bytes())
    return f"s3://{bucket.name}/{prefix}"
