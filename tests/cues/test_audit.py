"""Figures and limits of the audit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cues.examples import LEFT_COLUMN, example
from vicur.config.cues import CuesConfig
from vicur.cues.audit import Audit, AuditedCue, audit_cue, offenders, summarize
from vicur.cues.providers import NoCue

QUESTION = "What is the sum of the left column?"
TRUE = "The left column holds 7 and 5."
FALSE = "The left column holds 7 and 2."
LEAK = f"{TRUE} 7 plus 5 is 12."


def rows_of(*cues: str | NoCue, split: str = "distill", kind: str = "sum", **metadata: Any) -> list[AuditedCue]:
    known = {"evidence": LEFT_COLUMN, "kind": kind, **metadata}
    examples = [example(QUESTION, **known).model_copy(update={"id": str(i), "split": split}) for i in range(len(cues))]
    return [audit_cue(one, cue) for one, cue in zip(examples, cues, strict=True)]


def audited(rows: list[AuditedCue], **settings: Any) -> Audit:
    return summarize(rows, "none", CuesConfig.model_validate(settings))


def test_shares_use_cues_and_the_skipped_share_uses_examples() -> None:
    figures = audited(rows_of(TRUE, FALSE, LEAK, TRUE, NoCue("dark"))).distill
    assert (figures.examples, figures.cues, figures.skipped) == (5, 4, 1)
    assert figures.skipped_share == 1 / 5
    assert figures.grounded_share == 3 / 4
    assert figures.answer_leak_share == 1 / 4
    assert figures.reasoning_share == 1 / 4
    assert figures.mean_words == (3 * 7 + 12) / 4
    assert figures.longest_words == 12


def test_a_share_with_an_empty_denominator_is_none() -> None:
    unknown = audited(rows_of(TRUE, evidence=[])).distill
    assert unknown.grounded_share is None
    assert unknown.answer_leak_share == 0
    empty = audited(rows_of(NoCue("dark"))).distill
    assert (empty.grounded_share, empty.answer_leak_share, empty.mean_words) == (None, None, None)


def test_figures_rules_and_reasons_are_counted_by_split_and_kind() -> None:
    rows = [
        *rows_of(TRUE, LEAK, kind="sum"),
        *rows_of(FALSE, kind="difference"),
        *rows_of(NoCue("dark"), NoCue("dark"), NoCue("far"), split="ood"),
    ]
    audit = audited(rows)
    assert list(audit.splits) == ["distill", "ood"]
    assert audit.splits["distill"].kinds["difference"].grounded_share == 0
    assert audit.splits["distill"].kinds["sum"].grounded_share == 1
    assert audit.splits["distill"].leak_rules == {"computed": 1}
    assert audit.splits["distill"].reasoning_words == {"plus": 1}
    assert audit.splits["ood"].skip_reasons == {"dark": 2, "far": 1}


@pytest.mark.parametrize(
    ("setting", "bad"),
    [("max_ungrounded_share", FALSE), ("max_leak_share", LEAK), ("max_skipped_share", NoCue("dark"))],
)
def test_a_limit_includes_its_value(setting: str, bad: str | NoCue) -> None:
    rows = rows_of(TRUE, TRUE, TRUE, bad)
    for limit, passed in [(0.24, False), (0.25, True), (1.0, True)]:
        of_setting = {one.setting: one for one in audited(rows, **{setting: limit}).limits}[setting]
        assert of_setting.passed == passed
        assert of_setting.share == 0.25


def test_limits_apply_to_the_distillation_split_only() -> None:
    rows = [*rows_of(TRUE), *rows_of(FALSE, LEAK, NoCue("dark"), split="ood")]
    audit = audited(rows, max_ungrounded_share=0, max_leak_share=0, max_skipped_share=0)
    assert all(limit.passed for limit in audit.limits)
    assert not any(offenders(rows, limit) for limit in audit.limits)


def test_offenders_are_the_rows_that_count_against_a_limit() -> None:
    rows = rows_of(TRUE, FALSE, LEAK, NoCue("dark"))
    wrong = {limit.setting: [row.example_id for row in offenders(rows, limit)] for limit in audited(rows).limits}
    assert wrong == {
        "max_ungrounded_share": ["1"],
        "max_leak_share": ["2"],
        "max_solution_share": ["2"],
        "max_unusable_share": [],
        "max_skipped_share": ["3"],
    }
