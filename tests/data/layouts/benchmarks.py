"""Layouts of benchmarks of mathematical and multi-disciplinary reasoning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data.layouts.items import Expected, Item, base64_text, lettered, put_picture
from tests.data.layouts.tables import IMAGE, embedded, write_json, write_parquet

TEXTS = pa.list_(pa.string())


def mmmu(folder: Path, items: list[Item]) -> list[Expected]:
    """MMMU: a folder for each subject; up to seven images, choices as the text of a Python list, hidden answers in the test split."""
    expected = []
    half = (len(items) + 1) // 2
    for name, part in (("dev", items[:half]), ("validation", items[half:])):
        rows = []
        for item in part:
            is_open = item.number % 2 == 1
            question = f"Look at <image 1> and <image 2>. {item.question}"
            images: dict[str, Any] = {f"image_{place}": None for place in range(1, 8)}
            images["image_1"] = embedded(item.number, "a.png")
            images["image_2"] = embedded(item.number + 7000, "b.png")
            rows.append(
                {
                    "id": f"{name}_Accounting_{item.number}",
                    "question": question,
                    "options": "[]" if is_open else str(list(item.choices)),
                    "explanation": item.rationale if name == "dev" else "",
                    **images,
                    "img_type": "['Tables']",
                    "answer": item.answer if is_open else item.letter,
                    "topic_difficulty": "Easy",
                    "question_type": "open" if is_open else "multiple-choice",
                    "subfield": "Managerial Accounting",
                }
            )
            expected.append(
                Expected(
                    question=question,
                    answer=rows[-1]["answer"],
                    choices=() if is_open else item.choices,
                    split="validation",
                    images=(item.number, item.number + 7000),
                    rationale=item.rationale if name == "dev" else None,
                    id=rows[-1]["id"],
                )
            )
        columns = {f"image_{place}": IMAGE for place in range(1, 8)}
        write_parquet(folder / f"Accounting/{name}-00000-of-00001.parquet", rows, **columns)
    return expected


def mathvista(folder: Path, items: list[Item]) -> list[Expected]:
    """MathVista: the image twice (path and embedded), choices or none, the answer as text."""
    rows = []
    expected = []
    for item in items:
        is_open = item.number % 2 == 1
        rows.append(
            {
                "pid": str(item.number),
                "question": item.question,
                "image": f"images/{item.number}.jpg",
                "decoded_image": embedded(item.number),
                "choices": None if is_open else list(item.choices),
                "unit": None,
                "precision": 1.0 if is_open else None,
                "answer": item.answer,
                "question_type": "free_form" if is_open else "multi_choice",
                "answer_type": "integer" if is_open else "text",
                "metadata": {"category": "math-targeted-vqa", "skills": ["arithmetic reasoning"], "split": "testmini"},
                "query": f"Hint: Please answer the question.\nQuestion: {item.question}",
            }
        )
        expected.append(
            Expected(
                item.question,
                item.answer,
                split="test",
                images=(item.number,),
                choices=() if is_open else item.choices,
                id=str(item.number),
            )
        )
    types = {"unit": pa.string(), "precision": pa.float64(), "choices": TEXTS, "decoded_image": IMAGE}
    write_parquet(folder / "data/testmini-00000-of-00001-725687bf7a18d64b.parquet", rows, **types)
    write_json(
        folder / "annot_testmini.json", {row["pid"]: {"pid": row["pid"], "question": row["question"]} for row in rows}
    )
    write_json(folder / "source.json", {})
    return expected


def mathverse(folder: Path, items: list[Item]) -> list[Expected]:
    """MathVerse: choices inside the question; in the version "Vision Only" the question is part of the image."""
    rows = []
    expected = []
    for item in items:
        is_blank = item.number % 2 == 1
        question = f"{item.question}\nChoices:\n{lettered(item.choices, ':')}"
        query = "According to the question shown in the image, please directly answer with the correct option letter."
        rows.append(
            {
                "sample_index": str(item.number),
                "problem_index": str(item.number),
                "problem_version": "Vision Only" if is_blank else "Text Dominant",
                "question": "" if is_blank else question,
                "image": embedded(item.number),
                "answer": item.letter,
                "question_type": "multi-choice",
                "metadata": {
                    "split": "testmini",
                    "source": "Geometry3K",
                    "subject": "Plane Geometry",
                    "subfield": "Angle",
                },
                "query_wo": query if is_blank else f"Please directly answer the question.\nQuestion: {question}",
                "query_cot": f"Please first conduct reasoning.\nQuestion: {question}",
                "question_for_eval": question,
            }
        )
        expected.append(
            Expected(
                query if is_blank else question,
                item.letter,
                split="test",
                images=(item.number,),
                id=str(item.number),
            )
        )
    write_parquet(folder / "testmini.parquet", rows, image=IMAGE)
    write_json(folder / "testmini.json", [{key: value for key, value in row.items() if key != "image"} for row in rows])
    return expected


def we_math(folder: Path, items: list[Item]) -> list[Expected]:
    """We-Math: choices in one text, letters as answers, the image in a column called ``image_path``."""
    rows = [
        {
            "ID": f"3steps_{item.number}",
            "split": "testmini",
            "knowledge concept": "Area of Circles",
            "question": item.question,
            "option": "; ".join(lettered(item.choices).split("\n")) + "; E. No correct answer",
            "answer": item.letter,
            "image_path": embedded(item.number),
            "key": "3steps_multi",
            "question number": item.number,
            "knowledge concept description": "Area",
        }
        for item in items
    ]
    write_parquet(folder / "data/testmini-00000-of-00001.parquet", rows, image_path=IMAGE)
    return [
        Expected(
            item.question,
            item.letter,
            split="test",
            images=(item.number,),
            choices=(*item.choices, "No correct answer"),
        )
        for item in items
    ]


def dynamath(folder: Path, items: list[Item]) -> list[Expected]:
    """DynaMath: a file for each variant, with the same ids in each."""
    expected = []
    half = (len(items) + 1) // 2
    for variant, part in enumerate((items[:half], items[half:]), start=1):
        rows = [
            {
                "id": str(place),
                "question": item.question,
                "image": f"images/{place}.png",
                "decoded_image": embedded(item.number),
                "ground_truth": item.answer,
                "answer_type": "float",
                "subject": "arithmetic",
                "knowledge_level": "elementary school",
            }
            for place, item in enumerate(part)
        ]
        write_parquet(folder / f"data/sample{variant}-00000-of-00001.parquet", rows, decoded_image=IMAGE)
        expected += [Expected(item.question, item.answer, split="test", images=(item.number,)) for item in part]
    return expected


def math_vision(folder: Path, items: list[Item]) -> list[Expected]:
    """MATH-Vision: markers such as ``<image1>``, the image twice, letters as answers."""
    rows = []
    for item in items:
        put_picture(folder / f"images/{item.number}.jpg", item.number)
        rows.append(
            {
                "id": str(item.number),
                "question": f"{item.question}\n<image1>",
                "options": list(item.choices),
                "image": f"images/{item.number}.jpg",
                "decoded_image": embedded(item.number),
                "answer": item.letter,
                "solution": None,
                "level": 2,
                "subject": "arithmetic",
            }
        )
    types = {"decoded_image": IMAGE, "solution": pa.string(), "options": TEXTS}
    write_parquet(folder / "data/testmini-00000-of-00001.parquet", rows, **types)
    return [
        Expected(
            f"{item.question}\n<image1>",
            item.letter,
            split="test",
            images=(item.number,),
            choices=item.choices,
            id=str(item.number),
        )
        for item in items
    ]


def mmbench(folder: Path, items: list[Item]) -> list[Expected]:
    """MMBench: a table with base64 images, a hint for some questions, and two to four choices."""
    head = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "split"]
    lines, expected = ["\t".join(head)], []
    for item in items:
        choices = item.choices if item.number % 2 else item.choices[: max(2, item.place + 1)]
        hint = "Look at it." if item.number % 2 else ""
        cells = [*choices, "", ""][:4]
        lines.append(
            "\t".join(
                [str(item.number), item.question, hint, *cells, item.letter, "sum", base64_text(item.number), "dev"]
            )
        )
        question = f"{hint}\n{item.question}" if hint else item.question
        expected.append(
            Expected(
                question=question,
                answer=item.letter,
                choices=choices,
                split="validation",
                images=(item.number,),
                id=str(item.number),
                metadata={"kind": "sum"},
            )
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mmbench_dev_en.tsv").write_text("\n".join(lines))
    return expected
