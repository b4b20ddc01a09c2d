"""Layouts whose rows are conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data.layouts.items import Expected, Item, base64_text, lettered, put_picture
from tests.data.layouts.tables import IMAGE, embedded, write_json, write_jsonl, write_parquet

TURNS = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))


def _turns(*texts: str, asks: str = "human", answers: str = "gpt") -> list[dict[str, str]]:
    return [{"from": answers if place % 2 else asks, "value": text} for place, text in enumerate(texts)]


def _expected(item: Item, *, question: str | None = None, answer: str | None = None, **more: Any) -> Expected:
    return Expected(
        question=question or item.question,
        answer=answer or item.answer,
        **{"split": None, "images": (item.number,), **more},
    )


def llava(folder: Path, items: list[Item]) -> list[Expected]:
    """LLaVA-1.5: one JSON list next to the folders of images. A conversation may have several questions, or no image."""
    rows: list[dict[str, Any]] = []
    expected = []
    for item in items:
        put_picture(folder / f"coco/train2017/{item.number:012}.jpg", item.number)
        choices = "Which number is shown?\n" + lettered(item.choices)
        rows.append(
            {
                "id": f"{item.number:012}",
                "image": f"coco/train2017/{item.number:012}.jpg",
                "conversations": _turns(f"<image>\n{item.question}", item.answer, choices, item.letter),
            }
        )
        group = f"{item.number:012}"
        expected += [
            _expected(item, question=f"<image>\n{item.question}", id=f"{group}-1"),
            _expected(item, question=choices, answer=item.letter, id=f"{group}-2"),
        ]
        rows.append({"id": f"text{item.number}", "conversations": _turns(f"Repeat {item.number}.", str(item.number))})
        expected.append(
            Expected(f"Repeat {item.number}.", str(item.number), split=None, images=(), id=f"text{item.number}")
        )
    write_json(folder / "llava_v1_5_mix665k.json", rows)
    return expected


def llava_instruct(folder: Path, items: list[Item]) -> list[Expected]:
    """LLaVA-Instruct-150K: the JSON list names files of COCO's train2017, which lies beside it."""
    rows = []
    for item in items:
        put_picture(folder / f"train2017/{item.number:012}.jpg", item.number)
        turns = _turns(f"{item.question}\n<image>", f"It is {item.answer}.")
        rows.append({"id": f"{item.number:012}", "image": f"{item.number:012}.jpg", "conversations": turns})
    write_json(folder / "llava_instruct_150k.json", rows)
    return [
        _expected(item, question=f"{item.question}\n<image>", answer=f"It is {item.answer}.", id=f"{item.number:012}")
        for item in items
    ]


def sharegpt4v(folder: Path, items: list[Item]) -> list[Expected]:
    """ShareGPT4V: the JSON list is in a folder of its own; paths of images are relative to the folder above."""
    rows = []
    for item in items:
        put_picture(folder / f"sam/images/sa_{item.number}.jpg", item.number)
        turns = _turns(f"<image>\n{item.question}", item.answer)
        rows.append({"id": f"sa_{item.number}", "image": f"sam/images/sa_{item.number}.jpg", "conversations": turns})
    write_json(folder / "sharegpt4v/sharegpt4v_instruct_gpt4-vision_cap100k.json", rows)
    return [_expected(item, question=f"<image>\n{item.question}", id=f"sa_{item.number}") for item in items]


def llava_cot(folder: Path, items: list[Item]) -> list[Expected]:
    """LLaVA-CoT-100k: JSON lines, and responses in four tagged stages. ``image.zip`` is unpacked beside them."""
    rows = []
    expected = []
    for item in items:
        put_picture(folder / f"image/chartqa/train/png/{item.number}.png", item.number)
        response = (
            f"<SUMMARY> I will add. </SUMMARY>\n\n<CAPTION> Two numbers. </CAPTION>\n\n<REASONING> {item.rationale} "
            f"</REASONING>\n\n<CONCLUSION> {item.answer} </CONCLUSION>"
        )
        image = f"chartqa/train/png/{item.number}.png"
        rows.append({"id": item.number, "image": image, "conversations": _turns(item.question, response)})
        expected.append(
            _expected(
                item,
                split="distill",
                id=str(item.number),
                rationale=f"I will add.\n\nTwo numbers.\n\n{item.rationale}",
                metadata={"reference": response},
            )
        )
    write_jsonl(folder / "train.jsonl", rows)
    return expected


def llava_onevision(folder: Path, items: list[Item]) -> list[Expected]:
    """LLaVA-OneVision-Data: a folder of parquet shards for each subset."""
    rows = [
        {
            "id": f"{item.number}.png",
            "image": embedded(item.number, f"{item.number}.png"),
            "conversations": _turns(f"<image>\n{item.question}", item.answer),
            "data_source": "ai2d(gpt4v)",
        }
        for item in items
    ]
    half = (len(rows) + 1) // 2
    for shard, part in enumerate((rows[:half], rows[half:])):
        write_parquet(
            folder / f"ai2d(gpt4v)/train-0000{shard}-of-00002.parquet", part, conversations=TURNS, image=IMAGE
        )
    return [
        _expected(item, question=f"<image>\n{item.question}", split="distill", id=f"{item.number}.png")
        for item in items
    ]


def r1_onevision(folder: Path, items: list[Item]) -> list[Expected]:
    """R1-Onevision: as LLaVA-OneVision, with images as base64 and reasoning in ``<think>``."""
    responses = [f"<think>\n{item.rationale}\n</think>\n\n**Final Answer**\n{item.answer}" for item in items]
    rows = [
        {"id": str(item.number), "image": base64_text(item.number), "conversations": _turns(item.question, response)}
        for item, response in zip(items, responses, strict=True)
    ]
    write_parquet(folder / "intergps/train-00000-of-00001.parquet", rows, conversations=TURNS)
    return [
        _expected(
            item,
            split="distill",
            id=str(item.number),
            rationale=item.rationale,
            metadata={"reference": response},
        )
        for item, response in zip(items, responses, strict=True)
    ]


def vision_r1_cold(folder: Path, items: list[Item]) -> list[Expected]:
    """Vision-R1-cold: two JSON lists with different columns and roles, and two folders of images."""
    half = len(items) // 2
    expected = []
    llava_rows, mulberry_rows = [], []
    for place, item in enumerate(items):
        response = f"<think>\n{item.rationale}\n</think>\n<answer>\nFinal Answer:{item.answer}\n</answer>"
        question = f"<image>{item.question}"
        if place < half:
            image = f"llava_cot_images/sqa/train/{item.number}/image.png"
            turns = _turns(question, response)
            llava_rows.append({"id": f"sqa_{item.number}", "image": image, "conversations": turns})
        else:
            image = f"mulberry_images/AI2D/{item.number}.png"
            turns = _turns(question, response, asks="user", answers="assistant")
            mulberry_rows.append({"images": image, "conversations": turns})
        put_picture(folder / image, item.number)
        expected.append(
            _expected(
                item,
                question=question,
                rationale=item.rationale,
                id=f"sqa_{item.number}" if place < half else None,
                metadata={"reference": response},
            )
        )
    write_json(folder / "vision_r1_llava_cot_full.json", llava_rows)
    write_json(folder / "vision_r1_mulberry_sft_full.json", mulberry_rows)
    write_json(
        folder / "dataset_info.json",
        {"vision_r1_llava_cot_full": {"file_name": "vision_r1_llava_cot_full.json", "formatting": "sharegpt"}},
    )
    return expected


def openai(folder: Path, items: list[Item]) -> list[Expected]:
    """OpenAI's chat format: parts of text and data URLs, a system message, a file for each split."""
    for split, name in (("distill", "train"), ("validation", "validation"), ("test", "test")):
        rows = []
        for item in items:
            if item.split == split:
                url = f"data:image/png;base64,{base64_text(item.number)}"
                parts = [
                    {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
                    {"type": "text", "text": item.question},
                ]
                rows.append(
                    {
                        "messages": [
                            {"role": "system", "content": "Answer briefly."},
                            {"role": "user", "content": parts},
                            {"role": "assistant", "content": item.answer},
                        ]
                    }
                )
        write_jsonl(folder / f"{name}.jsonl", rows)
    order = {"test": 0, "distill": 1, "validation": 2}
    return [
        _expected(item, question=item.question, split=item.split, metadata={"system": "Answer briefly."})
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


def swift(folder: Path, items: list[Item]) -> list[Expected]:
    """ms-swift and LLaMA-Factory: content as text with markers, and a list of paths."""
    rows = []
    for item in items:
        put_picture(folder / f"images/{item.number}.png", item.number)
        rows.append(
            {
                "messages": [
                    {"role": "user", "content": f"<image>{item.question}"},
                    {"role": "assistant", "content": item.answer},
                ],
                "images": [f"images/{item.number}.png"],
            }
        )
    write_json(folder / "mllm_demo.json", rows, indent=2)
    return [_expected(item, question=f"<image>{item.question}") for item in items]


def qwen(folder: Path, items: list[Item]) -> list[Expected]:
    """Qwen-VL: parts ``{"type": "image", "image": PATH}`` between parts of text."""
    rows = []
    for item in items:
        put_picture(folder / f"{item.number}.png", item.number)
        parts = [
            {"type": "text", "text": "Look at this:"},
            {"type": "image", "image": f"{item.number}.png"},
            {"type": "text", "text": item.question},
        ]
        answer = [{"type": "text", "text": item.answer}]
        rows.append({"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]})
    write_jsonl(folder / "qwen.jsonl", rows)
    return [_expected(item, question=f"Look at this:\n<image>\n{item.question}") for item in items]


def finevision(folder: Path, items: list[Item]) -> list[Expected]:
    """FineVision: parquet with a list of images and a list of pairs of texts."""
    pair = pa.list_(pa.struct([("user", pa.string()), ("assistant", pa.string())]))
    rows = [
        {
            "images": [embedded(item.number)],
            "texts": [
                {"user": item.question, "assistant": item.answer},
                {"user": f"Repeat {item.number}.", "assistant": str(item.number)},
            ],
            "source": "clevr",
            "relevance_min": 5,
        }
        for item in items
    ]
    write_parquet(folder / "clevr/train-00000-of-00001.parquet", rows, images=pa.list_(IMAGE), texts=pair)
    return [
        each
        for item in items
        for each in (
            _expected(item, split="distill"),
            _expected(item, question=f"Repeat {item.number}.", answer=str(item.number), split="distill"),
        )
    ]
