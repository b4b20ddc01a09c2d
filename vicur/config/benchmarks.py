"""Settings of the paper's benchmarks in a pipeline: which answers are made, and how they are scored."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from vicur.config.address import http_address
from vicur.config.evaluation import BenchmarkSetConfig, EvaluationConfig
from vicur.config.section import Section

API_KEY_VARIABLE = "VICUR_JUDGE_API_KEY"
"""Environment variable with the judge's API key."""
BY_RULES = "none"
"""Address of a judge that stands for no judge: answers are scored by this project's rules."""
Method = Literal["paper", "configured"]


def _judge_address(url: str) -> str:
    return url if url in ("", BY_RULES) else http_address(url, "http://judge:8000/v1", API_KEY_VARIABLE)


class JudgeConfig(Section):
    """The judge that the benchmarks' harness asks."""

    url: Annotated[str, AfterValidator(_judge_address)] = ""
    """Base address of its OpenAI-compatible API, or ``none`` to score by this project's rules, without the harness. Its key is read from
    ``VICUR_JUDGE_API_KEY``."""
    model: str = ""
    """Name of its model there. It is part of every score: another judge moves scores by up to 8 points."""
    revision: str = ""
    """Commit or checksum of its weights, for the record."""

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        if self.by_rules and (self.model or self.revision):
            raise ValueError(f"url is {BY_RULES}, so model and revision have no effect: remove them")
        if self.url and not self.by_rules and not self.model:
            raise ValueError("model is empty: name the judge's model, which belongs to the result")
        return self

    @property
    def by_rules(self) -> bool:
        """Whether answers are scored without a judge."""
        return self.url == BY_RULES


class AnswersConfig(Section):
    """Settings of the stage in which one model answers the benchmarks. They follow from the sections evaluation and benchmarks."""

    sets: tuple[BenchmarkSetConfig, ...] = ()
    """The staged benchmarks."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Batch size, device, prompts and decoding."""
    settings: Method = "paper"
    """Whose sampling, system prompt and pixel budget."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that share the questions."""

    def identity(self) -> dict[str, Any]:
        """Return the settings that the answers depend on. The content of a benchmark is identified by its hash."""
        return {
            **self.model_dump(mode="json", exclude={"processes", "sets", "evaluation"}),
            "evaluation": self.evaluation.identity(),
            "sets": [{"name": each.name, "hash": each.hash} for each in self.sets],
        }


class ScoresConfig(Section):
    """Settings of the stage that scores one model's answers. They follow from the section benchmarks."""

    judge: JudgeConfig = JudgeConfig()
    """The judge."""
    max_unclear: float = Field(default=0.1, ge=0, le=1)
    """Share of responses that may be cut off, not asked or without an answer."""
    python: str = ""
    """Python of the harness's environment."""

    def identity(self) -> dict[str, Any]:
        """Return the settings that the scores depend on. A judge that moved to another address is the same judge."""
        judge = {**self.judge.model_dump(mode="json", exclude={"url"}), "by_rules": self.judge.by_rules}
        return {"judge": judge, "max_unclear": self.max_unclear}


class BenchmarksConfig(Section):
    """Settings of the benchmarks in ``evaluation.sets``: how they are answered and scored."""

    settings: Method = "paper"
    """``paper`` answers with the paper's sampling, system prompt and pixel budget, ``configured`` with ``evaluation.decoding`` and those of
    ``data``."""
    processes: int = Field(default=1, ge=1, le=16)
    """Processes that share the questions of a benchmark, each on a GPU. A package fixes their number of GPUs."""
    judge: JudgeConfig = JudgeConfig()
    """The judge."""
    max_unclear: float = Field(default=0.1, ge=0, le=1)
    """Share of responses that may be cut off, not asked or without an answer. Above it, the step fails without a score."""
    python: str = ""
    """Python of the harness's environment. Empty: ``VICUR_BENCHMARKS_PYTHON``, or that of ``make benchmarks-env``."""

    def answers(self, evaluation: EvaluationConfig) -> AnswersConfig | None:
        """Return the settings of answers for those of an evaluation; ``None`` if it has no benchmarks."""
        if not evaluation.benchmarks:
            return None
        # A benchmark is answered as a whole, or its metric has another denominator.
        own = {
            **{"sets": (), "max_examples": None, "latency_examples": 0, "attention_samples": 0, "processes": 0},
            **{name: EvaluationConfig.model_fields[name].default for name in ("blind", "repeats")},
        }
        return AnswersConfig(
            sets=evaluation.benchmarks,
            evaluation=evaluation.model_copy(update=own),
            settings=self.settings,
            processes=self.processes,
        )

    def scores(self, evaluation: EvaluationConfig) -> ScoresConfig | None:
        """Return the settings of scores for those of an evaluation; ``None`` if it has no benchmarks."""
        if not evaluation.benchmarks:
            return None
        return ScoresConfig(judge=self.judge, max_unclear=self.max_unclear, python=self.python)

    def require_scorable(self, evaluation: EvaluationConfig) -> None:
        """Raise a :class:`ValueError` if the benchmarks of an evaluation cannot be scored."""
        if evaluation.benchmarks and not self.judge.url:
            raise ValueError(
                "evaluation.sets has benchmarks, but benchmarks.judge.url is empty: name the judge's API, or "
                f"{BY_RULES} to score by this project's rules"
            )

    def needs_harness(self, evaluation: EvaluationConfig) -> bool:
        """Return whether the scores of an evaluation's benchmarks need the harness."""
        return not self.judge.by_rules and any(each.has_harness for each in evaluation.benchmarks)
