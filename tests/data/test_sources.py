"""A source works everywhere once its section and its class exist, or is rejected when it is registered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from tests.data.conftest import make_session
from vicur.cluster.keys import cache_keys
from vicur.cluster.preflight.checks.dataset import dataset
from vicur.config.data import SourceConfig
from vicur.config.run import RunConfig
from vicur.data import PREPARE, SOURCES, Example, Source, read_examples, sources, stage_inputs
from vicur.data.dataset import DatasetWriter
from vicur.data.importing import Skipped
from vicur.data.sources import Written, register
from vicur.errors import VicurError
from vicur.stage.runner import Context, execute, stage_identity
from vicur.stage.table import STAGES


class QuizConfig(SourceConfig):
    """One question a line."""

    type: Literal["quiz"] = "quiz"
    file: Path


class QuizSource(Source[QuizConfig]):
    config = QuizConfig

    def inputs(self, config: QuizConfig) -> dict[str, Path]:
        return {"quiz": config.file}

    def cache_token(self, config: QuizConfig) -> Any:
        return config.file.stat().st_mtime_ns

    def check(self, config: QuizConfig) -> str:
        if not config.file.exists():
            raise VicurError("does not exist.", where=str(config.file), remedy="Write a quiz.")
        return "a quiz"

    def read(self, config: QuizConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> Written:  # noqa: ARG002
        writer = DatasetWriter(output)
        for number, question in enumerate(inputs["quiz"].read_text().splitlines()):
            writer.add(Example(id=str(number), images=(), question=question, answer="1", source="quiz", split="test"))
        return writer.finish({"type": "quiz"}, None, 0), Skipped()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the test register sources, which are gone afterwards."""
    monkeypatch.setattr(sources, "SOURCES", dict(SOURCES))
    register(QuizSource)


@pytest.fixture
def quiz(tmp_path: Path) -> QuizConfig:
    (tmp_path / "quiz.txt").write_text("How many?\nWhich?\n")
    return QuizConfig(file=tmp_path / "quiz.txt")


CODES = dict.fromkeys(STAGES, "code")


@pytest.mark.usefixtures("registered")
def test_a_new_source_is_prepared_and_its_bytes_identify_the_stage(quiz: QuizConfig, tmp_path: Path) -> None:
    summary = execute(PREPARE, quiz, stage_inputs(quiz), tmp_path / "data", make_session(tmp_path))
    assert summary.examples == {"test": 2}
    assert [example.question for example in read_examples(tmp_path / "data")] == ["How many?", "Which?"]
    before = stage_identity(PREPARE, quiz, stage_inputs(quiz), 0)
    quiz.file.write_text("How many?\n")
    assert stage_identity(PREPARE, quiz, stage_inputs(quiz), 0) != before


@pytest.mark.usefixtures("registered")
def test_a_new_source_changes_the_keys_of_the_platforms_cache_with_its_data(quiz: QuizConfig) -> None:
    config = RunConfig(methods=("vicur",)).model_copy(update={"data": quiz})
    before = cache_keys(config, CODES)
    assert cache_keys(config, CODES) == before
    quiz.file.write_text("How many of them?\n")
    after = cache_keys(config, CODES)
    assert {name for name in before if before[name] != after[name]} == before.keys() - {"base"}


@pytest.mark.usefixtures("registered")
def test_preflight_checks_a_new_source_as_it_describes_itself(quiz: QuizConfig) -> None:
    assert (dataset(quiz).status, dataset(quiz).message) == ("ok", "a quiz")
    quiz.file.unlink()
    finding = dataset(quiz)
    assert (finding.status, finding.message) == ("failed", f"{quiz.file}: does not exist.")
    assert finding.remedy == "Write a quiz."


@pytest.mark.parametrize("method", ["inputs", "cache_token", "check", "read"])
@pytest.mark.usefixtures("registered")
def test_a_source_that_leaves_out_a_method_is_rejected(method: str) -> None:
    methods = {name: value for name, value in vars(QuizSource).items() if name != method and not name.startswith("_")}
    incomplete: Any = type("HalfQuizSource", (Source,), methods)
    with pytest.raises(TypeError, match=f"HalfQuizSource is not a complete source: it does not define {method}"):
        register(incomplete)


@pytest.mark.usefixtures("registered")
def test_two_sources_of_one_type_are_rejected() -> None:
    class Again(QuizSource):
        config: ClassVar[type[Any]] = QuizConfig

    with pytest.raises(TypeError, match=r"data\.type=quiz has a source already: QuizSource"):
        register(Again)


def test_a_section_without_a_source_is_rejected_wherever_it_is_used(quiz: QuizConfig) -> None:
    for use in (stage_inputs, dataset):
        with pytest.raises(TypeError, match=r"no source is registered for data\.type=quiz"):
            use(quiz)


def test_a_member_of_the_union_without_a_source_fails_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sources.SOURCES, "pinned")
    with pytest.raises(TypeError, match="PinnedConfig has no source class"):
        sources._require_all_registered()
