"""Chat messages as tokens: the same tokens as in training, and what a user wrote is text.

vLLM renders the chat template with the user's text in it and tokenizes the whole, so ``<|im_end|>`` in a question would end the turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vllm.config import VllmConfig
from vllm.exceptions import VLLMValidationError
from vllm.renderers.hf import HfRenderer
from vllm.utils.async_utils import make_async

from vicur.modeling.template_slots import slot, split_slots

MODE = "vicur"
"""What ``--tokenizer-mode`` calls it."""
_FIELDS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
    "image_url": "image_url",
}
"""The field that each type of a message's parts has. vLLM takes others, too: an ``image_pil`` that is text is fetched or opened as a file,
and a ``uuid`` names an image that another client may have sent."""


class StudentRenderer(HfRenderer):
    """Renders the template around marks, and tokenizes each text by itself, as :class:`vicur.modeling.chat.Chat` does."""

    def __init__(self, config: VllmConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        self._tokenized_async = make_async(self._tokenized, executor=self._executor)

    def render_messages(self, messages: Sequence[Mapping[str, Any]], params: Any) -> tuple[list[Any], Any]:
        """Messages, parsed, and their prompt."""
        marked, texts = self._marked(messages, params)
        conversation, prompt = super().render_messages(marked, _as_text(params))
        return _restored(conversation, texts), self._tokenized(prompt, texts)

    async def render_messages_async(self, messages: Sequence[Mapping[str, Any]], params: Any) -> tuple[list[Any], Any]:
        """As :meth:`render_messages`; the work goes on in other threads."""
        marked, texts = self._marked(messages, params)
        conversation, prompt = await super().render_messages_async(marked, _as_text(params))
        return _restored(conversation, texts), await self._tokenized_async(prompt, texts)

    def _marked(self, messages: Sequence[Mapping[str, Any]], params: Any) -> tuple[list[Any], list[str]]:
        """Messages with marks in place of their texts, and the texts.

        Raises:
            VLLMValidationError: where something else that the template writes out holds a control token (a role, a tool).
        """
        texts: list[str] = []
        marked = [_with_marks(message, texts) for message in messages]
        around = [{name: value for name, value in message.items() if name != "content"} for message in messages]
        written = json.dumps([around, params.chat_template_kwargs], ensure_ascii=False, default=str)
        control = next((token for token in self.get_tokenizer().added_tokens_encoder if token in written), None)
        if control is not None:
            raise VLLMValidationError(f"The request holds {control} outside of the content of its messages.")
        return marked, texts

    def _tokenized(self, prompt: dict[str, Any], texts: Sequence[str]) -> dict[str, Any]:
        """A rendered prompt as token ids."""
        tokenizer = self.get_tokenizer()
        ids: list[int] = []
        for piece in split_slots(prompt["prompt"]):
            text, spelled = (texts[piece], True) if isinstance(piece, int) else (piece, False)
            ids += tokenizer(text, add_special_tokens=False, split_special_tokens=spelled)["input_ids"]
        return {**{name: value for name, value in prompt.items() if name != "prompt"}, "prompt_token_ids": ids}


def _as_text(params: Any) -> Any:
    """Parameters with which a template is rendered to text."""
    return replace(params, chat_template_kwargs={**params.chat_template_kwargs, "tokenize": False})


def _marked_text(text: str, texts: list[str]) -> str:
    texts.append(text)
    return slot(len(texts) - 1)


def _with_marks(message: Mapping[str, Any], texts: list[str]) -> dict[str, Any]:
    content = message.get("content")
    if content is None:
        return dict(message)
    if isinstance(content, str):
        return {**message, "content": _marked_text(content, texts)}
    return {**message, "content": [_part_with_marks(part, texts) for part in content]}


def _part_with_marks(part: Any, texts: list[str]) -> Any:
    if isinstance(part, str):
        return _marked_text(part, texts)
    kind = part.get("type")
    field = _FIELDS.get(kind) if isinstance(kind, str) else None
    if field is None:
        raise VLLMValidationError(
            f"A part of a message has the type {kind!r:.40}, and this server takes {', '.join(_FIELDS)}.",
            parameter="type",
        )
    more = sorted(part.keys() - {"type", field})
    if more:
        raise VLLMValidationError(
            f"A part of the type {kind} has the field {more[0]!r:.40}, which this server does not take.",
            parameter="content",
        )
    text = part.get(field)
    return {**part, field: _marked_text(text, texts)} if kind != "image_url" and isinstance(text, str) else part


def _restored(value: Any, texts: Sequence[str]) -> Any:
    """What was parsed, with the texts in place of their marks: a request may ask for its last message back."""
    if isinstance(value, str):
        return "".join(texts[piece] if isinstance(piece, int) else piece for piece in split_slots(value))
    if isinstance(value, list):
        return [_restored(each, texts) for each in value]
    if isinstance(value, dict):
        return {name: _restored(each, texts) for name, each in value.items()}
    return value
