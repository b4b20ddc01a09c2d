"""Files and addresses that a stranger's requests to ``mlflow models serve`` name, and its settings for them."""

from __future__ import annotations

import socket

import pytest

from tests.registry.model_server import ModelServer
from tests.registry.served.asking import question, refused
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.registry.served.mlflow_server import guard_scoring_server, require_settings


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "link.png",
        "pictures/../../secret.png",
        "/etc/passwd",
        "/proc/self/environ",
        "~",
    ],
)
def test_files_outside_the_folder_cannot_be_told_from_missing_ones(server: ModelServer, name: str) -> None:
    wrong, missing = server.ask({"question": "What?", "image": name}, {"question": "What?", "image": "missing.png"})
    assert wrong == missing
    assert "names no file in the folder of images" in wrong["error"]


def test_files_in_the_folder_are_read_and_pipes_and_devices_are_not(server: ModelServer, example: Example) -> None:
    names = ("scene.png", "pictures/scene.png", "pipe", "device", "pictures", "x" * 300, "a\0b")
    by_name = dict(
        zip(names, server.ask(*[{"question": example.question, "image": each} for each in names]), strict=True)
    )
    [expected] = server.ask(question(example))
    assert by_name["scene.png"] == by_name["pictures/scene.png"] == expected
    assert "is a named pipe, not a file" in by_name["pipe"]["error"]
    assert all(by_name[each]["error"] for each in names[2:])


@pytest.mark.parametrize("scheme", ["http", "https", "ftp", "file", "s3", "HTTP"])
def test_addresses_are_not_fetched(server: ModelServer, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/scene.png"
        chat = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
        [answer] = server.ask({"question": "What?", "image": url})
        assert "addresses are not fetched" in answer["error"]
        refused(server.post(chat), 400)
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("VICUR_SERVE_LIMITS", "max_rowz=1", r"max_rowz.*max_rows"),
        ("VICUR_SERVE_LIMITS", "max_rows=0", "max_rows"),
        ("VICUR_SERVE_FOLDER", "missing", "is not a folder"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(VicurError, match=problem) as caught:
        require_settings()
    assert name in str(caught.value)


def test_another_server_than_mlflows_is_refused_rather_than_left_open() -> None:
    with pytest.raises(VicurError, match="requests would not be limited"):
        guard_scoring_server(None)  # type: ignore[arg-type]
