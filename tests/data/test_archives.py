import io
import tarfile
import tempfile
import tracemalloc
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import UserError
from stages.data import archives

PARTS = st.text(
    st.sampled_from("ab.é \\'\x1b") | st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5
)
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join).filter(lambda name: not name.endswith("/"))
FILES = st.dictionaries(NAMES, st.binary(max_size=600), max_size=4)
CHANGES = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=4)


def read_files(path, max_bytes=1e9, **wanted):
    return archives.read_files(path, max_bytes, **wanted)


def member(name: str, **attributes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def make_tar(path, *members):
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_folder_tar_and_zip_give_the_same_files(tmp_path):
    (tmp_path / "box/train/pos").mkdir(parents=True)
    (tmp_path / "box/train/pos/1.txt").write_bytes(b"good")
    tar = make_tar(tmp_path / "a.tar.gz", (member("train/pos/1.txt"), b"good"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("train/pos/1.txt", "good")
    found = [[(str(name), content) for name, content in read_files(path)] for path in (
        tmp_path / "box", tar, tmp_path / "a.zip")]  # fmt: skip
    assert found == [[("train/pos/1.txt", b"good")]] * 3


def test_an_archive_made_of_the_current_folder_is_read(tmp_path):
    top, folder = member(".", type=tarfile.DIRTYPE), member("./train", type=tarfile.DIRTYPE)
    tar = make_tar(tmp_path / "a.tgz", (top, b""), (folder, b""), (member("./train/pos/a\u00a0b.txt"), b"good"))
    assert [str(name) for name, _ in read_files(tar)] == ["train/pos/a\u00a0b.txt"]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_the_message_about_a_broken_archive_names_it(tmp_path, name):
    (tmp_path / name).write_bytes(b"no archive" * 100)
    with pytest.raises(UserError, match=rf"{name}: broken archive"):
        list(read_files(tmp_path / name))


def test_another_kind_of_file_is_an_error(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"x")
    with pytest.raises(UserError, match=r"neither a folder nor an archive; allowed are .tar.gz"):
        list(read_files(tmp_path / "a.rar"))


def make_archives(folder, files):
    """A tar, a tar.gz and a zip of the same files."""
    make_tar(folder / "a.tar.gz", *((member(name), content) for name, content in files.items()))
    with tarfile.open(folder / "a.tar", "w") as archive:
        for name, content in files.items():
            archive.addfile(member(name, size=len(content)), io.BytesIO(content))
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return [folder / "a.tar", folder / "a.tar.gz", folder / "a.zip"]


@given(FILES)
def test_files_of_any_name_and_content_are_read_as_they_were_packed_or_refused(files):
    with tempfile.TemporaryDirectory() as folder:
        for path in make_archives(Path(folder), files):
            try:
                found = {str(name): content for name, content in read_files(path)}
            except UserError as error:
                assert str(error).startswith(f"{path}: ")  # noqa: PT017
                continue
            assert sorted(found.values()) == sorted(files.values())
            for name in found:
                assert not PurePosixPath(name).is_absolute()
                assert ".." not in PurePosixPath(name).parts


@given(CHANGES, st.integers(0, 12_000), st.booleans())
def test_an_archive_of_any_bytes_is_read_or_an_error_of_the_user(changes, length, everything):
    with tempfile.TemporaryDirectory() as folder:
        for path in make_archives(Path(folder), {"train/pos/1.txt": b"good" * 99, "train/neg/2.txt": b"bad"}):
            content = bytearray(path.read_bytes())
            for place, byte in changes:
                content[place : place + 1] = bytes([byte])
            path.write_bytes(content[:length])
            try:
                found = list(read_files(path, is_wanted=lambda name: everything))
            except UserError as error:
                assert str(error).startswith(f"{path}: ")  # noqa: PT017
            else:
                assert all((content is not None) == everything for _, content in found)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_files_that_are_not_wanted_are_listed_and_never_in_memory(tmp_path, kind):
    files = {"big.bin": bytes(64 << 20), "train/pos/1.txt": b"good"}
    (path,) = [path for path in make_archives(tmp_path, files) if path.name == f"a.{kind}"]
    tracemalloc.start()
    found = {str(name): content for name, content in read_files(path, is_wanted=lambda name: name.suffix == ".txt")}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == {"big.bin": None, "train/pos/1.txt": b"good"}
    assert peak < 8 << 20
