"""A source at an address, of which only beginnings are fetched, for ``vicur data inspect``.

Names and sizes come from the listing. What a format opens is fetched then: of rows the first, of other files the whole, both up to limits.
Files whose names differ in digits only, as those of shards do, are represented by two of them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from vicur.data.fetched import ENDINGS
from vicur.data.formats.beginnings import representatives
from vicur.data.formats.json_array import elements
from vicur.data.formats.source_folder import SourceFolder
from vicur.errors import VicurError
from vicur.storage.folders import new_file

if TYPE_CHECKING:
    import pyarrow as pa

ReadRange = Callable[[str, int, int], bytes]
"""Returns bytes of a file: its name, the first byte, and how many. Fewer at the end of the file."""

MOST = 256 << 20
"""Bytes that are fetched of a source."""
_ROWS = 50  # rows of a table
_BATCH = 16  # rows of a table that are decoded at a time
_TEXT = 1 << 20  # bytes of a text file, or more if its first row is longer
_WHOLE = 16 << 20  # bytes of a file that is fetched as a whole
_TAR = 8 << 20  # bytes of a larger tar archive
_BUFFER = 256 << 10
_LINES = (".jsonl", ".ndjson", ".csv", ".tsv", ".tab")


class ExcerptFolder(SourceFolder):
    """A listed source whose files are fetched in part when they are opened.

    Args:
        path: empty folder for what is fetched.
        sizes: bytes of each file of the source, or ``None`` to look it up when the file is opened.
        read: reads a range of a file.
        address: the source's address.
        size_of: returns the bytes of a file whose size is ``None``.
    """

    # Their images may be a file each.
    sampled: ClassVar[int] = 40

    def __init__(
        self,
        path: Path,
        sizes: Mapping[str, int | None],
        read: ReadRange,
        address: str = "",
        size_of: Callable[[str], int] | None = None,
    ) -> None:
        super().__init__(path, address)
        path.mkdir(parents=True, exist_ok=True)
        self._sizes = {
            name: size for name, size in sizes.items() if not any(part.startswith(".") for part in name.split("/"))
        }
        self._read, self._size_of = read, size_of
        self._fetched: dict[str, int] = {}
        """Bytes fetched of each file."""

    @cached_property
    def files(self) -> tuple[str, ...]:
        rows = [name for name in self._sizes if name.lower().endswith(ENDINGS)]
        first = representatives(rows)
        second = representatives([name for name in rows if name not in set(first)])
        left_out = set(rows) - {*first, *second}
        return tuple(sorted(name for name in self._sizes if name not in left_out))

    @property
    def extent(self) -> str:
        """Describe how much of the source was fetched."""
        fetched, sizes = sum(self._fetched.values()), self._sizes.values()
        total = "" if None in sizes else f" of {sum(size or 0 for size in sizes) / 1e6:,.1f}"
        return f"{fetched / 1e6:,.1f}{total} MB, of {len(self._fetched):,} of {len(self._sizes):,} files"

    def size(self, name: str) -> int:
        return self.locate(name).stat().st_size

    def exists(self, name: str) -> bool:
        return name in self._sizes

    def locate(self, name: str) -> Path:
        path = super().locate(name)
        if name in self._sizes and not path.exists():
            with new_file(path) as partial, partial.open("wb") as stream:
                self._write_excerpt(name, stream)
        return path

    def open(self, name: str) -> BinaryIO:
        if name.lower().endswith(".zip") and name in self._sizes:
            # Members are at any place of an archive.
            return io.BufferedReader(_RangeFile(self, name, self._known_size(name)), _BUFFER)
        return super().open(name)

    def range(self, name: str, start: int, count: int) -> bytes:
        """Fetch bytes of a file.

        Raises:
            VicurError: if more than :data:`MOST` would be fetched.
        """
        if sum(self._fetched.values()) + count > MOST:
            raise VicurError(
                f"more than {MOST >> 20} MB would have to be fetched.",
                where=f"{self.address}/{name}",
                remedy="Choose files (--set 'data.files=[...]'), or fetch the source and inspect the folder (vicur data fetch).",
            )
        data = self._read(name, start, count)
        self._fetched[name] = self._fetched.get(name, 0) + len(data)
        return data

    def _known_size(self, name: str) -> int:
        size = self._sizes[name]
        if size is None:
            assert self._size_of is not None
            size = self._sizes[name] = self._size_of(name)
        return size

    def _write_excerpt(self, name: str, stream: BinaryIO) -> None:
        size, ending = self._known_size(name), Path(name).suffix.lower()
        if ending in (".parquet", ".pq") and size > _TEXT:
            self._write_table(name, size, stream)
        elif ending in _LINES and size > _TEXT:
            stream.write(self._first_lines(name, size))
        elif ending == ".json" and size > _WHOLE:
            stream.write(self._first_elements(name, size))
        elif ending == ".tar" and size > _TAR:
            stream.write(_whole_members(self.range(name, 0, _TAR)))
        else:
            for start in range(0, size, _WHOLE):
                stream.write(self.range(name, start, min(_WHOLE, size - start)))

    def _first_lines(self, name: str, size: int) -> bytes:
        """Return the first lines of a text file, so that no value in quotes is cut off."""
        is_table = not name.lower().endswith((".jsonl", ".ndjson"))
        data = b""
        while len(data) < size:
            data += self.range(name, len(data), min(max(_TEXT, len(data)), size - len(data)))
            end = _end_of_whole_lines(data, is_table=is_table, is_all=len(data) == size)
            if end:
                return data[:end]
        return data

    def _first_elements(self, name: str, size: int) -> bytes:
        """Return the beginning of a JSON array, closed behind a whole element."""
        data = self.range(name, 0, min(_TEXT, size))
        while data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[" and len(data) < size:
            end = 0
            try:
                for element in elements(data, name):
                    end = element.end
            except VicurError:
                pass
            if end:
                return data[:end] + b"]"
            data += self.range(name, len(data), min(len(data), size - len(data)))
        raise VicurError(
            f"is a JSON document of {size / 1e6:,.0f} MB that is not an array, which can only be read as a whole.",
            where=f"{self.address}/{name}",
            remedy="Fetch the source and inspect the folder (vicur data fetch).",
        )

    def _write_table(self, name: str, size: int, stream: BinaryIO) -> None:
        """Write the first rows of a parquet file as a parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        source = io.BufferedReader(_RangeFile(self, name, size), _BUFFER)
        try:
            # Without buffer_size, pyarrow reads whole columns of a row group.
            file = pq.ParquetFile(source, buffer_size=_BUFFER, pre_buffer=False)
            with file, pq.ParquetWriter(stream, file.schema_arrow) as writer:
                for batch in _first_batches(file.iter_batches(_BATCH, use_threads=False)):
                    writer.write_batch(batch)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise VicurError(
                f"is not a parquet file, or damaged ({str(error).partition(chr(10))[0]}).",
                where=f"{self.address}/{name}",
                remedy="Upload the file again.",
            ) from error


def _first_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        yield batch
        rows += batch.num_rows
        if rows >= _ROWS:
            return


def _end_of_whole_lines(data: bytes, *, is_table: bool, is_all: bool) -> int:
    """Return the number of bytes in whole lines; in a table, a line break inside quotes does not end one."""
    end = at = quotes = 0
    for line in data.splitlines(keepends=True):
        at += len(line)
        quotes += line.count(b'"')
        if (line.endswith(b"\n") or (is_all and at == len(data))) and not (is_table and quotes % 2):
            end = at
    return end


def _whole_members(data: bytes) -> bytes:
    """Return the beginning of a tar archive up to the last whole member, with an end."""
    import tarfile

    end = 0
    stream = io.BytesIO(data)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                after = member.offset_data + -(-member.size // 512) * 512
                if after > len(data):
                    break
                end = after
    except (tarfile.TarError, EOFError):
        pass
    return data[:end] + bytes(1024)


class _RangeFile(io.RawIOBase):
    """A remote file as a seekable one, for readers that need only some places of it."""

    def __init__(self, folder: ExcerptFolder, name: str, size: int) -> None:
        super().__init__()
        self._folder, self._name, self._size = folder, name, size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence])
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), max(0, self._size - self._place))
        data = self._folder.range(self._name, self._place, count) if count else b""
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
