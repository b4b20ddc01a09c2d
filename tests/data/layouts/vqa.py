"""Layouts of visual question answering, many with questions, answers and images in separate files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data.layouts.items import Expected, Item, put_picture
from tests.data.layouts.tables import IMAGE, embedded, write_json, write_parquet

TEXTS = pa.list_(pa.string())


def _of(items: list[Item], split: str) -> list[Item]:
    return [item for item in items if item.split == split]


def _plain(item: Item, **more: Any) -> Expected:
    return Expected(
        **{"question": item.question, "answer": item.answer, "split": item.split, "images": (item.number,), **more}
    )


def vqav2(folder: Path, items: list[Item]) -> list[Expected]:
    """VQA v2: questions and annotations joined by question_id, COCO's images by image_id; no annotations for the test split."""
    for split, name in (("distill", "train2014"), ("validation", "val2014")):
        part = _of(items, split)
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
    return [_plain(item, id=str(item.number * 1000)) for item in items]


def easy_vqa(folder: Path, items: list[Item]) -> list[Expected]:
    """easy-VQA: triples of question, answer and image number, and the list of all answers."""
    for split, name in (("distill", "train"), ("test", "test")):
        part = _of(items, split)
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
        for each in (_plain(item), _plain(item, question="is it a number?", answer="yes"))
    ]


def clevr(folder: Path, items: list[Item]) -> list[Expected]:
    """CLEVR v1.0: a file of questions for each split; numbers, words and yes or no as answers."""
    for split, name in (("distill", "train"), ("validation", "val")):
        questions = []
        for index, item in enumerate(_of(items, split)):
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
    return [_plain(item) for item in items]


def gqa(folder: Path, items: list[Item]) -> list[Expected]:
    """GQA: an object keyed by question id, images by imageId, a sentence beside the answer."""
    for split, name in (("distill", "train"), ("validation", "val")):
        questions = {}
        for item in _of(items, split):
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
    return [_plain(item, id=f"0{item.number}") for item in items]


def a_okvqa(folder: Path, items: list[Item]) -> list[Expected]:
    """A-OKVQA: a JSON list for each split, COCO's images of 2017, the index of the right choice."""
    for split, name in (("distill", "train"), ("validation", "val")):
        rows = []
        for item in _of(items, split):
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
    return [_chosen(item, id=f"q{item.number}", rationale=item.rationale) for item in items]


def _chosen(item: Item, **more: Any) -> Expected:
    return _plain(item, **{"answer": item.letter, "choices": item.choices, **more})


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
            for item in _of(items, split)
        ]
        write_parquet(folder / f"data/{name}-00000-of-00001-c1d24c3c9e0b5a23.parquet", rows, image=IMAGE)
    return [_chosen(item, id=f"q{item.number}", rationale=item.rationale) for item in items]


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
    return _chosen(
        item, **{"question": question, "images": images, "id": str(item.number), "rationale": item.rationale, **more}
    )


def scienceqa_parquet(folder: Path, items: list[Item]) -> list[Expected]:
    """ScienceQA as on the Hub: the answer is the index of a choice."""
    for split, name in (("distill", "train"), ("validation", "validation"), ("test", "test")):
        rows = [
            {"image": embedded(item.number) if item.number % 2 == 0 else None, **_science(item)}
            for item in _of(items, split)
        ]
        write_parquet(
            folder / f"data/{name}-00000-of-00001-1028f23e353fbe3e.parquet", rows, image=IMAGE, answer=pa.int8()
        )
    order = {"test": 0, "distill": 1, "validation": 2}
    return [_scientific(item, id=None) for item in sorted(items, key=lambda item: (order[item.split], item.number))]


def chartqa(folder: Path, items: list[Item]) -> list[Expected]:
    """ChartQA: human and augmented questions for each split, and a folder of charts."""
    names = {"distill": "train", "validation": "val", "test": "test"}
    expected = []
    for split in ("test", "distill", "validation"):
        name = names[split]
        part = _of(items, split)
        half = (len(part) + 1) // 2
        for kind, rows in (("augmented", part[:half]), ("human", part[half:])):
            for item in rows:
                put_picture(folder / name / "png" / f"{item.number}.png", item.number)
            listed = [{"imgname": f"{item.number}.png", "query": item.question, "label": item.answer} for item in rows]
            write_json(folder / name / f"{name}_{kind}.json", listed)
            expected += [_plain(item) for item in rows]
        (folder / name / "tables").mkdir()
    return expected


def chartqa_parquet(folder: Path, items: list[Item]) -> list[Expected]:
    """ChartQA as on the Hub: the answer is a list of one text."""
    for split, name in (("distill", "train"), ("validation", "val"), ("test", "test")):
        rows = [
            {
                "image": embedded(item.number),
                "query": item.question,
                "label": [item.answer],
                "human_or_machine": item.number % 2,
            }
            for item in _of(items, split)
        ]
        write_parquet(folder / f"data/{name}-00000-of-00001.parquet", rows, image=IMAGE, label=TEXTS)
    order = {"test": 0, "distill": 1, "validation": 2}
    return [_plain(item) for item in sorted(items, key=lambda item: (order[item.split], item.number))]


def docvqa(folder: Path, items: list[Item]) -> list[Expected]:
    """DocVQA: an object with the questions of a split, and a folder of documents; several answers are right."""
    for split, name in (("distill", "train"), ("validation", "val")):
        data = []
        for item in _of(items, split):
            put_picture(folder / f"documents/doc{item.number}_1.png", item.number)
            data.append(
                {
                    "questionId": item.number,
                    "question": item.question,
                    "question_types": ["form"],
                    "image": f"documents/doc{item.number}_1.png",
                    "docId": item.number,
                    "ucsf_document_id": f"doc{item.number}",
                    "ucsf_document_page_no": "1",
                    "answers": [item.answer, f"{item.answer}."],
                    "data_split": name,
                }
            )
        head = {"dataset_name": "SP-DocVQA", "dataset_split": name, "dataset_version": "1.0"}
        write_json(folder / f"{name}_v1.0_withQT.json", {**head, "data": data})
    return [_plain(item, id=str(item.number)) for item in items]


def tabmwp(folder: Path, items: list[Item]) -> list[Expected]:
    """TabMWP: an object of problems for each split, and the tables as images."""
    for split, name in (("distill", "train"), ("validation", "dev"), ("test", "test")):
        problems = {}
        for item in _of(items, split):
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
        _plain(
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
            for item in _of(items, split)
        ]
        write_parquet(folder / f"data/{name}-00000-of-00001.parquet", rows, image=IMAGE)
    order = {"test": 0, "distill": 1, "validation": 2}
    return [
        _chosen(
            item,
            question=f"Look at the picture.\n{item.question}" if item.number % 2 else item.question,
            id=f"mathematics-algebra-{item.number}",
            rationale=item.rationale,
        )
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


def ocr_vqa(folder: Path, items: list[Item]) -> list[Expected]:
    """OCR-VQA: an object of books with two questions each, and images that are named by the book."""
    names = {"distill": 1, "validation": 2, "test": 3}
    books = {
        f"00{item.number}": {
            "imageURL": f"http://images.example/I/{item.number}.png",
            "questions": [item.question, "Is it a book?"],
            "answers": [item.answer, "Yes"],
            "genre": "Reference",
            "split": names[item.split],
        }
        for item in items
    }
    write_json(folder / "dataset.json", books)
    for item in items:
        put_picture(folder / "images" / f"00{item.number}.png", item.number)
    return [
        _plain(item, id=f"00{item.number}-{place}", metadata={"kind": "Reference"}, **more)
        for item in items
        for place, more in enumerate(({}, {"question": "Is it a book?", "answer": "Yes"}), start=1)
    ]


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
    return [_plain(item, id=str(10 * item.number + k), split=None) for item in items for k in range(2)]


def textvqa_parquet(folder: Path, items: list[Item]) -> list[Expected]:
    """TextVQA on the Hub: ten answers, of which the most frequent counts."""
    for split, name in (("distill", "train"), ("validation", "validation")):
        rows = [
            {
                "question_id": item.number,
                "question": item.question,
                "image": embedded(item.number),
                "answers": ["unclear", *[item.answer] * 6, *["none"] * 3],
            }
            for item in _of(items, split)
        ]
        write_parquet(folder / "data" / f"{name}-00000-of-00001.parquet", rows, image=IMAGE, answers=TEXTS)
    return [_plain(item, id=str(item.number)) for item in items]
