"""Starting and stopping ``vicur serve``: a plain Qwen3-VL, what is refused at start, and exit statuses."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture
def vicur(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capfd)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The tiny base, which has no module."""
    with serving(tmp_path_factory.mktemp("plain"), str(TINY / "base")) as server:
        yield server


def test_a_plain_model_is_served_too_and_stops_when_it_is_told_to(plain: Served) -> None:
    client = openai.OpenAI(base_url=f"{plain.url}/v1", api_key="none", max_retries=0)
    chat, image = Chat.load(TINY / "base"), picture(3, 150, 70)
    (expected,) = generate(
        load_model(TINY / "base"),
        chat,
        [chat.prompt(QUESTION, [chat.pixels(image)])],
        Sampling(temperature=0, max_new_tokens=16),
        seed=0,
    )
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}]
    with client:
        answer = client.chat.completions.create(
            model="base",
            messages=[{"role": "user", "content": content}],  # type: ignore[list-item,misc]
            temperature=0,
            max_tokens=16,
            extra_body={"return_token_ids": True},
        )
    assert answer.choices[0].token_ids == list(expected.ids)  # type: ignore[attr-defined]
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
    ],
)
def test_arguments_that_undo_the_servers_own_are_refused(extra: list[str], said: str) -> None:
    with pytest.raises(VicurError, match=said):
        server_command(TINY / "base", "base", ServerLimits(), host="127.0.0.1", port=1, extra=extra)


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
