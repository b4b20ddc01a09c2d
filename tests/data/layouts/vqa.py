"""Layouts of questions about photos and scenes, many with questions, answers and images in separate files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.data.layouts.items import Expected, Item, chosen, of_split, plain, put_picture
from tests.data.layouts.tables import IMAGE, embedded, write_json, write_parquet


def vqav2(folder: Path, items: list[Item]) -> list[Expected]:
    """VQA v2: questions and annotations joined by question_id, COCO's images by image_id; no annotations for the test split."""
    for split, name in (("distill", "train2014"), ("validation", "val2014")):
        part = of_split(items, split)
        head = {"info": {}, "data_type": "mscoco", "data_subtype": name, "license": {}}
        questions = [
            {"image_id": item.number, "question": item.question, "question_id": item.number * 1000} for item in part
        ]
        annotations = [
            {
                "question_type": "what is",
                "multiple_choice_answer": item.answer,
                "answers": [{"answer": item.answer, "answer_confidence": "yes", "answer_id": k} for k in range(1, 11)],
                "image_id": item.number,
                "answer_type": "number",
                "question_id": item.number * 1000,
            }
            for item in reversed(part)
        ]
        for item in part:
            put_picture(folder / f"{name}/COCO_{name}_{item.number:012}.jpg", item.number)
        task = {"task_type": "Open-Ended", "questions": questions}
        write_json(folder / f"v2_OpenEnded_mscoco_{name}_questions.json", {**head, **task})
        write_json(folder / f"v2_mscoco_{name}_annotations.json", {**head, "annotations": annotations})
    return [plain(item, id=str(item.number * 1000)) for item in items]


def easy_vqa(folder: Path, items: list[Item]) -> list[Expected]:
    """easy-VQA: triples of question, answer and image number, and the list of all answers."""
    for split, name in (("distill", "train"), ("test", "test")):
        part = of_split(items, split)
        rows: list[list[Any]] = []
        for item in part:
            put_picture(folder / f"{name}/images/{item.number}.png", item.number)
            rows += [[item.question, item.answer, item.number], ["is it a number?", "yes", item.number]]
        write_json(folder / f"{name}/questions.json", rows)
    (folder / "answers.txt").write_text("\n".join([*(item.answer for item in items), "yes"]) + "\n")
    order = {"test": 0, "distill": 1}
    return [
        each
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
        for each in (plain(item), plain(item, question="is it a number?", answer="yes"))
    ]


def clevr(folder: Path, items: list[Item]) -> list[Expected]:
    """CLEVR v1.0: a file of questions for each split; numbers, words and yes or no as answers."""
    for split, name in (("distill", "train"), ("validation", "val")):
        questions = []
        for index, item in enumerate(of_split(items, split)):
            image = f"CLEVR_{name}_{item.number:06}.png"
            put_picture(folder / f"images/{name}/{image}", item.number)
            questions.append(
                {
                    "image_index": item.number,
                    "program": [],
                    "question_index": index,
                    "image_filename": image,
                    "question_family_index": 2,
                    "split": name,
                    "answer": item.answer,
                    "question": item.question,
                }
            )
        write_json(folder / f"questions/CLEVR_{name}_questions.json", {"info": {"split": name}, "questions": questions})
        write_json(folder / f"scenes/CLEVR_{name}_scenes.json", {"info": {}, "scenes": []})
    return [plain(item) for item in items]


def gqa(folder: Path, items: list[Item]) -> list[Expected]:
    """GQA: an object keyed by question id, images by imageId, a sentence beside the answer."""
    for split, name in (("distill", "train"), ("validation", "val")):
        questions = {}
        for item in of_split(items, split):
            put_picture(folder / f"images/{item.number}.jpg", item.number)
            questions[f"0{item.number}"] = {
                "semantic": [],
                "entailed": [],
                "equivalent": [f"0{item.number}"],
                "question": item.question,
                "imageId": str(item.number),
                "isBalanced": True,
                "groups": {"global": None, "local": "13"},
                "answer": item.answer,
                "semanticStr": "",
                "annotations": {},
                "types": {"structural": "query"},
                "fullAnswer": f"The sum is {item.answer}.",
            }
        write_json(folder / f"questions/{name}_balanced_questions.json", questions)
    return [plain(item, id=f"0{item.number}") for item in items]


def a_okvqa(folder: Path, items: list[Item]) -> list[Expected]:
    """A-OKVQA: a JSON list for each split, COCO's images of 2017, the index of the right choice."""
    for split, name in (("distill", "train"), ("validation", "val")):
        rows = []
        for item in of_split(items, split):
            put_picture(folder / f"coco/{name}2017/{item.number:012}.jpg", item.number)
            rows.append(
                {
                    "split": name,
                    "image_id": item.number,
                    "question_id": f"q{item.number}",
                    "question": item.question,
                    "choices": list(item.choices),
                    "correct_choice_idx": item.place,
                    "direct_answers": [item.answer] * 10,
                    "difficult_direct_answer": False,
                    "rationales": [item.rationale, "Because."],
                }
            )
        write_json(folder / f"aokvqa_v1p0_{name}.json", rows)
    return [chosen(item, id=f"q{item.number}", rationale=item.rationale) for item in items]


def a_okvqa_parquet(folder: Path, items: list[Item]) -> list[Expected]:
    """A-OKVQA as on the Hub."""
    for split, name in (("distill", "train"), ("validation", "validation")):
        rows = [
            {
                "image": embedded(item.number),
                "question_id": f"q{item.number}",
                "question": item.question,
                "choices": list(item.choices),
                "correct_choice_idx": item.place,
                "direct_answers": str([item.answer]),
                "difficult_direct_answer": False,
                "rationales": [item.rationale, "Because."],
            }
            for item in of_split(items, split)
        ]
        write_parquet(folder / f"data/{name}-00000-of-00001-c1d24c3c9e0b5a23.parquet", rows, image=IMAGE)
    return [chosen(item, id=f"q{item.number}", rationale=item.rationale) for item in items]


def visual_genome(folder: Path, items: list[Item]) -> list[Expected]:
    """Visual Genome: a list of images with their questions, and two folders of images."""
    pictured = [
        {
            "id": item.number,
            "qas": [
                {
                    "qa_id": 10 * item.number + k,
                    "image_id": item.number,
                    "question": item.question,
                    "answer": item.answer,
                }
                for k in range(2)
            ],
        }
        for item in items
    ]
    write_json(folder / "question_answers.json", pictured)
    for item in items:
        put_picture(folder / f"VG_100K{'_2' if item.number % 2 else ''}" / f"{item.number}.jpg", item.number)
    return [plain(item, id=str(10 * item.number + k), split=None) for item in items for k in range(2)]
