"""Rollouts by vLLM as a server: the same distribution, the same weights, and what it refuses."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.training.conftest import base, inputs, session  # noqa: F401 (fixtures)
from tests.training.factory import examples_for, save_random_base, state_for
from tests.training.train_once import SETTINGS, train_once
from tests.vllm.cases import Case, make_student, requests
from tests.vllm.rollout_server import rollout_server
from tests.vllm.training import ROOM, gap
from vicur.config.sampling import Sampling
from vicur.config.vllm import Vllm
from vicur.errors import VicurError
from vicur.modeling.generation import generate
from vicur.training.parallel import SingleModel
from vicur.training.rollout.server import Server
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
    words = ["--set", f"training.max_prompt_tokens={ROOM}", "--", "--kv-cache-memory-bytes", "200000000"]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("VLLM_API_KEY", "sk-test")
        with rollout_server(case.folder, exchange, words) as url:
            yield Vllm(placement="server", url=url, exchange=exchange)


@pytest.fixture
def engine(case: Case, served: Vllm) -> Iterator[VllmEngine]:
    made = VllmEngine(
        Server(served), SingleModel(case.student, bf16=False), case.chat, World.single("cpu"), torch.float32, "vLLM"
    )
    yield made
    made.close()


def test_a_server_answers_as_the_student_does_after_each_update(case: Case, engine: VllmEngine, served: Vllm) -> None:
    prompts = [request.prompt for request in requests(case.chat, rounds=2)]
    for version in range(2):
        engine.update(version)
        answers = engine.generate(prompts, GREEDY, seed=0, batch_size=8)
        own = generate(case.student, case.chat, prompts, GREEDY, seed=0)
        assert [answer.ids for answer in answers] == [answer.ids for answer in own]
        drawn = engine.generate(prompts, Sampling(max_new_tokens=12), seed=3, batch_size=8)
        assert gap(case, prompts, drawn) < 1e-4
        with torch.no_grad():
            for weight in case.student.parameters():
                weight.mul_(1.05)
    assert not list(served.exchange.glob("*.safetensors"))


def test_weights_that_arrive_damaged_are_refused(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    save: Any = __import__("safetensors.torch").torch.save_file

    def damage(weights: dict[str, torch.Tensor], file: Path) -> None:
        weights["model.language_model.norm.weight"][3] += 1e-6
        save(weights, file)

    monkeypatch.setattr("vicur.training.rollout.server.save_file", damage)
    with pytest.raises(VicurError, match=r"than the training expects: model.language_model.norm.weight\."):
        engine.update(7)


def test_images_with_transparency_a_palette_or_a_turn_are_seen_as_in_training(case: Case, engine: VllmEngine) -> None:
    coarse = Image.new("RGBA", (64, 48), (200, 30, 90, 0))
    coarse.paste((10, 200, 60, 128), (8, 8, 40, 40))
    turned = Image.Exif()
    turned[0x0112] = 6
    prompts = []
    for image, options in (
        (coarse, {}),
        (coarse.convert("RGB").quantize(4), {}),
        (coarse.convert("RGB").convert("L"), {}),
        (coarse.convert("RGB"), {"exif": turned}),
        (coarse.convert("RGB"), {"transparency": (200, 30, 90)}),
    ):
        written = io.BytesIO()
        image.save(written, "PNG", **options)
        prompts.append(case.chat.prompt("what is it", [case.chat.pixels(written.getvalue())]))
    engine.update(8)
    drawn = engine.generate(prompts, Sampling(max_new_tokens=12), seed=3, batch_size=8)
    assert gap(case, prompts, drawn) < 1e-4


def test_a_server_that_refuses_or_is_not_there_is_told_with_the_remedy(
    case: Case, engine: VllmEngine, served: Vllm
) -> None:
    prompt = case.chat.prompt("what " * (ROOM + 50), [])
    with pytest.raises(VicurError, match=r"returned status 400 for /inference/v1/generate.*vicur rollout-server"):
        engine.generate([prompt], GREEDY, seed=0, batch_size=1)
    server = Server(served)
    with pytest.raises(VicurError, match=r"returned status 500 for /collective_rpc"):
        server._post("/collective_rpc", {"method": "vicur_take_weights", "args": ["../weights.safetensors"]})


def test_a_server_that_another_training_gives_weights_to_is_told(case: Case, engine: VllmEngine, served: Vllm) -> None:
    prompt = case.chat.prompt("what is it", [])
    engine.update(20)
    assert engine.generate([prompt], GREEDY, seed=0, batch_size=1)
    another = VllmEngine(
        Server(served), SingleModel(case.student, bf16=False), case.chat, World.single("cpu"), torch.float32, "vLLM"
    )
    another.update(0)
    another.close()
    with pytest.raises(VicurError, match="another training sends it weights"):
        engine.generate([prompt], GREEDY, seed=0, batch_size=1)


def test_who_lacks_the_key_changes_no_weights(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.update(21)
    for key in ("", "sk-wrong"):
        monkeypatch.setenv("VLLM_API_KEY", key)
        with pytest.raises(VicurError, match=r"returned status 401 for /collective_rpc .*set VLLM_API_KEY"):
            engine.update(22)


def test_workers_are_asked_for_nothing_else(served: Vllm) -> None:
    server = Server(served)
    with pytest.raises(VicurError, match="returned status 403 for /collective_rpc"):
        server._post("/collective_rpc", {"method": "save_sharded_state", "kwargs": {"path": "/tmp/x"}})  # noqa: S108 (nothing is written)
    with pytest.raises(VicurError, match="returned status 404 for /sleep"):
        server._post("/sleep", {})


def test_processes_that_share_a_student_share_a_server(inputs: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    """DdpModel and sharded, each asks for its share of the batch; the first sends the weights, which all gather."""
    shared = {**SETTINGS.model_dump(), "steps": 3, "validate_every": 3, "keep": "last"}
    words = ["--set", "training.rollout.max_new_tokens=6", "--", "--kv-cache-memory-bytes", "200000000"]
    ended = {}
    with rollout_server(inputs["base"], tmp_path, words) as url:
        server = {"type": "vllm", "placement": "server", "url": url, "exchange": str(tmp_path)}
        for name, engine, strategy in (
            ("own", "transformers", "ddp"),
            ("ddp", server, "ddp"),
            ("fsdp", server, "fsdp"),
        ):
            settings = SETTINGS.model_validate(
                {
                    **shared,
                    "distribution": {"processes": 2, "strategy": strategy},
                    "rollout": {"max_new_tokens": 6, "temperature": 0, "engine": engine},
                }
            )
            ended[name] = load_file(train_once(inputs, tmp_path / name, settings) / "model.safetensors")
    for name in ("ddp", "fsdp"):
        assert max(float((ended[name][key] - ended["own"][key]).abs().max()) for key in ended["own"]) < 1e-5


def test_a_teacher_at_a_server_scores_as_the_trainings_own_and_is_the_one_that_was_named(
    base: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    words = ["--set", "training.rollout.max_new_tokens=6", "--teacher", "--", "--kv-cache-memory-bytes", "200000000"]
    with rollout_server(base, tmp_path, words) as url:
        engine = {"type": "vllm", "placement": "server", "url": url, "exchange": str(tmp_path)}
        shared = {"method": "opsd", "rollout": {"max_new_tokens": 6}}
        rows = examples_for(own := state_for(base, work=tmp_path / "own", **shared))[:4]
        state = state_for(base, work=tmp_path, **shared, teacher={"type": "self-frozen", "engine": engine})
        wanted, found = (training_step(each, rows, 0) for each in (own, state))
        assert found["gap/whole"] == pytest.approx(wanted["gap/whole"], abs=1e-4)
        state.close()
        another = save_random_base(tmp_path / "another", seed=1)
        with pytest.raises(VicurError, match=r"the teacher's server at http.*other weights than the training expects"):
            state_for(another, work=tmp_path, **shared, teacher={"type": "self-frozen", "engine": engine})
        rollouts = {**shared, "rollout": {"max_new_tokens": 6, "engine": engine}}
        with pytest.raises(VicurError, match=r"returned status 500 for /collective_rpc.*scores for a teacher"):
            training_step(state_for(base, work=tmp_path, **rollouts), rows, 0)
