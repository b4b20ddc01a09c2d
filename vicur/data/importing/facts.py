"""What the import knows of each example besides its content: one small row per example, in a few hundred bytes.

Every decision that depends on more than one row (duplicate ids, sharing out of splits, the rules of :mod:`vicur.data.hygiene`) is made
over the facts of all examples at once, in columns. A million examples fit into memory this way, while their images do not.
"""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa

from vicur.answers.choices import named_choice
from vicur.data.fingerprint import FINGERPRINT_BYTES, fingerprint

if TYPE_CHECKING:
    from vicur.data.images import NormalisedImage
    from vicur.data.schema import Example

IMAGE_FACTS = pa.struct(
    [
        pa.field("sha256", pa.binary(32)),
        pa.field("fingerprint", pa.binary(FINGERPRINT_BYTES)),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
    ]
)
"""Facts of one stored image: see :class:`ImageFacts`."""

FACTS = pa.schema(
    [
        pa.field("file", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("split", pa.string()),
        pa.field("group", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("images", pa.list_(IMAGE_FACTS)),
        pa.field("notes", pa.list_(pa.string())),
        pa.field("question", pa.binary(16)),
        pa.field("answer", pa.string()),
        pa.field("choices", pa.int32()),
        pa.field("question_length", pa.int32()),
        pa.field("answer_length", pa.int32()),
        pa.field("rationale_length", pa.int32()),
        pa.field("cue_length", pa.int32()),
        pa.field("image_bytes", pa.int64()),
    ]
)
"""Columns of the facts, in the order of the source: see :class:`Facts`. An example's *position* is its row number here, from 0."""

_ANSWER = 64  # characters of an answer that are kept in full; longer ones are compared by their hash


@dataclass(frozen=True)
class ImageFacts:
    """Facts of one stored image."""

    sha256: bytes
    """SHA-256 of the stored bytes, 32 bytes."""
    fingerprint: bytes | None
    """Fingerprint by which near-duplicates are found (:mod:`vicur.data.fingerprint`); ``None`` if none was computed."""
    width: int
    height: int


@dataclass(frozen=True)
class Facts:
    """Facts of one example."""

    file: str
    """File of the source that the example was read from, relative to the source."""
    row: int
    """Row in that file; the first is 1."""
    id: str
    split: str | None
    """The example's split; ``None`` if the source names none, so that one is shared out."""
    group: str
    """Unit of resampling and of sharing out: examples of one group are in one split."""
    kind: str
    images: tuple[ImageFacts, ...]
    notes: tuple[str, ...]
    """What was noticed about the images while they were brought into the one pixel form, such as ``animated``."""
    question: bytes
    """Hash of the question and its choices (:func:`question_key`), 16 bytes. Questions that differ in blanks only are equal."""
    answer: str
    """The answer for comparisons (:func:`answer_key`)."""
    choices: int
    """Number of choices."""
    question_length: int
    """Characters of the question and its choices."""
    answer_length: int
    rationale_length: int
    cue_length: int
    image_bytes: int
    """Size of the stored images."""


def facts_of(
    example: Example,
    file: str,
    row: int,
    *,
    named_split: bool = True,
    notes: Sequence[str] = (),
    fingerprints: bool = False,
    pictures: Sequence[NormalisedImage] = (),
) -> Facts:
    """Return the facts of an example whose images are in their stored form.

    Args:
        named_split: whether the source names the example's split.
        notes: notes of the images.
        fingerprints: whether to compute the images' fingerprints, which takes a decoding of each image.
        pictures: the images as they were read, if they are at hand. They know their sizes and fingerprints.
    """
    choices = example.choices
    return Facts(
        file=file,
        row=row,
        id=example.id,
        split=example.split if named_split else None,
        group=example.group,
        kind=example.kind,
        images=tuple(map(_known_facts, pictures)) if pictures else _images(example, fingerprints),
        notes=tuple(notes),
        question=question_key(example.question, choices),
        answer=answer_key(_answer(example)),
        choices=len(choices),
        question_length=len(example.question) + sum(map(len, choices)),
        answer_length=len(example.answer),
        rationale_length=len(example.rationale or ""),
        cue_length=len(example.cue or ""),
        image_bytes=sum(map(len, example.images)),
    )


def _images(example: Example, fingerprints: bool) -> tuple[ImageFacts, ...]:
    if example.video is None:
        return tuple(image_facts(image, fingerprints) for image in example.images)
    # A video counts as one image, so that two of them are not alike because both begin with a black frame.
    return (video_facts(example.images, fingerprints),)


def _known_facts(picture: NormalisedImage) -> ImageFacts:
    return ImageFacts(hashlib.sha256(picture.data).digest(), picture.fingerprint, picture.width, picture.height)


def _answer(example: Example) -> str:
    # "C" and the text of choice C are one answer.
    place = named_choice(example.answer, example.choices) if example.choices else None
    return example.answer if place is None else example.choices[place]


def facts_table(rows: Sequence[Facts]) -> pa.Table:
    """Return the facts of several examples as a table with the columns :data:`FACTS`."""
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Facts)}
    columns["images"] = [[asdict(image) for image in images] for images in columns["images"]]
    return pa.table(columns, schema=FACTS)


# Consecutive questions are often about one image, which is then read once.
@lru_cache(maxsize=8)
def image_facts(data: bytes, fingerprints: bool = False) -> ImageFacts:
    """Return the facts of a stored image, which has been decoded before: only its header is read, except for a fingerprint."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        mark = fingerprint(image) if fingerprints else None
    return ImageFacts(hashlib.sha256(data).digest(), mark, width, height)


@lru_cache(maxsize=4)
def video_facts(frames: tuple[bytes, ...], fingerprints: bool = False) -> ImageFacts:
    """Return the facts of a video with these frames: the hash of all, and the fingerprint of a sheet of four."""
    from PIL import Image

    digest = hashlib.sha256(b"".join(hashlib.sha256(frame).digest() for frame in frames)).digest()
    with Image.open(io.BytesIO(frames[0])) as first:
        width, height = first.size
    if not fingerprints:
        return ImageFacts(digest, None, width, height)
    sheet = Image.new("RGB", (2 * width, 2 * height))
    for place in range(4):
        with Image.open(io.BytesIO(frames[place * (len(frames) - 1) // 3])) as frame:
            sheet.paste(frame.convert("RGB"), (place % 2 * width, place // 2 * height))
    return ImageFacts(digest, fingerprint(sheet), width, height)


def question_key(question: str, choices: Sequence[str] = ()) -> bytes:
    """Return a hash of a question and its choices in 16 bytes. It ignores blanks and how accents are encoded.

    Case and superscripts count: point ``A`` is not side ``a``, and ``2²`` is not ``22``.
    """
    text = "\0".join(_spaced(unicodedata.normalize("NFC", part)) for part in (question, *choices))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def answer_key(answer: str) -> str:
    """Return an answer without differences of case, form of characters and blanks. A long one is shortened, with its hash."""
    text = _folded(answer)
    if len(text) <= _ANSWER:
        return text
    return f"{text[:_ANSWER]}#{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _folded(text: str) -> str:
    return _spaced(unicodedata.normalize("NFC", text)).casefold()


def _spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
