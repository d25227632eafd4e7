"""The files of a folder or an archive, read one by one and never unpacked to disk."""

import gzip
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from stages.core.errors import UserError

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
# RuntimeError: something encrypted in a zip. ValueError, struct.error: what tarfile and zipfile make of broken numbers.
BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, RuntimeError, ValueError),
)
LONGEST_HEADER = 1 << 20  # bytes: tarfile holds names and other headers of a member in memory, whatever they say to be
NO_FILE = "is a link or device, or has holes; only files and folders are allowed."
BLOCK = 4096  # bytes, as of a file system: a file counts as at least one, so that very many empty ones count too


def read_files(path: Path, max_bytes: float) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield (path inside, content) of every regular file in a folder, tar or zip archive.

    UserError when `path` is neither, when the archive is broken, when it holds a link, a device, the same path twice or
    one that leads outside of it, or when its files say to be larger than `max_bytes` in all: such an archive was made
    to do harm, or by mistake, and is read no further.
    """
    if path.is_dir():
        yield from read_folder(path)
    elif path.name.lower().endswith(SUFFIXES):
        read, seen = read_zip if path.suffix.lower() == ".zip" else read_tar, set()
        try:
            for name, content in read(path, SizeLimit(path, max_bytes)):
                if name in seen:
                    raise UserError(f"{path}: holds '{name}' twice; which one is meant, nobody knows. Pack it anew.")
                seen.add(name)
                yield name, content
        except BROKEN as error:
            remedy = "see that it can be read" if getattr(error, "errno", None) else "fetch it again"
            raise UserError(f"{path}: broken archive ({error}); {remedy}.") from None
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


class SizeLimit:
    """Counts what is in a packed file; UserError beyond what is allowed."""

    def __init__(self, path: Path, max_bytes: float):
        self.path, self.allowed, self.left = path, max_bytes, max_bytes

    def count(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise UserError(
                f"{self.path}: holds more than the {self.allowed / 1e9:g} GB that data.max_size_gb allows; "
                "it is a bomb or a mistake, or set the key higher."
            )


class Metered:
    """A stream that gives out no more than `left` bytes: tarfile reads as much as a header says, into memory."""

    def __init__(self, file: BinaryIO):
        self.file, self.left = file, LONGEST_HEADER

    def read(self, size: int) -> bytes:
        piece = self.file.read(size)
        self.left -= len(piece)
        if self.left < 0:
            raise tarfile.ReadError(f"a header is longer than {LONGEST_HEADER:,} bytes")
        return piece


class Header(tarfile.TarInfo):
    """A header that is broken or missing is an error: behind the first member, tarfile takes it for the end."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # a block of zeros, the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error}, so it was cut off or changed" if buf else "its end is missing") from None


def read_tar(path: Path, limit: SizeLimit) -> Iterator[tuple[PurePosixPath, bytes]]:
    with open_tar(path) as file:
        metered = Metered(file)
        with tarfile.open(fileobj=metered, mode="r|", tarinfo=Header) as archive:  # a stream, read in one pass
            while (member := archive.next()) is not None:
                archive.members.clear()  # nothing is kept of what was read
                limit.count(max(member.size, BLOCK))
                metered.left = LONGEST_HEADER + (0 if member.isdir() else member.size)
                if member.isdir():
                    continue
                name = safe_name(path, member.name)
                if not member.isreg() or member.issparse():
                    raise UserError(f"{path}: '{member.name}' {NO_FILE}")
                yield name, archive.extractfile(member).read()
        while piece := file.read(1 << 20):  # at its end gzip compares the checksum
            limit.count(len(piece))


def open_tar(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def read_zip(path: Path, limit: SizeLimit) -> Iterator[tuple[PurePosixPath, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            limit.count(max(member.file_size, BLOCK))
        for member in archive.infolist():
            if member.is_dir():
                continue
            name = safe_name(path, member.filename)
            kind = member.external_attr >> 28  # the file type of a Unix mode; 0 where the archive has none
            if kind not in (0, 8):
                raise UserError(f"{path}: '{member.filename}' {NO_FILE}")
            size = member.file_size
            member.file_size += 1  # zipfile stops at the declared size, in silence
            with archive.open(member) as file:
                content = file.read(size + 1)  # all at once, zipfile would unpack without a bound
            if len(content) != size:
                raise UserError(
                    f"{path}: '{name}' is not of the size that the archive declares, {size:,} bytes; refused."
                )
            yield name, content


def safe_name(archive: Path, name: str) -> PurePosixPath:
    """The member's path; UserError when it is absolute, climbs out of the archive, or is no text."""
    path = PurePosixPath(name.replace("\\", "/"))
    # Undecodable bytes are lone surrogates in Python.
    if not path.parts or any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in name):
        raise UserError(f"{archive}: {name!r} is no valid name (UTF-8 is expected); rename it.")
    if path.is_absolute() or ".." in path.parts or (path.parts[:1] and path.parts[0].endswith(":")):
        raise UserError(f"{archive}: '{name}' leads outside of the archive; refused.")
    return path
