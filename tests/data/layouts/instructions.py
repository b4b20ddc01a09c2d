"""Layouts of files for supervised training: of trainers (LLaMA-Factory, ms-swift, InternVL, TRL) and of collections."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tests.data.layouts.items import Expected, Item, lettered, plain, put_picture
from tests.data.layouts.tables import IMAGE, embedded, write_json, write_jsonl, write_parquet


def alpaca(folder: Path, items: list[Item]) -> list[Expected]:
    """LLaMA-Factory's alpaca form with images: the instruction, and below it an input that is often empty."""
    rows = []
    for item in items:
        put_picture(folder / f"photos/{item.number}.png", item.number)
        more = "Count everything." if item.number % 2 else ""
        rows.append(
            {
                "instruction": f"<image>{item.question}",
                "input": more,
                "output": item.answer,
                "images": [f"photos/{item.number}.png"],
            }
        )
    write_json(folder / "alpaca_photos.json", rows)
    write_json(folder / "dataset_info.json", {"photos": {"file_name": "alpaca_photos.json"}})
    return [
        plain(
            item,
            question=f"<image>{item.question}" + ("\nCount everything." if item.number % 2 else ""),
            split=None,
        )
        for item in items
    ]


def swift_query(folder: Path, items: list[Item]) -> list[Expected]:
    """ms-swift: query and response, and the turns before them."""
    rows = []
    for item in items:
        put_picture(folder / f"{item.number}.png", item.number)
        rows.append(
            {
                "system": "Answer briefly.",
                "query": f"<image>{item.question}",
                "response": item.answer,
                "history": [],
                "images": [f"{item.number}.png"],
            }
        )
    write_jsonl(folder / "train.jsonl", rows)
    return [plain(item, question=f"<image>{item.question}", split="distill") for item in items]


def swift_conversation(folder: Path, items: list[Item]) -> list[Expected]:
    """ms-swift's sharegpt form: each element of ``conversation`` has both turns."""
    rows = []
    for item in items:
        put_picture(folder / f"{item.number}.png", item.number)
        turns = [
            {"human": f"<image>{item.question}", "assistant": item.answer},
            {"human": f"Repeat {item.number}.", "assistant": str(item.number)},
        ]
        rows.append({"system": "Answer briefly.", "conversation": turns, "images": [f"{item.number}.png"]})
    write_jsonl(folder / "train.jsonl", rows)
    return [
        each
        for item in items
        for each in (
            plain(item, question=f"<image>{item.question}", split="distill", metadata={"system": "Answer briefly."}),
            plain(item, question=f"Repeat {item.number}.", answer=str(item.number), split="distill"),
        )
    ]


def internvl(folder: Path, items: list[Item]) -> list[Expected]:
    """InternVL: JSON lines with sizes of the images, several images in a list, and a file that lists the sets."""
    rows = []
    for item in items:
        put_picture(folder / f"images/{item.number}.png", item.number)
        put_picture(folder / f"images/{item.number}-2.png", item.number + 5000)
        turns = [
            {"from": "human", "value": f"Image-1: <image>\nImage-2: <image>\n{item.question}"},
            {"from": "gpt", "value": item.answer},
        ]
        rows.append(
            {
                "id": item.number,
                "image": [f"images/{item.number}.png", f"images/{item.number}-2.png"],
                "width_list": [48, 48],
                "height_list": [48, 48],
                "conversations": turns,
            }
        )
    write_jsonl(folder / "annotations.jsonl", rows)
    meta = {"root": "images/", "annotation": "annotations.jsonl", "data_augment": False, "max_dynamic_patch": 12}
    write_json(folder / "meta.json", {"sums": {**meta, "repeat_time": 1, "length": len(rows)}}, indent=2)
    return [
        plain(
            item,
            question=f"Image-1: <image>\nImage-2: <image>\n{item.question}",
            split=None,
            id=str(item.number),
            images=(item.number, item.number + 5000),
        )
        for item in items
    ]


def mathv360k(folder: Path, items: list[Item]) -> list[Expected]:
    """MathV360K: paths of images begin with a slash, relative to the folder of images."""
    rows = []
    for item in items:
        put_picture(folder / f"data_images/TabMWP/images/{item.number}.png", item.number)
        question = f"<image>\nHint: Please answer the question.\nQuestion: {item.question}"
        turns = [
            {"from": "human", "value": question},
            {"from": "gpt", "value": f"{item.rationale} The answer is {item.answer}"},
        ]
        rows.append(
            {"id": f"identity_{item.number}", "image": f"/TabMWP/images/{item.number}.png", "conversations": turns}
        )
    write_json(folder / "train_samples_all_tuning.json", rows)
    return [
        plain(
            item,
            question=f"<image>\nHint: Please answer the question.\nQuestion: {item.question}",
            split="distill",
            id=f"identity_{item.number}",
            rationale=item.rationale,
        )
        for item in items
    ]


def the_cauldron(folder: Path, items: list[Item]) -> list[Expected]:
    """The Cauldron and Docmatix: a folder for each subset, lists of images, and several pairs of texts."""
    pair = pa.list_(pa.struct([("user", pa.string()), ("assistant", pa.string()), ("source", pa.string())]))
    rows = []
    expected = []
    for item in items:
        question = f"Question: {item.question}\nChoices:\n{lettered(item.choices)}\nAnswer with the letter."
        rows.append(
            {
                "images": [embedded(item.number)],
                "texts": [{"user": question, "assistant": f"Answer: {item.letter}", "source": "AI2D"}],
            }
        )
        expected.append(plain(item, question=question, answer=item.letter, split="distill"))
    write_parquet(
        folder / "ai2d/train-00000-of-00001-2ce340398c113b79.parquet", rows, images=pa.list_(IMAGE), texts=pair
    )
    return expected


def trl_completion(folder: Path, items: list[Item]) -> list[Expected]:
    """TRL: a prompt and a completion of messages, and the images beside them."""
    turn = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    rows = [
        {
            "images": [embedded(item.number)],
            "prompt": [{"role": "user", "content": item.question}],
            "completion": [{"role": "assistant", "content": item.answer}],
        }
        for item in items
    ]
    write_parquet(
        folder / "data/train-00000-of-00001.parquet", rows, images=pa.list_(IMAGE), prompt=turn, completion=turn
    )
    return [plain(item, split="distill") for item in items]


def vsft(folder: Path, items: list[Item]) -> list[Expected]:
    """llava-instruct-mix-vsft: parts with the number of an image in the column ``images``, and null for what they lack."""
    part = pa.struct([("index", pa.int64()), ("text", pa.string()), ("type", pa.string())])
    messages = pa.list_(pa.struct([("content", pa.list_(part)), ("role", pa.string())]))
    rows = []
    for item in items:
        asked = [
            {"type": "text", "text": item.question, "index": None},
            {"type": "image", "text": None, "index": 0},
        ]
        answered = [{"type": "text", "text": item.answer, "index": None}]
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        rows.append({"messages": turns, "images": [embedded(item.number)]})
    write_parquet(folder / "data/train-00000-of-00001.parquet", rows, images=pa.list_(IMAGE), messages=messages)
    return [plain(item, question=f"{item.question}\n<image>", split="distill") for item in items]


def transformers_parts(folder: Path, items: list[Item]) -> list[Expected]:
    """Messages for transformers' chat templates: parts that name their image by ``path``, ``url`` or ``base64``."""
    rows = []
    for item in items:
        put_picture(folder / f"{item.number}.jpg", item.number)
        name = "path" if item.number % 2 else "url"
        asked = [{"type": "image", name: f"./{item.number}.jpg"}, {"type": "text", "text": item.question}]
        answered = [{"type": "text", "text": item.answer}]
        rows.append({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]})
    write_jsonl(folder / "messages.jsonl", rows)
    return [plain(item, split=None) for item in items]
