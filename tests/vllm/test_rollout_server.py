"""Rollouts by a vLLM server: same distribution, same weights, and errors."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.training.conftest import base, inputs, session  # noqa: F401 (fixtures)
from tests.training.factory import examples_for, save_random_base, state_for
from tests.training.train_once import SETTINGS, train_once
from tests.vllm.cases import Case, make_requests, make_student
from tests.vllm.rollout_server import rollout_server
from tests.vllm.training import MAX_PROMPT_TOKENS, gap
from vicur.config.sampling import Sampling
from vicur.config.vllm import Vllm
from vicur.data.images import normalised
from vicur.errors import VicurError
from vicur.modeling.chat import Chat
from vicur.modeling.generation import generate
from vicur.training.parallel import SingleModel
from vicur.training.rollout.servers import Servers
from vicur.training.rollout.vllm import VllmEngine
from vicur.training.step import training_step
from vicur.training.world import World

pytestmark = pytest.mark.vllm

GREEDY = Sampling(temperature=0, max_new_tokens=12)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_student("first", tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def served(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    exchange = tmp_path_factory.mktemp("exchange")
    words = ["--set", f"training.max_prompt_tokens={MAX_PROMPT_TOKENS}", "--", "--kv-cache-memory-bytes", "200000000"]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("VLLM_API_KEY", "sk-test")
        with rollout_server(case.folder, exchange, words) as url:
            yield Vllm(url=url, exchange=exchange)


@pytest.fixture
def engine(case: Case, served: Vllm) -> Iterator[VllmEngine]:
    vllm_engine = VllmEngine(
        Servers(served, "rollout"),
        SingleModel(case.student, bf16=False),
        case.chat,
        World.single("cpu"),
        torch.float32,
        "vLLM",
    )
    yield vllm_engine
    vllm_engine.close()


@contextmanager
def raises_error_with(*parts: str) -> Iterator[None]:
    """Expect a :class:`VicurError` whose message contains all parts."""
    with pytest.raises(VicurError) as raised:
        yield
    for part in parts:
        assert part in str(raised.value)


def test_responses_and_logprobs_match_the_student_after_each_update(
    case: Case, engine: VllmEngine, served: Vllm
) -> None:
    prompts = [request.prompt for request in make_requests(case.chat, rounds=2)]
    for version in range(2):
        engine.update(version)
        answers = engine.generate(prompts, GREEDY, seed=0, batch_size=8)
        own = generate(case.student, case.chat, prompts, GREEDY, seed=0)
        assert [answer.ids for answer in answers] == [answer.ids for answer in own]
        sampled = engine.generate(prompts, Sampling(max_new_tokens=12), seed=3, batch_size=8)
        assert gap(case, prompts, sampled) < 1e-4
        with torch.no_grad():
            for weight in case.student.parameters():
                weight.mul_(1.05)
    assert not list(served.exchange.glob("*.safetensors"))


@pytest.mark.slow
def test_a_server_on_two_devices_answers_as_one_on_one_device(tmp_path: Path) -> None:
    # Its heads can be divided by two.
    case = make_student("assistant", tmp_path / "student")
    words = ["--set", f"training.max_prompt_tokens={MAX_PROMPT_TOKENS}", "--", "--kv-cache-memory-bytes", "200000000"]
    prompts = [request.prompt for request in make_requests(case.chat, rounds=1)]
    with rollout_server(case.folder, tmp_path, [*words, "--tensor-parallel-size", "2"]) as url:
        servers = Servers(Vllm(url=url, exchange=tmp_path), "rollout")
        student = SingleModel(case.student, bf16=False)
        engine = VllmEngine(servers, student, case.chat, World.single("cpu"), torch.float32, "vLLM")
        # Compares the sums of both devices' parts with those of the student.
        engine.update(0)
        answers = engine.generate(prompts, GREEDY, seed=0, batch_size=8)
        engine.close()
    own = generate(case.student, case.chat, prompts, GREEDY, seed=0)
    assert [answer.ids for answer in answers] == [answer.ids for answer in own]
    assert gap(case, prompts, answers) < 1e-4


def test_damaged_weights_are_detected(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    save: Any = __import__("safetensors.torch").torch.save_file

    def damage(weights: dict[str, torch.Tensor], file: Path) -> None:
        weights["model.language_model.norm.weight"][3] += 1e-6
        save(weights, file)

    monkeypatch.setattr("vicur.training.rollout.servers.save_file", damage)
    with pytest.raises(VicurError) as raised:
        engine.update(7)
    assert re.findall(r"model\.[\w.]+\.weight\b", str(raised.value)) == ["model.language_model.norm.weight"]


def test_images_with_transparency_a_palette_or_rotation_are_processed_as_in_training(
    case: Case, engine: VllmEngine
) -> None:
    coarse = Image.new("RGBA", (64, 48), (200, 30, 90, 0))
    coarse.paste((10, 200, 60, 128), (8, 8, 40, 40))
    rotated = Image.Exif()
    rotated[0x0112] = 6
    prompts = []
    for image, options in (
        (coarse, {}),
        (coarse.convert("RGB").quantize(4), {}),
        (coarse.convert("RGB").convert("L"), {}),
        (coarse.convert("RGB"), {"exif": rotated}),
        (coarse.convert("RGB"), {"transparency": (200, 30, 90)}),
    ):
        file = io.BytesIO()
        image.save(file, "PNG", **options)
        stored = normalised(file.getvalue(), 10_000).data
        prompts.append(case.chat.prompt("what is it", [case.chat.pixels(stored)]))
    engine.update(8)
    sampled = engine.generate(prompts, Sampling(max_new_tokens=12), seed=3, batch_size=8)
    assert gap(case, prompts, sampled) < 1e-4


def test_errors_of_the_server_are_reported_with_path_status_and_remedy(
    case: Case, engine: VllmEngine, served: Vllm
) -> None:
    prompt = case.chat.prompt("what " * (MAX_PROMPT_TOKENS + 50), [])
    with raises_error_with("/inference/v1/generate", "400", "vicur rollout-server"):
        engine.generate([prompt], GREEDY, seed=0, batch_size=1)
    server = Servers(served, "rollout")
    with raises_error_with("/collective_rpc", "500"):
        server._servers[0]._post(
            "/collective_rpc", {"method": "vicur_take_weights", "args": ["../weights.safetensors"]}
        )


def test_weights_of_another_training_run_are_detected(case: Case, engine: VllmEngine, served: Vllm) -> None:
    prompt = case.chat.prompt("what is it", [])
    engine.update(20)
    assert engine.generate([prompt], GREEDY, seed=0, batch_size=1)
    another = VllmEngine(
        Servers(served, "rollout"),
        SingleModel(case.student, bf16=False),
        case.chat,
        World.single("cpu"),
        torch.float32,
        "vLLM",
    )
    another.update(0)
    another.close()
    with raises_error_with("another training"):
        engine.generate([prompt], GREEDY, seed=0, batch_size=1)


def test_weights_cannot_be_replaced_without_the_key(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.update(21)
    for key in ("", "sk-wrong"):
        monkeypatch.setenv("VLLM_API_KEY", key)
        with raises_error_with("/collective_rpc", "401", "VLLM_API_KEY"):
            engine.update(22)


def test_other_methods_and_paths_are_rejected(served: Vllm) -> None:
    server = Servers(served, "rollout")
    with raises_error_with("/collective_rpc", "403"):
        server._servers[0]._post("/collective_rpc", {"method": "save_sharded_state", "kwargs": {"path": "/tmp/x"}})  # noqa: S108 (nothing is written)
    with raises_error_with("/sleep", "404"):
        server._servers[0]._post("/sleep", {})


def test_several_training_processes_share_a_server(inputs: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    """Every process requests responses for its share of the batch. Rank 0 sends the weights, which all ranks gather under FSDP."""
    shared = {**SETTINGS.model_dump(), "steps": 3, "validate_every": 3, "keep": "last"}
    words = ["--set", "training.rollout.max_new_tokens=6", "--", "--kv-cache-memory-bytes", "200000000"]
    weights = {}
    with rollout_server(inputs["base"], tmp_path, words) as url:
        server = {"placement": "url", "engine": {"type": "vllm", "url": url, "exchange": str(tmp_path)}}
        for name, engine, strategy in (
            ("own", {}, "ddp"),
            ("ddp", server, "ddp"),
            ("fsdp", server, "fsdp"),
        ):
            settings = SETTINGS.model_validate(
                {
                    **shared,
                    "distribution": {"processes": 2, "strategy": strategy},
                    "rollout": {"max_new_tokens": 6, "temperature": 0, **engine},
                }
            )
            weights[name] = load_file(train_once(inputs, tmp_path / name, settings) / "model.safetensors")
    for name in ("ddp", "fsdp"):
        assert max(float((weights[name][key] - weights["own"][key]).abs().max()) for key in weights["own"]) < 1e-5


def test_a_teacher_on_a_server_gives_the_same_scores_and_must_have_the_right_weights(
    base: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    # A teacher whose own image processor would resize images to other sizes than the training does.
    folder = tmp_path / "teacher"
    shutil.copytree(base, folder)
    chat = Chat.load(folder)
    chat.image_processor.size = {"shortest_edge": 256, "longest_edge": 1024}
    chat.save(folder)
    assert Chat.load(folder).pixel_range("teacher") != Chat.load(base).pixel_range("teacher")
    teacher = {"type": "checkpoint", "path": str(folder)}
    words = ["--set", "training.rollout.max_new_tokens=6", "--set", f"training.teacher={json.dumps(teacher)}"]
    words += ["--teacher", "--", "--kv-cache-memory-bytes", "200000000"]
    with rollout_server(base, tmp_path, words) as url:
        engine = {"placement": "url", "engine": {"type": "vllm", "url": url, "exchange": str(tmp_path)}}
        shared = {"method": "opsd", "rollout": {"max_new_tokens": 6}}
        # The same weights, in this process.
        rows = examples_for(own := state_for(base, work=tmp_path / "own", **shared))[:4]
        state = state_for(base, work=tmp_path, **shared, teacher={**teacher, **engine})
        expected, metrics = (training_step(each, rows, 0) for each in (own, state))
        assert metrics["gap/whole"] == pytest.approx(expected["gap/whole"], abs=1e-4)
        state.close()
        another = save_random_base(tmp_path / "another", seed=1)
        with raises_error_with("the teacher's server at http", "weights"):
            state_for(another, work=tmp_path, **shared, teacher={"type": "self-frozen", **engine})
        rollouts = {**shared, "rollout": {"max_new_tokens": 6, **engine}}
        with raises_error_with("/collective_rpc", "500", "started with --teacher"):
            training_step(state_for(base, work=tmp_path, **rollouts), rows, 0)
