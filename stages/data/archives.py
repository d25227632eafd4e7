"""The files of a folder or an archive, read one by one; an archive is never unpacked to disk."""

import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

from stages.core.errors import UserError

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
# RuntimeError: a zip that is encrypted. ValueError and struct.error: numbers that tarfile and zipfile cannot read.
ARCHIVE_ERRORS = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, RuntimeError, ValueError),
)
LONGEST_HEADER = 1 << 20  # bytes: tarfile reads names and other headers into memory, with any size that they declare
SPECIAL_FILE = "is a link or device, or has holes; only files and folders are allowed."
BLOCK = 4096  # bytes, as in a file system: an empty file counts as one block, so that their number is limited too

File = tuple[PurePosixPath, bytes | None]  # path in the folder or archive; content, or None when it is not wanted
IsWanted = Callable[[PurePosixPath], bool]


def read_files(path: Path, max_bytes: float, is_wanted: IsWanted = lambda name: True) -> Iterator[File]:
    """Yield the path of each regular file in a folder, tar or zip archive, and the content of those that are wanted.

    UserError when `path` is none of these, or the archive is broken; when it contains a link, a device, the same path
    twice, or a path that leads outside; and, before they are read, when the files of an archive together, or a wanted
    file of a folder, are larger than `max_bytes`. A source with these was made to do harm, or by mistake.
    """
    if path.is_dir():
        yield from read_folder(path, max_bytes, is_wanted)
    elif path.name.lower().endswith(SUFFIXES):
        yield from read_archive(path, max_bytes, is_wanted)
    else:
        raise UserError(f"{path}: neither a folder nor an archive; allowed are {', '.join(SUFFIXES)}.")


def read_folder(path: Path, max_bytes: float, is_wanted: IsWanted) -> Iterator[File]:
    for folder, folders, names in os.walk(path, onerror=raise_unreadable):
        for name in sorted(folders + names):
            file = Path(folder, name)
            if file.is_dir() and not file.is_symlink():
                continue
            if not file.is_file():  # reading a link to a folder may never end, nor reading a pipe
                raise UserError(f"{file}: neither a file nor a folder; replace a link by what it points to.")
            member = check_path(path, file.relative_to(path).as_posix())
            yield member, read_file(file, max_bytes) if is_wanted(member) else None


def read_file(path: Path, max_bytes: float) -> bytes:
    try:
        with path.open("rb") as file:
            SizeLimit(path, max_bytes).count(os.fstat(file.fileno()).st_size)
            return file.read()
    except OSError as error:
        raise_unreadable(error)


def raise_unreadable(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename}: cannot be read ({error.strerror}).") from None


def read_archive(path: Path, max_bytes: float, is_wanted: IsWanted) -> Iterator[File]:
    read = read_zip if path.suffix.lower() == ".zip" else read_tar
    seen = set()
    try:
        for name, content in read(path, SizeLimit(path, max_bytes), is_wanted):
            if name in seen:
                raise UserError(f"{path}: contains '{name}' twice; make the archive again, with each path once.")
            seen.add(name)
            yield name, content
    except ARCHIVE_ERRORS as error:
        remedy = "check that the file can be read" if getattr(error, "errno", None) else "fetch it again"
        raise UserError(f"{path}: broken archive ({error}); {remedy}.") from None


class SizeLimit:
    """Counts the bytes of a file, of which `name` is the name; UserError when they are more than `max_bytes`."""

    def __init__(self, name: Path | str, max_bytes: float):
        self.name = name
        self.max_bytes = max_bytes
        self.counted = 0

    def count(self, size: int) -> None:
        self.counted += size
        self.check(self.counted)

    def check(self, size: int) -> None:
        if size > self.max_bytes:
            raise UserError(
                f"{self.name}: contains more than the {self.max_bytes / 1e9:g} GB that data.max_size_gb allows. "
                "If it is not an archive bomb or a mistake, set the key higher."
            )


class LimitedStream:
    """A stream from which at most `remaining` bytes can be read.

    tarfile reads a header into memory, with any size that it declares.
    """

    def __init__(self, file: io.BufferedIOBase):
        self.file = file
        self.remaining = LONGEST_HEADER

    def read(self, size: int) -> bytes:
        piece = self.file.read(size)
        self.remaining -= len(piece)
        if self.remaining < 0:
            raise tarfile.ReadError(f"a header is longer than {LONGEST_HEADER:,} bytes")
        return piece


class StrictHeader(tarfile.TarInfo):
    """A header of a tar; a broken or missing one is an error.

    After the first member, tarfile takes a broken header for the end of the archive.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "StrictHeader":
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # a block of zeros, the end; not in typeshed
            raise
        except tarfile.HeaderError as error:
            reason = f"{error}, so it was truncated or changed" if buf else "its end is missing"
            raise tarfile.ReadError(reason) from None


def read_tar(path: Path, limit: SizeLimit, is_wanted: IsWanted) -> Iterator[File]:
    with open_tar(path) as file:
        stream = LimitedStream(file)
        # "r|": read in one pass. For this tarfile calls nothing but `read`; typeshed asks for all methods of a file.
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=StrictHeader) as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                archive.members.clear()  # tarfile would keep all headers in memory
                limit.count(max(member.size, BLOCK))
                stream.remaining = LONGEST_HEADER + (0 if member.isdir() else member.size)
                if member.isdir():
                    continue
                name = check_path(path, member.name)
                if not member.isreg() or member.issparse():
                    raise UserError(f"{path}: '{member.name}' {SPECIAL_FILE}")
                yield name, archive.extractfile(member).read() if is_wanted(name) else None
        while piece := file.read(1 << 20):  # gzip compares the checksum when it reaches the end
            limit.count(len(piece))


def open_tar(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if is_packed else path.open("rb")


def read_zip(path: Path, limit: SizeLimit, is_wanted: IsWanted) -> Iterator[File]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            limit.count(max(member.file_size, BLOCK))
        for member in archive.infolist():
            if member.filename.endswith("/"):  # `is_dir` fails for a name without letters
                continue
            name = check_path(path, member.filename)
            file_type = member.external_attr >> 28  # of a Unix mode: 8 is a regular file, 0 is not known
            if file_type not in (0, 8):
                raise UserError(f"{path}: '{member.filename}' {SPECIAL_FILE}")
            if not is_wanted(name):
                yield name, None
                continue
            size = member.file_size
            member.file_size += 1  # zipfile stops without an error at the declared size
            with archive.open(member) as file:
                content = file.read(size + 1)  # without a number, zipfile would unpack with no limit
            if len(content) != size:
                raise UserError(
                    f"{path}: '{name}' does not have the size that the archive declares, {size:,} bytes; fetch or make "
                    "the archive again."
                )
            yield name, content


def check_path(archive: Path, name: str) -> PurePosixPath:
    """The path of a member; UserError when it is absolute, leads outside of the archive, or is not text."""
    path = PurePosixPath(name.replace("\\", "/"))
    # Bytes that cannot be decoded are lone surrogates (PEP 383).
    if not path.parts or any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in name):
        raise UserError(f"{archive}: {name!r} is not a valid name (UTF-8 is expected); rename it.")
    if path.is_absolute() or ".." in path.parts or (path.parts[:1] and path.parts[0].endswith(":")):
        raise UserError(f"{archive}: '{name}' leads outside of the archive; make it again, with paths inside.")
    return path
