"""File names of the images that ``vicur data show`` writes."""

import pytest

from vicur.commands.data import _file_name


@pytest.mark.parametrize("identifier", ["scene-1.q2", "a/b", "a_b", "../x", "nul\0", "é" * 300, "名前"])
def test_an_id_becomes_a_valid_file_name(identifier: str, tmp_path) -> None:
    (tmp_path / _file_name(identifier)).write_bytes(b"")
    assert [path.name for path in tmp_path.iterdir()] == [_file_name(identifier)]


def test_different_ids_get_different_file_names() -> None:
    assert len({_file_name(identifier) for identifier in ("a/b", "a_b", "a:b")}) == 3
    assert _file_name("a_b") == "a_b"
