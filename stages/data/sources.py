"""Any source of labelled text, read into a `Corpus` of the splits train, validation and test.

A new source is one function in `READERS`, and its name in `params.py`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from stages.core.errors import UserError
from stages.core.files import check_sha256, resolve_path
from stages.core.param_sections import Data
from stages.data import archives, demo_corpus, hub
from stages.data.corpus import SPLITS, WHOLE, Corpus
from stages.data.downloads import fetch, is_url
from stages.data.row_files import PART_NUMBER, SUFFIXES, parse_file_name, read_table
from stages.data.rows import Row

# What sources call the splits, where data.splits does not say it.
USUAL_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


def read_source(data: Data, seed: int, corpus: Corpus) -> None:
    """Read the source that `data.source` names; UserError tells what is wrong with it."""
    READERS[data.source](data, seed, corpus)


def read_demo(data: Data, seed: int, corpus: Corpus) -> None:
    for split in SPLITS:
        reviews = demo_corpus.make_reviews(split, seed)
        corpus.add(split, (Row(f"{split} {number}", text, label) for number, (text, label) in enumerate(reviews)))


def read_folder(data: Data, seed: int, corpus: Corpus) -> None:
    """Read `{train,test[,validation]}/<label>/*.txt`, with or without one folder around it.

    A label is a folder that test has; what else train holds, such as IMDB's `unsup`, is ignored and counted. The texts
    are held in memory until they are sorted by name, since archives and file systems list them in any order.
    """
    path, around, folders = local_copy(data), set(), set()
    names = split_names(data)
    found: dict[str, dict[str, list[tuple[str, bytes]]]] = {}
    for name, content in tqdm(
        archives.read_files(path, data.max_size_gb * 1e9), desc=f"reading {path.name}", unit=" files"
    ):
        parts = name.parts if name.parts[0] in names else name.parts[1:]
        hidden = any(part.startswith(".") for part in parts)
        if len(parts) == 3 and parts[0] in names and name.suffix == ".txt" and not hidden:
            around.add(str(PurePosixPath(*name.parts[:-3])))
            folders.add(parts[0])
            found.setdefault(names[parts[0]], {}).setdefault(parts[1], []).append((str(PurePosixPath(*parts)), content))
        else:
            corpus.ignored[str(name.parent if len(name.parts) > 1 else name)] += 1
    if len(around) > 1:
        raise UserError(f"{path}: holds several data sets ({', '.join(sorted(around)[:3])}); give the path of one.")
    refuse_doubles(data, names, sorted(folders))
    known = set(found.get("test", {}))
    for split, labels in found.items():
        for label in sorted(set(labels) - known if len(known) > 1 else ()):
            corpus.ignored[f"{split}/{label}"] += len(labels.pop(label))
    require(data, found, [*found, *corpus.ignored], "{}/<label>/*.txt")
    for split in SPLITS:
        if split in found:
            texts = (text_row(*file, label) for label, files in sorted(found[split].items()) for file in sorted(files))
            corpus.add(split, texts)


def text_row(name: str, content: bytes, label: str) -> Row:
    return Row(name, content.decode("utf-8-sig", errors="surrogateescape"), label)


def read_files(data: Data, seed: int, corpus: Corpus) -> None:
    """Read one file, or a folder of one file a split (or several, as `train-00000-of-00002`)."""
    path = local_copy(data)
    if not path.is_dir():
        if data.splits:
            raise UserError(f"data.splits: found {data.splits}, but data.path is one file, which is split by itself.")
        corpus.add(WHOLE, read_table(path, data))
        return
    names, found = split_names(data), {}
    for file in sorted(path.iterdir()):
        stem = parse_file_name(file.name, data.source)
        split = names.get(file.name) or names.get(stem)
        if split and file.is_file():
            found.setdefault(split, []).append(file)
        elif not file.name.startswith("."):
            corpus.ignored[file.name] += 1
    require(data, found, [file.name for file in sorted(path.iterdir())], f"{{}}.{SUFFIXES[data.source][0]}")
    for split, files in ((split, found[split]) for split in SPLITS if split in found):
        if not is_one(files):
            names = ", ".join(file.name for file in files)
            raise UserError(
                f"{path}: the split '{split}' could be {names}; expected one file or all its parts. "
                "Name one in data.splits."
            )
        corpus.add(split, (row for file in files for row in read_table(file, data)))


def is_one(files: list[Path]) -> bool:
    """Whether sorted files are a single one, or all parts of one, `-00000-of-00002` and `-00001-of-00002`."""
    parts = [PART_NUMBER.search(file.name) for file in files]
    if len(files) == 1 and parts == [None]:
        return True
    numbers = [(int(part[1]), int(part[2])) for part in parts if part]
    whole = {PART_NUMBER.sub("", file.name) for file in files}
    return len(whole) == 1 and numbers == [(number, len(files)) for number in range(len(files))]


def read_hub(data: Data, seed: int, corpus: Corpus) -> None:
    """Read a data set of the hub; one that has only the split train is split as a file is."""
    dataset, names = hub.open_dataset(data), split_names(data)
    refuse_doubles(data, names, list(dataset))
    found = {names[name]: rows for name, rows in dataset.items() if name in names}
    corpus.ignored.update({name: len(rows) for name, rows in dataset.items() if name not in names})
    if list(found) == ["train"] and data.splits is None:
        found = {WHOLE: found["train"]}
    else:
        require(data, found, list(dataset), "{}")
    for split in (split for split in (WHOLE, *SPLITS) if split in found):
        rows = found[split]
        corpus.add(split, hub.read_rows(rows, data, split), hub.label_names(rows, data))


def split_names(data: Data) -> dict[str, str]:
    """The split that each name in a source stands for: those of data.splits, and the usual ones for the others."""
    chosen = data.splits or {}
    usual = {name: split for split, names in USUAL_NAMES.items() if split not in chosen for name in names}
    return usual | {name: split for split, name in chosen.items()}


def refuse_doubles(data: Data, names: dict[str, str], seen: list[str]) -> None:
    """UserError when two names that were seen stand for one split."""
    for split in SPLITS:
        doubles = [name for name in seen if names.get(name) == split]
        if len(doubles) > 1:
            raise UserError(
                f"{data.path}: {' and '.join(doubles)} could both be the split '{split}'; name one in data.splits."
            )


def require(data: Data, found: Iterable[str], seen: list[str], expected: str) -> None:
    """UserError unless train and test were found, and all that data.splits names; it lists what was seen instead."""
    for split in SPLITS:
        if split not in found and (split != "validation" or split in (data.splits or {})):
            name = (data.splits or {}).get(split)
            others = ", ".join(seen[:10]) + ", ..." * (len(seen) > 10)
            raise UserError(
                f"{data.path}: no split '{split}'; expected {expected.format(name or split)}, found "
                f"{others or 'nothing'}. What a split is called can be said in data.splits."
            )


READERS: dict[str, Callable[[Data, int, Corpus], None]] = {
    "demo": read_demo,
    "folder": read_folder,
    "csv": read_files,
    "json": read_files,
    "parquet": read_files,
    "hub": read_hub,
}


def local_copy(data: Data) -> Path:
    """Where the source lies on this machine, fetched when it is a URL, its checksum verified when one is given."""
    if is_url(data.path):
        return fetch(data.path, data.sha256)
    path = resolve_path(data.path)
    if not path.exists():
        raise UserError(f"data.path: {data.path} does not exist (looked at {path}).")
    if not path.is_file() and not path.is_dir():  # a device or pipe may never end
        raise UserError(f"data.path: {data.path} is neither a file nor a folder.")
    if data.sha256 and path.is_dir():
        raise UserError("data.sha256: given, but data.path is a folder; only a file has a checksum. Set it to null.")
    if data.sha256:
        check_sha256(path, data.sha256, f"data.sha256: {path}", "fix the key, or find out why the file changed")
    return path


def link_source(data: Data, folder: Path) -> None:
    """Make `folder/<source>` a link to a local source: an output of `download`, by which DVC sees the source change.

    For `demo` the output is a file of the repository that never changes; for a URL or a hub id it is a note.
    """
    if data.source == "demo":
        return
    link = folder / data.source
    folder.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    if data.source == "hub" or is_url(data.path):
        link.write_text(f"{data.path} {data.revision or ''}".rstrip() + "\n", encoding="utf-8")
    else:
        link.symlink_to(resolve_path(data.path))
