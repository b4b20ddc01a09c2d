"""What the tests of rollouts do in a process of their own. Each function starts one engine inside, or several one after the other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from tests.training.factory import examples_for, state_for
from tests.training.train_once import train_once
from tests.vllm.cases import Case, requests
from vicur.config.sampling import Sampling
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.modeling import parameter_count
from vicur.modeling.chat import Prompt
from vicur.modeling.generation import Response, generate
from vicur.modeling.scoring import response_states, score_responses
from vicur.modeling.vision import encode_images
from vicur.training.parallel import SingleModel
from vicur.training.rollout.describe import describe_student
from vicur.training.rollout.vllm import VllmEngine
from vicur.training.state import TrainState
from vicur.training.step import training_step
from vicur.training.world import World

INSIDE = {"type": "vllm", "cache_gb": 0.2}
ROOM = 400
"""Tokens of the longest prompt with its response."""


@contextmanager
def engine_of(case: Case, scratch: Path) -> Iterator[VllmEngine]:
    """vLLM inside this process, with a student's configuration."""
    from vicur_vllm.inside import InsideEngine

    arguments = describe_student(config_of(case), case.folder, case.chat, scratch / "description")
    place = InsideEngine(scratch / "description", arguments, 200_000_000)
    engine = VllmEngine(
        place, SingleModel(case.student, bf16=False), case.chat, World.single("cpu"), torch.float32, "vLLM"
    )
    yield engine
    engine.close()


def config_of(case: Case, **rollout: Any) -> TrainConfig:
    """Settings of a training that would go on with a student."""
    method = "vicur" if parameter_count(case.student).cue_recovery else "opsd"
    return TrainConfig.model_validate({"method": method, "max_prompt_tokens": ROOM, "rollout": rollout})


def sampled(case: Case, scratch: Path, samplings: list[Sampling]) -> dict[str, Any]:
    """Draws with all samplings, after the weights were changed and sent a second time.

    Returns:
        ``gaps``: for each sampling, the largest difference between the engine's log-probability of a token and the trainer's;
        ``outside``: for each, how many tokens were drawn that the trainer would not have drawn with it;
        ``forbidden``: how many tokens were drawn that never are; ``again``: whether the same prompts in another order draw the same;
        ``greedy``: prompts whose greedy answers are transformers' own, and all.
    """
    asked = requests(case.chat, rounds=2)
    prompts = [request.prompt for request in asked]
    with engine_of(case, scratch) as engine:
        engine.update(0)
        with torch.no_grad():
            for weight in case.student.parameters():
                weight.mul_(1.05)
        engine.update(1)
        drawn = [engine.generate(prompts, each, seed=3, batch_size=8) for each in samplings]
        places = list(reversed(range(len(prompts))))
        again = engine.generate([prompts[n] for n in places], samplings[0], seed=3, batch_size=8, streams=places)
        greedy = Sampling(temperature=0, max_new_tokens=12)
        answers = engine.generate(prompts, greedy, seed=0, batch_size=8)
    own = generate(case.student, case.chat, prompts, greedy, seed=0)
    forbidden = case.chat.forbidden_ids(case.student.config.get_text_config().vocab_size)
    never = set(forbidden.tolist())
    return {
        "gaps": [gap(case, prompts, responses) for responses in drawn],
        "outside": [outside(case, prompts, *each) for each in zip(drawn, samplings, strict=True)],
        "forbidden": sum(token in never for responses in drawn for r in responses for token in r.ids),
        "again": [r.ids for r in reversed(again)] == [r.ids for r in drawn[0]],
        "greedy": (sum(a.ids == b.ids for a, b in zip(answers, own, strict=True)), len(own)),
        "different": len({r.ids for r in drawn[0]}),
    }


@torch.no_grad()
def gap(case: Case, prompts: list[Prompt], responses: list[Response]) -> float:
    """Largest difference between the log-probabilities that an engine tells and the trainer's."""
    forbidden = case.chat.forbidden_ids(case.student.config.get_text_config().vocab_size)
    batch = case.chat.collate(prompts, [response.ids for response in responses])
    scores = score_responses(case.student, batch, encode_images(case.student, batch.pixels), forbidden)
    told = torch.nn.utils.rnn.pad_sequence([torch.tensor(r.logprobs) for r in responses], batch_first=True)
    return float((scores.logprobs_BR - told).abs().max())


@torch.no_grad()
def outside(case: Case, prompts: list[Prompt], responses: list[Response], sampling: Sampling) -> int:
    """Tokens of responses beyond the likeliest that a sampling leaves, by the trainer's own logits; those at the very edge do not count."""
    batch = case.chat.collate(prompts, [response.ids for response in responses])
    states = response_states(case.student, batch, encode_images(case.student, batch.pixels))
    logits_NV = states.hidden_NH @ states.head_VH.T
    logits_NV[:, case.chat.forbidden_ids(logits_NV.shape[-1])] = float("-inf")
    places = [(response.ids, place) for response in responses for place in range(len(response.ids))]
    for row, (ids, place) in zip(logits_NV, places, strict=True):
        row[list(set(ids[:place]))] -= sampling.presence_penalty
    shares_NV = (logits_NV / sampling.temperature).softmax(-1)
    own_N1 = shares_NV.gather(-1, states.targets_N[:, None])
    likelier_NV = shares_NV > own_N1 * (1 + 1e-4)
    beyond_k_N = likelier_NV.sum(-1) >= (sampling.top_k or logits_NV.shape[-1])
    kept_NV = shares_NV.topk(sampling.top_k, dim=-1).values if sampling.top_k else shares_NV
    before_N = (shares_NV * likelier_NV).sum(-1) / kept_NV.sum(-1)
    return int((beyond_k_N | (before_N >= sampling.top_p + 1e-4)).sum())


def train(inputs: dict[str, Path], root: Path, settings: list[TrainConfig]) -> list[Path]:
    """Trains with each of the settings, in this one process."""
    return [train_once(inputs, root / str(number), each) for number, each in enumerate(settings)]


def faults(base: Path, scratch: Path) -> dict[str, str]:
    """What a training says where its engine is at fault, and that the student stays as it was; whether the engine would start on a GPU."""
    state = state_for(
        base, work=scratch, method="vicur", rollout={"max_new_tokens": 6, "engine": INSIDE, "max_logprob_gap": 1e-3}
    )
    rows = examples_for(state)[:4]
    before = _copy(state)
    engine: Any = state.engine
    told = {"right": str(training_step(state, rows, 0)["rollout/logprob_gap_max"] < 1e-4)}
    after = _copy(state)
    told["learned"] = str(any(not torch.equal(before[name], after[name]) for name in before))

    backend, take = engine._backend, engine._backend.take
    told["room"] = _start_beside_a_training(backend._llm)
    backend.take = lambda weights: take(_without(weights, "model.language_model.norm.weight"))
    told["lost"] = _refusal(state, rows, 1)
    backend.take = lambda weights: take(_damaged(weights))
    told["damaged"] = _refusal(state, rows, 1)
    backend.take = take
    engine.update(1)
    backend._llm.apply_model(_tamper)
    told["tampered"] = _refusal(state, rows, 1)
    told["left"] = str(all(torch.equal(weight, _copy(state)[name]) for name, weight in after.items()))
    told["gradients"] = str(any(p.grad is not None for p in state.student.parameters()))
    engine.close()
    return told


def refused_start(base: Path, scratch: Path, engine: dict[str, Any]) -> str:
    """What a training says whose engine does not start."""
    # It would go before the setting.
    del os.environ["VLLM_CPU_KVCACHE_SPACE"]
    try:
        state_for(base, work=scratch, rollout={"max_new_tokens": 6, "engine": {"type": "vllm", **engine}})
    except VicurError as error:
        return str(error)
    return "it starts"


def scored_by_teachers(base: Path, scratch: Path, engine: dict[str, Any]) -> dict[str, Any]:
    """Steps of a training whose teacher is vLLM's, beside those of one whose teacher is its own; rollouts are vLLM's in the first.

    Returns:
        ``apart``: the largest difference of the teachers' log-probabilities of a token; ``metrics``: of the steps of both.
    """
    shared = {"method": "vicur", "objective": {"type": "k1"}, "rollout": {"max_new_tokens": 6, "temperature": 0}}
    own = state_for(base, work=scratch / "own", **shared)
    shared["rollout"] |= {"engine": INSIDE}
    # The method's own teacher, elsewhere.
    other = state_for(base, work=scratch / "other", **shared, teacher={"type": "self-frozen", "engine": engine})
    rows = examples_for(own)[:4]
    prompts = [row.teacher for row in rows]
    responses = [row.ids for row in generate(own.student, own.chat, prompts, Sampling(max_new_tokens=7), seed=5)]
    batch = own.chat.collate(prompts, responses)
    forbidden = own.chat.forbidden_ids(own.student.config.get_text_config().vocab_size)
    with torch.no_grad():
        teacher = own.teacher.model
        scores = score_responses(teacher, batch, encode_images(teacher, batch.pixels), forbidden)
    told = other.teacher.logprobs(prompts, responses)
    metrics = [[training_step(state, rows, step) for step in range(2)] for state in (own, other)]
    other.close()
    return {"apart": float((scores.logprobs_BR[batch.response_mask] - told).abs().max()), "metrics": metrics}


def _start_beside_a_training(llm: Any) -> str:
    """What vLLM says at its start on a GPU of 80 GiB that a training has left 8 of, by its settings alone."""
    from vllm.v1.worker.utils import request_memory

    device = SimpleNamespace(device_="cuda:0", total_memory=80 << 30, free_memory=8 << 30)
    try:
        request_memory(device, llm.llm_engine.vllm_config.cache_config)
    except ValueError as error:
        return str(error)
    return "it starts"


def _refusal(state: TrainState, rows: list[Any], step: int) -> str:
    try:
        return f"no refusal: {training_step(state, rows, step)}"
    except VicurError as error:
        return str(error)


def _copy(state: TrainState) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in state.student.named_parameters()}


def _damaged(weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    for name, weight in weights:
        if name.endswith("layers.1.self_attn.k_proj.weight"):
            flipped = weight.clone()
            flipped.view(torch.int32)[3, 5] ^= 1
            yield name, flipped
        else:
            yield name, weight


def _without(weights: Iterable[tuple[str, Tensor]], lost: str) -> Iterator[tuple[str, Tensor]]:
    return ((name, weight) for name, weight in weights if name != lost)


def _tamper(model: Any) -> None:
    model.language_model.model.norm.weight.data.mul_(1.5)


def train_until(inputs: dict[str, Path], root: Path, settings: TrainConfig, step: int) -> None:
    """Trains, and is killed once so many steps are kept."""
    from vicur.training import trainer

    save = trainer._save

    def save_and_die(state: TrainState, best: Any, progress: Any, store: Any) -> None:
        save(state, best, progress, store)
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer._save = save_and_die
    train_once(inputs, root, settings)
