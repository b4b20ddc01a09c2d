"""Functions that the rollout tests run in a separate process. Each starts one engine inside the process, or several one after another."""

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
from tests.vllm.cases import Case, make_requests
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
MAX_PROMPT_TOKENS = 400


@contextmanager
def engine_of(case: Case, scratch: Path) -> Iterator[VllmEngine]:
    """Yield a vLLM engine inside this process for a student."""
    from vicur_vllm.inside import InsideEngine

    arguments = describe_student(config_of(case), case.folder, case.chat, scratch / "description")
    place = InsideEngine(scratch / "description", arguments, 200_000_000)
    engine = VllmEngine(
        place, SingleModel(case.student, bf16=False), case.chat, World.single("cpu"), torch.float32, "vLLM"
    )
    yield engine
    engine.close()


def config_of(case: Case, **rollout: Any) -> TrainConfig:
    """Return settings for training a student further."""
    method = "vicur" if parameter_count(case.student).cue_recovery else "opsd"
    return TrainConfig.model_validate(
        {"method": method, "max_prompt_tokens": MAX_PROMPT_TOKENS, "rollout": rollout, "prompts": case.chat.prompts}
    )


def sample(case: Case, scratch: Path, samplings: list[Sampling]) -> dict[str, Any]:
    """Sample with several settings, after the weights were changed and sent a second time.

    Returns:
        ``gaps``: for each setting, the largest difference between the log-probabilities of engine and trainer;
        ``outside``: for each setting, how many sampled tokens the trainer's truncation would exclude;
        ``forbidden``: how many sampled tokens are forbidden;
        ``reordered``: whether prompts in reverse order give the same responses;
        ``greedy``: how many greedy responses equal those of transformers, and their number;
        ``different``: how many responses are different.
    """
    prompts = [request.prompt for request in make_requests(case.chat, rounds=2)]
    with engine_of(case, scratch) as engine:
        engine.update(0)
        with torch.no_grad():
            for weight in case.student.parameters():
                weight.mul_(1.05)
        engine.update(1)
        sampled = [engine.generate(prompts, each, seed=3, batch_size=8) for each in samplings]
        order = list(reversed(range(len(prompts))))
        reordered = engine.generate([prompts[n] for n in order], samplings[0], seed=3, batch_size=8, streams=order)
        greedy = Sampling(temperature=0, max_new_tokens=12)
        answers = engine.generate(prompts, greedy, seed=0, batch_size=8)
    own = generate(case.student, case.chat, prompts, greedy, seed=0)
    forbidden = set(case.chat.forbidden_ids(case.student.config.get_text_config().vocab_size).tolist())
    return {
        "gaps": [gap(case, prompts, responses) for responses in sampled],
        "outside": [outside(case, prompts, *each) for each in zip(sampled, samplings, strict=True)],
        "forbidden": sum(token in forbidden for responses in sampled for r in responses for token in r.ids),
        "reordered": [r.ids for r in reversed(reordered)] == [r.ids for r in sampled[0]],
        "greedy": (sum(a.ids == b.ids for a, b in zip(answers, own, strict=True)), len(own)),
        "different": len({r.ids for r in sampled[0]}),
    }


@torch.no_grad()
def gap(case: Case, prompts: list[Prompt], responses: list[Response]) -> float:
    """Return the largest difference between the log-probabilities of an engine and the trainer."""
    forbidden = case.chat.forbidden_ids(case.student.config.get_text_config().vocab_size)
    batch = case.chat.collate(prompts, [response.ids for response in responses])
    scores = score_responses(case.student, batch, encode_images(case.student, batch.pixels), forbidden)
    logprobs_BR = torch.nn.utils.rnn.pad_sequence([torch.tensor(r.logprobs) for r in responses], batch_first=True)
    return float((scores.logprobs_BR - logprobs_BR).abs().max())


@torch.no_grad()
def outside(case: Case, prompts: list[Prompt], responses: list[Response], sampling: Sampling) -> int:
    """Count tokens that top-k and top-p exclude according to the trainer's logits. Tokens at the boundary do not count."""
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
    """Train with each of the settings in this process."""
    return [train_once(inputs, root / str(number), each) for number, each in enumerate(settings)]


def faults(base: Path, scratch: Path) -> dict[str, str]:
    """Return the errors of a training run with a faulty engine, and whether they leave the student unchanged."""
    state = state_for(
        base, work=scratch, method="vicur", rollout={"max_new_tokens": 6, "engine": INSIDE, "max_logprob_gap": 1e-3}
    )
    rows = examples_for(state)[:4]
    before = _copy(state)
    engine: Any = state.engine
    results = {"intact": str(training_step(state, rows, 0)["rollout/logprob_gap_max"] < 1e-4)}
    after = _copy(state)
    results["updated"] = str(any(not torch.equal(before[name], after[name]) for name in before))

    backend, take = engine._backend, engine._backend.take
    results["startup"] = _start_next_to_training(backend._llm)
    backend.take = lambda weights: take(_without(weights, "model.language_model.norm.weight"))
    results["missing"] = _error(state, rows, 1)
    backend.take = lambda weights: take(_damaged(weights))
    results["damaged"] = _error(state, rows, 1)
    backend.take = take
    engine.update(1)
    backend._llm.apply_model(_tamper)
    results["tampered"] = _error(state, rows, 1)
    results["unchanged"] = str(all(torch.equal(weight, _copy(state)[name]) for name, weight in after.items()))
    results["gradients"] = str(any(p.grad is not None for p in state.student.parameters()))
    engine.close()
    return results


def startup_error(base: Path, scratch: Path, engine: dict[str, Any]) -> str:
    """Return the error of a training run whose engine does not start."""
    # This variable would override cache_gb.
    del os.environ["VLLM_CPU_KVCACHE_SPACE"]
    try:
        state_for(base, work=scratch, rollout={"max_new_tokens": 6, "engine": {"type": "vllm", **engine}})
    except VicurError as error:
        return str(error)
    return "starts"


def compare_teachers(base: Path, scratch: Path, engine: dict[str, Any]) -> dict[str, Any]:
    """Train two steps with a local teacher, and two with rollouts and teacher in vLLM.

    Returns:
        ``gap``: the largest difference of the teachers' log-probabilities; ``metrics``: metrics of the steps of both.
    """
    shared = {"method": "vicur", "objective": {"type": "k1"}, "rollout": {"max_new_tokens": 6, "temperature": 0}}
    own = state_for(base, work=scratch / "own", **shared)
    shared["rollout"] |= {"engine": INSIDE}
    # The method's default teacher, but in vLLM.
    other = state_for(base, work=scratch / "other", **shared, teacher={"type": "self-frozen", "engine": engine})
    rows = examples_for(own)[:4]
    prompts = [row.teacher for row in rows]
    responses = [row.ids for row in generate(own.student, own.chat, prompts, Sampling(max_new_tokens=7), seed=5)]
    batch = own.chat.collate(prompts, responses)
    forbidden = own.chat.forbidden_ids(own.student.config.get_text_config().vocab_size)
    with torch.no_grad():
        teacher = own.teacher.model
        scores = score_responses(teacher, batch, encode_images(teacher, batch.pixels), forbidden)
    logprobs = other.teacher.logprobs(prompts, responses)
    metrics = [[training_step(state, rows, step) for step in range(2)] for state in (own, other)]
    other.close()
    return {"gap": float((scores.logprobs_BR[batch.response_mask] - logprobs).abs().max()), "metrics": metrics}


def _start_next_to_training(llm: Any) -> str:
    """Return the error of vLLM at startup on a GPU with 8 of 80 GiB free. Only its settings are evaluated."""
    from vllm.v1.worker.utils import request_memory

    device = SimpleNamespace(device_="cuda:0", total_memory=80 << 30, free_memory=8 << 30)
    try:
        request_memory(device, llm.llm_engine.vllm_config.cache_config)
    except ValueError as error:
        return str(error)
    return "starts"


def _error(state: TrainState, rows: list[Any], step: int) -> str:
    try:
        return f"no error: {training_step(state, rows, step)}"
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
    """Train until the checkpoint of ``step``, then kill this process."""
    from vicur.training import trainer

    save = trainer._save

    def save_and_die(state: TrainState, best: Any, progress: Any, store: Any) -> None:
        save(state, best, progress, store)
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    trainer._save = save_and_die
    train_once(inputs, root, settings)
