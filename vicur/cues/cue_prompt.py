"""The words that a vision-language model is asked for a visual cue with, by version.

A version is never changed, since cues that were made with it go by its name: a better wording is a new one. The model is told the
question, which a cue must fit, and not the answer, which a cue must not depend on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Of control tokens as Qwen's and Llama's, and of the places that other models have for what is not text.
_OPENING = re.compile(r"<(?=\||/?(?:image|img|video|audio))", re.IGNORECASE)

NOTHING = "NONE"
"""What the model is to write where the image shows nothing that the question asks about."""


@dataclass(frozen=True)
class CuePrompt:
    """A version of the words.

    Attributes:
        system: the system message.
        user: the user's text, below the images, with ``{question}`` in it.
    """

    system: str
    user: str

    def asked(self, question: str) -> str:
        """The user's text for a question."""
        return self.user.replace("{question}", as_text(question))


CUE_PROMPTS = {
    "v1": CuePrompt(
        system="You tell somebody who cannot see it what an image shows. You report what is to be seen and work nothing out.",
        user=(
            "There is a question about the image:\n\n{question}\n\n"
            "Do not answer it. Say what the image shows that the question asks about, so that somebody who reads it could answer without "
            "the image.\n"
            "- Report only what can be seen: objects, labels, numbers, words, colours and where they are.\n"
            '- Write one to three short plain sentences, such as "The left column holds 7 and 5." or '
            '"One chord is divided into segments labeled x and 8."\n'
            "- Do not calculate, count, compare, conclude or explain, and name no theorem or formula that does not stand in the image.\n"
            f"- Where the image shows nothing that the question asks about, write {NOTHING}."
        ),
    )
}
"""By version."""


def as_text(text: str) -> str:
    """A user's text without anything that an endpoint would read a control token or the place of an image out of.

    An endpoint turns the whole conversation into tokens itself. ``<|im_end|>`` in a question would end the turn, and ``<|image_pad|>`` or
    ``<image>`` stand for an image that is not there (vLLM counts such places in the text). With a space in it, it is what the user
    wrote: text.
    """
    return _OPENING.sub("< ", text).replace("|>", "| >")
