"""The compare stage and its verdicts, on simulated models."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.evaluation.conftest import context
from tests.evaluation.factory import BASE, OPSD, VICUR, Reader, comparison_inputs, write_evaluation
from vicur.config.comparison import ComparisonConfig
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.evaluation import COMPARE, compare
from vicur.evaluation.comparison import Comparison, Evaluation, compare_models
from vicur.evaluation.significance import mcnemar
from vicur.evaluation.statistics import Difference, paired_difference
from vicur.evaluation.verdicts import verdicts

CONFIG = ComparisonConfig(resamples=1000, cards=8)


def comparison(held_out: list[Example], folder: Path, *students: Reader, base: Reader = BASE) -> Comparison:
    """Compare simulated readers."""
    evaluations = {
        r.method: Evaluation.load(write_evaluation(r, held_out, folder / r.method)) for r in (base, *students)
    }
    bootstrap = partial(paired_difference, seed=0, resamples=1000)
    return compare_models(evaluations.pop("base"), evaluations, bootstrap, confidence=0.95, resamples=1000, seed=0)


def sentences(comparison: Comparison) -> list[str]:
    return [verdict.text for verdict in verdicts(comparison)]


def test_students_are_compared_question_by_question(compared: dict[str, Path], output: Path, tmp_path: Path) -> None:
    summary = compare(CONFIG, compared, output, context(tmp_path))
    record = json.loads((output / "comparison.json").read_text())
    assert set(record["students"]) == {"opsd", "vicur"}
    for student in record["students"].values():
        for split, compared_split in student["splits"].items():
            difference = compared_split["difference"]
            assert difference["mean"] == pytest.approx(compared_split["accuracy"] - record["base_accuracy"][split])
            assert difference["mean"] == pytest.approx(
                (compared_split["fixed"] - compared_split["broken"]) / compared_split["examples"]
            )
            assert difference["low"] <= difference["mean"] <= difference["high"]
            assert sum(kind["examples"] for kind in compared_split["by_kind"].values()) == compared_split["examples"]
    assert summary.chosen == record["choice"]["method"] == "vicur"
    assert summary.differences["vicur"]["test"].low > 0
    assert summary.metrics["vicur/test/difference"] == summary.differences["vicur"]["test"].mean
    assert summary.verdicts == [f"{v['claim']} {v['detail']}".strip() for v in record["verdicts"]]


def test_repeating_a_comparison_gives_the_same_bytes(compared: dict[str, Path], tmp_path: Path) -> None:
    written = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        compare(CONFIG, compared, tmp_path / name, context(tmp_path))
        written.add(tuple((tmp_path / name / f).read_bytes() for f in ("comparison.json", "report.html")))
    assert len(written) == 1


def test_verdicts_distinguish_gains_ties_and_losses(held_out: list[Example], tmp_path: Path) -> None:
    texts = sentences(
        comparison(
            held_out,
            tmp_path,
            Reader("vicur", misreads=0.02, privilege="cue", recovery=True),
            Reader("opsd", misreads=0.19, privilege="answer"),
            Reader("opsd-cue", misreads=0.6, privilege="cue"),
        )
    )
    assert texts[0].startswith("vicur answers ")
    assert "points more than its base. 95 % interval +" in texts[0]
    assert any(t.startswith("opsd and its base tie on the test questions") and "includes zero" in t for t in texts)
    assert any(t.startswith("opsd-cue answers ") and "points fewer than its base" in t for t in texts)


def test_a_gain_that_is_significant_only_by_itself_is_a_tie_among_several(
    held_out: list[Example], tmp_path: Path
) -> None:
    single = comparison(held_out, tmp_path / "one", VICUR)
    compared = single.students["vicur"].splits["test"]
    assert compared.tests is not None
    assert compared.tests.comparisons == 1
    assert compared.tests.bootstrap_corrected == compared.tests.bootstrap == compared.difference.p
    several = comparison(held_out, tmp_path / "two", OPSD, VICUR)
    tests = several.students["vicur"].splits["test"].tests
    assert tests is not None
    assert tests.comparisons == 3
    assert several.pairs[0].tests["test"].comparisons == 3
    assert "answers" in sentences(several)[0]
    # The same difference, with less evidence.
    several.students["vicur"].splits["test"].tests = tests.model_copy(update={"bootstrap_corrected": 0.081})
    first = verdicts(several)[0]
    assert first.outcome == "tie"
    assert "not after Holm's correction for 3 comparisons (p = 0.081)" in first.detail
    assert "points four times out of five" in first.detail


def test_flips_and_corrected_p_values_are_logged(compared: dict[str, Path], output: Path, tmp_path: Path) -> None:
    summary = compare(CONFIG, compared, output, context(tmp_path))
    record = json.loads((output / "comparison.json").read_text())["students"]["opsd"]["splits"]["test"]
    assert summary.metrics["opsd/test/fixed"] == record["fixed"]
    assert summary.metrics["opsd/test/broken"] == record["broken"]
    assert summary.metrics["opsd/test/p_corrected"] == record["tests"]["bootstrap_corrected"]
    assert record["tests"]["mcnemar"] == mcnemar(record["fixed"], record["broken"])


def test_the_effect_of_cue_recovery_is_not_claimed_without_a_pair_that_isolates_it(
    held_out: list[Example], tmp_path: Path
) -> None:
    texts = sentences(comparison(held_out, tmp_path, OPSD, VICUR))
    assert any("The effect of cue recovery alone was not measured" in text for text in texts)
    assert any("the effect of the two together, not of either" in text for text in texts)
    assert not any("effect of cue recovery in this run" in text for text in texts)


def test_a_tie_of_students_that_differ_only_in_cue_recovery_is_reported_as_no_effect(
    held_out: list[Example], tmp_path: Path
) -> None:
    cue_only = Reader("opsd-cue", misreads=0.12, privilege="cue")
    texts = sentences(comparison(held_out, tmp_path, cue_only, VICUR))
    (between,) = (t for t in texts if t.startswith("vicur and opsd-cue"))
    assert "tie on the test questions" in between
    assert "They differ in cue recovery alone: no effect of cue recovery was measured." in between
    assert not any("was not measured" in t for t in texts)


def test_a_gain_of_students_that_differ_only_in_privilege_is_attributed_to_it(
    held_out: list[Example], tmp_path: Path
) -> None:
    cue_only = Reader("opsd-cue", misreads=0.02, privilege="cue")
    texts = sentences(comparison(held_out, tmp_path, OPSD, cue_only))
    (between,) = (
        t for t in texts if t.startswith("opsd-cue is ") and "more accurate on the test questions than opsd." in t
    )
    assert "They differ in privilege alone: this is the effect of the cue as privilege in this run." in between


def test_other_differing_settings_are_named_next_to_privilege_and_module(
    held_out: list[Example], tmp_path: Path
) -> None:
    settings = {"teacher": {"type": "self-frozen"}, "objective": {"type": "k1"}, "steps": 10}
    other = {"teacher": {"type": "none"}, "objective": {"type": "grpo"}, "steps": 10}
    opsd = replace(OPSD, facts={"training": settings})
    longer = replace(OPSD, method="opsd-longer", misreads=0.02, facts={"training": {**settings, "steps": 20}})
    grpo = Reader("grpo", misreads=0.1, privilege="none", facts={"training": other})
    result = comparison(held_out, tmp_path, opsd, longer, grpo)
    differ = {frozenset((pair.first, pair.second)): pair.differ_in for pair in result.pairs}
    assert differ[frozenset(("opsd", "opsd-longer"))] == ["other settings"]
    assert differ[frozenset(("opsd", "grpo"))] == ["privilege", "teacher", "objective"]
    texts = sentences(result)
    assert any("in privilege, teacher and objective: this is the effect of all of them together" in t for t in texts)
    assert any(
        "They differ in other settings alone: this is the effect of those settings in this run." in t for t in texts
    )


def test_the_best_student_is_chosen_on_validation_and_not_on_test(held_out: list[Example], tmp_path: Path) -> None:
    evaluations = {"base": Evaluation.load(write_evaluation(BASE, held_out, tmp_path / "base"))}
    for method, good, bad in (("lucky", "test", "validation"), ("sound", "validation", "test")):
        blind, perfect = Reader(method, misreads=0.5), Reader(method, misreads=0.0)
        examples = {good: perfect, bad: blind, "ood": blind}
        predictions = {
            split: [reader.predict(e) for e in held_out if e.split == split] for split, reader in examples.items()
        }
        metrics = Evaluation.load(write_evaluation(blind, held_out, tmp_path / method)).metrics
        evaluations[method] = Evaluation(
            metrics, {split: predictions[split] for split in evaluations["base"].predictions}
        )
    bootstrap = partial(paired_difference, seed=0, resamples=1000)
    choice = compare_models(
        evaluations.pop("base"), evaluations, bootstrap, confidence=0.95, resamples=1000, seed=0
    ).choice
    assert (choice.method, choice.split, choice.tied_with) == ("sound", "validation", [])


def test_of_equally_accurate_students_the_smaller_is_chosen_and_the_tie_is_reported(
    held_out: list[Example], tmp_path: Path
) -> None:
    big = Reader("a", misreads=0.0, privilege="cue", recovery=True)
    small = Reader("b", misreads=0.0, privilege="cue")
    result = comparison(held_out, tmp_path, big, small)
    assert (result.choice.method, result.choice.tied_with) == ("b", ["a"])
    assert "It ties with a there" in sentences(result)[-1]


def test_a_single_student_is_not_called_chosen(held_out: list[Example], tmp_path: Path) -> None:
    note = sentences(comparison(held_out, tmp_path, OPSD))[-1]
    assert note == "opsd is the only student of this run, so none was chosen."


def test_several_students_without_a_validation_split_are_refused(held_out: list[Example], tmp_path: Path) -> None:
    test = [e for e in held_out if e.split == "test"]
    with pytest.raises(VicurError, match="chosen on split 'validation'"):
        comparison(test, tmp_path, OPSD, VICUR)
    assert comparison(test, tmp_path / "single", OPSD).choice.split == "test"


def test_evaluations_with_different_questions_or_decoding_are_refused(
    dataset: Path, cues: Path, held_out: list[Example], output: Path, tmp_path: Path
) -> None:
    inputs = comparison_inputs(tmp_path / "in", dataset, cues, held_out, [OPSD])
    fewer = {**inputs, "opsd": write_evaluation(OPSD, held_out[:-1], tmp_path / "fewer")}
    with pytest.raises(VicurError, match=r"student opsd: was evaluated on different questions .*\(split ood\)"):
        compare(CONFIG, fewer, output, context(tmp_path))
    metrics = inputs["opsd"] / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"temperature": 0.0', '"temperature": 0.7'))
    with pytest.raises(VicurError, match=r"temperature is 0\.7, but 0\.0 for the base"):
        compare(CONFIG, inputs, output, context(tmp_path))


def test_a_comparison_without_a_student_is_refused(compared: dict[str, Path], output: Path, tmp_path: Path) -> None:
    inputs = {name: compared[name] for name in ("dataset", "cues", "base")}
    with pytest.raises(VicurError, match="no student to compare"):
        compare(CONFIG, inputs, output, context(tmp_path))


@pytest.mark.parametrize("damaged", ["metrics.json", "predictions.parquet", "attention.json"])
def test_a_damaged_file_of_an_evaluation_is_named(
    dataset: Path, cues: Path, held_out: list[Example], output: Path, tmp_path: Path, damaged: str
) -> None:
    inputs = comparison_inputs(tmp_path / "in", dataset, cues, held_out, [VICUR])
    (inputs["vicur"] / damaged).write_text("{")
    with pytest.raises(VicurError, match=damaged):
        compare(CONFIG, inputs, output, context(tmp_path))


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.01, 0.2, "better"), (0, 0.2, "tie"), (-0.1, 0.3, "tie"), (-0.3, -0.01, "worse")]
)
def test_an_interval_that_touches_zero_is_a_tie(low: float, high: float, verdict: str) -> None:
    assert Difference(mean=(low + high) / 2, low=low, high=high).verdict == verdict


def test_the_stage_has_a_name_and_a_code_version() -> None:
    assert COMPARE.name == "compare"
    assert len(COMPARE.code) == 16
