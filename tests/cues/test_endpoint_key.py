"""The key of an endpoint: where it comes from, and that no message shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cues.endpoint_run import KEY, EndpointRun, example
from tests.cues.openai_double import Reply
from vicur.errors import VicurError

pytestmark = pytest.mark.usefixtures("endpoint_environment")


@pytest.mark.parametrize("with_key", [True, False])
def test_the_key_comes_only_from_its_own_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_key: bool
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "of-another-service")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    if with_key:
        monkeypatch.setenv("VICUR_CUE_API_KEY", KEY)
    run = EndpointRun(tmp_path)
    assert run.cues(example()) == ["Seen."]
    headers = run.requests[0].headers
    assert headers.get("authorization") == (f"Bearer {KEY}" if with_key else None)
    assert "of-another-service" not in str(headers)


@pytest.mark.parametrize("key", [f"{KEY}\nx", f"{KEY}ü"])
def test_an_invalid_key_is_rejected_without_being_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    monkeypatch.setenv("VICUR_CUE_API_KEY", key)
    with pytest.raises(VicurError, match="VICUR_CUE_API_KEY: the key contains spaces, line breaks") as caught:
        EndpointRun(tmp_path).cues(example())
    assert KEY not in f"{caught.value}{caplog.text}"


def test_a_trailing_line_break_of_the_key_is_stripped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VICUR_CUE_API_KEY", f"{KEY}\n")
    run = EndpointRun(tmp_path)
    assert run.cues(example()) == ["Seen."]
    assert run.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_status_401_without_a_key_names_the_variable_to_set(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"requires a key \(status 401\), but VICUR_CUE_API_KEY is not set"):
        EndpointRun(tmp_path, lambda _: Reply("no", status=401)).cues(example())


def test_a_rejected_request_is_logged_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VICUR_CUE_API_KEY", KEY)
    EndpointRun(tmp_path, lambda _: Reply(f"8193 tokens, {KEY}", status=400)).cues(example())
    assert "e0: the endpoint rejected the request (status 400: Error code: 400" in caplog.text
    assert "8193 tokens, ***" in caplog.text
    assert KEY not in caplog.text
