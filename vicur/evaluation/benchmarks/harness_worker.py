"""Scores answers with VLMEvalKit. Runs in the harness's own environment: ``python harness_worker.py REQUEST.json``.

Nothing of this project can be imported there. The harness's own ``evaluate`` does the work, unmodified but for three things: intermediate
files are pickles in a folder of our own (its spreadsheets change types, and lose long responses), the judge is our relay, and a random
choice, by which the harness replaces a judge's missing verdict, is an error.

Writes ``result.json`` last. Its exit status means nothing: whoever started it must check that the file has a verdict for every row.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

_FAILED = ("All 5 retries failed", "Failed to obtain answer via API", "randomly generate")


class RandomChoiceError(RuntimeError):
    """The judge gave no verdict in three tries, and the harness would guess."""


class _NoGuessing:
    """In place of the module ``random``."""

    @staticmethod
    def choice(options: list[str]) -> str:
        if len(options) == 1:
            return options[0]
        raise RandomChoiceError(f"the judge named none of the options {options} in three tries")


def main(path: str) -> None:
    """Score the answers of a request and write the result beside it."""
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    work = Path(path).parent
    _load_torchvision()
    pandas = importlib.import_module("pandas")
    files: Any = importlib.import_module("vlmeval.smp.file")
    # Pickles keep the types and all characters of a response.
    files.get_pred_file_format = lambda: "pkl"
    importlib.import_module("vlmeval.dataset")
    choices: Any = importlib.import_module("vlmeval.dataset.utils.multiple_choice")
    choices.rd = _NoGuessing
    frame = pandas.read_csv(work / "rows.tsv", sep="\t")
    predictions = json.loads((work / "predictions.json").read_text(encoding="utf-8"))
    if len(frame) != len(predictions):
        raise RuntimeError(f"{len(frame)} rows, but {len(predictions)} predictions")
    frame["prediction"] = pandas.Series(predictions, dtype="object")
    answers = work / "answers.pkl"
    frame.to_pickle(answers)
    judge = {"model": "judge", "api_base": request["judge"], "key": "relay", "nproc": request["processes"]}
    score, rows = _SCORERS[request["dataset"]](frame, str(answers), judge)
    for row in rows:
        row["failed"] = any(text in row["log"] for text in _FAILED)
    result = {"version": _version(), "score": score, "rows": rows}
    partial = work / "result.json.partial"
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.replace(work / "result.json")


def _load_torchvision() -> None:
    """Import torchvision. With a build of torch that it does not match, declare its operators, which the harness does not call."""
    torch = importlib.import_module("torch")
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)


_KEPT: list[Any] = []  # a library's operators are removed with it


def _version() -> str:
    return version("ms-vlmeval")


def _instance(module: str, name: str, frame: Any, dataset: str) -> Any:
    """Return a data set of the harness with our rows. Its constructor would download the official file."""
    kind = getattr(importlib.import_module(f"vlmeval.dataset.{module}"), name)
    instance = object.__new__(kind)
    instance.data = frame.drop(columns="prediction")
    instance.dataset_name = dataset
    return instance


def _read(path: str, suffix: str) -> Any:
    return importlib.import_module("pandas").read_pickle(path.replace(".pkl", f"{suffix}.pkl"))


def _text(value: Any) -> str | None:
    return None if value is None or value != value else str(value)


def _row(row: Any, *, correct: Any, judged: bool, unparsed: bool, extracted: Any, log: Any) -> dict[str, Any]:
    return {
        "index": str(row["index"]),
        "correct": bool(correct),
        "judged": judged,
        "unparsed": unparsed,
        "extracted": _text(extracted),
        "log": str(log),
    }


def _mathvista(frame: Any, answers: str, judge: dict[str, Any]) -> Any:
    data = _instance("image_vqa", "MathVista", frame, "MathVista_MINI")
    check = importlib.import_module("vlmeval.dataset.utils.mathvista").post_check
    table = data.evaluate(answers, **judge)
    score = float(table[table["Task&Skill"] == "Overall"]["acc"].iloc[0]) / 100
    rows = [
        _row(
            row,
            correct=check(row, prefetch=False),
            judged=row["log"] != "Prefetch succeed",
            unparsed=str(row["res"]).strip() == "",
            extracted=row["res"],
            log=row["log"],
        )
        for _, row in _read(answers, "_judge").iterrows()
    ]
    return score, rows


def _mathverse(frame: Any, answers: str, judge: dict[str, Any]) -> Any:
    table = importlib.import_module("vlmeval.dataset.image_vqa").MathVerse.evaluate(answers, **judge)
    scored = _read(answers, "_judge_score")
    # The harness prints each version; all have the same number of problems in the whole benchmark.
    sizes = [int((frame["problem_version"] == version).sum()) for version in table["split"]]
    score = sum(float(part) * size for part, size in zip(table["Overall"], sizes)) / sum(sizes) / 100  # noqa: B905
    rows = [
        _row(
            row,
            correct=row["score"],
            judged=True,
            unparsed=str(row["extract"]).strip().lower() in ("", "null", "none"),
            extracted=row["extract"],
            log=f"{row['log_extract']} {row['log_score']}",
        )
        for _, row in scored.iterrows()
    ]
    return score, rows


def _dynamath(frame: Any, answers: str, judge: dict[str, Any]) -> Any:
    module = importlib.import_module("vlmeval.dataset.dynamath")
    table = _instance("dynamath", "Dynamath", frame, "DynaMath").evaluate(answers, **judge)
    score = float(table[table["Setting"] == "Average"]["Overall"].iloc[0])
    rows = [
        _row(
            row,
            correct=row["correct"],
            judged=not _is_json(module, row) and not _parses(module, row),
            unparsed=not row["parse"],
            extracted=row["extracted"],
            log="",
        )
        for _, row in _read(answers, "_judge").iterrows()
    ]
    return score, rows


def _is_json(module: Any, row: Any) -> bool:
    try:
        short = json.loads(module.preprocess(row["prediction"]), strict=False).get("short answer")
        return short is not None and bool(module.parse_answer(short, answer_type=row["answer_type"])[0])
    except (ValueError, AttributeError, TypeError):
        return False


def _parses(module: Any, row: Any) -> bool:
    return bool(module.parse_answer(module.preprocess(row["prediction"]), row["answer_type"])[0])


def _choices(module: str, name: str, dataset: str, suffix: str) -> Any:
    def scorer(frame: Any, answers: str, judge: dict[str, Any]) -> Any:
        utils = importlib.import_module("vlmeval.dataset.utils.multiple_choice")
        table: Any = None
        try:
            table = _instance(module, name, frame, dataset).evaluate(answers, **judge)
        except ZeroDivisionError:
            # WeMath's rates, if no whole problem is right. Its rows are written before.
            if dataset != "WeMath":
                raise
        scored = _read(answers, suffix)
        prepared = utils.MMMU_preproc(scored.copy()) if "MMMU" in dataset else scored
        rows = []
        for (_, row), (_, choices) in zip(scored.iterrows(), prepared.iterrows()):  # noqa: B905
            inferred = bool(utils.can_infer(row["prediction"], utils.build_choices(choices)))
            verdict = str(row["log"]).removeprefix("Match Log: ").removesuffix(". ")
            unparsed = not inferred and utils.can_infer(verdict, utils.build_choices(choices)) in (False, "Z")
            rows.append(
                _row(row, correct=row["hit"], judged=not inferred, unparsed=unparsed, extracted=None, log=row["log"])
            )
        return (_choice_score(table, dataset), rows)

    return scorer


def _choice_score(table: Any, dataset: str) -> float | None:
    if dataset == "WeMath":
        return None  # it divides by 525 whatever the rows
    return float(table[table["split"] == "validation"]["Overall"].iloc[0])


def _videomme(frame: Any, answers: str, judge: dict[str, Any]) -> Any:
    kind = importlib.import_module("vlmeval.dataset.videomme").VideoMME
    utils = importlib.import_module("vlmeval.dataset.utils.videomme")
    # It accepts no pickle as its input.
    path = answers.replace(".pkl", ".tsv")
    frame.to_csv(path, sep="\t", index=False)
    rating = kind.evaluate(path, **judge)
    rows = []
    for (_, row), prediction in zip(_read(answers, "_score").iterrows(), frame["prediction"]):  # noqa: B905
        letter = utils.extract_characters_regex(str(prediction))
        rows.append(
            _row(row, correct=row["score"] == 1, judged=letter == "", unparsed=letter == "", extracted=letter, log="")
        )
    return float(rating["overall"]["overall"]), rows


_SCORERS = {
    "MathVista_MINI": _mathvista,
    "MathVerse_MINI": _mathverse,
    "DynaMath": _dynamath,
    "WeMath": _choices("image_mcq", "WeMath", "WeMath", "_judge"),
    "MMMU_DEV_VAL": _choices("image_mcq", "MMMUDataset", "MMMU_DEV_VAL", "_judge_result"),
    "Video-MME": _videomme,
}


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main(sys.argv[1])
