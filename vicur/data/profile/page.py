"""Render a profile as one self-contained HTML page of bounded size."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vicur.data.profile.figures import LENGTH_BINS, SIDE_BINS, Profile
from vicur.data.schema import Example
from vicur.pages.html import page_environment
from vicur.wording import percent

_TEMPLATE = Path(__file__).with_name("profile.html.j2")
_SIDE = 320  # largest side of a thumbnail in pixels
_IMAGES = 4  # thumbnails of one sample
_TEXT = 600  # characters of a text on the page


def render_profile(profile: Profile, title: str) -> str:
    """Render the page as HTML. All content from the dataset is escaped."""
    environment = page_environment(_TEMPLATE.parent)
    environment.filters |= {"percent": percent, "short": _short, "thumbnails": _thumbnails, "count": "{:,}".format}
    tables = [
        ("Answer types", _by_split(profile, "types"), "Recognised by their form."),
        ("Most frequent answers", _by_split(profile, "answers"), "The most frequent ones of each split."),
        ("Kinds of questions", _by_split(profile, "kinds"), "Of the first 500 examples of each split."),
        (
            "Tokens of a question with its choices",
            _by_split(profile, "lengths", LENGTH_BINS),
            "A lower bound for any tokenizer, without images.",
        ),
        ("Images of an example", _by_split(profile, "images"), "Of the first 500 examples of each split."),
        (
            "Longer side of an image, in pixels",
            _by_split(profile, "sides", SIDE_BINS),
            "Of the first 500 examples of each split.",
        ),
    ]
    page = environment.get_template(_TEMPLATE.name)
    return page.render(profile=profile, title=title, tables=tables) + "\n"


def _by_split(profile: Profile, name: str, order: Iterable[str] = ()) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return the rows of a table: a name, and of each split the count and its share."""
    columns: list[Counter[str]] = [getattr(split, name) for split in profile.splits.values()]
    whole = [
        split.examples if name == "answers" else sum(c.values())
        for c, split in zip(columns, profile.splits.values(), strict=True)
    ]
    total: Counter[str] = sum(columns, Counter())
    names = [each for each in order if total[each]] or [each for each, _ in total.most_common(24)]
    return [(each, [(c[each], c[each] / max(1, n)) for c, n in zip(columns, whole, strict=True)]) for each in names]


def _short(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= _TEXT else f"{text[:_TEXT]} … ({len(text):,} characters)"


def _thumbnails(example: Example) -> list[str | None]:
    return [_thumbnail(image) for image in example.strip(_IMAGES)[:_IMAGES]]


def _thumbnail(data: bytes) -> str | None:
    """Return an image as a data URI, scaled down; ``None`` if it cannot be decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            small = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    small.thumbnail((_SIDE, _SIDE))
    tiny = max(small.size) <= 128
    buffer = io.BytesIO()
    small.save(buffer, "PNG" if tiny else "JPEG", **({} if tiny else {"quality": 80}))
    return f"data:image/{'png' if tiny else 'jpeg'};base64,{base64.b64encode(buffer.getvalue()).decode()}"
