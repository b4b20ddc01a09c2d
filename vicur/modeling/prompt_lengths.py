"""Which examples have a prompt that is too long for a model, with its images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vicur.config.prompts import PromptUse
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.modeling.ahead import example_pixels
from vicur.modeling.chat import Chat, Pixels, Prompt
from vicur.prompts import with_text
from vicur.wording import listed, percent

_TEMPLATE = 64  # tokens around the user's turn, more than any template has
_PER_IMAGE = 8  # tokens around an image, likewise
_PER_FRAME = 24  # tokens around each group of frames of a video: its time, such as <1234.5 seconds>, at a byte a token, and two ends
_SHOWN = 3


def prompt_length(chat: Chat, example: Example, use: PromptUse, limit: int, behind: str = "") -> int:
    """Return the number of tokens of an example's prompt, or 0 if it certainly has at most ``limit``.

    Args:
        use: pixel budget of its images.
        behind: text behind the question, such as a hint.

    Raises:
        VicurError: if the header of an image cannot be read, or a question cannot be shown.
    """
    pixels = example_pixels(chat, example, use)
    visual = sum(image.tokens + _around(image) for image in pixels)
    texts = (
        example.question,
        *example.choices,
        behind,
        chat.prompts.system or "",
        chat.prompts.choices_template * len(example.choices),
    )
    # A token has at least one byte, so most prompts need not be tokenized.
    if visual + sum(len(text.encode()) for text in texts) + _TEMPLATE <= limit:
        return 0
    content = chat.content(example)
    return len(chat.prompt(with_text(content, behind) if behind else content, pixels).ids)


def _around(visual: Pixels) -> int:
    return _PER_FRAME * len(visual.run_grids) if visual.is_video else _PER_IMAGE


def too_long(chat: Chat, examples: Iterable[Example], use: PromptUse, limit: int) -> dict[str, int]:
    """Return the length in tokens of each prompt above ``limit``, by example id."""
    lengths = ((example.id, prompt_length(chat, example, use, limit)) for example in examples)
    return {key: length for key, length in lengths if length > limit}


def require_few_too_long(
    lengths: dict[str, int], total: int, limit: int, share: float, *, where: str, settings: str
) -> None:
    """Raise a ``VicurError`` if more than a ``share`` of ``total`` examples, or all of them, have too long a prompt.

    Args:
        lengths: tokens of the prompts that are too long, by example id.
        settings: the settings that allow longer prompts or more of them, for messages.
    """
    if not lengths or (len(lengths) <= share * total and len(lengths) < total):
        return
    raise VicurError(
        f"{len(lengths):,} of {total:,} prompts are longer than {limit:,} tokens ({described(lengths)}); "
        f"{percent(share)} are allowed.",
        where=where,
        remedy="Lower data.pixels.max if images take most of it, prepare the dataset with a lower data.max_prompt_tokens, which skips "
        f"such rows, or raise {settings}.",
    )


def described(lengths: dict[str, int]) -> str:
    """Name the first of some prompts with their lengths."""
    return listed((f"{key} has {length:,}" for key, length in lengths.items()), _SHOWN)


def fitting(prompts: Sequence[Prompt], limit: int) -> list[int]:
    """Return the numbers of the prompts with at most ``limit`` tokens."""
    return [number for number, prompt in enumerate(prompts) if len(prompt.ids) <= limit]
