"""Parquet files that one or several processes label: each file once, and none again after an interruption."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from tqdm import tqdm

from stages.core.errors import UserError
from stages.core.files import new_file, remove_parts
from stages.inference.parquet_files import LabelTexts, ParquetTask, open_texts, read_origin, write_labelled


class FilePair(NamedTuple):
    """A file, and the one with its labels."""

    source: Path
    target: Path


def pair_files(path: Path, out: Path) -> list[FilePair]:
    """The file, or the Parquet files of a folder and of the folders in it: each keeps its relative path in `out`.

    As in Spark, names that begin with a dot or `_` are left out. UserError when there is no file, or `out` is of
    another kind.
    """
    if not path.exists():
        raise UserError(f"--parquet: {path} does not exist.")
    if out.exists() and out.is_dir() != path.is_dir():
        kinds = ("folder", "file") if out.is_dir() else ("file", "folder")
        raise UserError(f"--out: {out} is a {kinds[0]}, and {path} is a {kinds[1]}; give a {kinds[1]}.")
    if path.resolve() in (out.resolve(), *out.resolve().parents):
        raise UserError(f"--out: {out} is --parquet itself or in it; give another place.")
    if not path.is_dir():
        return [FilePair(path, out)]
    names = [file.relative_to(path) for file in sorted(path.rglob("*.parquet")) if file.is_file()]
    names = [name for name in names if not any(part.startswith((".", "_")) for part in name.parts)]
    if not names:
        raise UserError(f"--parquet: {path} has no Parquet files (*.parquet).")
    return [FilePair(path / name, out / name) for name in names]


def count_rows(pairs: list[FilePair], task: ParquetTask) -> dict[FilePair, int]:
    """The rows of each file; UserError for the first that is not as the task needs it."""
    rows = {}
    for pair in pairs:
        with open_texts(pair.source, task) as file:
            rows[pair] = file.rows
    return rows


def find_unlabelled(pairs: list[FilePair], task: ParquetTask) -> list[FilePair]:
    """The files that have no output yet; UserError when an output of another origin is in its place."""
    left = []
    for pair in pairs:
        if is_labelled(pair, task):
            find_lock(pair.target).unlink(missing_ok=True)  # of a process that was killed in its last moment
        else:
            left.append(pair)
    return left


def is_labelled(pair: FilePair, task: ParquetTask) -> bool:
    """Whether there is an output, which is then complete; UserError when the task would give another one."""
    if not pair.target.exists():
        return False
    found, wanted = read_origin(pair.target), task.describe_origin(pair.source)
    for key in wanted:
        if found.get(key) != wanted[key]:
            raise UserError(
                f"{pair.target}: was labelled with {key} {found.get(key)!r}, which is {wanted[key]!r} now; give "
                "another --out, or delete the files that are there."
            )
    return True


def label_pairs(rows: dict[FilePair, int], label_texts: LabelTexts, task: ParquetTask) -> list[FilePair]:
    """Label the files that no other process labels, and return these; `rows` has the number of rows of each file.

    At the end it tries again those that others had: one of them may have been killed.
    """
    done: list[FilePair] = []
    left = list(rows)
    with tqdm(total=sum(rows.values()), unit=" rows", delay=1) as bar:
        while left:
            before = len(done)
            bar.total = bar.n + sum(rows[pair] for pair in left)
            for pair in left:
                if label_if_free(pair, label_texts, task, bar):
                    done.append(pair)
                else:
                    bar.total -= rows[pair]
            left = find_unlabelled(left, task) if len(done) > before else []
    return done


def describe_result(done: list[FilePair], pairs: list[FilePair], rows: int, out: Path) -> str:
    """What this process has labelled, and what others are still labelling."""
    what = f"labelled {rows:,} rows of {len(done)} file{'s' * (len(done) != 1)} into {out}"
    missing = sum(not pair.target.exists() for pair in pairs)
    others = f"; other processes are still labelling {missing} of {len(pairs)} files" if missing else ""
    return what + others


def label_if_free(pair: FilePair, label_texts: LabelTexts, task: ParquetTask, bar: tqdm) -> bool:
    """Label a file, unless another process holds it or has labelled it; return whether this process did it."""
    with hold(pair.target) as is_held:
        if not is_held or is_labelled(pair, task):
            return False
        bar.set_description(pair.source.name)
        label_file(pair, label_texts, task, bar)
        return True


def label_file(pair: FilePair, label_texts: LabelTexts, task: ParquetTask, bar: tqdm) -> None:
    """Label one file; the output appears when it is complete, or not at all."""
    with open_texts(pair.source, task) as file, new_file(pair.target) as part:
        write_labelled(file, label_texts, task, part, bar.update)


@contextmanager
def hold(target: Path) -> Iterator[bool]:
    """Whether this process alone may write the file; others, also on other machines, cannot until the block ends.

    The operating system ends it for a process that was killed; what that left is removed by the next one. The lock is
    deleted while it is held: FileLock does not acquire one that has been deleted since it was opened.
    """
    path = find_lock(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        remove_parts(target)
        yield True
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def find_lock(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")
