"""Tokenizer of a tiny base for any dataset: byte-level BPE, so that no text is unknown, with Qwen's control tokens and chat template.

Digits are tokens of their own, as in Qwen's tokenizer: a number that was never seen is spelled like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from vicur.modeling.tiny.architecture import CHAT_TEMPLATE, SPECIAL_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Text of every prompt, whatever the dataset.
_TEMPLATE = ("system\n", "user\n", "assistant\n")


def byte_tokenizer(texts: Iterable[str], size: int, *, longest: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer of at most ``size`` tokens. The same texts in the same order give the same tokenizer.

    Args:
        longest: number of tokens of a prompt with its response above which transformers warns.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL_TOKENS),
        # A word that occurs once is better spelled with common pieces than given a token that is hardly ever trained.
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chain(_TEMPLATE, _TEMPLATE, texts), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",  # noqa: S106 (a token of text)
        eos_token="<|im_end|>",  # noqa: S106
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=longest,
    )
