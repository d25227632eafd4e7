"""How two files or folders differ, in words: tensor by tensor, key by key, line by line."""

import filecmp
import json
import math
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

MOST_LINES = 10  # about one file
PIECE = 1 << 20  # bytes of each file in memory


def describe_differences(old: Path, new: Path) -> list[str]:
    """One line for each way in which the file or folder `new` differs from `old`; none when all bytes are the same."""
    if not old.is_dir():
        return compare_files(old, new)
    names = {str(file.relative_to(folder)) for folder in (old, new) for file in folder.rglob("*") if file.is_file()}
    return [f"{name}: {line}" for name in sorted(names) for line in compare_files(old / name, new / name)]


def compare_files(old: Path, new: Path) -> list[str]:
    """Compare by the kind of file; byte by byte where the kind is another one, or one of the files is broken."""
    if not new.exists():
        return ["missing"]
    if not old.exists():
        return ["new"]
    if filecmp.cmp(old, new, shallow=False):
        return []
    compare = COMPARE.get(old.suffix, compare_bytes)
    try:
        lines = list(compare(old, new))
    except (ValueError, SafetensorError):
        lines = []
    if not lines:  # only the layout of the file differs
        lines = list(compare_bytes(old, new))
    if len(lines) > MOST_LINES:
        return [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more"]
    return lines


def compare_tensors(old: Path, new: Path) -> Iterator[str]:
    """Yield the tensors that are missing, new, or of other shapes; then how many differ in values, and by how much."""
    with safe_open(old, "pt") as old_file, safe_open(new, "pt") as new_file:
        old_names = set(old_file.keys())
        new_names = set(new_file.keys())
        shared = sorted(old_names & new_names)
        yield from (f"{name}: missing" for name in sorted(old_names - new_names))
        yield from (f"{name}: new" for name in sorted(new_names - old_names))
        differences = {}
        for name in shared:
            a = old_file.get_tensor(name)
            b = new_file.get_tensor(name)
            if a.shape != b.shape or a.dtype != b.dtype:
                yield f"{name}: {a.dtype} {tuple(a.shape)} → {b.dtype} {tuple(b.shape)}"
            elif not a.equal(b):
                differences[name] = (a.double() - b.double()).abs().max().item()
    if differences:
        name, largest = max(differences.items(), key=lambda item: (math.isnan(item[1]), item[1]))
        yield f"{len(differences)} of {len(shared)} tensors differ, by {largest:.3g} at most ({name})"


def compare_json(old: Path, new: Path) -> Iterator[str]:
    """Yield each dotted key whose value differs: old → new."""
    old_values = dict(flatten_json(json.loads(old.read_text(encoding="utf-8"))))
    new_values = dict(flatten_json(json.loads(new.read_text(encoding="utf-8"))))
    for key in dict.fromkeys([*old_values, *new_values]):
        before = json.dumps(old_values[key], ensure_ascii=False) if key in old_values else "none"
        after = json.dumps(new_values[key], ensure_ascii=False) if key in new_values else "none"
        if before != after:
            yield f"{key}: {before} → {after}"


def flatten_json(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and plain values of nested dicts and lists."""
    if not isinstance(value, dict | list) or not value:
        yield key, value
        return
    for name, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from flatten_json(part, f"{key}.{name}" if key else str(name))


def compare_lines(old: Path, new: Path) -> Iterator[str]:
    """Yield how many lines differ, and the number of the first."""
    with old.open("rb") as old_file, new.open("rb") as new_file:
        differing = [number for number, (a, b) in enumerate(zip_longest(old_file, new_file), 1) if a != b]
    if differing:
        yield f"{len(differing):,} lines differ, the first is line {differing[0]:,}"


def compare_bytes(old: Path, new: Path) -> Iterator[str]:
    """Yield both sizes where they differ, then how many bytes differ, and the offset of the first."""
    old_size = old.stat().st_size
    new_size = new.stat().st_size
    shared = min(old_size, new_size)
    count = 0
    first = None
    with old.open("rb") as old_file, new.open("rb") as new_file:
        for start in range(0, shared, PIECE):
            size = min(PIECE, shared - start)
            is_different = np.frombuffer(old_file.read(size), np.uint8) != np.frombuffer(new_file.read(size), np.uint8)
            if first is None and is_different.any():
                first = start + int(is_different.argmax())
            count += int(is_different.sum())
    if old_size != new_size:
        yield f"{old_size:,} → {new_size:,} bytes"
    if count:
        yield f"{count:,} bytes differ, the first at offset {first:,}"


COMPARE = {".safetensors": compare_tensors, ".json": compare_json, ".csv": compare_lines, ".txt": compare_lines}
