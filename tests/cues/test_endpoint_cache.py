"""The cache of cues from an endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cues.endpoint_run import EndpointRun, example, image
from tests.cues.openai_double import ReceivedRequest, Reply
from tests.moto_s3 import empty_bucket, use_s3
from vicur.cues.cue_cache import CACHE_FILE
from vicur.errors import VicurError

pytestmark = pytest.mark.usefixtures("endpoint_environment")


def test_an_interrupted_extraction_requests_only_missing_cues(tmp_path: Path) -> None:
    def down_after_ten(request: ReceivedRequest) -> Reply:
        number = int(request.text.split("row ")[1].split("?")[0])
        return Reply(f"Row {number}.") if number < 10 else Reply("down", status=503)

    first = EndpointRun(tmp_path, down_after_ten, {"concurrency": 1})
    with pytest.raises(VicurError, match="did not answer"):
        first.cues(*map(example, range(20)))
    # Cut off the last line, as if the process had been killed while writing it.
    cache = tmp_path / CACHE_FILE
    cache.write_bytes(cache.read_bytes()[:-20])

    second = EndpointRun(tmp_path, lambda _: Reply("Later."), {"concurrency": 8, "timeout": 5.0})
    cues = second.cues(*map(example, range(20)))
    assert cues == [f"Row {number}." for number in range(9)] + ["Later."] * 11
    assert len(second.requests) == 11
    third = EndpointRun(tmp_path)
    assert third.cues(*map(example, range(20))) == cues
    assert third.requests == []


@pytest.mark.parametrize("address", ["s3://cues/kept", "{folder}/kept"])
def test_a_persistent_cache_lets_another_machine_resume(
    tmp_path: Path, s3_address: str, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    def down_after_ten(request: ReceivedRequest) -> Reply:
        number = int(request.text.split("row ")[1].split("?")[0])
        return Reply(f"Row {number}.") if number < 10 else Reply("down", status=503)

    use_s3(s3_address, monkeypatch)
    place = address.format(folder=tmp_path)
    with empty_bucket("cues"):
        first = EndpointRun(tmp_path / "first", down_after_ten, {"concurrency": 1}, cache_at=place)
        with pytest.raises(VicurError, match="did not answer"):
            first.cues(*map(example, range(20)))
        second = EndpointRun(tmp_path / "second", lambda _: Reply("Later."), cache_at=place)
        cues = second.cues(*map(example, range(20)))
        third = EndpointRun(tmp_path / "third", cache_at=place)
        assert third.cues(*map(example, range(20))) == cues
    assert cues == [f"Row {number}." for number in range(10)] + ["Later."] * 10
    assert len(second.requests) == 10
    assert third.requests == []


@pytest.mark.parametrize(
    "other",
    [{"model": "another"}, {"max_tokens": 32}, {"seed": 1}, {"question": "Another?"}, {"images": (image(shade=9),)}],
)
def test_a_different_request_is_not_served_from_the_cache(tmp_path: Path, other: dict[str, Any]) -> None:
    EndpointRun(tmp_path).cues(example())
    settings = {name: value for name, value in other.items() if name in ("model", "max_tokens")}
    changes = {name: value for name, value in other.items() if name in ("question", "images")}
    again = EndpointRun(tmp_path, lambda _: Reply("Anew."), settings, seed=other.get("seed", 0))
    assert again.cues(example(**changes)) == ["Anew."]
