import io
import tarfile
import zipfile

import pytest

from stages.core.errors import UserError
from stages.data import archives


def read_files(path, max_bytes=1e9):
    return archives.read_files(path, max_bytes)


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
