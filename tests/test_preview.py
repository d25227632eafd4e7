import subprocess

import pyarrow.parquet as pq
from support.project import ROOT
from support.warm_python import find_python

from stages import base_model, download, preprocess


def run_preview(folder, *arguments):
    return subprocess.run(
        [find_python(), "-m", "stages.preview", *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "100"},
    )  # fmt: skip


def test_rows_are_shown_with_label_length_and_decoded_tokens(tokenized):
    shown = run_preview(tokenized, "--rows", "3", "--split", "train", "--seed", "1").stdout.splitlines()
    assert shown[1] == "train: 40 rows (negative 50.0%, positive 50.0%)"
    assert shown[2].split() == ["row", "label", "tokens", "text,", "decoded", "from", "its", "tokens"]
    assert len(shown) == 6
    raw = pq.read_table(tokenized / "data/raw/train.parquet").to_pylist()
    for line in shown[3:]:
        row, label, tokens, text = line.split(maxsplit=3)
        assert label == raw[int(row)]["label"]
        assert 5 < int(tokens) <= 128
        assert text.startswith("[CLS] " + raw[int(row)]["text"].lower()[:10])
        assert len(line) <= 100


def test_labels_cannot_control_the_terminal(workspace, write_params, tiny_model):
    rows = [f"text {number},\x1b[2J{'ab'[number % 2]}\n" for number in range(60)]
    (workspace / "a.csv").write_text("".join(["text,label\n", *rows]))
    write_params({"data.source": "csv", "data.path": "a.csv", "model.name": str(tiny_model)})
    for stage in (download, base_model, preprocess):
        stage.main()
    shown = run_preview(workspace, "--split", "train").stdout
    assert "(\\x1b[2Ja 49.0%, \\x1b[2Jb 51.0%)" in shown
    assert "\x1b" not in shown


def test_a_seed_repeats_the_choice_and_all_splits_are_shown(tokenized):
    shown = run_preview(tokenized, "--seed", "1").stdout
    assert run_preview(tokenized, "--seed", "1").stdout == shown
    assert all(split in shown for split in ("train: 40 rows", "validation: ", "test: "))


def test_windows_are_named_as_windows(tokenized, write_params):
    write_params({"data.max_train_samples": 40, "preprocess.max_length": 16, "preprocess.stride": 4})
    preprocess.main()
    shown = run_preview(tokenized, "--rows", "1000", "--split", "train").stdout.splitlines()
    windows = len(shown) - 3
    assert shown[1] == f"train: 40 rows in {windows} windows (negative 50.0%, positive 50.0%)"
    assert windows > 40
    assert {int(line.split(maxsplit=1)[0]) for line in shown[3:]} == set(range(40))


def test_missing_data_and_wrong_arguments_are_errors(tmp_path):
    result = run_preview(tmp_path)
    assert result.returncode == 1
    assert "error in preview: data/tokenized: cannot be read" in result.stderr
    assert "Traceback" not in result.stderr
    assert "--rows: found '0'; allowed: a whole number ≥ 1" in run_preview(tmp_path, "--rows", "0").stderr
