"""Read one split of a dataset in parts, so that memory does not grow with the dataset.

:class:`StoredSplit` is a sequence of examples. It knows from the footers of the parquet files which row group holds which rows, and reads a
group when one of its rows is needed. Groups stay in a cache of limited size. At any time it holds:

- an index of about 20 KB for 1,000 row groups (250,000 rows), and the footers of the files (4 KB a group);
- the cached groups, of at most ``cache_bytes``, or a single group if that is larger;
- the examples that the caller keeps.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from vicur.data.dataset import read_manifest
from vicur.data.schema import Example, Manifest, Shard, marks_a_video
from vicur.errors import VicurError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

CACHE_BYTES = 640 << 20
"""Default size of the cache of row groups: the buffer that training rows are shuffled in, and the next groups."""

_REBUILD = "Build the dataset again (vicur data prepare), or fetch it again."


@dataclass(frozen=True)
class Group:
    """A row group of a split."""

    file: int  # number of its file among those of the split
    number: int  # of the group in its file
    first: int  # its first row in the file, from 0
    start: int  # its first row in the split, from 0
    rows: int
    size: int  # bytes


class StoredSplit(Sequence[Example]):
    """The examples of one split, in their order. Thread-safe.

    Indexing reads the row group of that row; iterating reads each group once, the next one ahead of time. A slice is a view, which reads
    nothing by itself.

    Raises:
        VicurError: if the folder is not a dataset or lacks the split, or a shard is damaged. Rows are checked when they are read.
    """

    def __init__(self, folder: Path, split: str, *, cache_bytes: int = CACHE_BYTES) -> None:
        manifest = read_manifest(folder)
        if split not in manifest.examples:
            raise _no_split(folder, split, manifest)
        self._split = split
        self._paths: list[Path] = []
        self._footers: list[pq.FileMetaData] = []
        self.groups: list[Group] = []
        rows = 0
        for shard in (shard for shard in manifest.shards if shard.split == split):
            self._add(folder, shard, rows)
            rows += shard.rows
        self._starts = [group.start for group in self.groups]
        self._rows = rows
        self._left = cache_bytes
        self._cache: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, row: int) -> Example: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Example]: ...
    def __getitem__(self, row: int | slice) -> Example | Sequence[Example]:
        if isinstance(row, slice):
            return _View(self, range(self._rows)[row])
        row = range(self._rows)[row]  # IndexError if it is out of range
        number = self._group_of(row)
        return self._example(self._loaded(number), self.groups[number], row - self.groups[number].start)

    def __iter__(self) -> Iterator[Example]:
        return self.of_groups(range(len(self.groups)))

    def load(self, rows: Iterable[int]) -> None:
        """Read the groups of these rows into the cache."""
        for number in sorted({self._group_of(row) for row in rows}):
            self._loaded(number)

    def of_groups(self, numbers: Sequence[int]) -> Iterator[Example]:
        """Yield the examples of some groups, while the next group is read. The cache is neither used nor filled."""
        for number, table in self._ahead(numbers, None):
            group = self.groups[number]
            for place, record in enumerate(table.to_pylist()):
                yield self._checked(record, group, place)

    def columns(self, *names: str) -> pa.Table:
        """Return some columns of all rows. Columns that are not named, such as the images, are not read."""
        import pyarrow as pa

        from vicur.data.shards import SCHEMA

        schema = pa.schema([SCHEMA.field(name) for name in names])
        tables = [table for _, table in self._ahead(range(len(self.groups)), names)]
        return pa.concat_tables([schema.empty_table(), *tables])

    def has_videos(self) -> bool:
        """Return whether an example is about a video."""
        return any(map(marks_a_video, self.columns("metadata")["metadata"].to_pylist()))

    def rows_of(self, numbers: Sequence[int]) -> int:
        """Return the number of rows in some groups."""
        return sum(self.groups[number].rows for number in numbers)

    def _add(self, folder: Path, shard: Shard, start: int) -> None:
        from vicur.data.shards import open_shard

        path = folder / shard.file
        if not path.is_file():
            raise VicurError("is missing, but listed in manifest.json.", where=str(path), remedy=_REBUILD)
        with open_shard(path) as file:
            footer = file.metadata
        if footer.num_rows != shard.rows:
            raise VicurError(
                f"has {footer.num_rows} rows, but manifest.json lists {shard.rows}.", where=str(path), remedy=_REBUILD
            )
        first = 0
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            place = Group(len(self._paths), number, first, start + first, group.num_rows, group.total_byte_size)
            self.groups.append(place)
            first += group.num_rows
        self._paths.append(path)
        self._footers.append(footer)

    def _group_of(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _loaded(self, number: int) -> pa.Table:
        with self._lock:
            if number in self._cache:
                self._cache.move_to_end(number)
                return self._cache[number]
            table = self._read(number, None)
            self._cache[number] = table
            self._left -= table.nbytes
            while self._left < 0 and len(self._cache) > 1:
                self._left += self._cache.popitem(last=False)[1].nbytes
            return table

    def _read(self, number: int, columns: Sequence[str] | None) -> pa.Table:
        from vicur.data.shards import open_shard, read_group

        group = self.groups[number]
        path = self._paths[group.file]
        with open_shard(path, self._footers[group.file]) as file:
            return read_group(file, path, group.number, group.first + 1, columns)

    def _ahead(self, numbers: Sequence[int], columns: Sequence[str] | None) -> Iterator[tuple[int, pa.Table]]:
        """Yield the tables of some groups. While the caller uses one, the next is read."""
        with ThreadPoolExecutor(1, thread_name_prefix="reading") as pool:
            coming: list[tuple[int, Future[pa.Table]]] = []
            for number in [*numbers, None]:
                if number is not None:
                    coming.append((number, pool.submit(self._read, number, columns)))
                if coming and (number is None or len(coming) > 1):
                    current, table = coming.pop(0)
                    yield current, table.result()

    def _example(self, table: pa.Table, group: Group, place: int) -> Example:
        [record] = table.slice(place, 1).to_pylist()
        return self._checked(record, group, place)

    def _checked(self, record: dict[str, Any], group: Group, place: int) -> Example:
        from vicur.data.shards import stored_example

        path = self._paths[group.file]
        row = f"row {group.first + place + 1}"
        example = stored_example(record, f"{path}:{row}")
        if example.split != self._split:
            raise VicurError(
                f"belongs to split {example.split}, but the file to split {self._split}.",
                where=f"{path}:{row}:split",
                remedy=_REBUILD,
            )
        return example


class _View(Sequence[Example]):
    """A slice of a split."""

    def __init__(self, split: StoredSplit, rows: range) -> None:
        self._split = split
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> Example: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Example]: ...
    def __getitem__(self, row: int | slice) -> Example | Sequence[Example]:
        if isinstance(row, slice):
            return _View(self._split, self._rows[row])
        return self._split[self._rows[row]]

    def __iter__(self) -> Iterator[Example]:
        return (self._split[row] for row in self._rows)


class ExamplesById(Mapping[str, Example]):
    """The examples of one split by their ids. Only the ids are in memory.

    Raises:
        VicurError: as :class:`StoredSplit`.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self._split = StoredSplit(folder, split)
        ids = self._split.columns("id")["id"].to_pylist()
        self._rows = {key: row for row, key in enumerate(ids)}

    def __getitem__(self, key: str) -> Example:
        return self._split[self._rows[key]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _no_split(folder: Path, split: str, manifest: Manifest) -> VicurError:
    return VicurError(
        f"has no split {split!r}; it has {', '.join(manifest.examples) or 'none'}.",
        where=str(folder),
        remedy="Name one of these splits, or add examples of that split to the source.",
    )
