"""Convert chat messages to the same tokens as in training, with special tokens in the users' text treated as text.

vLLM renders the chat template with the user's text and tokenizes the result, so that ``<|im_end|>`` in a question would end the turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm.config import VllmConfig
from vllm.exceptions import VLLMValidationError
from vllm.renderers.hf import HfRenderer
from vllm.utils.async_utils import make_async

from vicur.modeling.template_slots import slot, split_slots
from vicur.prompts.record import prompts_of, with_system_message

MODE = "vicur"
"""Value of ``--tokenizer-mode`` that selects :class:`StudentRenderer`."""
_FIELDS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
    "image_url": "image_url",
}
"""Supported types of message parts with their field. vLLM accepts more, which are unsafe on a public server: it downloads or opens the text
of an ``image_pil``, and a ``uuid`` refers to a cached image that another client may have sent."""


class StudentRenderer(HfRenderer):
    """Render the template around slots and tokenize each text separately, as :class:`vicur.modeling.chat.Chat` does."""

    def __init__(self, config: VllmConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        self._system = prompts_of(Path(config.model_config.model)).system
        self._tokenized_async = make_async(self._tokenized, executor=self._executor)

    def render_messages(self, messages: Sequence[Mapping[str, Any]], params: Any) -> tuple[list[Any], Any]:
        slotted, texts = self._with_slots(messages, params)
        conversation, prompt = super().render_messages(slotted, _as_text(params))
        return _restored(conversation, texts), self._tokenized(prompt, texts)

    async def render_messages_async(self, messages: Sequence[Mapping[str, Any]], params: Any) -> tuple[list[Any], Any]:
        slotted, texts = self._with_slots(messages, params)
        conversation, prompt = await super().render_messages_async(slotted, _as_text(params))
        return _restored(conversation, texts), await self._tokenized_async(prompt, texts)

    def _with_slots(self, messages: Sequence[Mapping[str, Any]], params: Any) -> tuple[list[Any], list[str]]:
        """Replace the texts of messages by slots, and return the messages and the texts.

        A conversation without a system message gets that of the student's training.

        Raises:
            VLLMValidationError: if other values that the template renders (roles, tools) contain a control token.
        """
        texts: list[str] = []
        messages = with_system_message(messages, self._system)
        slotted = [_message_with_slots(message, texts) for message in messages]
        around = [{name: value for name, value in message.items() if name != "content"} for message in messages]
        written = json.dumps([around, params.chat_template_kwargs], ensure_ascii=False, default=str)
        control = next((token for token in self.get_tokenizer().added_tokens_encoder if token in written), None)
        if control is not None:
            raise VLLMValidationError(f"The control token {control} is only allowed in the content of messages.")
        return slotted, texts

    def _tokenized(self, prompt: dict[str, Any], texts: Sequence[str]) -> dict[str, Any]:
        tokenizer = self.get_tokenizer()
        ids: list[int] = []
        for piece in split_slots(prompt["prompt"]):
            # An integer is the index of a user's text, in which special tokens are split into ordinary ones.
            text, is_user_text = (texts[piece], True) if isinstance(piece, int) else (piece, False)
            ids += tokenizer(text, add_special_tokens=False, split_special_tokens=is_user_text)["input_ids"]
        return {**{name: value for name, value in prompt.items() if name != "prompt"}, "prompt_token_ids": ids}


def _as_text(params: Any) -> Any:
    return replace(params, chat_template_kwargs={**params.chat_template_kwargs, "tokenize": False})


def _slot_for(text: str, texts: list[str]) -> str:
    texts.append(text)
    return slot(len(texts) - 1)


def _message_with_slots(message: Mapping[str, Any], texts: list[str]) -> dict[str, Any]:
    content = message.get("content")
    if content is None:
        return dict(message)
    if isinstance(content, str):
        return {**message, "content": _slot_for(content, texts)}
    return {**message, "content": [_part_with_slots(part, texts) for part in content]}


def _part_with_slots(part: Any, texts: list[str]) -> Any:
    if isinstance(part, str):
        return _slot_for(part, texts)
    kind = part.get("type")
    field = _FIELDS.get(kind) if isinstance(kind, str) else None
    if field is None:
        raise VLLMValidationError(
            f"The type {kind!r:.40} of a message part is not supported. Supported types: {', '.join(_FIELDS)}.",
            parameter="type",
        )
    unsupported = sorted(part.keys() - {"type", field})
    if unsupported:
        raise VLLMValidationError(
            f"The field {unsupported[0]!r:.40} is not supported in a message part of type {kind}.",
            parameter="content",
        )
    text = part.get(field)
    return {**part, field: _slot_for(text, texts)} if kind != "image_url" and isinstance(text, str) else part


def _restored(value: Any, texts: Sequence[str]) -> Any:
    """Replace slots by the texts again, because a response may echo the last message."""
    if isinstance(value, str):
        return "".join(texts[piece] if isinstance(piece, int) else piece for piece in split_slots(value))
    if isinstance(value, list):
        return [_restored(each, texts) for each in value]
    if isinstance(value, dict):
        return {name: _restored(each, texts) for name, each in value.items()}
    return value
