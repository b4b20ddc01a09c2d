"""The extraction stage with a model behind an endpoint: audit, limits and resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cues.openai_double import ReceivedRequest, Reply, openai_double
from tests.cues.test_extract import dataset_of
from vicur.config.cues import CuesConfig
from vicur.cues import EXTRACT, ExtractSummary, read_cues
from vicur.data import Example
from vicur.errors import VicurError
from vicur.stage.events import Events, read_events
from vicur.stage.runner import Session, execute
from vicur.tracking.tracker import Tracker

Answer = Callable[[Example], Reply]


@pytest.fixture(scope="module")
def examples(scenes: dict[str, list[Example]]) -> list[Example]:
    return scenes["distill"][:40] + scenes["test"][:6]


@pytest.fixture(scope="module")
def dataset(examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset_of(tmp_path_factory.mktemp("data") / "data", examples)


def run(
    dataset: Path, examples: list[Example], folder: Path, answer: Answer, **limits: float
) -> tuple[ExtractSummary, int]:
    """Run the stage in ``folder`` and return its summary and the number of requests."""

    def reply(request: ReceivedRequest) -> Reply:
        [(_, image)] = request.images
        return answer(next(one for one in examples if one.images == (image,) and one.question in request.text))

    with openai_double(reply) as double:
        provider = {"type": "endpoint", "url": double.url, "model": "vlm", "retries": 0, "concurrency": 4}
        config = CuesConfig.model_validate({"provider": provider, **limits})
        session = Session("run", 0, None, folder / "scratch", lambda _: Tracker())
        events = Events("extract", folder / "events.jsonl")
        try:
            summary = execute(EXTRACT, config, {"dataset": dataset}, folder / "cues", session, events=events)
        finally:
            requests = len(double.requests)
    return summary, requests


def own_cue(example: Example) -> Reply:
    return Reply(example.cue)


def test_cues_of_a_model_are_audited_with_progress(dataset: Path, examples: list[Example], tmp_path: Path) -> None:
    summary, requests = run(dataset, examples, tmp_path, own_cue)
    assert requests == 46
    assert summary.provider == "endpoint"
    assert summary.key_figure == "40 cues, 100.0 % grounded, 0.0 % leak the answer"
    assert read_cues(tmp_path / "cues") == {one.id: one.cue for one in examples}
    audit = json.loads((tmp_path / "cues" / "audit.json").read_text())
    assert audit["fingerprint"].startswith("vlm, prompt v1")
    progress = [event for event in read_events(tmp_path / "events.jsonl")[0] if event.status == "progress"]
    assert [(event.done, event.total, event.text) for event in progress if event.done == event.total] == [
        (40, 40, "distill cues"),
        (6, 6, "test cues"),
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda one: Reply(f"{one.cue} The answer is {one.answer}."), "of the cues give the answer away"),
        (lambda _: Reply("The left column holds 0 and 0."), "of the cues disagree with the dataset"),
        (lambda _: Reply("too long", status=400), r"the endpoint refused the request \(status 400\)"),
    ],
)
def test_cues_over_a_limit_fail_the_stage(
    dataset: Path, examples: list[Example], tmp_path: Path, wrong: Answer, message: str
) -> None:
    bad = {one.id for one in examples[::5]}
    with pytest.raises(VicurError, match=message):
        run(dataset, examples, tmp_path, lambda one: wrong(one) if one.id in bad else own_cue(one))


def test_skipped_examples_count_against_their_limit_and_are_listed(
    dataset: Path, examples: list[Example], tmp_path: Path
) -> None:
    def answer(one: Example) -> Reply:
        return Reply("broken", status=500) if one.id == examples[3].id else own_cue(one)

    with pytest.raises(VicurError, match=r"2\.5 % of the examples have no cue"):
        run(dataset, examples, tmp_path / "strict", answer)
    summary, _ = run(dataset, examples, tmp_path / "lenient", answer, max_skipped_share=0.1)
    assert summary.skipped == {"distill": 1, "test": 0}
    [line] = (tmp_path / "lenient" / "cues" / "skipped.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "the endpoint answered with status 500"


def test_extraction_resumes_after_the_endpoint_was_down(dataset: Path, examples: list[Example], tmp_path: Path) -> None:
    early = {one.id for one in examples[:20]}
    with pytest.raises(VicurError, match="did not answer") as caught:
        run(dataset, examples, tmp_path, lambda one: own_cue(one) if one.id in early else Reply("down", status=503))
    assert caught.value.retryable
    assert not (tmp_path / "cues").exists()
    summary, requests = run(dataset, examples, tmp_path, own_cue)
    assert requests == 26
    assert summary.cues == {"distill": 40, "test": 6}
    assert summary.skipped == {"distill": 0, "test": 0}


def test_rejected_cues_are_reused_under_another_limit(dataset: Path, examples: list[Example], tmp_path: Path) -> None:
    def leaky(one: Example) -> Reply:
        return Reply(f"{one.cue} The answer is {one.answer}.") if one.id == examples[0].id else own_cue(one)

    with pytest.raises(VicurError, match="of the cues give the answer away"):
        run(dataset, examples, tmp_path, leaky)
    summary, requests = run(dataset, examples, tmp_path, leaky, max_leak_share=0.1)
    assert requests == 0
    assert summary.answer_leak_share == pytest.approx(1 / 40)
