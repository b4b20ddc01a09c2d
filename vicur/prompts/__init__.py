"""The content of a prompt: question, choices and the places of the images between them, before any tokenization.

Training, evaluation, cue models, the report and servers all build it here, so that they all have the same prompt.
"""

from vicur.prompts.choices import MOST_CHOICES, answer_text
from vicur.prompts.content import check_content, content_of, shown_text
from vicur.prompts.markers import ContentError
from vicur.prompts.parts import Content, ImagePart, Part, VideoPart, merged, with_text

__all__ = [
    "MOST_CHOICES",
    "Content",
    "ContentError",
    "ImagePart",
    "Part",
    "VideoPart",
    "answer_text",
    "check_content",
    "content_of",
    "merged",
    "shown_text",
    "with_text",
]
