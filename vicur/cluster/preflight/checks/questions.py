"""The questions of a dataset: the base can spell them, and its prompts for them are short enough, by a sample of the rows.

Of a source at an address, the beginnings of some files are fetched.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooSlow
from pathlib import Path
from threading import Thread

from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.elsewhere import unless_in_a_store_of_the_cluster
from vicur.cluster.preflight.registry import check
from vicur.config.data import FolderConfig, HubConfig, ImportConfig, PinnedConfig, RemoteConfig
from vicur.config.reader import ReaderConfig
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.wording import percent

# Share of a check's time limit for the rows. After it, the check would have failed, and with it the run.
_PATIENCE = 0.7
_CHECKED_LATER = "The step 'extract' checks all rows before cues are paid for."


def _is_readable(target: Target) -> bool:
    data = target.needs.dataset
    is_there = isinstance(data, ImportConfig) and (not isinstance(data, FolderConfig) or data.path.is_dir())
    return target.needs.reader is not None and is_there


@check("questions", topic="inputs", scope="laptop", when=_is_readable)
def _questions(target: Target) -> Finding:
    data, reader = target.needs.dataset, target.needs.reader
    assert isinstance(data, ImportConfig)
    assert reader is not None
    seconds = _PATIENCE * target.needs.seconds
    return unless_in_a_store_of_the_cluster(target, _name(data), lambda: questions(data, reader, seconds))


def questions(data: ImportConfig, reader: ReaderConfig, seconds: float = 15.0) -> Finding:
    """Check that the base can read the first rows of a source: about 200 of a folder and 40 of an address, with their images and hints.

    Args:
        seconds: time limit for fetching rows. That they cannot be fetched is a warning: another check reports what is missing.
    """
    # Imports torch.
    from vicur.modeling.reader import local_reader

    folder = local_reader(reader)
    if folder is None:
        return Finding(
            "ok", f"checked once {reader.path} is on this machine: the training refuses what its tokenizer cannot spell"
        )
    with tempfile.TemporaryDirectory(prefix="vicur-questions-", ignore_cleanup_errors=True) as work:
        try:
            examples = _sampled(data, Path(work), seconds)
        except TooSlow:
            problem = f"{_name(data)}: its first rows were not read within {seconds:.3g} s"
            return Finding("warning", problem, _CHECKED_LATER)
        except VicurError as error:
            if isinstance(data, FolderConfig):
                return Finding("failed", f"{error.where}: {error.problem}", error.remedy)
            problem = f"its first rows cannot be read: {error.where}: {error.problem}"
            return Finding("warning", f"{_name(data)}: {problem}", f"{error.remedy} {_CHECKED_LATER}")
        return _readable(examples, data, reader, folder)


def _readable(examples: Sequence[Example], data: ImportConfig, reader: ReaderConfig, folder: Path) -> Finding:
    from vicur.modeling.chat import Chat
    from vicur.modeling.prompt_lengths import require_few_too_long
    from vicur.modeling.readability import check_spelling
    from vicur.modeling.reader import prompts_too_long

    name = _name(data)
    try:
        chat = Chat.load(folder, reader.prompts)
        texts = {
            "questions": [" ".join((each.question, *each.choices)) for each in examples],
            "answers": [each.answer for each in examples],
        }
        check_spelling(chat, texts, folder, name)
        lengths, total = prompts_too_long(chat, examples, reader)
        require_few_too_long(
            lengths,
            total,
            reader.max_prompt_tokens,
            reader.max_share,
            where=name,
            settings="training.max_prompt_tokens or training.max_unhinted_share",
        )
    except VicurError as error:
        return Finding("failed", f"{error.where}: {error.problem}", error.remedy)
    share = f"; {percent(len(lengths) / total)} are too long and will be skipped" if lengths else ""
    return Finding("ok", f"{reader.path} can read the first {total} rows of {name}{share}")


def _sampled(data: ImportConfig, work: Path, seconds: float) -> list[Example]:
    """Return the first rows of a source.

    Raises:
        TooSlow: if that takes longer than ``seconds``.
        VicurError: if the source cannot be read.
    """
    from vicur.data.inspection import sample
    from vicur.data.sources import source_of
    from vicur.stage.events import Events

    found: Future[list[Example]] = Future()

    def read() -> None:
        try:
            found.set_result(sample(source_of(data).excerpt(data, work, Events("preflight", None)), data))
        except Exception as error:  # noqa: BLE001 (raised by result() below)
            found.set_exception(error)

    # A store that hangs cannot be stopped. Unlike a pool's threads, a daemon does not keep the process from exiting.
    Thread(target=read, name="questions-rows", daemon=True).start()
    return found.result(seconds)


def _name(data: ImportConfig) -> str:
    match data:
        case FolderConfig():
            return str(data.path)
        case RemoteConfig():
            return data.uri
        case PinnedConfig():
            return data.remote
        case HubConfig():
            return data.repository
    raise TypeError(f"data.type={data.type} has no name")
