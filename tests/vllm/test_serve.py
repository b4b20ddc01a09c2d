"""Starting and stopping ``vicur serve``: a plain Qwen3-VL, what is refused at start, and exit statuses."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import openai
import pytest

from tests.cli.calling import Command, caller
from tests.tracking.server import free_port
from tests.vllm.cases import TINY, Case
from tests.vllm.registered import register
from tests.vllm.serving import Served, serving, start
from tests.vllm.test_server import QUESTION, picture
from vicur.config.sampling import Sampling
from vicur.config.serving import ServerLimits
from vicur.errors import VicurError
from vicur.modeling import load_model
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.registry.lineage import checkpoint_sha256
from vicur_vllm import server_command

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

IMAGE = picture(3, 150, 70)


@pytest.fixture
def vicur(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capfd)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The tiny base, which has no module; images may come from one host."""
    allowed = ("--allowed-media-domains", "127.0.0.1")
    with serving(tmp_path_factory.mktemp("plain"), str(TINY / "base"), extra=allowed) as server:
        yield server


class _Images(BaseHTTPRequestHandler):
    """One image, and an address that sends elsewhere for it."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(f"{self.headers['Host'].split(':')[0]}{self.path}")
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/scene.png")
        self.end_headers()
        self.wfile.write(b"" if self.path == "/moved" else IMAGE)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def images() -> Iterator[int]:
    """Port of a server of images."""
    _Images.asked.clear()
    with HTTPServer(("127.0.0.1", 0), _Images) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def answer(served: Served, url: str) -> list[int]:
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        made = client.chat.completions.create(
            model="base",
            messages=[{"role": "user", "content": content}],  # type: ignore[list-item,misc]
            temperature=0,
            max_tokens=16,
            extra_body={"return_token_ids": True},
        )
    return made.choices[0].token_ids  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def expected() -> list[int]:
    """What transformers answers."""
    chat = Chat.load(TINY / "base")
    prompt = chat.prompt(QUESTION, [chat.pixels(IMAGE)])
    (response,) = generate(
        load_model(TINY / "base"), chat, [prompt], Sampling(temperature=0, max_new_tokens=16), seed=0
    )
    return list(response.ids)


def test_a_plain_model_is_served_too(plain: Served, expected: list[int]) -> None:
    assert answer(plain, f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}") == expected


def test_images_come_from_a_host_that_was_allowed_and_from_no_other(
    plain: Served, images: int, expected: list[int]
) -> None:
    assert answer(plain, f"http://127.0.0.1:{images}/scene.png") == expected
    for url in (f"http://localhost:{images}/scene.png", f"http://127.0.0.1@localhost:{images}/scene.png"):
        with pytest.raises(openai.APIStatusError, match="must be from one of the allowed domains") as caught:
            answer(plain, url)
        assert caught.value.status_code in (400, 422)
    with pytest.raises(openai.APIStatusError):
        answer(plain, f"http://127.0.0.1:{images}/moved")
    assert _Images.asked == ["127.0.0.1/scene.png", "127.0.0.1/moved"]


def test_it_stops_when_it_is_told_to(plain: Served) -> None:
    assert plain.stop() == 0


def test_what_a_student_cannot_run_with_is_refused_when_it_starts(first: Case, tmp_path: Path) -> None:
    process, log = start(
        tmp_path,
        str(first.folder),
        "--",
        "--dtype",
        "float32",
        "--enable-prefix-caching",
        port=free_port(),
    )
    assert process.wait(240) == 1
    assert "prefix caching would hand a sink that has seen one image to a prompt with another." in log.read_text()


def test_a_dry_run_prints_the_command_for_a_registered_version(vicur: Command, first: Case, tmp_path: Path) -> None:
    uri = register(first.folder, "students", tmp_path)
    shown = vicur(
        "serve",
        "models:/students/1",
        "--set",
        f"tracking.uri={uri}",
        "--limit",
        "max_images=1",
        "--dry-run",
        "--",
        "--seed",
        "1",
    )
    assert shown.code == 0, shown.error
    kept = tmp_path / ".vicur/served" / checkpoint_sha256(first.folder)
    assert f"vllm serve {kept} --served-model-name students --host 127.0.0.1 --port 8000 " in shown.output
    assert shown.output.endswith(" --seed 1\n")
    assert "VICUR_SERVER_LIMITS='{\"max_images\":1}'" in shown.output
    assert "--no-enable-prefix-caching" in shown.output
    assert "model students, version 1: fetched" in shown.error
    again = vicur("serve", "models:/students@champion", "--set", f"tracking.uri={uri}", "--dry-run")
    assert "model students, version 1: kept, and what was registered" in again.error


def test_a_checkpoint_that_is_not_what_was_registered_is_not_served(
    vicur: Command, first: Case, tmp_path: Path
) -> None:
    uri = register(first.folder, "students", tmp_path)
    (stored,) = (tmp_path / "mlflow").rglob("checkpoint/config.json")
    config = json.loads(stored.read_text())
    stored.unlink()
    stored.write_text(json.dumps({**config, "hidden_act": "relu"}))
    result = vicur("serve", "models:/students@champion", "--set", f"tracking.uri={uri}")
    assert result.code == 2
    assert "its checkpoint has the checksum" in result.error


def test_an_alias_that_does_not_exist_is_told(vicur: Command, first: Case, tmp_path: Path) -> None:
    uri = register(first.folder, "students", tmp_path)
    result = vicur("serve", "models:/students@production", "--set", f"tracking.uri={uri}")
    assert result.code == 2
    assert "has no version or alias 'production'" in result.error


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--tokenizer-mode", "hf"], "--tokenizer-mode cannot be given"),
        (["--trust_request_mm_kwargs"], "--trust-request-mm-kwargs cannot be given"),
        (["--max-model-len=4"], "use --limit max_model_len"),
        (["--hf-overrides.architectures+", "x"], "--hf-overrides cannot be given"),
        (["--trust-remote"], "--trust-remote-code cannot be given"),
        (["--mm-processor-kwargs", "{}"], "--mm-processor-kwargs cannot be given"),
        (["--tokenizer-mod=hf"], "--tokenizer-mode cannot be given"),
        (["--config", "x.yaml"], "--config cannot be given"),
        (["--override-generation-config.max_new_tokens", "4096"], "use --limit max_tokens"),
    ],
)
def test_arguments_that_undo_the_servers_own_are_refused(extra: list[str], said: str) -> None:
    with pytest.raises(VicurError, match=said):
        server_command(TINY / "base", "base", ServerLimits(), host="127.0.0.1", port=1, extra=extra)


def test_other_arguments_are_vllms_also_where_a_refused_one_begins_like_them() -> None:
    extra = ["--tokenizer", "x", "--config-format", "hf", "--max-num-seqs", "4"]
    command = server_command(TINY / "base", "base", ServerLimits(), host="127.0.0.1", port=1, extra=extra)
    assert command.words[-6:] == tuple(extra)


def test_a_prompt_is_as_long_as_the_model_takes_it(tmp_path: Path) -> None:
    command = server_command(TINY / "base", "base", ServerLimits(), host="127.0.0.1", port=1)
    assert command.words[command.words.index("--max-model-len") + 1] == "512"
    with pytest.raises(VicurError, match="max_model_len is 513, and the model takes 512 tokens"):
        server_command(TINY / "base", "base", ServerLimits(max_model_len=513), host="127.0.0.1", port=1)
    (tmp_path / "config.json").write_text('{"text_config": {"max_position_embeddings": 262144}}')
    (tmp_path / "tokenizer_config.json").write_text("{}")
    command = server_command(tmp_path, "long", ServerLimits(), host="127.0.0.1", port=1)
    assert command.words[command.words.index("--max-model-len") + 1] == "8192"


def test_a_folder_without_a_checkpoint_is_told(vicur: Command) -> None:
    result = vicur("serve", "nowhere")
    assert result.code == 2
    assert "nowhere/config.json: cannot be read" in result.error


def test_a_port_that_is_taken_is_told(vicur: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = vicur("serve", str(TINY / "base"), "--port", str(port))
    assert result.code == 2
    assert f"vicur serve: cannot bind to 127.0.0.1:{port}: address already in use" in result.error
