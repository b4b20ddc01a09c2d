"""Layouts of questions about charts, icons and scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data.layouts.items import Expected, Item, chosen, of_split, plain, put_picture
from tests.data.layouts.tables import IMAGE, embedded, write_json, write_jsonl, write_parquet


def iconqa(folder: Path, items: list[Item]) -> list[Expected]:
    """IconQA: a folder for each problem, with ``data.json``, the image, and the images of choices."""
    names = {"distill": "train", "validation": "val", "test": "test"}
    expected = []
    for item in items:
        kind = ("choose_txt", "choose_img", "fill_in_blank")[item.number % 3]
        beside = folder / f"{names[item.split]}/{kind}/{item.number}"
        put_picture(beside / "image.png", item.number)
        problem: dict[str, Any] = {"question": item.question, "answer": item.place, "ques_type": kind, "label": "S2"}
        if kind == "fill_in_blank":
            problem["answer"] = item.answer
            row = plain(item)
        elif kind == "choose_txt":
            problem["choices"] = list(item.choices)
            row = chosen(item)
        else:
            problem["choices"] = [f"choice_{place}.png" for place in range(2)]
            problem["answer"] = item.number % 2
            for place in range(2):
                put_picture(beside / f"choice_{place}.png", item.number + 1000 * (place + 1))
            row = Expected(
                f"<image>{item.question}",
                "AB"[item.number % 2],
                item.split,
                (item.number, item.number + 1000, item.number + 2000),
                choices=("<image>", "<image>"),
            )
        write_json(beside / "data.json", problem)
        expected.append((beside.relative_to(folder).as_posix(), row))
    return [row for _, row in sorted(expected, key=lambda each: each[0])]


def tallyqa(folder: Path, items: list[Item]) -> list[Expected]:
    """TallyQA: numbers as answers, and images of two datasets."""
    for split, name in (("distill", "train"), ("test", "test")):
        rows = []
        for item in of_split(items, split):
            put_picture(folder / f"VG_100K/{item.number}.jpg", item.number)
            rows.append(
                {
                    "image": f"VG_100K/{item.number}.jpg",
                    "answer": int(item.answer),
                    "data_source": "imported_genome",
                    "question": item.question,
                    "image_id": item.number,
                    "question_id": item.number + 30000000,
                    "issimple": True,
                }
            )
        write_json(folder / f"{name}.json", rows)
    order = {"test": 0, "distill": 1}
    return [
        plain(item, id=str(item.number + 30000000))
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


def super_clevr(folder: Path, items: list[Item]) -> list[Expected]:
    """Super-CLEVR: one file of questions; the split of a row says nothing."""
    rows = []
    for item in items:
        put_picture(folder / f"images/superCLEVR_new_{item.number:06}.png", item.number)
        rows.append(
            {
                "question_hash": f"q{item.number}",
                "program": [{"type": "scene", "inputs": []}, {"type": "count", "inputs": [0]}],
                "question_index": item.number,
                "image_filename": f"superCLEVR_new_{item.number:06}.png",
                "image_index": item.number,
                "question_family_index": 3,
                "split": "new",
                "answer": item.answer,
                "question": item.question,
            }
        )
    write_json(folder / "superCLEVR_questions_30k.json", {"info": {"split": "new"}, "questions": rows})
    return [plain(item, split=None) for item in items]


def plotqa(folder: Path, items: list[Item]) -> list[Expected]:
    """PlotQA: pairs in a document for each split, and images by number."""
    for split, name in (("distill", "train"), ("validation", "val"), ("test", "test")):
        rows = []
        for item in of_split(items, split):
            put_picture(folder / f"{name}/png/{item.number}.png", item.number)
            rows.append(
                {
                    "question_string": item.question,
                    "answer": int(item.answer),
                    "answer_bbox": [],
                    "image_index": item.number,
                    "qid": item.number,
                    "question_id": item.number + 7,
                    "template": "arithmetic",
                    "type": "vbar_categorical",
                }
            )
        write_json(folder / f"{name}/qa_pairs_V1.json", {"qa_pairs": rows})
    order = {"test": 0, "distill": 1, "validation": 2}
    return [plain(item) for item in sorted(items, key=lambda item: (order[item.split], item.number))]


def figureqa(folder: Path, items: list[Item]) -> list[Expected]:
    """FigureQA: as PlotQA, with 0 for no and 1 for yes, and the totals beside the pairs."""
    for split, name in (("distill", "train1"), ("validation", "validation1")):
        rows = []
        for item in of_split(items, split):
            put_picture(folder / f"{name}/png/{item.number}.png", item.number)
            rows.append(
                {
                    "answer": item.number % 2,
                    "color1_id": 72,
                    "color1_name": "Bubblegum",
                    "color2_id": -1,
                    "color2_name": "--None--",
                    "image_index": item.number,
                    "question_id": 0,
                    "question_string": f"Is {item.number} the minimum?",
                }
            )
        write_json(
            folder / f"{name}/qa_pairs.json", {"qa_pairs": rows, "total_distinct_questions": 1, "total_qa_pairs": 2}
        )
    order = {"distill": 0, "validation": 1}
    return [
        plain(item, question=f"Is {item.number} the minimum?", answer=("no", "yes")[item.number % 2])
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


def dvqa(folder: Path, items: list[Item]) -> list[Expected]:
    """DVQA: a list for each split, and images named without their folder."""
    for split, name in (("distill", "train"), ("validation", "val_easy")):
        rows = []
        for item in of_split(items, split):
            put_picture(folder / f"images/bar_{name}_{item.number:08}.png", item.number)
            rows.append(
                {
                    "question": item.question,
                    "question_id": item.number,
                    "template_id": "data",
                    "answer": item.answer,
                    "image": f"bar_{name}_{item.number:08}.png",
                    "answer_bbox": [],
                }
            )
        write_json(folder / f"{name}_qa.json", rows)
    order = {"distill": 0, "validation": 1}
    return [
        plain(item, id=str(item.number)) for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


def vizwiz(folder: Path, items: list[Item]) -> list[Expected]:
    """VizWiz: ten annotators for each question, and a folder of images for each split."""
    for split, name in (("distill", "train"), ("validation", "val")):
        rows = []
        for item in of_split(items, split):
            put_picture(folder / f"{name}/VizWiz_{name}_{item.number:08}.jpg", item.number)
            given = [item.answer] * 6 + ["unanswerable"] * 4
            rows.append(
                {
                    "image": f"VizWiz_{name}_{item.number:08}.jpg",
                    "question": item.question,
                    "answers": [{"answer": each, "answer_confidence": "yes"} for each in given],
                    "answer_type": "number",
                    "answerable": 1,
                }
            )
        write_json(folder / f"Annotations/{name}.json", rows)
    order = {"distill": 0, "validation": 1}
    return [plain(item) for item in sorted(items, key=lambda item: (order[item.split], item.number))]


def pope(folder: Path, items: list[Item]) -> list[Expected]:
    """POPE: JSON lines with the question in ``text`` and the answer in ``label``."""
    rows = []
    for item in items:
        put_picture(folder / f"val2014/COCO_val2014_{item.number:012}.jpg", item.number)
        rows.append(
            {
                "question_id": item.number,
                "image": f"COCO_val2014_{item.number:012}.jpg",
                "text": item.question,
                "label": item.answer,
            }
        )
    write_jsonl(folder / "coco_pope_random.json", rows)
    return [plain(item, split=None, id=str(item.number)) for item in items]


def vstar(folder: Path, items: list[Item]) -> list[Expected]:
    """V*Bench: as POPE, with the choices in the question."""
    rows = []
    for item in items:
        put_picture(folder / f"direct_attributes/sa_{item.number}.jpg", item.number)
        rows.append(
            {
                "image": f"direct_attributes/sa_{item.number}.jpg",
                "text": f"{item.question}\n(A) 1\n(B) {item.answer}\nAnswer with the option's letter.",
                "category": "direct_attributes",
                "label": "B",
                "question_id": item.number,
            }
        )
    write_jsonl(folder / "test_questions.jsonl", rows)
    return [
        plain(
            item,
            question=f"{item.question}\n(A) 1\n(B) {item.answer}\nAnswer with the option's letter.",
            answer="B",
            split="test",
            id=str(item.number),
        )
        for item in items
    ]


def muirbench(folder: Path, items: list[Item]) -> list[Expected]:
    """MuirBench: lists of images beside columns whose names begin alike, and letters as answers."""
    rows = [
        {
            "idx": f"m{item.number}",
            "task": "Counting",
            "image_relation": "Ordered_Pages",
            "image_type": "Slides",
            "question": f"<image>\n<image>\n{item.question}",
            "options": list(item.choices),
            "answer": item.letter,
            "image_list": [embedded(item.number), embedded(item.number + 5000)],
            "counterpart_idx": "m0",
        }
        for item in items
    ]
    write_parquet(folder / "data/test-00000-of-00001.parquet", rows, image_list=pa.list_(IMAGE))
    return [
        chosen(
            item, question=f"<image>\n<image>\n{item.question}", images=(item.number, item.number + 5000), split="test"
        )
        for item in items
    ]


def pixmo_cap_qa(folder: Path, items: list[Item]) -> list[Expected]:
    """PixMo-Cap-QA with the images fetched: the same question as text and as messages."""
    rows = [
        {
            "image_url": f"https://images.example.org/{item.number}.jpg",
            "question": f"[USER] {item.question} [ASSISTANT]",
            "answer": item.answer,
            "messages": [item.question, item.answer],
            "image": embedded(item.number),
        }
        for item in items
    ]
    write_parquet(folder / "data/train-00000-of-00001.parquet", rows, image=IMAGE)
    return [plain(item, split="distill") for item in items]
