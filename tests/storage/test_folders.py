"""Folders and files are complete or absent, whatever happens to their writer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from vicur.errors import VicurError
from vicur.storage import folders

DEAD_PID = 2**22 + 1  # above the kernel's largest


def fill(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folders.files_below(folder)}


def fail_after(file: Path) -> None:
    file.write_text("half")
    raise VicurError("is truncated.", remedy="Replace it.")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def leftover(path: Path, state: str, pid: int = DEAD_PID) -> Path:
    return path.with_name(f".{path.name}.{socket.gethostname()}-{pid}.{state}")


@pytest.fixture(params=["swap", "two renames"])
def renaming(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "two renames":
        monkeypatch.setattr(folders, "_exchange", lambda *_: False)
    return str(request.param)


def test_a_new_folder_appears_complete(tmp_path: Path) -> None:
    with folders.new_folder(tmp_path / "a" / "b") as partial:
        fill(partial, x="1")
        assert not (tmp_path / "a" / "b").exists()
    assert contents(tmp_path / "a" / "b") == {"x": "1"}


@pytest.mark.usefixtures("renaming")
def test_a_new_folder_replaces_the_old_one_without_leftovers(tmp_path: Path) -> None:
    old = fill(tmp_path / "out", x="old", gone="old")
    with folders.new_folder(old) as partial:
        fill(partial, x="new")
        assert contents(old) == {"x": "old", "gone": "old"}
    assert contents(old) == {"x": "new"}
    assert names(tmp_path) == ["out"]


def test_replacing_a_symbolic_link_replaces_its_target(tmp_path: Path) -> None:
    (tmp_path / "disk" / "real").mkdir(parents=True)
    (tmp_path / "disk" / "real" / "old").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "real")
    with folders.new_folder(tmp_path / "link") as partial:
        (partial / "new").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in (tmp_path / "disk" / "real").iterdir()] == ["new"]
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "link"}
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["real"]


def test_a_failed_writer_leaves_the_old_folder_untouched(tmp_path: Path) -> None:
    old = fill(tmp_path / "out", x="old")
    with pytest.raises(VicurError), folders.new_folder(old) as partial:
        fail_after(partial / "x")
    assert contents(old) == {"x": "old"}
    assert names(tmp_path) == ["out"]


def test_the_old_folder_is_restored_if_the_second_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fill(tmp_path / "out", x="old")
    monkeypatch.setattr(folders, "_exchange", lambda *_: False)
    rename = Path.rename

    def full_disk(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(28, "No space left on device", str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full_disk)
    with pytest.raises(OSError, match="No space"), folders.new_folder(old) as partial:
        fill(partial, x="new")
    assert contents(old) == {"x": "old"}


def test_the_next_writer_repairs_a_kill_between_two_renames(tmp_path: Path) -> None:
    path = tmp_path / "out"
    fill(leftover(path, "old"), x="old")
    fill(leftover(path, "partial"), x="new")
    folders.sweep(path)
    assert contents(path) == {"x": "old"}
    assert names(tmp_path) == ["out"]


def test_leftovers_are_found_for_a_name_with_brackets_and_in_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "rows[1]*.parquet"
    dead, other = fill(leftover(path, "partial")), fill(leftover(tmp_path / "rows1.parquet", "partial"))
    folders.sweep(path)
    folders.sweep(tmp_path / "missing" / "out")
    assert not dead.exists()
    assert other.exists()


def test_leftovers_of_killed_writers_are_removed_and_those_of_running_ones_kept(tmp_path: Path) -> None:
    path = fill(tmp_path / "out", x="old")
    dead, alive = fill(leftover(path, "partial")), fill(leftover(path, "partial", os.getppid()))
    elsewhere = fill(path.with_name(".out.another-machine-77.partial"))
    other = fill(path.with_name(".out.keep"))
    with folders.new_folder(path) as partial:
        fill(partial, x="new")
    assert not dead.exists()
    assert alive.exists()
    assert elsewhere.exists()
    assert other.exists()


def test_leftovers_anywhere_in_a_tree_are_removed(tmp_path: Path) -> None:
    deep = tmp_path / "train"
    whole = fill(deep / "k1", x="1")
    for path in (deep / "k1", deep / "k2", tmp_path / "file.json"):
        fill(leftover(path, "partial"), x="half")
    fill(leftover(deep / "k3", "old"), x="old")
    fill(tmp_path / ".partial")
    folders.sweep_below(tmp_path)
    assert contents(tmp_path) == {"train/k1/x": "1", "train/k3/x": "old"}
    assert whole.is_dir()
    assert (tmp_path / ".partial").is_dir()


def test_killing_a_writer_leaves_the_old_folder_complete(tmp_path: Path) -> None:
    old = fill(tmp_path / "out", x="old")
    script = (
        "import sys, time; from pathlib import Path; from vicur.storage.folders import new_folder\n"
        "with new_folder(Path(sys.argv[1])) as p:\n"
        "    (p / 'x').write_text('half'); print('writing', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(old)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    assert contents(old) == {"x": "old"}
    with folders.new_folder(old) as partial:
        fill(partial, x="new")
    assert contents(old) == {"x": "new"}
    assert names(tmp_path) == ["out"]


def test_a_folder_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(VicurError, match="a file has this name"), folders.new_folder(tmp_path / "README.md"):
        pass
    assert (tmp_path / "README.md").read_text() == "mine"


def test_an_unwritable_path_is_reported_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (folders.new_folder, folders.new_file):
        with pytest.raises(VicurError) as caught, write(tmp_path / "file" / "out"):
            pass
        assert str(tmp_path / "file" / "out") in str(caught.value)
        assert "Choose a folder" in caught.value.remedy


def test_a_new_file_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a" / "f.json"
    with folders.new_file(path) as partial:
        partial.write_text("1")
    with pytest.raises(VicurError), folders.new_file(path) as partial:
        fail_after(partial)
    assert path.read_text() == "1"
    assert names(tmp_path / "a") == ["f.json"]


def test_a_linked_copy_shares_bytes_or_falls_back_to_copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = fill(tmp_path / "source", x="1")
    fill(source / "deep", y="2")
    folders.link_or_copy(source, tmp_path / "linked")
    assert (tmp_path / "linked" / "deep" / "y").samefile(source / "deep" / "y")

    def crosses_devices(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", crosses_devices)
    folders.link_or_copy(source, tmp_path / "copied")
    assert not (tmp_path / "copied" / "x").samefile(source / "x")
    assert contents(tmp_path / "copied") == contents(tmp_path / "linked") == {"x": "1", "deep/y": "2"}


def test_a_copy_shares_no_file_whether_the_file_system_can_clone_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = fill(tmp_path / "source", x="1")
    fill(source / "deep", y="2")
    folders.copy_folder(source, tmp_path / "copied")

    def clones(target: BinaryIO, _request: int, source: int) -> None:
        target.write(os.pread(source, 100, 0))

    monkeypatch.setattr("fcntl.ioctl", clones)
    folders.copy_folder(source, tmp_path / "cloned")
    for copy in (tmp_path / "copied", tmp_path / "cloned"):
        (copy / "x").write_text("edited")
        assert contents(copy) == {"x": "edited", "deep/y": "2"}
    assert contents(source) == {"x": "1", "deep/y": "2"}


def test_protected_files_are_read_only_and_can_be_replaced(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", x="1")
    folders.protect(folder)
    assert (folder / "x").stat().st_mode & 0o222 == 0
    with folders.new_folder(folder) as partial:
        fill(partial, x="2")
    assert contents(folder) == {"x": "2"}


def test_the_hash_of_a_tree_depends_on_names_and_bytes_only(tmp_path: Path) -> None:
    base = folders.tree_sha256(fill(tmp_path / "a", x="1", y="2"))
    assert folders.tree_sha256(fill(tmp_path / "b", y="2", x="1")) == base
    assert folders.tree_sha256(fill(tmp_path / "c", x="2", y="1")) != base
    assert folders.tree_sha256(fill(tmp_path / "d", x="1", z="2")) != base
    with pytest.raises(VicurError, match="does not exist"):
        folders.tree_sha256(tmp_path / "nowhere")
