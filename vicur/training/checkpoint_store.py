"""The checkpoints of a training: folders ``step-000040`` on this machine, with copies on S3 if an address is given.

A folder is either complete or absent: it is written under a temporary name and renamed, and uploaded with its checksums last. Damaged
checkpoints are skipped with a warning. A training resumes from its own checkpoints only; those with other settings, inputs, seed or code
raise an error that shows the difference, unless the training forks from them.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vicur.errors import VicurError
from vicur.stage.runner import Context
from vicur.storage.folders import new_folder, sweep
from vicur.storage.s3 import S3Folders, is_s3
from vicur.tracking.records import flattened
from vicur.training.checkpoint import CHECKSUMS, Checkpoint, read_checkpoint, write_checkpoint
from vicur.wording import differences, listed

log = logging.getLogger(__name__)

_NAME = re.compile(r"step-\d{6}")


@dataclass(frozen=True, eq=False)
class CheckpointStore:
    """The checkpoints of one training."""

    folder: Path
    remote: S3Folders | None  # copies on S3
    identity: Mapping[str, Any]
    keep: int  # number of newest checkpoints to keep
    fork_from: CheckpointStore | None = None  # used until the training has checkpoints itself

    @classmethod
    def from_context(cls, context: Context, keep: int) -> CheckpointStore:
        """Return the store that a stage's context configures.

        Raises:
            VicurError: if an address is invalid.
        """
        other = None
        if context.fork_from is not None:
            folder, remote = _locations(context.fork_from, context.work / "forked")
            other = cls(folder, remote, {}, keep)
        folder, remote = _locations(context.checkpoints, context.work)
        return cls(folder, remote, context.identity, keep, other)

    def save(self, checkpoint: Checkpoint) -> None:
        """Save a checkpoint and delete all but the newest ones.

        Raises:
            OSError: if the disk is full or read-only. Existing checkpoints are untouched.
            VicurError: if the upload to S3 fails.
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
        """Return the newest intact checkpoint of this training, else that to fork from, else ``None``.

        Raises:
            VicurError: if the checkpoints belong to another training, or there is none to fork from.
        """
        for leftover in self.folder.glob(".step-*"):
            # A killed process was writing it. A checkpoint by time may never be written under the same name again.
            sweep(self.folder / leftover.name[1 : 1 + len("step-000000")])
        for where, checkpoint in self._intact():
            self._require_own(checkpoint, where)
            return checkpoint
        if self.fork_from is None:
            return None
        for where, checkpoint in self.fork_from._intact():
            log.info("forking from %s", where)
            # Its waiting rollouts were sampled with other settings, perhaps for other rows.
            return replace(checkpoint, pending={})
        raise VicurError(
            "there is no intact checkpoint to fork from.",
            where=self.fork_from.address,
            remedy="Set --fork-from to the folder or address with the checkpoints of an earlier training.",
        )

    @property
    def address(self) -> str:
        return str(self.folder) if self.remote is None else self.remote.address

    def _intact(self) -> Iterator[tuple[str, Checkpoint]]:
        """Yield intact checkpoints with their addresses, newest first. Those on S3 are downloaded."""
        remote = set(self._on(self.remote)) if self.remote is not None else set()
        for name in sorted({*self._local(), *remote}, reverse=True):
            where = f"{self.address}/{name}"
            checkpoint = read_checkpoint(self.folder / name) if name in self._local() else None
            if checkpoint is None and self.remote is not None and name in remote:
                self.remote.get(name, self.folder / name)
                checkpoint = read_checkpoint(self.folder / name)
            if checkpoint is not None:
                yield where, checkpoint
            else:
                log.warning("%s is damaged; trying the checkpoint before it", where)

    def _local(self) -> list[str]:
        return _checkpoints(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []

    @staticmethod
    def _on(remote: S3Folders) -> list[str]:
        return _checkpoints(remote.names())

    def _require_own(self, checkpoint: Checkpoint, where: str) -> None:
        # A setting that an older checkpoint does not have is equal to one that is not set.
        saved, own = (
            {key: value for key, value in flattened(identity) if value is not None}
            for identity in (checkpoint.identity, self.identity)
        )
        changed = differences(saved, own, "{key}: {first} -> {second}")
        if changed:
            raise VicurError(
                f"the checkpoint belongs to a different training ({listed(changed, shown=8, separator='; ')}).",
                where=where,
                remedy="Restore these settings, or choose another place for the checkpoints of this training with --checkpoints; to start "
                f"it from the existing ones, add --fork-from {self.address}.",
            )


def _checkpoints(names: Iterable[str]) -> list[str]:
    # A user's folder may contain other things. The names sort by step.
    return sorted(name for name in names if _NAME.fullmatch(name))


def _locations(address: str | None, work: Path) -> tuple[Path, S3Folders | None]:
    if address is None:
        return work, None
    if is_s3(address):
        return work, S3Folders.at(address, CHECKSUMS)
    return Path(address), None
