"""Rollouts that are sampled one step ahead, by the weights before the update, and what corrects for them."""

import logging
import shutil
import signal
import threading
import time
from multiprocessing import get_context

import pytest
import torch
from safetensors.torch import load_file

from tests.training.conftest import curves
from tests.training.factory import examples_for, state_for
from tests.training.test_placed_servers import doubles, placed_settings  # noqa: F401
from tests.training.train_once import SETTINGS, train_once
from vicur.config.training import TrainConfig
from vicur.errors import VicurError
from vicur.modeling.generation import Response
from vicur.modeling.vision import encode_images
from vicur.training.checkpoint import trained_weights
from vicur.training.one_step_off import OneStepOff, one_step_off
from vicur.training.responses import sample
from vicur.training.rollout import build
from vicur.training.step import training_step

# The last weights: those of the tiny student are never better than the first.
STALE = TrainConfig.model_validate({**SETTINGS.model_dump(), "staleness": 1, "keep": "last"})


def weights_of(state):
    return {name: weight.detach().clone() for name, weight in state.student.named_parameters()}


def largest_difference(one, other):
    return max(float((weight - other[name]).abs().max()) for name, weight in one.items())


def steps(state, count=3, rows=4):
    """Make some steps; return their metrics and the responses that each learned from."""
    examples, seen = examples_for(state), []
    with one_step_off(state, lambda step: examples[rows * step : rows * (step + 1)]) as ahead:
        if ahead is not None:
            original = ahead.responses
            ahead.responses = lambda step: seen.append(original(step)) or seen[-1]
        metrics = []
        for step in range(count):
            batch = examples[rows * step : rows * (step + 1)] if ahead is None else ahead.rows(step)
            metrics.append(training_step(state, batch, step, ahead))
    return metrics, seen


def test_each_batch_is_sampled_by_the_weights_before_the_last_update(base):
    state = state_for(base, method="vicur", staleness=1, learning_rate=1e-2)
    examples, versions, used = examples_for(state), [], []
    ahead = OneStepOff(state, lambda step: examples[4 * step : 4 * step + 4])
    for step in range(3):
        versions.append(weights_of(state))
        original = ahead.responses
        used.append(original(step))
        ahead.responses = lambda _, kept=used[-1]: kept
        training_step(state, ahead.rows(step), step, ahead)
        del ahead.responses
    for step, sampler in ((0, 0), (1, 0), (2, 1)):
        other = state_for(base, method="vicur", staleness=1)
        other.student.load_state_dict(versions[sampler], strict=False)
        expected = sample(other, examples[4 * step : 4 * step + 4], step, None)
        assert list(used[step].ids) == [response.ids for response in expected]
    assert [responses.stale for responses in used] == [False, True, True]


def test_first_step_is_that_of_a_training_on_policy(base):
    results = []
    for staleness in (0, 1):
        state = state_for(base, method="vicur", staleness=staleness, learning_rate=1e-2)
        (metrics,), _ = steps(state, count=1)
        results.append((metrics["loss"], trained_weights(state.student)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-6)
    assert largest_difference(results[0][1], results[1][1]) < 1e-5


@pytest.mark.parametrize("objective", ["k1", "abs"])
def test_weights_are_those_of_the_ratio_between_updated_student_and_sampler(base, objective):
    """Written out in float64, from log-probabilities of all logits."""
    cap = 1.2
    rollout = {"max_new_tokens": 8, "importance": {"type": "truncated", "cap": cap}}
    kind = {"type": objective}
    state = state_for(base, method="vicur", staleness=1, objective=kind, learning_rate=3e-3, rollout=rollout)
    examples = examples_for(state)
    ahead = OneStepOff(state, lambda step: examples[4 * step : 4 * step + 4])
    training_step(state, ahead.rows(0), 0, ahead)
    responses = ahead.responses(1)
    ratios = []
    forbidden = state.chat.forbidden_ids(state.student.config.text_config.vocab_size)
    for row, response in zip(responses.rows, responses.sampled, strict=True):
        batch = state.chat.collate([row.student], [response.ids])
        with torch.no_grad():
            logits = all_logits(state, batch)
        logits[:, forbidden] = -torch.inf
        count = len(response.ids)
        now = logits.double().log_softmax(-1)[-count - 1 : -1].gather(1, torch.tensor(response.ids)[:, None])[:, 0]
        ratios.append((now - torch.tensor(response.logprobs, dtype=torch.float64)).exp().clamp(max=cap))
    ahead.responses = lambda _: responses
    metrics = training_step(state, ahead.rows(1), 1, ahead)
    ratios_N = torch.cat(ratios)
    assert metrics["rollout/importance"] == pytest.approx(float(ratios_N.mean()), abs=1e-5)
    assert metrics["rollout/truncated_share"] == pytest.approx(float((ratios_N >= cap).double().mean()), abs=1e-6)
    effective = float(ratios_N.sum() ** 2 / ratios_N.square().sum() / len(ratios_N))
    assert metrics["rollout/effective_share"] == pytest.approx(effective, abs=1e-5)
    assert 0 < metrics["rollout/truncated_share"] < 1
    assert metrics["rollout/logprob_gap_mean"] > 0.01


def all_logits(state, batch):
    from vicur.modeling.vision import encoder_outputs

    out = state.student.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        mm_token_type_ids=batch.mm_token_type_ids,
        mm_encoder_outputs=encoder_outputs(encode_images(state.student, batch.pixels), batch.pixels),
        image_grid_thw=batch.grids,
        use_cache=False,
    )[0]
    return state.student.lm_head(out)[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "vicur"},
        {"method": "vicur", "objective": {"type": "k3"}, "loss_reduction": "token_mean"},
        {"method": "vicur", "updates_per_batch": 2},
        {"method": "grpo", "objective": {"type": "grpo", "group_size": 2}},
    ],
    ids=["k1", "k3", "two updates", "grpo"],
)
def test_micro_batches_do_not_change_an_update(base, settings):
    whole, parts = (
        state_for(base, staleness=1, learning_rate=1e-3, micro_batch_size=size, **settings) for size in (None, 3)
    )
    # The second step is the first with weights, and Adam's second update is smooth in the gradient.
    (_, one), (_, other) = (metrics for metrics, _ in (steps(state, 2) for state in (whole, parts)))
    timed = ("seconds/", "tokens_per_second")
    names = [name for name in one if not name.startswith(timed)]
    assert {name: other[name] for name in names} == pytest.approx({name: one[name] for name in names}, abs=2e-4)
    assert largest_difference(trained_weights(whole.student), trained_weights(parts.student)) < 1e-4


def test_divergences_of_distributions_have_no_weights(base):
    """They take the expectation over the next token exactly; the ratio of the sampled one would only add noise."""
    metrics, _ = steps(state_for(base, method="vicur", staleness=1, objective={"type": "forward_kl"}), 2)
    assert not [name for name in metrics[1] if "importance" in name or "share" in name.partition("/")[2]]
    assert metrics[1]["rollout/logprob_gap_mean"] > 0


def test_correction_can_be_switched_off(base):
    state = state_for(base, method="vicur", staleness=1, rollout={"max_new_tokens": 8, "importance": "none"})
    assert "rollout/importance" not in steps(state, 2)[0][1]


class ServerDouble:
    """An engine on servers: it samples once the training's process has made its update, and keeps the weights that it was sent."""

    def __init__(self, parallel, chat, updated):
        self.own, self.updated, self.sent = build.TransformersEngine(parallel, chat), updated, []
        self.model, self.threads, self.failing = parallel.model, [], False

    def update(self, version):
        self.sent.append(version)
        self.weights = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}

    def generate(self, prompts, sampling, **kwargs):
        self.threads.append(threading.current_thread())
        if threading.current_thread() is not threading.main_thread():
            assert self.updated.wait(60), "the update waited for its rollouts"
            self.updated.clear()
            if self.failing:
                raise VicurError("the server was lost.", remedy="Wait.", retryable=True)
        now = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}
        with torch.no_grad():
            self.model.load_state_dict(self.weights, strict=False)
            responses = self.own.generate(prompts, sampling, **{**kwargs, "encode": None})
            self.model.load_state_dict(now, strict=False)
        return [Response(r.ids, r.text, r.logprobs, r.finished) for r in responses]

    def release(self):
        assert threading.current_thread() is threading.main_thread()

    def close(self):
        """Do nothing."""


@pytest.fixture
def served(base, monkeypatch):
    """Return a function that builds a state whose rollouts come from a :class:`ServerDouble`."""

    def make(**settings):
        updated = threading.Event()
        with monkeypatch.context() as patch:
            patch.setattr(
                "vicur.training.state.build_engine",
                lambda _, __, parallel, chat, *___: ServerDouble(parallel, chat, updated),
            )
            rollout = {"max_new_tokens": 8, "placement": "url", "engine": {"url": "http://127.0.0.1:9"}}
            state = state_for(base, method="vicur", staleness=1, learning_rate=1e-3, rollout=rollout, **settings)
        step = state.optimizer.step

        def update():
            step()
            updated.set()

        state.optimizer.step = update
        return state

    return make


def test_servers_sample_while_this_process_updates(base, served):
    state = served()
    metrics, _ = steps(state, 3)
    assert state.engine.sent == [0, 0, 1, 2]
    assert [each is threading.main_thread() for each in state.engine.threads] == [True, False, False, False]
    assert all(step["seconds/rollout_beside"] > 0 for step in metrics)
    own = state_for(base, method="vicur", staleness=1, learning_rate=1e-3)
    expected, _ = steps(own, 3)
    for one, other in zip(metrics, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
    assert largest_difference(trained_weights(own.student), trained_weights(state.student)) < 1e-5


def test_a_server_lost_meanwhile_ends_the_step(served):
    state = served()
    state.engine.failing = True
    with pytest.raises(VicurError, match="the server was lost") as lost:
        steps(state, 1)
    assert lost.value.retryable


def test_drift_is_not_held_against_the_engine_but_its_first_rollouts_are(served):
    state = served(**{"objective": {"type": "k1"}})
    state.config.rollout.__dict__["max_logprob_gap"] = 1e-4
    metrics, _ = steps(state, 2)
    assert metrics[0]["rollout/logprob_gap_mean"] < 1e-4 < metrics[1]["rollout/logprob_gap_mean"]


@pytest.mark.parametrize("cut", [1, 4])
def test_any_checkpoint_continues_with_the_waiting_responses_bit_for_bit(inputs, tmp_path, cut, stale_run):
    place = tmp_path / "kept"
    shutil.copytree(stale_run.parent / "kept", place)
    for late in place.iterdir():
        if int(late.name[-6:]) > cut:
            shutil.rmtree(late)
    assert (place / f"step-{cut:06d}" / "pending.safetensors").is_file()
    student = train_once(inputs, tmp_path / "again", kept(STALE), checkpoints=str(place))
    assert (student / "model.safetensors").read_bytes() == (stale_run / "model.safetensors").read_bytes()
    assert curves(student) == curves(stale_run)


def kept(settings, **changed):
    return TrainConfig.model_validate({**settings.model_dump(), "keep_checkpoints": 10, **changed})


@pytest.fixture(scope="module")
def stale_run(inputs, tmp_path_factory):
    """The student of an uninterrupted training with all of its checkpoints."""
    root = tmp_path_factory.mktemp("stale")
    return train_once(inputs, root, kept(STALE), checkpoints=str(root / "kept"))


def test_stale_rollouts_change_the_training(stale_run, uninterrupted):
    ahead, on_policy = curves(stale_run), curves(uninterrupted)
    assert ahead[1]["loss"] == pytest.approx(on_policy[1]["loss"], abs=1e-5)
    assert ahead[3]["loss"] != pytest.approx(on_policy[3]["loss"], abs=1e-5)
    assert "rollout/importance" not in on_policy[2]
    assert ahead[2]["rollout/importance"] == pytest.approx(1, abs=0.5)


def test_a_fork_samples_its_first_batch_itself(inputs, tmp_path, stale_run):
    from vicur.stage.runner import Session, execute
    from vicur.tracking.tracker import Tracker
    from vicur.training import TRAIN

    other = kept(STALE, batch_size=8, steps=8)
    place = stale_run.parent / "kept"
    session = Session("run", 0, None, tmp_path / "scratch", lambda _: Tracker(), fork_from=str(place))
    assert execute(TRAIN, other, inputs, tmp_path / "forked", session).steps == 8


def test_a_placement_that_saves_no_time_is_reported(inputs, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train_once(inputs, tmp_path, kept(STALE, steps=1, validate_every=1))
    assert "saves no time" in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("doubles")
def test_a_training_with_servers_ends_as_with_its_own_rollouts(inputs, tmp_path):
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    placed = kept(placed_settings(exchange, replicas=1), staleness=1)
    own = kept(placed, rollout={"max_new_tokens": 6, "temperature": 0})
    students = [load_file(train_once(inputs, tmp_path / name, each) / "model.safetensors") for name, each in
                (("placed", placed), ("own", own))]  # fmt: skip
    assert largest_difference(*students) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_resume_bit_for_bit_after_sigkill(strategy, inputs, tmp_path):
    settings = kept(STALE, distribution={"processes": 2, "strategy": strategy})
    whole = train_once(inputs, tmp_path / "whole", settings)
    killed, place = tmp_path / "killed", tmp_path / "kept"
    process = get_context("spawn").Process(
        target=train_once, args=(inputs, killed, settings), kwargs={"checkpoints": str(place)}
    )
    process.start()
    deadline = time.monotonic() + 200
    while not (place / "step-000003").exists():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed = train_once(inputs, killed, settings, checkpoints=str(place))
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert curves(resumed) == curves(whole)
