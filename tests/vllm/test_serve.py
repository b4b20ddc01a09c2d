"""Start and stop ``vicur serve``: a plain Qwen3-VL, errors at startup, and exit statuses."""

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
    """Serve the tiny base model, which has no cue recovery, with one host that images may be downloaded from."""
    allowed = ("--allowed-media-domains", "127.0.0.1")
    with serving(tmp_path_factory.mktemp("plain"), str(TINY / "base"), extra=allowed) as server:
        yield server


class _Images(BaseHTTPRequestHandler):
    """Serves an image, and a redirect to it at ``/moved``."""

    requested: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requested.append(f"{self.headers['Host'].split(':')[0]}{self.path}")
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/scene.png")
        self.end_headers()
        self.wfile.write(b"" if self.path == "/moved" else IMAGE)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def images() -> Iterator[int]:
    """Yield the port of an image server."""
    _Images.requested.clear()
    with HTTPServer(("127.0.0.1", 0), _Images) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def answer(served: Served, url: str) -> list[int]:
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        completion = client.chat.completions.create(
            model="base",
            messages=[{"role": "user", "content": content}],  # type: ignore[list-item,misc]
            temperature=0,
            max_tokens=16,
            extra_body={"return_token_ids": True},
        )
    return completion.choices[0].token_ids  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def expected() -> list[int]:
    """Return the response of transformers."""
    chat = Chat.load(TINY / "base")
    prompt = chat.prompt(QUESTION, [chat.pixels(IMAGE)])
    (response,) = generate(
        load_model(TINY / "base"), chat, [prompt], Sampling(temperature=0, max_new_tokens=16), seed=0
    )
    return list(response.ids)


def test_a_plain_model_gives_the_answers_of_transformers(plain: Served, expected: list[int]) -> None:
    assert answer(plain, f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}") == expected


def test_images_are_downloaded_only_from_allowed_hosts(plain: Served, images: int, expected: list[int]) -> None:
    assert answer(plain, f"http://127.0.0.1:{images}/scene.png") == expected
    for url in (f"http://localhost:{images}/scene.png", f"http://127.0.0.1@localhost:{images}/scene.png"):
        with pytest.raises(openai.APIStatusError, match="must be from one of the allowed domains") as caught:
            answer(plain, url)
        assert caught.value.status_code in (400, 422)
    with pytest.raises(openai.APIStatusError):
        answer(plain, f"http://127.0.0.1:{images}/moved")
    assert _Images.requested == ["127.0.0.1/scene.png", "127.0.0.1/moved"]


def test_the_server_stops_on_sigterm(plain: Served) -> None:
    assert plain.stop() == 0


def test_settings_that_break_cue_recovery_are_rejected_at_startup(first: Case, tmp_path: Path) -> None:
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
    assert "prefix caching is enabled, so a prompt could reuse a sink" in log.read_text()


def test_a_dry_run_prints_the_command_for_a_registered_version(vicur: Command, first: Case, tmp_path: Path) -> None:
    uri = register(first.folder, "students", tmp_path)
    result = vicur(
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
    assert result.code == 0, result.error
    cached = tmp_path / ".vicur/served" / checkpoint_sha256(first.folder)
    assert f"vllm serve {cached} --served-model-name students --host 127.0.0.1 --port 8000 " in result.output
    assert result.output.endswith(" --seed 1\n")
    assert "VICUR_SERVER_LIMITS='{\"max_images\":1}'" in result.output
    assert "--no-enable-prefix-caching" in result.output
    assert "version 1: downloaded checkpoint" in result.error
    again = vicur("serve", "models:/students@champion", "--set", f"tracking.uri={uri}", "--dry-run")
    assert "version 1: cached checkpoint" in again.error


def test_a_checkpoint_that_was_changed_after_its_registration_is_not_served(
    vicur: Command, first: Case, tmp_path: Path
) -> None:
    uri = register(first.folder, "students", tmp_path)
    (stored,) = (tmp_path / "mlflow").rglob("checkpoint/config.json")
    config = json.loads(stored.read_text())
    stored.unlink()
    stored.write_text(json.dumps({**config, "hidden_act": "relu"}))
    result = vicur("serve", "models:/students@champion", "--set", f"tracking.uri={uri}")
    assert result.code == 2
    assert "checksum" in result.error


def test_an_unknown_alias_is_reported(vicur: Command, first: Case, tmp_path: Path) -> None:
    uri = register(first.folder, "students", tmp_path)
    result = vicur("serve", "models:/students@production", "--set", f"tracking.uri={uri}")
    assert result.code == 2
    assert "'production'" in result.error


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--tokenizer-mode", "hf"], "--tokenizer-mode cannot be set"),
        (["--trust_request_mm_kwargs"], "--trust-request-mm-kwargs cannot be set"),
        (["--max-model-len=4"], "use --limit max_model_len"),
        (["--hf-overrides.architectures+", "x"], "--hf-overrides cannot be set"),
        (["--trust-remote"], "--trust-remote-code cannot be set"),
        (["--mm-processor-kwargs", "{}"], "--mm-processor-kwargs cannot be set"),
        (["--tokenizer-mod=hf"], "--tokenizer-mode cannot be set"),
        (["--config", "x.yaml"], "--config cannot be set"),
        (["--override-generation-config.max_new_tokens", "4096"], "use --limit max_tokens"),
    ],
)
def test_arguments_that_vicur_serve_sets_itself_are_rejected(extra: list[str], message: str) -> None:
    with pytest.raises(VicurError, match=message):
        server_command(TINY / "base", "base", ServerLimits(), host="127.0.0.1", port=1, extra=extra)


def test_arguments_with_the_same_prefix_as_a_rejected_one_are_passed_on() -> None:
    extra = ["--tokenizer", "x", "--config-format", "hf", "--max-num-seqs", "4"]
    command = server_command(TINY / "base", "base", ServerLimits(), host="127.0.0.1", port=1, extra=extra)
    assert command.words[-6:] == tuple(extra)


def test_the_context_length_is_limited_by_the_model(tmp_path: Path) -> None:
    command = server_command(TINY / "base", "base", ServerLimits(), host="127.0.0.1", port=1)
    assert command.words[command.words.index("--max-model-len") + 1] == "512"
    with pytest.raises(VicurError, match="max_model_len is 513, but the model supports at most 512 tokens"):
        server_command(TINY / "base", "base", ServerLimits(max_model_len=513), host="127.0.0.1", port=1)
    (tmp_path / "config.json").write_text('{"text_config": {"max_position_embeddings": 262144}}')
    (tmp_path / "tokenizer_config.json").write_text("{}")
    command = server_command(tmp_path, "long", ServerLimits(), host="127.0.0.1", port=1)
    assert command.words[command.words.index("--max-model-len") + 1] == "8192"


def test_a_folder_without_a_checkpoint_is_reported(vicur: Command) -> None:
    result = vicur("serve", "nowhere")
    assert result.code == 2
    assert "nowhere/config.json: the file cannot be read" in result.error


def test_a_port_in_use_is_reported(vicur: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = vicur("serve", str(TINY / "base"), "--port", str(port))
    assert result.code == 2
    assert str(port) in result.error
    assert "address already in use" in result.error.lower()
