"""Layouts of geometry problems and of reinforcement learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data.layouts.items import Expected, Item, put_picture
from tests.data.layouts.tables import IMAGE, embedded, write_json, write_jsonl, write_parquet

IMAGES = pa.list_(IMAGE)
NAMES = {"distill": "train", "validation": "val", "test": "test"}


def geometry3k(folder: Path, items: list[Item]) -> list[Expected]:
    """Geometry3K: a folder for each problem, with its text, choices, diagram and logic forms."""
    for item in items:
        place = folder / NAMES[item.split] / str(item.number)
        put_picture(place / "img_diagram.png", item.number)
        put_picture(place / "img_diagram_point.png", item.number + 5000)
        put_picture(place / "img_problem.png", item.number + 6000)
        text = f"In \\odot K, M N = {item.number}. {item.question}"
        write_json(
            place / "data.json",
            {
                "problem_text": text,
                "choices": list(item.choices),
                "answer": item.letter,
                "detailed_solution": " ",
                "problem_type_graph": ["Circle"],
                "problem_type_goal": ["Angle"],
                "source": "textbook.pdf page 1",
                "comment": "",
                "id": item.number,
                "annot_id": "A_2020",
                "is_standard": False,
                "compact_choices": list(item.choices),
                "precise_value": [float(choice) for choice in item.choices],
                "rough_value": [float(choice) for choice in item.choices],
                "compact_text": text.replace("M N", "MN"),
                "annotat_text": _annotated(item),
                "unit": "",
                "img_width": 48,
                "img_height": 48,
                "data_type": NAMES[item.split],
                "date": "Fri Sep 18 22:23:14 2020",
                "system": "linux",
            },
            indent=2,
        )
        forms = {"text_logic_form": [f"Equals(LengthOf(Line(M,N)),{item.number})"], "diagram_logic_form": []}
        write_json(place / "logic_form.json", {**forms, "line_instances": [], "point_positions": {}})
    order = {"test": 0, "distill": 1, "validation": 2}
    return [
        Expected(
            question=_annotated(item),
            answer=item.letter,
            choices=item.choices,
            split=item.split,
            images=(item.number,),
            id=str(item.number),
        )
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


def _annotated(item: Item) -> str:
    return f"In $\\odot K$, $M N={item.number}$. {item.question}"


def geometry3k_parquet(folder: Path, items: list[Item]) -> list[Expected]:
    """hiyouga/geometry3k: images, a problem with markers, an answer."""
    for split, name in (("distill", "train"), ("validation", "validation"), ("test", "test")):
        rows = [
            {"images": [embedded(item.number)], "problem": f"<image>{item.question}", "answer": item.answer}
            for item in items
            if item.split == split
        ]
        write_parquet(folder / f"data/{name}-00000-of-00001.parquet", rows, images=IMAGES)
    return _marked(items)


def vision_r1_rl(folder: Path, items: list[Item]) -> list[Expected]:
    """Vision-R1-rl: the columns of EasyR1 in one file for each split."""
    for split, name in (("distill", "train"), ("test", "test")):
        rows = [
            {"problem": f"<image>{item.question}", "answer": item.answer, "images": [embedded(item.number)]}
            for item in items
            if item.split == split
        ]
        write_parquet(folder / f"{name}.parquet", rows, images=IMAGES)
    return _marked(items)


def _marked(items: list[Item]) -> list[Expected]:
    order = {"test": 0, "distill": 1, "validation": 2}
    return [
        Expected(f"<image>{item.question}", item.answer, split=item.split, images=(item.number,))
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


_INSTRUCTION = "You FIRST think about the reasoning process. The final answer MUST BE put in \\boxed{}."


def verl(folder: Path, items: list[Item]) -> list[Expected]:
    """verl's geo3k: the prompt ends with an instruction; ``extra_info`` has the question without it."""
    for split, name in (("distill", "train"), ("test", "test")):
        rows: list[dict[str, Any]] = []
        for index, item in enumerate(each for each in items if each.split == split):
            question = f"<image>{item.question}"
            rows.append(
                {
                    "data_source": "hiyouga/geometry3k",
                    "prompt": [{"content": f"{question} {_INSTRUCTION}", "role": "user"}],
                    "images": [embedded(item.number)],
                    "ability": "math",
                    "reward_model": {"ground_truth": item.answer, "style": "rule"},
                    "extra_info": {"answer": item.answer, "index": index, "question": question, "split": name},
                }
            )
        write_parquet(folder / f"{name}.parquet", rows, images=IMAGES)
    return _marked(items)


def mm_math(folder: Path, items: list[Item]) -> list[Expected]:
    r"""MM-Math: JSON lines whose solution ends in ``\boxed{}``, and a folder of images."""
    rows = []
    for item in items:
        put_picture(folder / f"MM_Math/MM_Math/{item.number}.png", item.number)
        rows.append(
            {
                "question": item.question,
                "file_name": f"{item.number}.png",
                "solution": f"{item.rationale} So the sum is \\boxed{{{item.answer}}}.",
                "year": "seven",
                "difficult": "easy",
                "knowledge": "Addition",
            }
        )
    write_jsonl(folder / "MM_Math/MM_Math.jsonl", rows)
    return [
        Expected(
            item.question,
            item.answer,
            split=None,
            images=(item.number,),
            rationale=f"{item.rationale} So the sum is \\boxed{{{item.answer}}}.",
        )
        for item in items
    ]


def virl39k(folder: Path, items: list[Item]) -> list[Expected]:
    r"""ViRL39K: one parquet file with ``\boxed{}`` answers and paths of unpacked images."""
    rows = []
    for item in items:
        put_picture(folder / f"images/Processed-{item.number}-0.jpg", item.number)
        rows.append(
            {
                "qid": f"Processed-{item.number}-0",
                "question": f"<image>\n{item.question}",
                "answer": f"\\boxed{{{item.answer}}}",
                "image": [f"images/Processed-{item.number}-0.jpg"],
                "source": "Processed",
                "category": "(GradeSchool) Geometric",
                "PassRate_32BTrained": 0.75,
                "PassRate_7BBase": 0.25,
            }
        )
    write_parquet(folder / "39Krelease.parquet", rows)
    return [
        Expected(
            f"<image>\n{item.question}",
            f"\\boxed{{{item.answer}}}",
            split=None,
            images=(item.number,),
            id=f"Processed-{item.number}-0",
        )
        for item in items
    ]
