"""The extraction stage, from a dataset folder to a readable table of cues."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest

from tests.cues.conftest import SMALL
from vicur.config.cues import CuesConfig
from vicur.config.section import Section
from vicur.cues import EXTRACT, ExtractSummary, extract, read_cues
from vicur.cues.providers import NoCue
from vicur.data import Example, read_examples
from vicur.data.dataset import DatasetWriter
from vicur.errors import VicurError
from vicur.stage.events import Events, read_events
from vicur.stage.runner import Context, Session, execute
from vicur.storage.folders import tree_sha256
from vicur.tracking.tracker import Tracker

ANNOTATION = {"provider": {"type": "annotation"}}
Change = Callable[[Example], Example]


def dataset_of(folder: Path, examples: Iterable[Example]) -> Path:
    folder.mkdir(parents=True)
    writer = DatasetWriter(folder)
    for example in examples:
        writer.add(example)
    writer.finish({"type": "test"}, seed=0, skipped=0)
    return folder


@pytest.fixture(scope="module")
def dataset(scenes: dict[str, list[Example]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset_of(tmp_path_factory.mktemp("data") / "data", (one for pool in scenes.values() for one in pool))


def changed(
    dataset: Path, folder: Path, change: Change, every: int = 1, splits: tuple[str, ...] = ("distill",)
) -> Path:
    """Copy some splits, changing every ``every``-th distillation example."""
    examples = [one for split in splits for one in read_examples(dataset, split)]
    return dataset_of(
        folder,
        (change(one) if one.split == "distill" and i % every == 0 else one for i, one in enumerate(examples)),
    )


def run(
    dataset: Path, folder: Path, settings: dict[str, Any] | CuesConfig | None = None
) -> tuple[ExtractSummary, Path]:
    output, work = folder / "cues", folder / "work"
    output.mkdir(parents=True)
    work.mkdir()
    context = Context("run", 0, Tracker(folder / "metrics.jsonl"), Events("extract", folder / "events.jsonl"), work)
    config = settings if isinstance(settings, CuesConfig) else CuesConfig.model_validate(settings or {})
    return extract(config, {"dataset": dataset}, output, context), output


@pytest.fixture(scope="module")
def extracted(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExtractSummary, Path]:
    """The stage on digit scenes with the pixels provider. The small dataset has too little handwriting for the default limit."""
    return run(dataset, tmp_path_factory.mktemp("run"), {"max_ungrounded_share": 0.2})


def test_every_example_has_a_cue_or_is_listed_as_skipped(extracted: tuple[ExtractSummary, Path], dataset: Path) -> None:
    summary, output = extracted
    cues = read_cues(output)
    skipped = [json.loads(line) for line in (output / "skipped.jsonl").read_text().splitlines()]
    expected = {one.id for split in ("distill", "validation", "test", "ood") for one in read_examples(dataset, split)}
    assert set(cues) | {row["example_id"] for row in skipped} == expected
    assert len(cues) + len(skipped) == len(expected)
    assert all(row["reason"] for row in skipped)
    assert sum(summary.cues.values()) == len(cues)
    assert sum(summary.skipped.values()) == len(skipped)


def test_the_summary_describes_the_distillation_split(extracted: tuple[ExtractSummary, Path]) -> None:
    summary, _ = extracted
    assert summary.provider == "pixels"
    assert summary.cues["distill"] == SMALL.distill.scenes * SMALL.distill.questions
    assert summary.grounded_share == summary.by_split["distill"].grounded_share
    assert summary.grounded_share is not None
    assert summary.grounded_share > 0.85
    assert summary.answer_leak_share == 0
    assert 7 <= summary.mean_words <= 11
    assert summary.key_figure == f"360 cues, {summary.grounded_share:.1%} grounded, 0.0% leak the answer".replace(
        "%", " %"
    )
    assert summary.metrics["cues/distill/grounded_share"] == summary.grounded_share
    assert "cues/ood/grounded_share" in summary.metrics
    assert "cues/distill/row_even/grounded_share" in summary.metrics


def test_table_audit_and_summary_agree(extracted: tuple[ExtractSummary, Path]) -> None:
    summary, output = extracted
    rows = [row for row in pq.read_table(output / "cues.parquet").to_pylist() if row["split"] == "distill"]
    assert sum(row["grounded"] for row in rows) / len(rows) == summary.grounded_share
    assert not any(row["leaks_answer"] for row in rows)
    assert {row["provider"] for row in rows} == {"pixels"}
    assert all(row["words"] == len(row["cue"].split()) for row in rows)
    audit = json.loads((output / "audit.json").read_text())
    assert audit["splits"]["distill"]["all"]["grounded_share"] == summary.grounded_share
    assert set(audit["splits"]["test"]["kinds"]) == {
        "column_sum", "column_difference", "colour_sum", "colour_larger", "row_largest", "row_even",
    }  # fmt: skip
    assert "Visual cues from “pixels”" in (output / "samples.html").read_text()


def test_the_same_dataset_gives_the_same_bytes(
    extracted: tuple[ExtractSummary, Path], dataset: Path, tmp_path: Path
) -> None:
    again, output = run(dataset, tmp_path, {"max_ungrounded_share": 0.2})
    assert again == extracted[0]
    assert tree_sha256(output) == tree_sha256(extracted[1])


def test_progress_is_reported(dataset: Path, tmp_path: Path) -> None:
    run(dataset, tmp_path, ANNOTATION)
    events, _ = read_events(tmp_path / "events.jsonl")
    assert [(e.done, e.total) for e in events if e.text == "distill cues"][-1] == (360, 360)


def test_annotation_returns_the_datasets_cues(dataset: Path, tmp_path: Path) -> None:
    summary, output = run(dataset, tmp_path, ANNOTATION)
    assert read_cues(output) == {
        one.id: one.cue for split in ("distill", "validation", "test", "ood") for one in read_examples(dataset, split)
    }
    assert (summary.grounded_share, summary.answer_leak_share) == (1, 0)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_new_provider_is_audited_under_its_type(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OracleCues(Section):
        type: Literal["oracle"] = "oracle"

    class Oracle:
        fitted_on = ("base",)
        fingerprint = "none"
        fitted = 0

        def fit(self, examples: Iterable[Example]) -> None:
            self.fitted = len(list(examples))

        def cues(self, examples: Iterable[Example]) -> Iterator[str | NoCue]:
            assert self.fitted
            return (f"{one.cue} Answer: {one.answer}" for one in examples)

    monkeypatch.setattr(
        "vicur.cues.rows.provider_for", lambda config, *_: Oracle() if config.type == "oracle" else None
    )
    config = CuesConfig(max_leak_share=1).model_copy(update={"provider": OracleCues()})
    summary, output = run(dataset, tmp_path, config)
    assert summary.provider == json.loads((output / "audit.json").read_text())["provider"] == "oracle"
    assert summary.answer_leak_share == 1
    with pytest.raises(VicurError, match="give the answer away"):
        run(dataset, tmp_path / "strict", config.model_copy(update={"max_leak_share": 0.0}))


def test_configured_splits_that_the_dataset_lacks_are_skipped(dataset: Path, tmp_path: Path) -> None:
    some = changed(dataset, tmp_path / "data", lambda one: one, splits=("distill", "validation", "test"))
    summary, _ = run(some, tmp_path / "run", {**ANNOTATION, "splits": ["test", "distill", "ood"]})
    assert list(summary.cues) == ["test", "distill"]


def test_a_dataset_without_truth_passes_without_a_grounded_share(dataset: Path, tmp_path: Path) -> None:
    blank = changed(dataset, tmp_path / "data", lambda one: one.model_copy(update={"metadata": {}}))
    summary, _ = run(blank, tmp_path / "run", ANNOTATION)
    assert summary.grounded_share is None
    assert summary.key_figure == "360 cues, no truth to check against, 0.0 % leak the answer"
    assert "cues/distill/grounded_share" not in summary.metrics


@pytest.mark.parametrize(
    ("change", "setting", "share", "fault"),
    [
        (lambda one: one.model_copy(update={"cue": None}), "max_skipped_share", "10.0 %", "no cue of its own"),
        (lambda one: one.model_copy(update={"cue": "Digits."}), "max_ungrounded_share", "10.0 %", '"Digits."'),
        (
            lambda one: one.model_copy(update={"cue": f"{one.cue} Answer: {one.answer}"}),
            "max_leak_share",
            "10.0 %",
            "announced in",
        ),
    ],
)
def test_cues_over_a_limit_are_rejected_with_the_offending_rows(
    dataset: Path, tmp_path: Path, change: Change, setting: str, share: str, fault: str
) -> None:
    bad = changed(dataset, tmp_path / "data", change, every=10)
    with pytest.raises(VicurError) as caught:
        run(bad, tmp_path / "run", {**ANNOTATION, "max_ungrounded_share": 0.05})
    message = str(caught.value)
    wrong = [one.id for i, one in enumerate(read_examples(bad, "distill")) if i % 10 == 0]
    assert share in message
    assert f"cues.{setting} allows " in message
    assert fault in message
    assert wrong[0] in message
    assert f"and {len(wrong) - 3} more" in message
    assert not any((tmp_path / "run/cues").iterdir())

    rejected = tmp_path / "run" / "work" / "rejected"
    assert str(rejected / "samples.html") in message
    listed = [json.loads(line) for line in (rejected / "offenders.jsonl").read_text().splitlines()]
    assert [row["example_id"] for row in listed] == wrong
    assert {row["limit"] for row in listed} == {setting}
    assert "above the limit" in (rejected / "samples.html").read_text()
    assert json.loads((rejected / "audit.json").read_text())["splits"]["distill"]["all"]["examples"] == 360


def test_a_limit_can_be_raised(dataset: Path, tmp_path: Path) -> None:
    some = changed(dataset, tmp_path / "data", lambda one: one.model_copy(update={"cue": None}), every=10)
    summary, output = run(some, tmp_path / "run", {**ANNOTATION, "max_skipped_share": 0.1})
    assert summary.skipped == {"distill": 36}
    assert len((output / "skipped.jsonl").read_text().splitlines()) == 36


def test_a_dataset_without_distillation_examples_is_rejected(dataset: Path, tmp_path: Path) -> None:
    some = changed(dataset, tmp_path / "data", lambda one: one, splits=("validation",))
    with pytest.raises(VicurError, match="no examples in the split 'distill'"):
        run(some, tmp_path / "run", ANNOTATION)


def test_the_pixels_provider_rejects_a_dataset_without_scenes(dataset: Path, tmp_path: Path) -> None:
    blank = changed(dataset, tmp_path / "data", lambda one: one.model_copy(update={"metadata": {}}))
    with pytest.raises(VicurError, match=r"Set cues\.provider=annotation"):
        run(blank, tmp_path / "run")


def test_a_second_run_reuses_the_result(dataset: Path, tmp_path: Path) -> None:
    config = CuesConfig.model_validate(ANNOTATION)
    session = Session("run", 0, tmp_path / "cache", tmp_path / "scratch", lambda _: Tracker())
    first = execute(EXTRACT, config, {"dataset": dataset}, tmp_path / "one", session)
    second = execute(EXTRACT, config, {"dataset": dataset}, tmp_path / "two", session)
    assert second == first
    assert tree_sha256(tmp_path / "one") == tree_sha256(tmp_path / "two")


@pytest.mark.parametrize("content", [None, b"not parquet", b""])
def test_a_folder_without_a_readable_table_of_cues_is_rejected(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "cues.parquet").write_bytes(content)
    with pytest.raises(VicurError, match="vicur cues extract") as caught:
        read_cues(tmp_path)
    assert caught.value.where == str(tmp_path / "cues.parquet")
