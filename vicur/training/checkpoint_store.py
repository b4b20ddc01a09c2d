"""Where the checkpoints of a training lie: folders ``step-000040`` that are whole or absent, on this machine, and on S3 where asked.

A checkpoint is written beside its place and renamed; with S3 it is uploaded then, its checksums last, so that a training goes on from
it on another machine. One that the disk has damaged is passed over with a warning. A training only goes on from its own
checkpoints: those of other settings, inputs, seed or code are refused, with the difference, or forked from where that is asked for.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vicur.errors import VicurError
from vicur.stage.runner import Context
from vicur.storage.folders import new_folder
from vicur.storage.s3 import S3Folders, is_s3
from vicur.tracking.records import flattened
from vicur.training.checkpoint import CHECKSUMS, Checkpoint, read_checkpoint, write_checkpoint

log = logging.getLogger(__name__)

_SHOWN = 8
_NAME = re.compile(r"step-\d{6}")


@dataclass(frozen=True, eq=False)
class CheckpointStore:
    """The checkpoints of one training.

    Attributes:
        folder: where they lie on this machine.
        remote: where they are uploaded to as well.
        identity: what the training is.
        keep: newest checkpoints that are kept.
        fork_from: the store of another training that this one begins with, where it has no checkpoint of its own yet.
    """

    folder: Path
    remote: S3Folders | None
    identity: Mapping[str, Any]
    keep: int
    fork_from: CheckpointStore | None = None

    @classmethod
    def of(cls, context: Context, keep: int) -> CheckpointStore:
        """The store that a stage's context asks for.

        Raises:
            VicurError: for an address that cannot be used.
        """
        other = None
        if context.fork_from is not None:
            folder, remote = _place(context.fork_from, context.work / "forked")
            other = cls(folder, remote, {}, keep)
        folder, remote = _place(context.checkpoints, context.work)
        return cls(folder, remote, context.identity, keep, other)

    def save(self, checkpoint: Checkpoint) -> None:
        """Keeps a checkpoint, and removes all but the newest.

        Raises:
            OSError: where this machine's disk takes it not; what was kept stays.
            VicurError: where S3 takes it not.
        """
        name = f"step-{checkpoint.progress.step:06d}"
        with new_folder(self.folder / name) as partial:
            write_checkpoint(checkpoint, partial)
        for old in self._local()[: -self.keep]:
            shutil.rmtree(self.folder / old)
        if self.remote is not None:
            self.remote.put(self.folder / name, name)
            for old in self._on(self.remote)[: -self.keep]:
                self.remote.remove(old)

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint of this training, else that which it is forked from; ``None`` where there is neither.

        Raises:
            VicurError: where the checkpoints are another training's, or there is nothing to fork from.
        """
        for where, found in self._whole():
            self._require_own(found, where)
            return found
        if self.fork_from is None:
            return None
        for where, found in self.fork_from._whole():
            log.info("goes on from %s, forked", where)
            return found
        raise VicurError(
            "holds no whole checkpoint to fork from.",
            where=self.fork_from.address,
            remedy="Name the folder or address that an earlier training kept its checkpoints at.",
        )

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return str(self.folder) if self.remote is None else self.remote.address

    def _whole(self) -> Iterator[tuple[str, Checkpoint]]:
        """Whole checkpoints and where they are, newest first; a remote one is brought here first."""
        remote = set(self._on(self.remote)) if self.remote is not None else set()
        for name in sorted({*self._local(), *remote}, reverse=True):
            where = f"{self.address}/{name}"
            found = read_checkpoint(self.folder / name) if name in self._local() else None
            if found is None and self.remote is not None and name in remote:
                self.remote.get(name, self.folder / name)
                found = read_checkpoint(self.folder / name)
            if found is not None:
                yield where, found
            else:
                log.warning("%s is damaged: the checkpoint before it is used", where)

    def _local(self) -> list[str]:
        return _checkpoints(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []

    @staticmethod
    def _on(remote: S3Folders) -> list[str]:
        return _checkpoints(remote.names())

    def _require_own(self, found: Checkpoint, where: str) -> None:
        was, now = dict(flattened(found.identity)), dict(flattened(self.identity))
        changed = [
            f"{key}: {was.get(key, 'absent')} -> {now.get(key, 'absent')}"
            for key in sorted(was.keys() | now.keys())
            if was.get(key) != now.get(key)
        ]
        if changed:
            more = f", and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
            raise VicurError(
                f"is of a training that differs from this one ({'; '.join(changed[:_SHOWN])}{more}).",
                where=where,
                remedy="Train as before, or keep the checkpoints of this training elsewhere: "
                f"anew, or going on from those with --fork-from {self.address}.",
            )


def _checkpoints(names: Iterable[str]) -> list[str]:
    """Those that are names of checkpoints, in the order of their steps. A folder of the user's may hold other things."""
    return sorted(name for name in names if _NAME.fullmatch(name))


def _place(address: str | None, work: Path) -> tuple[Path, S3Folders | None]:
    """Folder on this machine, and S3 behind it, of an address."""
    if address is None:
        return work, None
    if is_s3(address):
        return work, S3Folders.at(address, CHECKSUMS)
    return Path(address), None
