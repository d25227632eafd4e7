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

MOST = 10  # lines about one file
PIECE = 1 << 20  # bytes held in memory of each file


def describe(old: Path, new: Path) -> list[str]:
    """One line for each way in which `new` differs from `old`; none when all bytes are the same."""
    if not old.is_dir():
        return describe_file(old, new)
    names = {str(file.relative_to(top)) for top in (old, new) for file in top.rglob("*") if file.is_file()}
    return [f"{name}: {line}" for name in sorted(names) for line in describe_file(old / name, new / name)]


def describe_file(old: Path, new: Path) -> list[str]:
    if not (old.exists() and new.exists()):
        return ["missing" if old.exists() else "new"]
    if filecmp.cmp(old, new, shallow=False):
        return []
    try:
        lines = list(COMPARE.get(old.suffix, compare_bytes)(old, new))
    except (ValueError, SafetensorError):  # one of them is broken
        lines = []
    lines = lines or list(compare_bytes(old, new))
    return lines[:MOST] + [f"and {len(lines) - MOST} more"] * (len(lines) > MOST)


def compare_tensors(old: Path, new: Path) -> Iterator[str]:
    """How many tensors differ, by how much at most, and which one does most."""
    with safe_open(old, "pt") as one, safe_open(new, "pt") as other:
        shared = sorted(set(one.keys()) & set(other.keys()))
        yield from (f"{name}: missing" for name in sorted(set(one.keys()) - set(shared)))
        yield from (f"{name}: new" for name in sorted(set(other.keys()) - set(shared)))
        differences = {}
        for name in shared:
            a, b = one.get_tensor(name), other.get_tensor(name)
            if a.shape != b.shape or a.dtype != b.dtype:
                yield f"{name}: {a.dtype} {tuple(a.shape)} → {b.dtype} {tuple(b.shape)}"
            elif not a.equal(b):
                differences[name] = (a.double() - b.double()).abs().max().item()
    if differences:
        name, most = max(differences.items(), key=lambda item: (math.isnan(item[1]), item[1]))
        yield f"{len(differences)} of {len(shared)} tensors differ, by {most:.3g} at most ({name})"


def compare_json(old: Path, new: Path) -> Iterator[str]:
    """Each dotted key whose value differs: old → new."""
    a, b = (dict(flatten(json.loads(path.read_text(encoding="utf-8")))) for path in (old, new))
    for key in dict.fromkeys([*a, *b]):
        one, other = (json.dumps(values[key], ensure_ascii=False) if key in values else "none" for values in (a, b))
        if one != other:
            yield f"{key}: {one} → {other}"


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and plain values of nested dicts and lists."""
    if not isinstance(value, dict | list) or not value:
        yield key, value
        return
    for name, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from flatten(part, f"{key}.{name}" if key else str(name))


def compare_lines(old: Path, new: Path) -> Iterator[str]:
    with old.open("rb") as one, new.open("rb") as other:
        differing = [number for number, (a, b) in enumerate(zip_longest(one, other), 1) if a != b]
    if differing:
        yield f"{len(differing):,} lines differ, the first is line {differing[0]:,}"


def compare_bytes(old: Path, new: Path) -> Iterator[str]:
    sizes, count, first = [path.stat().st_size for path in (old, new)], 0, None
    with old.open("rb") as one, new.open("rb") as other:
        for start in range(0, min(sizes), PIECE):
            size = min(PIECE, min(sizes) - start)
            a, b = (np.frombuffer(file.read(size), np.uint8) for file in (one, other))
            differing = a != b
            if first is None and differing.any():
                first = start + int(differing.argmax())
            count += int(differing.sum())
    if sizes[0] != sizes[1]:
        yield f"{sizes[0]:,} → {sizes[1]:,} bytes"
    if count:
        yield f"{count:,} bytes differ, the first at offset {first:,}"


COMPARE = {".safetensors": compare_tensors, ".json": compare_json, ".csv": compare_lines, ".txt": compare_lines}
