"""Layouts of image folders and tar archives."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tests.data.layouts.items import Expected, Item, encoded, put_picture
from tests.data.layouts.tables import write_jsonl


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write regular files to a tar archive in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def webdataset(folder: Path, items: list[Item]) -> list[Expected]:
    """WebDataset: shards named by split, one ``.json`` and one image for each key."""
    for split, name in (("distill", "train"), ("test", "test")):
        part = [item for item in items if item.split == split]
        half = (len(part) + 1) // 2
        for shard, rows in enumerate((part[:half], part[half:])):
            members = []
            for item in rows:
                fields = {"question": item.question, "answer": item.answer}
                members.append((f"{item.number:09}.jpg", encoded(item.number, "JPEG")))
                members.append((f"{item.number:09}.json", json.dumps(fields).encode()))
            write_tar(folder / f"{name}-{shard:06}.tar", members)
    order = {"test": 0, "distill": 1}
    return [
        Expected(item.question, item.answer, split=item.split, images=(item.number,), id=f"{item.number:09}")
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


def webdataset_cls(folder: Path, items: list[Item]) -> list[Expected]:
    """WebDataset: the question as ``.txt`` and the answer as ``.cls``, with keys in folders."""
    for split, name in (("distill", "train"), ("test", "test")):
        members = []
        for item in [each for each in items if each.split == split]:
            members.append((f"part/{item.number:06}.png", encoded(item.number)))
            members.append((f"part/{item.number:06}.txt", item.question.encode()))
            members.append((f"part/{item.number:06}.cls", item.answer.encode()))
        write_tar(folder / f"{name}-000000.tar", members)
    order = {"test": 0, "distill": 1}
    return [
        Expected(item.question, item.answer, split=item.split, images=(item.number,), id=f"part/{item.number:06}")
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


def imagefolder(folder: Path, items: list[Item]) -> list[Expected]:
    """Hugging Face's imagefolder: a ``metadata.jsonl`` in each split's folder; several images in ``*_file_names``."""
    for split, name in (("distill", "train"), ("test", "test")):
        rows = []
        for item in [each for each in items if each.split == split]:
            put_picture(folder / name / f"{item.number}.png", item.number)
            put_picture(folder / name / "more" / f"{item.number}.png", item.number + 7000)
            names = [f"{item.number}.png", f"more/{item.number}.png"]
            rows.append({"images_file_names": names, "question": item.question, "answer": item.answer})
        write_jsonl(folder / name / "metadata.jsonl", rows)
    order = {"test": 0, "distill": 1}
    return [
        Expected(item.question, item.answer, split=item.split, images=(item.number, item.number + 7000))
        for item in sorted(items, key=lambda item: (order[item.split], item.number))
    ]


def imagefolder_csv(folder: Path, items: list[Item]) -> list[Expected]:
    """Hugging Face's imagefolder: one ``metadata.csv``, images in any folder."""
    for item in items:
        put_picture(folder / "photos" / f"{item.number}.jpg", item.number)
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "question", "answer"])
        writer.writerows([f"photos/{item.number}.jpg", item.question, item.answer] for item in items)
    return [Expected(item.question, item.answer, split=None, images=(item.number,)) for item in items]


def classes(folder: Path, items: list[Item]) -> list[Expected]:
    """Hugging Face's imagefolder for classification: the folder's name is the class. It has no questions."""
    for item in items:
        put_picture(folder / "train" / item.letter / f"{item.number}.png", item.number)
    return [
        Expected("Which letter is it?", item.letter, split="distill", images=(item.number,))
        for item in sorted(items, key=lambda item: (item.letter, item.number))
    ]
