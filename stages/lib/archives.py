"""The files of a folder or an archive, read one by one and never unpacked to disk."""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from stages.lib.errors import UserError

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)  # zipfile: encrypted


def read_files(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield (path inside, content) of every regular file in a folder, tar or zip archive.

    UserError when `path` is neither, when the archive is broken, or when it holds a link, a device or a path that
    leads outside of it: such an archive was made to do harm, or by mistake, and is read no further.
    """
    if path.is_dir():
        yield from read_folder(path)
    elif path.name.lower().endswith(SUFFIXES):
        read = read_zip if path.suffix.lower() == ".zip" else read_tar
        try:
            yield from read(path)
        except BROKEN as error:
            raise UserError(f"{path}: broken archive ({error}); fetch it again.") from None
    else:
        raise UserError(f"{path}: neither a folder nor an archive; allowed are {', '.join(SUFFIXES)}.")


def read_folder(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}).") from None

    for folder, folders, names in os.walk(path, onerror=refuse):
        for name in sorted(folders + names):
            file = Path(folder, name)
            if file.is_dir() and not file.is_symlink():
                continue
            if not file.is_file():  # reading a link to a folder could go in circles, reading a pipe could hang
                raise UserError(f"{file}: neither a file nor a folder; replace the link by what it points to.")
            try:
                yield safe_name(path, file.relative_to(path).as_posix()), file.read_bytes()
            except OSError as error:
                refuse(error)


def read_tar(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    with tarfile.open(path, "r|*") as archive:  # a stream: one pass, nothing kept of what was read
        for member in archive:
            if member.isdir():
                continue
            name = safe_name(path, member.name)
            if not member.isreg():
                raise UserError(f"{path}: '{member.name}' is a link or device; only files and folders are allowed.")
            yield name, archive.extractfile(member).read()


def read_zip(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            name = safe_name(path, member.filename)
            kind = member.external_attr >> 28  # the file type of a Unix mode; 0 where the archive has none
            if kind not in (0, 8):
                raise UserError(f"{path}: '{member.filename}' is a link or device; only files and folders are allowed.")
            yield name, archive.read(member)


def safe_name(archive: Path, name: str) -> PurePosixPath:
    """The member's path; UserError when it is absolute, climbs out of the archive, or is no text."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or any("\ud800" <= letter <= "\udfff" for letter in name):  # how Python holds undecodable bytes
        raise UserError(f"{archive}: {name!r} is no valid name (UTF-8 is expected); rename it.")
    if path.is_absolute() or ".." in path.parts or (path.parts[:1] and path.parts[0].endswith(":")):
        raise UserError(f"{archive}: '{name}' leads outside of the archive; refused.")
    return path
