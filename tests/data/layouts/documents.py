"""Layouts of questions about charts, scanned pages, book covers and text in photos."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tests.data.layouts.items import Expected, Item, of_split, plain, put_picture
from tests.data.layouts.tables import IMAGE, embedded, write_json, write_parquet

TEXTS = pa.list_(pa.string())


def chartqa(folder: Path, items: list[Item]) -> list[Expected]:
    """ChartQA: human and augmented questions for each split, and a folder of charts."""
    names = {"distill": "train", "validation": "val", "test": "test"}
    expected = []
    for split in ("test", "distill", "validation"):
        name = names[split]
        part = of_split(items, split)
        half = (len(part) + 1) // 2
        for kind, rows in (("augmented", part[:half]), ("human", part[half:])):
            for item in rows:
                put_picture(folder / name / "png" / f"{item.number}.png", item.number)
            listed = [{"imgname": f"{item.number}.png", "query": item.question, "label": item.answer} for item in rows]
            write_json(folder / name / f"{name}_{kind}.json", listed)
            expected += [plain(item) for item in rows]
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
            for item in of_split(items, split)
        ]
        write_parquet(folder / f"data/{name}-00000-of-00001.parquet", rows, image=IMAGE, label=TEXTS)
    order = {"test": 0, "distill": 1, "validation": 2}
    return [plain(item) for item in sorted(items, key=lambda item: (order[item.split], item.number))]


def docvqa(folder: Path, items: list[Item]) -> list[Expected]:
    """DocVQA: an object with the questions of a split, and a folder of documents; several answers are right."""
    for split, name in (("distill", "train"), ("validation", "val")):
        data = []
        for item in of_split(items, split):
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
    return [plain(item, id=str(item.number)) for item in items]


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
        plain(item, id=f"00{item.number}-{place}", metadata={"kind": "Reference"}, **more)
        for item in items
        for place, more in enumerate(({}, {"question": "Is it a book?", "answer": "Yes"}), start=1)
    ]


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
            for item in of_split(items, split)
        ]
        write_parquet(folder / "data" / f"{name}-00000-of-00001.parquet", rows, image=IMAGE, answers=TEXTS)
    return [plain(item, id=str(item.number)) for item in items]
