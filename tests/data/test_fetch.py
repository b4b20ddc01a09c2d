"""Downloads go on where they stopped, whatever stopped them."""

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
from vicur.data.fetch import WantedFile, fetch
from vicur.errors import VicurError
from vicur.stage.events import Events, read_events
from vicur.storage.folders import files_below
from vicur.storage.object_store import objects_at

MIB = 1 << 20
BIG = b"".join(hashlib.sha256(n.to_bytes(4, "big")).digest() for n in range(3 * MIB // 32))


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def wanted(path: str, content: bytes) -> WantedFile:
    return WantedFile(path, f"o/{path}", md5=md5(content))


@pytest.fixture
def objects(bucket: Any, proxy: CuttingProxy) -> Any:  # noqa: ARG001 (the proxy must be there first)
    bucket.put_object(Key="p/o/big", Body=BIG)
    bucket.put_object(Key="p/o/deep/small", Body=b"small")
    bucket.put_object(Key="p/o/empty", Body=b"")
    return objects_at("s3://bucket/p")


ALL = [wanted("big", BIG), wanted("deep/small", b"small"), wanted("empty", b"")]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files_below(folder)}


def test_files_come_with_their_progress(objects: Any, tmp_path: Path) -> None:
    folder = fetch(ALL, objects, tmp_path / "work", Events("prepare", tmp_path / "events.jsonl"))
    assert contents(folder) == {"big": BIG, "deep/small": b"small", "empty": b""}
    told = read_events(tmp_path / "events.jsonl")[0]
    assert (told[-1].done, told[-1].total, told[-1].text) == (3, 3, "files, 3 MB fetched")


def test_a_broken_connection_is_mended_on_the_way(objects: Any, proxy: CuttingProxy, tmp_path: Path) -> None:
    proxy.cut_after, proxy.cuts = MIB + 5, 2
    folder = fetch(ALL[:1], objects, tmp_path, Events("prepare", None))
    assert contents(folder) == {"big": BIG}
    ranges = [asked for _, asked in proxy.asked]
    assert len(ranges) == 3
    assert ranges[0] is None
    assert all(asked is not None for asked in ranges[1:])
    assert proxy.served < len(BIG) + 2 * MIB


def test_a_connection_that_always_breaks_is_given_up_and_the_next_attempt_goes_on(
    objects: Any, proxy: CuttingProxy, tmp_path: Path
) -> None:
    proxy.cut_after, proxy.cuts = MIB + 5, 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vicur.storage.object_store._TRIES", 1)
        with pytest.raises(VicurError, match="S3 request failed") as failed:
            fetch(ALL, objects, tmp_path, Events("prepare", None))
    assert failed.value.retryable
    proxy.asked.clear()
    assert contents(fetch(ALL, objects, tmp_path, Events("prepare", None)))["big"] == BIG
    assert ("/bucket/p/o/big", f"bytes={MIB + 5}-") in proxy.asked


def test_a_download_that_was_killed_goes_on(objects: Any, proxy: CuttingProxy, tmp_path: Path) -> None:
    proxy.halt_after = 2 * MIB + 5
    script = (
        "import sys; from pathlib import Path; from vicur.data.fetch import *; from vicur.stage.events import Events\n"
        "from vicur.storage.object_store import objects_at\n"
        "fetch([WantedFile('big', 'o/big', md5=sys.argv[1])], objects_at('s3://bucket/p'), Path(sys.argv[2]), Events('p', None))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, md5(BIG), str(tmp_path)]) as running:
        until = time.monotonic() + 60
        while sum(file.stat().st_size for file in files_below(tmp_path)) < 2 * MIB:
            assert time.monotonic() < until
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGKILL)
    proxy.halt_after = None
    proxy.asked.clear()
    assert contents(fetch([ALL[0]], objects, tmp_path, Events("prepare", None))) == {"big": BIG}
    assert proxy.asked == [("/bucket/p/o/big", f"bytes={2 * MIB}-")]


def test_what_is_there_and_right_is_not_fetched_again(objects: Any, proxy: CuttingProxy, tmp_path: Path) -> None:
    folder = fetch(ALL, objects, tmp_path, Events("prepare", None))
    (folder / "deep" / "small").write_bytes(b"SMALL")
    (folder / "stranger").write_bytes(b"x")
    proxy.asked.clear()
    fetch(ALL, objects, tmp_path, Events("prepare", None))
    assert [path for path, _ in proxy.asked] == ["/bucket/p/o/deep/small"]
    assert contents(folder) == {"big": BIG, "deep/small": b"small", "empty": b""}


@pytest.mark.parametrize("left", [b"wrong beginning", b"longer than the object is", b"small"])
def test_what_an_earlier_attempt_left_wrong_is_fetched_anew(objects: Any, tmp_path: Path, left: bytes) -> None:
    name = hashlib.sha256(b"deep/small\0o/deep/small\0").hexdigest()[:32]
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / name).write_bytes(left)
    assert contents(fetch(ALL[1:2], objects, tmp_path, Events("prepare", None))) == {"deep/small": b"small"}


def test_after_the_first_fault_the_rest_is_not_waited_for(objects: Any, proxy: CuttingProxy, tmp_path: Path) -> None:
    others = [WantedFile(f"copy-{n}", "o/big", md5=md5(BIG)) for n in range(40)]
    with pytest.raises(VicurError, match=r"o/none: does not exist"):
        fetch([wanted("none", b"x"), *others], objects, tmp_path, Events("prepare", None))
    assert len(proxy.asked) < len(others)
