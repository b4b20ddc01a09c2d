"""Layouts of sets for reinforcement learning and for preferences between responses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data.layouts.items import Expected, Item, of_split, plain, put_picture
from tests.data.layouts.tables import IMAGE, embedded, write_json, write_jsonl, write_parquet


def mmk12(folder: Path, items: list[Item]) -> list[Expected]:
    """MMK12: a marker in the question, and the answer as it is."""
    for split, name in (("distill", "train"), ("test", "test")):
        rows = [
            {
                "id": f"k12-{item.number}",
                "question": f"<image>{item.question}",
                "answer": item.answer,
                "subject": "math",
                "image": embedded(item.number),
            }
            for item in of_split(items, split)
        ]
        write_parquet(folder / f"data/{name}-00000-of-00001.parquet", rows, image=IMAGE)
    order = {"test": 0, "distill": 1}
    return [
        plain(item, question=f"<image>{item.question}", id=f"k12-{item.number}")
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


def mm_eureka(folder: Path, items: list[Item]) -> list[Expected]:
    """MM-Eureka: a conversation that only asks, the answer beside it, and paths of images in ``image_urls``."""
    rows = []
    for item in items:
        put_picture(folder / f"images/{item.number}.jpg", item.number)
        turns = [
            {"role": "system", "content": "Think first."},
            {"role": "user", "content": f"<image>{item.question}"},
        ]
        rows.append(
            {
                "id": str(item.number),
                "conversations": turns,
                "answer": item.answer,
                "image_urls": [f"images/{item.number}.jpg"],
            }
        )
    write_jsonl(folder / "dataset.jsonl", rows)
    return [
        plain(
            item,
            question=f"<image>{item.question}",
            split=None,
            id=str(item.number),
            metadata={"system": "Think first."},
        )
        for item in items
    ]


def open_r1(folder: Path, items: list[Item]) -> list[Expected]:
    """multimodal-open-r1: the solution has reasoning and answer in tags, and the original ones stand beside it."""
    rows = [
        {
            "image": embedded(item.number),
            "problem": item.question,
            "solution": f"<think>{item.rationale}</think>\n\n<answer>{item.answer}</answer>",
            "original_question": f"{item.question} Answer briefly.",
            "original_answer": f"It is {item.answer}.",
        }
        for item in items
    ]
    write_parquet(folder / "data/train-00000-of-00001.parquet", rows, image=IMAGE)
    return [plain(item, split="distill", rationale=item.rationale) for item in items]


def geoqa_r1v(folder: Path, items: list[Item]) -> list[Expected]:
    """GEOQA and CLEVR for R1-V: ``problem`` and ``solution`` in tags."""
    rows = [
        {"image": embedded(item.number), "problem": item.question, "solution": f"<answer> {item.answer}° </answer>"}
        for item in items
    ]
    write_parquet(folder / "data/train-00000-of-00001.parquet", rows, image=IMAGE)
    return [plain(item, answer=f"{item.answer}°", split="distill") for item in items]


def trl_grpo(folder: Path, items: list[Item]) -> list[Expected]:
    """TRL: a prompt of messages whose parts have no image, the images beside it, and the solution."""
    rows = [
        {
            "prompt": [{"role": "user", "content": item.question}],
            "solution": f"${item.answer}$",
            "images": [embedded(item.number)],
        }
        for item in items
    ]
    turn = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    write_parquet(folder / "data/train-00000-of-00001.parquet", rows, images=pa.list_(IMAGE), prompt=turn)
    return [plain(item, answer=f"${item.answer}$", split="distill") for item in items]


def mmpr(folder: Path, items: list[Item]) -> list[Expected]:
    """MMPR: a chosen and a rejected response in each row, and ``meta.json`` that lists the files."""
    rows = []
    for item in items:
        put_picture(folder / f"images/sets/{item.number}.png", item.number)
        rows.append(
            {
                "image": f"{item.number}.png",
                "question": f"<image>\n{item.question}",
                "chosen": f"{item.rationale}\n\nFinal answer: {item.answer}",
                "rejected": f"{item.rationale}\n\nFinal answer: 0",
            }
        )
    write_jsonl(folder / "annotations/sums_prefs.jsonl", rows)
    meta = {"root": "MMPR/images/sets", "annotation": "MMPR/annotations/sums_prefs.jsonl", "repeat_time": 1}
    write_json(folder / "meta.json", {"sums": {**meta, "data_augment": False, "length": len(rows)}})
    return [plain(item, question=f"<image>\n{item.question}", split=None, rationale=item.rationale) for item in items]


def rlaif_v(folder: Path, items: list[Item]) -> list[Expected]:
    """RLAIF-V: images in the rows, a chosen and a rejected response, and the original path of the image."""
    rows = [
        {
            "ds_name": "RLAIF-V",
            "image": embedded(item.number),
            "question": item.question,
            "chosen": item.answer,
            "rejected": "0",
            "origin_dataset": "vqa",
            "origin_split": "train",
            "idx": str(item.number),
            "image_path": f"VQA/{item.number}.jpg",
        }
        for item in items
    ]
    write_parquet(folder / "RLAIF-V-Dataset_000.parquet", rows, image=IMAGE)
    return [plain(item, split=None) for item in items]


def trl_preferences(folder: Path, items: list[Item]) -> list[Expected]:
    """TRL's preferences: prompt, chosen and rejected are messages of parts, whose images stand beside them."""
    part = pa.struct([("text", pa.string()), ("type", pa.string())])
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(part))]))

    def message(role: str, text: str, *, image: bool = False) -> list[dict[str, Any]]:
        parts = [{"type": "image", "text": None}] * image + [{"type": "text", "text": text}]
        return [{"role": role, "content": parts}]

    rows = [
        {
            "images": [embedded(item.number)],
            "prompt": message("user", item.question, image=True),
            "chosen": message("assistant", item.answer),
            "rejected": message("assistant", "0"),
        }
        for item in items
    ]
    write_parquet(
        folder / "data/train-00000-of-00001.parquet",
        rows,
        images=pa.list_(IMAGE),
        prompt=messages,
        chosen=messages,
        rejected=messages,
    )
    return [plain(item, split="distill") for item in items]


def sharegpt_preferences(folder: Path, items: list[Item]) -> list[Expected]:
    """LLaMA-Factory's preferences: a conversation that only asks, and two turns that could follow."""
    rows = [
        {
            "conversations": [{"from": "human", "value": f"<image>{item.question}"}],
            "chosen": {"from": "gpt", "value": item.answer},
            "rejected": {"from": "gpt", "value": "0"},
            "images": [f"rlhf/{item.number}.jpg"],
        }
        for item in items
    ]
    for item in items:
        put_picture(folder / f"rlhf/{item.number}.jpg", item.number)
    write_json(folder / "rlhf_v.json", rows)
    return [plain(item, question=f"<image>{item.question}", split=None) for item in items]
