"""Sources of labelled text, each read into a `Corpus` of the splits train, validation and test.

A new source is one function in `READERS`, and its name in `stages.core.data_section`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from stages.core.data_section import Data
from stages.core.errors import UserError, list_names, to_one_line
from stages.core.files import check_sha256, is_url, resolve_path
from stages.core.secrets import redact
from stages.data import archives, demo_corpus, hub
from stages.data.corpus import SPLITS, UNSPLIT, Corpus
from stages.data.downloads import fetch
from stages.data.row_files import PART_NUMBER, SUFFIXES, parse_file_name, read_table
from stages.data.rows import Row

# What sources call the splits, unless data.splits gives other names.
USUAL_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}

# Folders with texts that have no label, in well-known data sets; all others are classes.
UNLABELLED = ("unsup", "unlabeled", "unlabelled")

TextFiles = dict[str, dict[str, list[tuple[str, bytes]]]]  # name and content of each, by split and label


def read_source(data: Data, seed: int, corpus: Corpus) -> None:
    """Read the source that `data.source` names; UserError when it cannot be read or has no train or test."""
    READERS[data.source](data, seed, corpus)


def read_demo(data: Data, seed: int, corpus: Corpus) -> None:
    for split in SPLITS:
        reviews = demo_corpus.make_reviews(split, seed)
        corpus.add(split, (Row(f"{split} {number}", text, label) for number, (text, label) in enumerate(reviews)))


def read_folder(data: Data, seed: int, corpus: Corpus) -> None:
    """Read `{train,test[,validation]}/<label>/*.txt`, with or without one folder around it.

    Texts without a label, such as `train/unsup` of IMDB, and all other files are counted and not read. The texts are
    in memory until they are sorted by name, since archives and file systems list them in any order.
    """
    files = find_text_files(data, corpus)
    check_required_splits(data, files, [*files, *corpus.ignored], "{}/<label>/*.txt")
    for split in SPLITS:
        if split in files:
            corpus.add(split, make_text_rows(files[split]))


def find_text_files(data: Data, corpus: Corpus) -> TextFiles:
    """Read the files of the splits into memory; count all others as ignored, by their names alone."""
    path = locate_source(data)
    names = map_names_to_splits(data)
    roots: set[str] = set()
    folders: set[str] = set()
    found: TextFiles = {}
    files = archives.read_files(path, data.max_size_gb * 1e9, lambda name: is_labelled(name, names))
    for name, content in tqdm(files, desc=f"reading {path.name}", unit=" files"):
        if content is None:
            corpus.ignored[describe_ignored(name, names)] += 1
            continue
        folder, label, file_name = name.parts[-3:]
        roots.add(str(PurePosixPath(*name.parts[:-3])))
        folders.add(folder)
        found.setdefault(names[folder], {}).setdefault(label, []).append((f"{folder}/{label}/{file_name}", content))
    if len(roots) > 1:
        raise UserError(f"{path}: contains several data sets ({list_names(sorted(roots))}); give the path of one.")
    check_unique_splits(data, names, sorted(folders))
    return found


def is_text(name: PurePosixPath, names: dict[str, str]) -> bool:
    """Whether this is `<split>/<label>/*.txt`, with or without one folder around it, and not hidden."""
    parts = name.parts if name.parts[0] in names else name.parts[1:]
    is_hidden = any(part.startswith(".") for part in parts)
    return len(parts) == 3 and parts[0] in names and name.suffix == ".txt" and not is_hidden


def is_labelled(name: PurePosixPath, names: dict[str, str]) -> bool:
    """Whether this is a text whose folder is a label."""
    return is_text(name, names) and name.parts[-2] not in UNLABELLED


def describe_ignored(name: PurePosixPath, names: dict[str, str]) -> str:
    """Under what a file that is not read is counted: its folder, for unlabelled texts that of the split."""
    if is_text(name, names):
        return f"{names[name.parts[-3]]}/{name.parts[-2]}"
    return str(name.parent if len(name.parts) > 1 else name)


def make_text_rows(by_label: dict[str, list[tuple[str, bytes]]]) -> Iterable[Row]:
    """Yield the texts of a split, sorted by label and name; bytes that are not UTF-8 become lone surrogates."""
    for label, files in sorted(by_label.items()):
        for name, content in sorted(files):
            yield Row(name, content.decode("utf-8-sig", errors="surrogateescape"), label)


def read_tables(data: Data, seed: int, corpus: Corpus) -> None:
    """Read one file, or a folder with a file for each split, which may be in parts (`train-00000-of-00002`)."""
    path = locate_source(data)
    if not path.is_dir():
        if data.splits:
            raise UserError(f"data.splits: found {data.splits}, but data.path is one file, which is split by itself.")
        corpus.add(UNSPLIT, read_table(path, data))
        return
    names = map_names_to_splits(data)
    found: dict[str, list[Path]] = {}
    for file in sorted(path.iterdir()):
        split = names.get(file.name) or names.get(parse_file_name(file.name, data.source) or "")
        if split and file.is_file():
            found.setdefault(split, []).append(file)
        elif not file.name.startswith("."):
            corpus.ignored[file.name] += 1
    seen = [file.name for file in sorted(path.iterdir())]
    check_required_splits(data, found, seen, f"{{}}.{SUFFIXES[data.source][0]}")
    for split in SPLITS:
        if split in found:
            check_table_parts(path, split, found[split])
            corpus.add(split, (row for file in found[split] for row in read_table(file, data)))


def check_table_parts(path: Path, split: str, files: list[Path]) -> None:
    """UserError unless these sorted files are one table."""
    if not is_one_table(files):
        raise UserError(
            f"{path}: the split '{split}' could be {list_names([file.name for file in files])}; expected one file or "
            "all its parts. Name one in data.splits."
        )


def is_one_table(files: list[Path]) -> bool:
    """Whether sorted files are a single one, or all parts of one, `-00000-of-00002` and `-00001-of-00002`."""
    parts = [PART_NUMBER.search(file.name) for file in files]
    if len(files) == 1 and parts == [None]:
        return True
    numbers = [(int(part[1]), int(part[2])) for part in parts if part]
    names = {PART_NUMBER.sub("", file.name) for file in files}
    return len(names) == 1 and numbers == [(number, len(files)) for number in range(len(files))]


def read_hub(data: Data, seed: int, corpus: Corpus) -> None:
    """Read a data set of the hub; if train is its only split, its rows are split as those of a file."""
    dataset = hub.open_dataset(data)
    names = map_names_to_splits(data)
    check_unique_splits(data, names, list(dataset))
    found = {names[name]: rows for name, rows in dataset.items() if name in names}
    corpus.ignored.update({name: len(rows) for name, rows in dataset.items() if name not in names})
    if list(found) == ["train"] and data.splits is None:
        found = {UNSPLIT: found["train"]}
    else:
        check_required_splits(data, found, list(dataset), "{}")
    for split in (UNSPLIT, *SPLITS):
        if split in found:
            corpus.add(split, hub.read_rows(found[split], data, split), hub.read_label_names(found[split], data))


def map_names_to_splits(data: Data) -> dict[str, str]:
    """The split for each name in a source: the names of data.splits, and the usual ones of the other splits."""
    chosen = data.splits or {}
    usual = {name: split for split, names in USUAL_NAMES.items() if split not in chosen for name in names}
    return usual | {name: split for split, name in chosen.items()}


def check_unique_splits(data: Data, names: dict[str, str], seen: list[str]) -> None:
    """UserError when two of the names that were seen mean the same split."""
    for split in SPLITS:
        candidates = [name for name in seen if names.get(name) == split]
        if len(candidates) > 1:
            raise UserError(
                f"{data.path}: {' and '.join(candidates)} could both be the split '{split}'; name one in data.splits."
            )


def check_required_splits(data: Data, found: Iterable[str], seen: list[str], expected: str) -> None:
    """UserError, which lists what was seen, unless train, test and the splits that data.splits names were found."""
    names = data.splits or {}
    for split in SPLITS:
        is_required = split != "validation" or split in names
        if is_required and split not in found:
            others = ", ".join(map(to_one_line, seen[:10])) + ", ..." * (len(seen) > 10)
            raise UserError(
                f"{data.path}: no split '{split}'; expected {expected.format(names.get(split, split))}, found "
                f"{others or 'nothing'}. If it has another name, set it in data.splits."
            )


READERS: dict[str, Callable[[Data, int, Corpus], None]] = {
    "demo": read_demo,
    "folder": read_folder,
    "csv": read_tables,
    "json": read_tables,
    "parquet": read_tables,
    "hub": read_hub,
}


def locate_source(data: Data) -> Path:
    """The path of the source on this machine: a URL is downloaded, and a checksum, where params give one, verified."""
    assert data.path is not None  # the section `data` requires it of each source but `demo`
    if is_url(data.path):
        return fetch(data.path, data.sha256, data.max_size_gb * 1e9)
    path = resolve_path(data.path)
    if not path.exists():
        raise UserError(f"data.path: {data.path} does not exist (looked at {path}).")
    if not path.is_file() and not path.is_dir():  # reading a device or pipe may never end
        raise UserError(f"data.path: {data.path} is neither a file nor a folder.")
    if data.sha256 and path.is_dir():
        raise UserError("data.sha256: given, but data.path is a folder; only a file has a checksum. Set it to null.")
    if data.sha256:
        check_sha256(path, data.sha256, f"data.sha256: {path}", "fix the key, or find out why the file changed")
    return path


def link_source(data: Data, folder: Path) -> None:
    """Make `folder/<source>` a link to a local source: an output of `download`, by which DVC notices that it changed.

    For a URL or a hub id it is a text file with the name, without secrets. For `demo` it is a file of the repository,
    never changed.
    """
    if data.source == "demo":
        return
    assert data.path is not None  # the section `data` requires it of each source but `demo`
    link = folder / data.source
    folder.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    if data.source == "hub" or is_url(data.path):
        link.write_text(f"{redact(data.path)} {data.revision or ''}".rstrip() + "\n", encoding="utf-8")
    else:
        link.symlink_to(resolve_path(data.path))
