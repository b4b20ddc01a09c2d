"""Check that the base can read the dataset before a model is paid for its cues."""

from __future__ import annotations

import logging
from pathlib import Path

from vicur.config.cues import TRAINING_SPLIT, CuesConfig
from vicur.config.reader import ReaderConfig
from vicur.data.stored import StoredSplit

log = logging.getLogger(__name__)


def check_before_requests(config: CuesConfig, dataset: Path) -> None:
    """Check the base with :func:`check_reader` if the cues have to be paid for.

    Other providers cost nothing, and the training checks the same before it starts.

    Raises:
        VicurError: if a training would refuse the dataset.
    """
    if config.reader is not None and config.provider.type == "endpoint":
        check_reader(config.reader, dataset)


def check_reader(reader: ReaderConfig, dataset: Path) -> None:
    """Check that the base spells the training examples, and that its prompts for them are short enough.

    Nothing is checked if the base is not on this machine. Of cues, only the dataset's own are known and counted.

    Raises:
        VicurError: if a training would refuse the dataset.
    """
    # Imports torch.
    from vicur.modeling.chat import Chat
    from vicur.modeling.prompt_lengths import described, require_few_too_long
    from vicur.modeling.readability import check_readable
    from vicur.modeling.reader import local_reader, prompts_too_long

    folder = local_reader(reader)
    if folder is None:
        return
    chat = Chat.load(folder, reader.prompts)
    check_readable(chat, dataset, [TRAINING_SPLIT], folder)
    lengths, total = prompts_too_long(chat, StoredSplit(dataset, TRAINING_SPLIT), reader)
    require_few_too_long(
        lengths,
        total,
        reader.max_prompt_tokens,
        reader.max_share,
        where=f"{dataset}, split {TRAINING_SPLIT}",
        settings="training.max_prompt_tokens or training.max_unhinted_share",
    )
    if lengths:
        log.warning(
            "Training will skip %d of %d examples, whose prompts are longer than training.max_prompt_tokens = %d (%s).",
            len(lengths),
            total,
            reader.max_prompt_tokens,
            described(lengths),
        )
