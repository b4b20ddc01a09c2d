"""Downloads resume where they stopped, whatever stopped them."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.data.cutting_proxy import CuttingProxy
from vicur.data.fetch import RemoteFile, fetch
from vicur.errors import VicurError
from vicur.stage.events import Events, read_events
from vicur.storage.folders import files_below
from vicur.storage.object_store import objects_at

MIB = 1 << 20
BIG = b"".join(hashlib.sha256(n.to_bytes(4, "big")).digest() for n in range(3 * MIB // 32))


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def wanted(path: str, content: bytes) -> RemoteFile:
    return RemoteFile(path, f"o/{path}", md5=md5(content))


@pytest.fixture
def objects(bucket: Any, proxy: CuttingProxy) -> Any:  # noqa: ARG001 (the client must find the proxy)
    bucket.put_object(Key="p/o/big", Body=BIG)
    bucket.put_object(Key="p/o/deep/small", Body=b"small")
    bucket.put_object(Key="p/o/empty", Body=b"")
    return objects_at("s3://bucket/p")


ALL = [wanted("big", BIG), wanted("deep/small", b"small"), wanted("empty", b"")]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files_below(folder)}


def test_files_are_fetched_with_progress_events(objects: Any, tmp_path: Path) -> None:
    folder = fetch(ALL, objects, tmp_path / "work", Events("prepare", tmp_path / "events.jsonl"))
    assert contents(folder) == {"big": BIG, "deep/small": b"small", "empty": b""}
    last = read_events(tmp_path / "events.jsonl")[0][-1]
    assert (last.done, last.total, last.text) == (3, 3, "files, 3 MB fetched")


def test_a_broken_connection_is_resumed_within_the_call(objects: Any, proxy: CuttingProxy, tmp_path: Path) -> None:
    proxy.cut_after, proxy.cuts = MIB + 5, 2
    folder = fetch(ALL[:1], objects, tmp_path, Events("prepare", None))
    assert contents(folder) == {"big": BIG}
    ranges = [requested for _, requested in proxy.requests]
    assert len(ranges) == 3
    assert ranges[0] is None
    assert None not in ranges[1:]
    assert proxy.served < len(BIG) + 2 * MIB


def test_after_too_many_broken_connections_the_next_call_resumes(
    objects: Any, proxy: CuttingProxy, tmp_path: Path
) -> None:
    proxy.cut_after, proxy.cuts = MIB + 5, 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vicur.storage.object_store._TRIES", 1)
        with pytest.raises(VicurError, match="S3 request failed") as failed:
            fetch(ALL, objects, tmp_path, Events("prepare", None))
    assert failed.value.retryable
    proxy.requests.clear()
    assert contents(fetch(ALL, objects, tmp_path, Events("prepare", None)))["big"] == BIG
    assert ("/bucket/p/o/big", f"bytes={MIB + 5}-") in proxy.requests


def test_a_killed_download_resumes(objects: Any, proxy: CuttingProxy, tmp_path: Path) -> None:
    proxy.halt_after = 2 * MIB + 5
    script = (
        "import sys; from pathlib import Path; from vicur.data.fetch import *; from vicur.stage.events import Events\n"
        "from vicur.storage.object_store import objects_at\n"
        "fetch([RemoteFile('big', 'o/big', md5=sys.argv[1])], objects_at('s3://bucket/p'), Path(sys.argv[2]), Events('p', None))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, md5(BIG), str(tmp_path)]) as running:
        until = time.monotonic() + 60
        while sum(file.stat().st_size for file in files_below(tmp_path)) < 2 * MIB:
            assert time.monotonic() < until
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
    proxy.halt_after = None
    proxy.requests.clear()
    assert contents(fetch([ALL[0]], objects, tmp_path, Events("prepare", None))) == {"big": BIG}
    assert proxy.requests == [("/bucket/p/o/big", f"bytes={2 * MIB}-")]


def test_intact_files_are_not_fetched_again(objects: Any, proxy: CuttingProxy, tmp_path: Path) -> None:
    folder = fetch(ALL, objects, tmp_path, Events("prepare", None))
    (folder / "deep" / "small").write_bytes(b"SMALL")
    (folder / "unexpected").write_bytes(b"x")
    proxy.requests.clear()
    fetch(ALL, objects, tmp_path, Events("prepare", None))
    assert [path for path, _ in proxy.requests] == ["/bucket/p/o/deep/small"]
    assert contents(folder) == {"big": BIG, "deep/small": b"small", "empty": b""}


@pytest.mark.parametrize("left", [b"wrong beginning", b"longer than the object is", b"small"])
def test_a_wrong_partial_file_is_fetched_from_the_beginning(objects: Any, tmp_path: Path, left: bytes) -> None:
    name = hashlib.sha256(b"deep/small\0o/deep/small\0").hexdigest()[:32]
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / name).write_bytes(left)
    assert contents(fetch(ALL[1:2], objects, tmp_path, Events("prepare", None))) == {"deep/small": b"small"}


def test_after_the_first_failure_the_other_files_are_not_fetched(
    objects: Any, proxy: CuttingProxy, tmp_path: Path
) -> None:
    others = [RemoteFile(f"copy-{n}", "o/big", md5=md5(BIG)) for n in range(40)]
    with pytest.raises(VicurError, match=r"o/none: does not exist"):
        fetch([wanted("none", b"x"), *others], objects, tmp_path, Events("prepare", None))
    assert len(proxy.requests) < len(others)
