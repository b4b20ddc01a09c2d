from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vicur.data.parquet import write_table

TABLE = pa.table({"id": ["a", "b"], "correct": [True, False], "words": [3, 4]})


def test_the_bytes_do_not_depend_on_the_tables_memory_layout(tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "one.parquet")
    write_table(pa.concat_tables([TABLE[:1], TABLE[1:]]), tmp_path / "two.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert pq.read_table(tmp_path / "one.parquet").equals(TABLE)


def test_a_flipped_bit_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    write_table(pa.table({"text": ["cue"]}), path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"cue", b"cud", 1))
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(path, page_checksum_verification=True).read()
