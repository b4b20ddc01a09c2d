"""The questions of a folder of data: the base can spell them, and its prompts for them are short enough, by a sample of the rows."""

from __future__ import annotations

from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.registry import check
from vicur.config.data import FolderConfig
from vicur.config.reader import ReaderConfig
from vicur.errors import VicurError
from vicur.wording import percent


def _is_readable(target: Target) -> bool:
    data = target.needs.dataset
    return target.needs.reader is not None and isinstance(data, FolderConfig) and data.path.is_dir()


@check("questions", topic="inputs", scope="laptop", when=_is_readable)
def _questions(target: Target) -> Finding:
    data, reader = target.needs.dataset, target.needs.reader
    assert isinstance(data, FolderConfig)
    assert reader is not None
    return questions(data, reader)


def questions(data: FolderConfig, reader: ReaderConfig) -> Finding:
    """Check that the base can read the first rows of a source: about 200 of them, with their images and hints."""
    from vicur.data.formats import SourceFolder
    from vicur.data.inspection import sample

    # Imports torch.
    from vicur.modeling.chat import Chat
    from vicur.modeling.prompt_lengths import require_few_too_long
    from vicur.modeling.readability import check_spelling
    from vicur.modeling.reader import local_reader, prompts_too_long

    folder = local_reader(reader)
    if folder is None:
        return Finding(
            "ok", f"checked once {reader.path} is on this machine: the training refuses what its tokenizer cannot spell"
        )
    try:
        examples = sample(SourceFolder(data.path), data)
        chat = Chat.load(folder, reader.prompts)
        texts = {
            "questions": [" ".join((each.question, *each.choices)) for each in examples],
            "answers": [each.answer for each in examples],
        }
        check_spelling(chat, texts, folder, str(data.path))
        lengths, total = prompts_too_long(chat, examples, reader)
        require_few_too_long(
            lengths,
            total,
            reader.max_prompt_tokens,
            reader.max_share,
            where=str(data.path),
            settings="training.max_prompt_tokens or training.max_unhinted_share",
        )
    except VicurError as error:
        return Finding("failed", f"{error.where}: {error.problem}", error.remedy)
    share = f"; {percent(len(lengths) / total)} are too long and will be skipped" if lengths else ""
    return Finding("ok", f"{reader.path} can read the first {total} rows of {data.path}{share}")
