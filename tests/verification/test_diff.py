import json

import pytest
import torch
from safetensors.torch import save_file

from stages.verification.diff import describe_differences


@pytest.fixture
def pair(tmp_path):
    """Two folders, `old` and `new`, to put files into."""
    for name in ("old", "new"):
        (tmp_path / name / "sub").mkdir(parents=True)
    return tmp_path / "old", tmp_path / "new"


def write(pair, name, old, new):
    for folder, content in zip(pair, (old, new), strict=True):
        (folder / name).write_bytes(content)
    return [folder / name for folder in pair]


def test_the_same_bytes_have_no_differences(pair):
    write(pair, "sub/a.bin", b"same", b"same")
    assert describe_differences(*pair) == []


def test_a_folder_names_files_that_differ_that_are_missing_and_that_are_new(pair):
    write(pair, "sub/a.bin", b"one two", b"one Two!")
    (pair[0] / "b.txt").touch()
    (pair[1] / "c.txt").touch()
    assert describe_differences(*pair) == [
        "b.txt: missing", "c.txt: new", "sub/a.bin: 7 → 8 bytes", "sub/a.bin: 1 bytes differ, the first at offset 4"
    ]  # fmt: skip


def test_the_files_of_a_missing_folder_are_listed(pair, tmp_path):
    (pair[0] / "b.txt").touch()
    assert describe_differences(pair[0], tmp_path / "none") == ["b.txt: missing"]


def test_tensors_are_counted_with_the_largest_difference(pair):
    tensors = {"same": torch.ones(2, 2), "near": torch.zeros(3), "far": torch.zeros(2, dtype=torch.bfloat16)}
    save_file(tensors, pair[0] / "model.safetensors")
    save_file(tensors | {"near": torch.full((3,), 1e-4), "far": tensors["far"] - 0.5}, pair[1] / "model.safetensors")
    assert describe_differences(*pair) == ["model.safetensors: 2 of 3 tensors differ, by 0.5 at most (far)"]


def test_not_a_number_is_the_largest_difference(pair):
    for folder, value in zip(pair, (0.0, float("nan")), strict=True):
        save_file({"a": torch.tensor([value]), "b": torch.tensor([value]).nan_to_num(9)}, folder / "m.safetensors")
    assert describe_differences(*pair) == ["m.safetensors: 2 of 2 tensors differ, by nan at most (a)"]


def test_tensors_of_other_shapes_or_names_are_named(pair):
    for folder, tensors in zip(pair, ({"a": torch.ones(2), "b": torch.ones(1)}, {"a": torch.ones(3)}), strict=True):
        save_file(tensors, folder / "m.safetensors")
    assert describe_differences(*pair) == [
        "m.safetensors: b: missing",
        "m.safetensors: a: torch.float32 (2,) → torch.float32 (3,)",
    ]


def test_the_same_tensors_with_another_header_differ_in_bytes(pair):
    for folder, metadata in zip(pair, ({"format": "pt"}, {"format": "np"}), strict=True):
        save_file({"a": torch.ones(2)}, folder / "m.safetensors", metadata)
    assert "bytes differ, the first at offset" in describe_differences(*pair)[0]


def test_json_is_compared_key_by_key(pair):
    old = {"loss": 0.5, "labels": [{"name": "好"}], "gone": None}
    new = {"loss": 0.25, "labels": [{"name": "差"}], "more": {}}
    files = write(pair, "a.json", json.dumps(old).encode(), json.dumps(new).encode())
    assert describe_differences(*files) == [
        "loss: 0.5 → 0.25", 'labels.0.name: "好" → "差"', "gone: null → none", "more: none → {}"
    ]  # fmt: skip


def test_long_lists_of_differences_are_shortened(pair):
    files = write(pair, "a.json", b"[]", json.dumps(list(range(50))).encode())
    assert len(describe_differences(*files)) == 11
    assert describe_differences(*files)[-1] == "and 41 more"


def test_tables_are_compared_by_line(pair):
    assert describe_differences(*write(pair, "a.csv", b"x\n1\n2\n", b"x\n1\n3\n4\n")) == [
        "2 lines differ, the first is line 3"
    ]


def test_broken_files_are_compared_by_byte(pair):
    assert describe_differences(*write(pair, "a.json", b"{}", b"{!")) == ["1 bytes differ, the first at offset 1"]
    assert describe_differences(*write(pair, "a.safetensors", b"x", b"y")) == ["1 bytes differ, the first at offset 0"]


def test_a_difference_far_into_a_large_file_is_found(pair):
    files = write(pair, "a.arrow", bytes(3 << 20), bytes((2 << 20) + 5) + b"!" + bytes((1 << 20) - 6))
    assert describe_differences(*files) == [f"1 bytes differ, the first at offset {(2 << 20) + 5:,}"]
