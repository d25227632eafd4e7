"""List the cached features of frozen layers, by model and number of layers, or delete them.

python -m stages.cache [--clear]
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from stages.core.cache import MANIFEST, Entry, FolderCache, open_feature_cache
from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.params import Params
from stages.core.stage import report_errors

UNKNOWN = "of another version"


class Kind(NamedTuple):
    """What entries have in common that a line of the list shows, with the titles of its columns."""

    model: str
    layers: str
    precision: str
    computed_on: str


def main() -> None:
    arguments = parse_arguments()
    limit = Params.load().cache.max_size_gb
    cache = open_feature_cache(limit)
    if arguments.clear:
        clear(cache)
    else:
        entries = cache.list_entries()
        print_entries(entries)
        total = sum(entry.size for entry in entries) / 1e9
        print(f"{total:.3f} GB of at most {limit:g} (cache.max_size_gb) in {cache.folder}")


def print_entries(entries: list[Entry]) -> None:
    """A line for each kind of entry, the most recently used first."""
    kinds: dict[Kind, list[tuple[Entry, int]]] = defaultdict(list)
    for entry in sorted(entries, reverse=True):
        kind, rows = describe(entry.folder)
        kinds[kind].append((entry, rows))
    titles = [name.replace("_", " ") for name in Kind._fields]
    table = [[*titles, "rows", "GB", "last used"]]
    for kind, found in kinds.items():
        rows, size = sum(rows for _, rows in found), sum(entry.size for entry, _ in found) / 1e9
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(found[0][0].last_used))
        table.append([*kind, f"{rows:,}" if rows else "", f"{size:.3f}", used])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table if kinds else []:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def describe(folder: Path) -> tuple[Kind, int]:
    """What an entry is, and how many rows it has; 0 when another version of this code wrote it."""
    try:
        manifest: dict[str, Any] = read_json(folder / MANIFEST, ["rows", "model", "key"])
    except UserError:
        return Kind(UNKNOWN, "", "", ""), 0
    key = manifest["key"]
    layers = f"all {key['layers']}, {key['pooling']}" if key["pooling"] else str(key["layers"])
    precision = key["dtype"].removeprefix("torch.")
    return Kind(manifest["model"], layers, precision, key["device"]), manifest["rows"]


def clear(cache: FolderCache) -> None:
    """Delete all entries; a process that uses one keeps its open file. UserError when that is not possible."""
    size = sum(entry.size for entry in cache.list_entries())
    cache.clear()
    left = cache.list_entries()
    if left:
        raise UserError(
            f"{left[0].folder}: cannot be deleted; change the rights of this folder or of the one it is in."
        )
    print(f"{size / 1e9:.3f} GB of cached features in {cache.folder} were deleted")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.cache", description=__doc__.splitlines()[0])
    parser.add_argument("--clear", action="store_true", help="delete the cached features; they are computed again")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("cache"):
        main()
