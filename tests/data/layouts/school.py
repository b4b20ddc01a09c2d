"""Layouts of school questions with choices, tables and solutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data.layouts.items import Expected, Item, chosen, of_split, plain, put_picture
from tests.data.layouts.tables import IMAGE, embedded, write_json, write_parquet


def _science(item: Item) -> dict[str, Any]:
    return {
        "question": item.question,
        "choices": list(item.choices),
        "answer": item.place,
        "hint": "Use the table.",
        "task": "closed choice",
        "grade": "grade2",
        "subject": "natural science",
        "topic": "physics",
        "category": "Matter",
        "skill": "Compare",
        "lecture": "Sums are found by adding.",
        "solution": item.rationale,
    }


def scienceqa(folder: Path, items: list[Item]) -> list[Expected]:
    """ScienceQA: one object of all problems, and a folder of images for each; a problem may have no image."""
    names = {"distill": "train", "validation": "val", "test": "test"}
    problems = {}
    for item in items:
        has_image = item.number % 2 == 0
        if has_image:
            put_picture(folder / names[item.split] / str(item.number) / "image.png", item.number)
        more = {"image": "image.png" if has_image else None, "split": names[item.split]}
        problems[str(item.number)] = {**_science(item), **more}
    write_json(folder / "problems.json", problems)
    write_json(folder / "pid_splits.json", {name: [] for name in names.values()})
    return [_scientific(item) for item in items]


def _scientific(item: Item, **more: Any) -> Expected:
    images = (item.number,) if item.number % 2 == 0 else ()
    question = f"Use the table.\n{item.question}"
    return chosen(
        item, **{"question": question, "images": images, "id": str(item.number), "rationale": item.rationale, **more}
    )


def scienceqa_parquet(folder: Path, items: list[Item]) -> list[Expected]:
    """ScienceQA as on the Hub: the answer is the index of a choice."""
    for split, name in (("distill", "train"), ("validation", "validation"), ("test", "test")):
        rows = [
            {"image": embedded(item.number) if item.number % 2 == 0 else None, **_science(item)}
            for item in of_split(items, split)
        ]
        write_parquet(
            folder / f"data/{name}-00000-of-00001-1028f23e353fbe3e.parquet", rows, image=IMAGE, answer=pa.int8()
        )
    order = {"test": 0, "distill": 1, "validation": 2}
    return [_scientific(item, id=None) for item in sorted(items, key=lambda item: (order[item.split], item.number))]


def tabmwp(folder: Path, items: list[Item]) -> list[Expected]:
    """TabMWP: an object of problems for each split, and the tables as images."""
    for split, name in (("distill", "train"), ("validation", "dev"), ("test", "test")):
        problems = {}
        for item in of_split(items, split):
            put_picture(folder / f"tables/{item.number}.png", item.number)
            is_open = item.number % 2 == 1
            problems[str(item.number)] = {
                "question": item.question,
                "choices": None if is_open else list(item.choices),
                "answer": item.answer,
                "unit": None,
                "table_title": "Sums",
                "table": "a | b",
                "table_for_pd": {"a": ["b"]},
                "row_num": 1,
                "column_num": 2,
                "solution": item.rationale,
                "ques_type": "free_text" if is_open else "multi_choice",
                "ans_type": "integer_number",
                "split": name,
                "grade": 2,
            }
        write_json(folder / f"problems_{name}.json", problems)
    order = {"validation": 0, "test": 1, "distill": 2}
    return [
        plain(
            item,
            id=str(item.number),
            rationale=item.rationale,
            choices=() if item.number % 2 == 1 else item.choices,
        )
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


def m3cot(folder: Path, items: list[Item]) -> list[Expected]:
    """M3CoT: letters as answers, a context before the question, and a rationale."""
    for split, name in (("distill", "train"), ("validation", "validation"), ("test", "test")):
        rows = [
            {
                "id": f"mathematics-algebra-{item.number}",
                "category": "algebra",
                "image_id": f"a-{item.number}",
                "question": item.question,
                "choices": list(item.choices),
                "context": "Look at the picture." if item.number % 2 else "",
                "answer": item.letter,
                "rationale": item.rationale,
                "split": name,
                "image": embedded(item.number),
                "domain": "mathematics",
                "topic": "algebra",
            }
            for item in of_split(items, split)
        ]
        write_parquet(folder / f"data/{name}-00000-of-00001.parquet", rows, image=IMAGE)
    order = {"test": 0, "distill": 1, "validation": 2}
    return [
        chosen(
            item,
            question=f"Look at the picture.\n{item.question}" if item.number % 2 else item.question,
            id=f"mathematics-algebra-{item.number}",
            rationale=item.rationale,
        )
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]
