"""Prompts that request a visual cue from a vision-language model, by version.

A version never changes, because cached cues are keyed by it; better wording is a new version. The model gets the question, which the cue
must fit, but not the answer, which the cue must not depend on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile

from vicur.prompts import Content, merged

# Start of a control token (as in Qwen and Llama) or of another model's image, video or audio placeholder.
_OPENING = re.compile(r"<(?=\||/?(?:image|img|video|audio))", re.IGNORECASE)

# The model's reply if the image shows nothing relevant to the question.
NOTHING = "NONE"


@dataclass(frozen=True)
class CuePrompt:
    """One version of the prompt."""

    system: str
    user: str  # follows the images; contains the placeholder {question}

    def render(self, question: str) -> str:
        """Return the user's text for a question."""
        return self.user.replace("{question}", escape_control_tokens(question))

    @property
    def about_video(self) -> CuePrompt:
        """The same prompt about a video."""
        return CuePrompt(self.system.replace("an image", "a video"), re.sub(r"\bthe image\b", "the video", self.user))

    def around(self, content: Content) -> Content:
        """Return the user's turn for the content of a question. Images stay where the question shows them, or before the whole text."""
        before, _, after = self.user.partition("{question}")
        leading = [*takewhile(lambda part: not isinstance(part, str), content)]
        asked = [escape_control_tokens(part) if isinstance(part, str) else part for part in content[len(leading) :]]
        return merged((*leading, before, *asked, after))


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


def escape_control_tokens(text: str) -> str:
    """Return ``text`` with a space inside anything that an endpoint would parse as a control token or an image placeholder."""
    # The endpoint tokenizes the rendered conversation itself: <|im_end|> in a question would end the turn, and
    # <|image_pad|> or <image> would refer to a missing image (vLLM counts these placeholders in the text).
    return _OPENING.sub("< ", text).replace("|>", "| >")
