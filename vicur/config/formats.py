"""How the files of a source are read: the format, the columns of our fields, and the splits."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

Split = Literal["base", "distill", "validation", "test", "ood"]
SPLITS: tuple[Split, ...] = get_args(Split)
"""All splits: the tiny base model is trained on ``base``, students on ``distill``; settings are chosen on ``validation``; gate and report
use ``test``, and ``ood`` has the same questions about harder images."""

FormatName = Literal[
    "auto",
    "examples",
    "jsonl",
    "json",
    "csv",
    "tsv",
    "parquet",
    "arrow",
    "huggingface",
    # Layouts of public datasets.
    "a_okvqa",
    "chartqa",
    "clevr",
    "conversations",
    "docvqa",
    "dynamath",
    "easy_vqa",
    "geometry3k",
    "gqa",
    "iconqa",
    "imagefolder",
    "m3cot",
    "math_vision",
    "mathverse",
    "mathvista",
    "messages",
    "mm_math",
    "mmbench",
    "mmmu",
    "ocr_vqa",
    "scienceqa",
    "scienceqa_problems",
    "tabmwp",
    "verl",
    "vision_r1",
    "visual_genome",
    "vqa",
    "we_math",
    "webdataset",
]
"""Layouts of files. Each but ``auto`` has a class in :mod:`vicur.data.formats`."""

AnswerIndex = Literal["auto", "none", 0, 1]
"""What a number means as the answer to a question with choices: the place of a choice, counted from 0 or from 1, or its text (``none``).
``auto`` decides it by all rows."""

FieldName = Literal[
    "id",
    "images",
    "video",
    "question",
    "choices",
    "answer",
    "rationale",
    "cue",
    "source",
    "split",
    "metadata",
    "group",
    "kind",
]
FIELD_NAMES: tuple[FieldName, ...] = get_args(FieldName)


def _columns(value: Any) -> Any:
    # One column, several alternatives, or none at all.
    return () if value is None else (value,) if isinstance(value, str) else value


def _no_blank(columns: tuple[str, ...]) -> tuple[str, ...]:
    if not all(column.strip() for column in columns):
        raise ValueError("contains an empty name: write the name of a column, or leave the field out")
    return columns


Columns = Annotated[tuple[str, ...], BeforeValidator(_columns), AfterValidator(_no_blank)]
Shares = dict[Split, Annotated[float, Field(ge=0, le=1)]]


def _left_out(target: Any) -> Any:
    # The parameters of a pipeline step cannot contain null.
    return None if target == "" else target


SplitTarget = Annotated[Split | Annotated[float, Field(ge=0, le=1)] | Shares | None, BeforeValidator(_left_out)]


def checked_splits(splits: dict[str, SplitTarget]) -> dict[str, SplitTarget]:
    """Check that ``splits`` either maps names to splits or shares out all rows, or raise a ``ValueError``."""
    numbers = {name: value for name, value in splits.items() if isinstance(value, float)}
    if numbers and len(numbers) < len(splits):
        raise ValueError("mixes shares (distill: 0.8) with names of splits (train: distill): use only one of them")
    if numbers:
        unknown = [name for name in numbers if name not in SPLITS]
        if unknown:
            raise ValueError(f"shares out to {unknown[0]!r}, but the splits are {', '.join(SPLITS)}")
    per_name = {name: list(shares.values()) for name, shares in splits.items() if isinstance(shares, dict)}
    for name, shares in {**per_name, **({"": list(numbers.values())} if numbers else {})}.items():
        if abs(sum(shares) - 1) > 1e-6:
            within = f" of {name!r}" if name else ""
            raise ValueError(f"has shares{within} that add up to {sum(shares):g}, not to 1")
    return splits


Splits = Annotated[dict[str, SplitTarget], AfterValidator(checked_splits)]
