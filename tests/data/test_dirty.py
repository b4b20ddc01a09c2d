import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.data.conftest import make_context
from tests.data.dirty import ROWS, write_dirty
from vicur.config.data import FolderConfig
from vicur.data import prepare, stage_inputs, verify

SECONDS = 60


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def too_slow(*_: object) -> None:
        raise TimeoutError(f"still running after {seconds} s")

    previous = signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def test_no_row_of_a_dirty_dataset_is_lost_silently(tmp_path: Path) -> None:
    rows = write_dirty(tmp_path / "dirty")
    config = FolderConfig(path=tmp_path / "dirty", max_skipped_share=1.0, duplicates="report")
    (tmp_path / "data").mkdir()
    with _time_limit(SECONDS):
        summary = prepare(config, stage_inputs(config), tmp_path / "data", make_context(tmp_path / "work"))
    listed = [json.loads(line) for line in (tmp_path / "data" / "skipped.jsonl").read_text().splitlines()]
    assert sum(summary.examples.values()) + summary.skipped == ROWS
    assert len(listed) == summary.skipped
    assert max(Counter(each["row"] for each in listed).values()) == 1
    skipped = {each["row"]: each for each in listed}
    wrong = []
    for number, row in enumerate(rows, start=1):
        found = skipped.get(number)
        if row.field is None:
            if found is not None:
                wrong.append(f"row {number} {row.line[:60]!r} is skipped: {found}")
        elif found is None:
            wrong.append(f"row {number} {row.line[:60]!r} is used, but {row.field} {row.reason}")
        elif found["field"] != row.field or row.reason not in found["reason"] or not found["remedy"]:
            wrong.append(f"row {number}: wanted {row.field!r} {row.reason!r}, found {found}")
    assert not wrong, "\n".join(wrong)
    assert verify(tmp_path / "data").dataset_hash == summary.dataset_hash
