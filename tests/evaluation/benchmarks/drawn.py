"""Questions of our own in the exact columns of each benchmark's file, about small drawings: bars to compare, and videos of a moving bar."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from vicur.data.pin import file_md5


def bars(*heights: int, colour: str = "navy", side: int = 64) -> bytes:
    """Return a PNG of bars on white."""
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    width = side // max(1, len(heights))
    for place, height in enumerate(heights):
        draw.rectangle([place * width + 2, side - 4 * height, (place + 1) * width - 3, side - 1], fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def encoded(*images: bytes) -> str:
    """Return images as a cell of the column ``image``."""
    texts = [base64.b64encode(image).decode() for image in images]
    return texts[0] if len(texts) == 1 else str(texts)


def mathvista() -> list[dict[str, Any]]:
    """Ten questions: choices, whole numbers, decimals, texts and a list."""
    hint = "Hint: Please answer the question requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.\n"
    common = {"task": "figure question answering", "skills": "['statistical reasoning']", "category": "general-vqa"}
    rows: list[dict[str, Any]] = [
        {
            "question": f"{hint}Question: How tall is the bar?",
            "question_type": "free_form",
            "answer_type": "integer",
            "answer": n,
        }
        for n in (3, 4, 5)
    ]
    rows += [
        {
            "question": "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.\n"
            f"Question: Which colour has the bar?\nChoices:\n(A) {first}\n(B) {second}",
            "question_type": "multi_choice",
            "answer_type": "text",
            "choices": str([first, second]),
            "answer": first,
            "answer_option": "A",
        }
        for first, second in (("navy", "red"), ("blue", "green"), ("1/2", "1/4"))
    ]
    rows += [
        {
            "question": f"{hint}Question: Half of it?",
            "question_type": "free_form",
            "answer_type": "float",
            "answer": value,
        }
        for value in ("1.5", "2.5")
    ]
    rows += [
        {"question": "Question: Name it.", "question_type": "free_form", "answer_type": "text", "answer": "a bar"},
        {
            "question": "Question: Between which years?",
            "question_type": "free_form",
            "answer_type": "list",
            "answer": "[2007, 2008]",
        },
    ]
    names = ("index", "question", "image", "answer", "answer_option", "choices", "question_type", "answer_type")
    return _rows(rows, (*names, "task", "skills", "category"), common)


def mathverse() -> list[dict[str, Any]]:
    """Two problems in five versions each, as choice and as free form. The second row of a problem names the image of its first."""
    rows: list[dict[str, Any]] = []
    versions = ("Text Dominant", "Text Lite", "Vision Intensive", "Vision Dominant", "Vision Only")
    for problem in (1, 2):
        free = problem == 2
        asked = (
            "The bar has height 5. What is its height?" if free else "Which bar is higher?\nChoices:\nA:left\nB:right"
        )
        for version in versions:
            number = len(rows)
            rows.append(
                {
                    "sample_index": number + 1,
                    "problem_index": problem,
                    "problem_version": version,
                    "question": f"{'According to the question shown in the image, a' if 'Only' in version else 'A'}nswer it. {asked}",
                    "question_for_eval": asked,
                    "query_cot": f"Think step by step. {asked}",
                    "answer": "5" if free else "B",
                    "question_type": "free-form" if free else "multi-choice",
                    "metadata": "{'split': 'testmini', 'source': 'GeoQA', 'subject': 'Plane Geometry', 'subfield': 'Length'}",
                    "image": encoded(bars(problem, 5)) if version == versions[0] else str(5 * (problem - 1)),
                }
            )
    names = (
        "index",
        "sample_index",
        "problem_index",
        "problem_version",
        "question",
        "image",
        "answer",
        "question_type",
    )
    return _rows(rows, (*names, "metadata", "query_cot", "question_for_eval"), {})


def dynamath() -> list[dict[str, Any]]:
    """Three questions in three variants each: number, choice and text. The id of a question is the index of its first variant."""
    rows: list[dict[str, Any]] = []
    kinds = (("float", ("1.5", "2.0", "3.25")), ("multiple choice", ("A", "B", "A")), ("text", ("odd", "even", "odd")))
    for kind, answers in kinds:
        first = len(rows)
        for variant, answer in enumerate(answers, start=1):
            rows.append(
                {
                    "qid": first,
                    "varid": variant,
                    "question": f"Look at the bar of variant {variant}. What is it ({kind})?",
                    "answer": answer,
                    "answer_type": kind,
                    "subject": "arithmetic" if kind == "float" else "statistics",
                    "knowledge_level": "elementary school",
                    "image": encoded(bars(variant, first + 1)),
                }
            )
    names = ("index", "qid", "varid", "question", "image", "answer", "answer_type", "subject", "knowledge_level")
    return _rows(rows, names, {})


def wemath() -> list[dict[str, Any]]:
    """Two problems of two steps and one of three: ten questions."""
    rows: list[dict[str, Any]] = []
    for problem, steps in ((1, 2), (2, 2), (1, 3)):
        for step in (*range(1, steps + 1), "multi"):
            concept = "Area of Squares" if step != "multi" else "['Area of Squares', 'Parallel']"
            rows.append(
                {
                    "ID": problem,
                    "key": f"{steps}steps_{step}",
                    "split": "testmini",
                    "question": f"Problem {problem} in {steps} steps, {step}: how high is the bar? ( ) cm",
                    "option": "A.2; B.3; C.4; D.No correct answer",
                    "A": "2",
                    "B": "3",
                    "C": "4",
                    "D": "No correct answer",
                    "answer": "B",
                    "knowledge concept": concept,
                    "requirement": "Answer with the option.",
                    "image": encoded(bars(3, problem)),
                }
            )
    names = ("index", "ID", "key", "split", "question", "option", "A", "B", "C", "D", "E", "F", "G", "answer")
    return _rows(rows, (*names, "knowledge concept", "requirement", "image"), {})


def mmmu() -> list[dict[str, Any]]:
    """Nine questions of the validation split and one of dev: interleaved, repeated and unmarked images, images in options, open answers."""
    first, second = bars(1, 2), bars(5, 2, colour="red")
    rows: list[dict[str, Any]] = [
        {"question": "<image 1> Which bar is higher?", "A": "left", "B": "right", "answer": "B"},
        {
            "question": "Compare <image 2> with <image 1>. Which is red?",
            "A": "the first",
            "B": "the second",
            "answer": "A",
            "image": 2,
        },
        {
            "question": "In <image 1> and again <image 1>, what is it?",
            "A": "a bar",
            "B": "a cat",
            "C": "None",
            "D": "a dog",
            "answer": "A",
        },
        {"question": "Which is the red one?", "A": "<image 1>", "B": "<image 2>", "answer": "B", "image": 2},
        {"question": "How many bars are in <image 1>?", "answer": "2"},
        {"question": "``Quoted'' text, `code` and <image 1> `more`", "A": "yes", "B": "no", "answer": "A"},
        {"question": "No marker: what is shown? (<img>)", "A": "bars", "B": "lines", "answer": "A", "hint": "Look."},
        {
            "question": "<image 1> How high is the left bar?",
            "A": "1 cm",
            "B": "2 cm",
            "C": "3 cm",
            "D": "4 cm",
            "answer": "A",
        },
        {"question": "<image 2> What colour?", "A": "red", "B": "navy", "answer": "A", "image": 2},
        {"question": "<image 1> An example", "A": "1", "B": "2", "answer": "A", "split": "dev"},
    ]
    for row in rows:
        row["image"] = encoded(first, second) if row.get("image") == 2 else encoded(first)
    common = {"split": "validation", "category": "Accounting", "l2-category": "Business"}
    names = ("index", "question", "hint", "A", "B", "C", "D", "E", "F", "G", "H", "I", "answer")
    return _rows(rows, (*names, "category", "l2-category", "split", "image"), common)


def videomme() -> list[dict[str, Any]]:
    """Three videos with three questions each."""
    rows: list[dict[str, Any]] = []
    for number, duration in enumerate(("short", "medium", "long")):
        for asked in ("Which way does the bar move?", "What colour is it?", "What happens last?"):
            options = ["A. It moves right.", "B. It moves left.", "C. Navy.", "D. It stops."]
            rows.append(
                {
                    "video": f"video{number}",
                    "video_path": f"./video/video{number}.mp4",
                    "subtitle_path": f"./subtitle/video{number}.srt",
                    "duration": duration,
                    "domain": "Knowledge",
                    "sub_category": "Technology",
                    "task_type": "Action Recognition",
                    "candidates": str(options),
                    "question": asked,
                    "answer": "A" if "way" in asked else "C" if "colour" in asked else "D",
                }
            )
    names = (
        "index",
        "video",
        "video_path",
        "duration",
        "domain",
        "candidates",
        "sub_category",
        "task_type",
        "subtitle_path",
    )
    return _rows(rows, (*names, "question", "answer"), {})


def write_table(rows: Iterable[Mapping[str, Any]], file: Path) -> str:
    """Write a table as the benchmarks' files are written, and return its MD5."""
    rows = [*rows]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0]], delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return file_md5(file)


def write_videos(folder: Path, frames: int = 8, count: int = 3) -> None:
    """Write videos of a bar that moves to the right."""
    import av
    import numpy as np

    (folder / "video").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        with av.open(folder / "video" / f"video{number}.mp4", "w") as container:
            stream = container.add_stream("mpeg4", rate=4)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for place in range(frames):
                picture = np.full((64, 64, 3), 255, dtype=np.uint8)
                picture[20:60, 6 * place : 6 * place + 8] = (0, 0, 128)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())


def _rows(rows: list[dict[str, Any]], names: tuple[str, ...], common: Mapping[str, Any]) -> list[dict[str, Any]]:
    default = {"image": encoded(bars(3))} if "image" in names else {}
    result = []
    for index, row in enumerate(rows):
        values = {**default, **common, "index": index, **row}
        assert set(values) <= set(names), set(values) - set(names)
        result.append({name: values.get(name, "") for name in names})
    return result


def write_own_questions(folder: Path, rows: int = 9) -> Path:
    """Write rows for ``vicur data prepare`` in place of Vision-R1's private test split."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(rows):
        (folder / f"{number}.png").write_bytes(bars(number % 5 + 1, 3))
        row: dict[str, Any] = {
            "id": f"own-{number}",
            "images": [f"{number}.png"],
            "question": f"Question {number}: how high is <image>, the left bar?",
            "answer": str(number % 5 + 1),
            "split": "test",
        }
        if number % 3 == 0:
            row |= {"choices": ["low", "high"], "answer": "B" if number % 5 > 2 else "A"}
        lines.append(json.dumps(row))
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")
    return folder


TABLES = {
    "dynamath": dynamath,
    "mathvista": mathvista,
    "wemath": wemath,
    "mathverse": mathverse,
    "mmmu": mmmu,
    "videomme": videomme,
}
"""The rows of each benchmark's file."""
