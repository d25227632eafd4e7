"""Any source of labelled text, brought into the one schema of `data/raw`.

`data/raw` holds a Parquet file a split (columns `text` and `label`, both strings) and `dataset.json`, the manifest.
A new source is one function in `READERS`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from stages.lib import archives, demo_corpus
from stages.lib.downloads import fetch, is_url
from stages.lib.errors import UserError
from stages.lib.files import check_sha256, from_checkout, sha256, write_json
from stages.lib.params import Data
from stages.lib.sampling import stratified_sample

SPLITS = ("train", "validation", "test")
SCHEMA = pa.schema([("text", pa.string()), ("label", pa.string())])
Rows = list[tuple[str, str]]  # (text, label)


@dataclass
class Corpus:
    """Rows by split, and how many other things the source held, by what they were."""

    splits: dict[str, Rows]
    ignored: Counter[str] = field(default_factory=Counter)


def read_source(data: Data, seed: int) -> Corpus:
    """Read, check and sample the source that `data.source` names.

    Rows are drawn from train before validation is carved from it, so `max_train_samples` limits the labelled rows
    that training may see in any way.
    """
    corpus = READERS[data.source](data, seed)
    check_splits(data, corpus)
    splits = {
        "train": sample(corpus.splits["train"], data.max_train_samples, "data.max_train_samples", seed),
        "test": sample(corpus.splits["test"], data.max_test_samples, "data.max_test_samples", seed),
    }
    if "validation" in corpus.splits:
        splits["validation"] = corpus.splits["validation"]
    else:
        splits["train"], splits["validation"] = carve(splits["train"], data.validation_fraction, seed)
    result = Corpus({name: splits[name] for name in SPLITS}, corpus.ignored)
    check_splits(data, result)
    return result


def read_demo(data: Data, seed: int) -> Corpus:
    return Corpus({name: demo_corpus.make_reviews(name, seed) for name in SPLITS})


def read_folder(data: Data, seed: int) -> Corpus:
    """Read `{train,test[,validation]}/<label>/*.txt`, with or without one folder around it.

    A label is a folder that test has; what else train holds, such as IMDB's `unsup`, is ignored and counted.
    """
    path, corpus, around = local_copy(data), Corpus({}), set()
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, content in tqdm(archives.read_files(path), desc=f"reading {path.name}", unit=" files"):
        parts = name.parts if name.parts[0] in SPLITS else name.parts[1:]
        hidden = any(part.startswith(".") for part in parts)
        if len(parts) == 3 and parts[0] in SPLITS and name.suffix == ".txt" and not hidden:
            around.add(str(PurePosixPath(*name.parts[:-3])))
            found.setdefault(parts[:2], []).append((parts[2], decode(content, path, name)))
        else:
            corpus.ignored[str(name.parent if len(name.parts) > 1 else name)] += 1
    if len(around) > 1:
        raise UserError(f"{path}: holds several data sets ({', '.join(sorted(around)[:3])}); give the path of one.")
    labels = {label for split, label in found if split == "test"}
    for (split, label), rows in sorted(found.items()):
        if len(labels) > 1 and label not in labels:
            corpus.ignored[f"{split}/{label}"] += len(rows)
        else:  # by file name, since archives and file systems list in any order
            corpus.splits.setdefault(split, []).extend((text, label) for _, text in sorted(rows))
    return corpus


def decode(content: bytes, archive: Path, name: PurePosixPath) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{archive}: {name} is not UTF-8 (byte {content[error.start]:#04x} at {error.start}); convert it to UTF-8."
        ) from None


READERS: dict[str, Callable[[Data, int], Corpus]] = {"demo": read_demo, "folder": read_folder}


def local_copy(data: Data) -> Path:
    """Where the source lies on this machine, fetched when it is a URL, its checksum verified when one is given."""
    if is_url(data.path):
        return fetch(data.path, data.sha256)
    path = local_path(data)
    if not path.exists():
        raise UserError(f"data.path: {data.path} does not exist (looked at {path}).")
    if data.sha256 and path.is_dir():
        raise UserError("data.sha256: given, but data.path is a folder; only a file has a checksum. Set it to null.")
    if data.sha256:
        check_sha256(path, data.sha256, f"data.sha256: {path}", "fix the key, or find out why the file changed")
    return path


def local_path(data: Data) -> Path | None:
    """`data.path` as an absolute path; None where it is no local path."""
    return None if data.path is None or is_url(data.path) else from_checkout(data.path)


def link_source(data: Data, folder: Path) -> None:
    """Make `folder/<source>` a link to a local source: an output of `download`, by which DVC sees the source change.

    For `demo` the output is a file of the repository that never changes; for a URL it is a note.
    """
    if data.source == "demo":
        return
    path, link = local_path(data), folder / data.source
    folder.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    if path is None:
        link.write_text(data.path + "\n", encoding="utf-8")
    else:
        link.symlink_to(path)


def sample(rows: Rows, limit: int | None, key: str, seed: int) -> Rows:
    """At most `limit` rows, stratified; UserError, naming the key, when that is less than one a class."""
    labels = [label for _, label in rows]
    if limit is None or limit >= len(rows):
        return rows
    if limit < len(set(labels)):
        raise UserError(f"{key}: found {limit}; the data has {len(set(labels))} classes, so at least that many.")
    return [rows[index] for index in stratified_sample(labels, limit, seed)]


def carve(rows: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Split into (rest, stratified share of about `fraction`), each with all classes."""
    labels = [label for _, label in rows]
    taken = set(stratified_sample(labels, max(round(len(rows) * fraction), len(set(labels))), seed))
    rest = [row for index, row in enumerate(rows) if index not in taken]
    if lost := set(labels) - {label for _, label in rest}:
        raise UserError(
            f"data.validation_fraction: found {fraction}; of {len(rows)} training rows it would leave none of class "
            f"{', '.join(sorted(lost))}. Lower it, or give each class at least two rows."
        )
    return rest, [rows[index] for index in sorted(taken)]


def check_splits(data: Data, corpus: Corpus) -> None:
    """UserError when a split is missing, has one class, or has a label that train lacks."""
    where = data.path or f"data.source {data.source}"
    for name in ("train", "test"):
        if not corpus.splits.get(name):
            ignored = [f"{what} ({count})" for what, count in corpus.ignored.most_common(5)]
            found = ", ".join(ignored) or "nothing else"
            raise UserError(f"{where}: no texts for the split '{name}'; expected {name}/<label>/*.txt, found {found}.")
    labels = {name: {label for _, label in corpus.splits.get(name, [])} for name in SPLITS}
    for name in SPLITS:
        if unknown := labels[name] - labels["train"]:
            raise UserError(f"{where}: split '{name}' has labels that train lacks: {', '.join(sorted(unknown))}.")
    for name in SPLITS:
        if len(labels[name]) == 1:
            found = f"one class ({labels[name].pop()}) in {len(corpus.splits[name])} rows"
            raise UserError(f"{where}: split '{name}' has {found}; need two.")


def write_raw(corpus: Corpus, data: Data, folder: Path) -> None:
    """Write one Parquet file a split, then the manifest."""
    manifest: dict[str, Any] = {
        "source": data.model_dump(include={"source", "path", "sha256"}),
        "labels": sorted({label for _, label in corpus.splits["train"]}),
        "splits": {},
        "ignored": dict(sorted(corpus.ignored.items())),
    }
    for name, rows in corpus.splits.items():
        path = folder / f"{name}.parquet"
        texts, labels = zip(*rows, strict=True)
        pq.write_table(pa.table([pa.array(texts), pa.array(labels)], schema=SCHEMA), path, compression="zstd")
        counts = Counter(labels)
        manifest["splits"][name] = {
            "rows": len(rows),
            "classes": {label: counts[label] for label in manifest["labels"]},
            "sha256": sha256(path),
        }
    write_json(folder / "dataset.json", manifest)
