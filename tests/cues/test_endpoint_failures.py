"""Failures of an endpoint: transient ones, those of one example, and those of every request."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.cues.endpoint_run import KEY, EndpointRun, example
from tests.cues.openai_double import ReceivedRequest, Reply
from vicur.config.cues import EndpointCues
from vicur.cues.endpoint import EndpointProvider
from vicur.errors import VicurError

pytestmark = pytest.mark.usefixtures("endpoint_environment")


@pytest.mark.parametrize(
    "trouble",
    [
        Reply("busy", status=429, headers={"Retry-After": "0.01"}),
        Reply("starting", status=503),
        Reply("broken", status=500),
        Reply(drop=True),
    ],
)
def test_transient_failures_are_retried(tmp_path: Path, trouble: Reply) -> None:
    run = EndpointRun(tmp_path, lambda request: trouble if request.number < 3 else Reply("Seen."), {"retries": 2})
    assert run.cues(example()) == ["Seen."]
    assert len(run.requests) == 3


def test_an_endpoint_that_is_down_stops_the_extraction_retryably(tmp_path: Path) -> None:
    run = EndpointRun(tmp_path, lambda _: Reply("starting", status=503), {"concurrency": 4})
    with pytest.raises(VicurError, match=r"did not answer \d+ requests in a row.* status 503") as caught:
        run.cues(*map(example, range(200)))
    assert caught.value.retryable
    assert "are cached" in caught.value.remedy
    assert len(run.requests) < 40


def test_occasional_failures_do_not_stop_the_extraction(tmp_path: Path) -> None:
    def reply_to(request: ReceivedRequest) -> Reply:
        number = int(request.text.split("row ")[1].split("?")[0])
        return Reply("Seen.") if number % 7 == 0 else Reply("broken", status=500)

    cues = EndpointRun(tmp_path, reply_to, {"concurrency": 1}).cues(*map(example, range(30)))
    assert [number for number, cue in enumerate(cues) if cue == "Seen."] == [0, 7, 14, 21, 28]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(f"bad key {KEY}", status=401), r"/v1: the endpoint rejects the key \(status 401\)"),
        (Reply("forbidden", status=403), r"rejects the key \(status 403\)"),
        (Reply("The model `vlm` does not exist.", status=404), r"does not serve the model 'vlm' .*does not exist"),
        (Reply(raw=b"<html>Sign in</html>"), "the reply is not one of the OpenAI API"),
        (
            Reply(raw=b"<html>Sign in</html>", headers={"Content-Type": "text/html"}),
            r"not one of the OpenAI API \(<html>",
        ),
        (Reply(raw=b'{"choices": []}'), "the reply is not one of the OpenAI API"),
        (Reply(raw=b"[]"), "the reply is not one of the OpenAI API"),
    ],
)
def test_an_error_of_every_request_stops_the_extraction_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reply: Reply, message: str
) -> None:
    monkeypatch.setenv("VICUR_CUE_API_KEY", KEY)
    caplog.set_level(logging.INFO)
    run = EndpointRun(tmp_path, lambda _: reply, {"concurrency": 2})
    with pytest.raises(VicurError, match=message) as caught:
        run.cues(*map(example, range(50)))
    assert not caught.value.retryable
    assert len(run.requests) < 50
    assert KEY not in f"{caught.value}{caplog.text}"


def test_a_missing_client_library_names_the_package_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(VicurError, match=r"Install vicur\[endpoint\]"):
        EndpointProvider(EndpointCues(url="http://a/v1", model="vlm"), 0, tmp_path)
