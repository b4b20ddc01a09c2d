"""Prepare a source in a process of its own: ``python -m benchmarks.reading.prepare SOURCE WORK OUTPUT PROCESSES``."""

from __future__ import annotations

import sys
from pathlib import Path

from vicur.config.data import FolderConfig
from vicur.data import prepare
from vicur.stage.events import Events
from vicur.stage.runner import Context
from vicur.storage.folders import new_folder
from vicur.tracking.tracker import Tracker


def main(source: Path, work: Path, output: Path, processes: int) -> None:
    work.mkdir(parents=True, exist_ok=True)
    config = FolderConfig(path=source, processes=processes)
    with new_folder(output) as partial, Tracker() as tracker:
        context = Context("benchmark", seed=0, tracker=tracker, events=Events.from_environment("prepare"), work=work)
        print(prepare(config, config.inputs(), partial, context).key_figure)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), processes=int(sys.argv[4]))
