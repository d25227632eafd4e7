"""The command line of `stages.predict`, on the model of a finished pipeline."""

import csv
import io
import json
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from support.project import ROOT
from support.warm_python import find_python

from stages import predict
from stages.inference.output_columns import Answer


@pytest.fixture(scope="module")
def folder(finished):
    return finished.folder


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Run it in the finished checkout; return what it wrote to stdout and stderr."""
    monkeypatch.chdir(folder)

    def run(*arguments, stdin=None):
        monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        predict.main()
        return capsys.readouterr()

    return run


@pytest.fixture
def fails(folder):
    """Run it as a process that has to fail; return its message."""

    def fails(*arguments, stdin=b"", code=1):
        result = subprocess.run(
            [find_python(), "-m", "stages.predict", *map(str, arguments)], cwd=folder, input=stdin,
            capture_output=True, check=False, env={"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        error = result.stderr.decode()
        assert (result.returncode, "Traceback" in error) == (code, False), error
        return error

    return fails


@pytest.fixture
def change_model(folder, tmp_path):
    """A copy of the model with another config, as `train` would write it."""

    def change(**keys):
        shutil.copytree(folder / "models/classifier", tmp_path / "changed")
        config = json.loads((folder / "models/classifier/config.json").read_text())
        (tmp_path / "changed/config.json").write_text(json.dumps(config | keys))
        return tmp_path / "changed"

    return change


def write_rows(path, columns, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_a_csv_file_is_answered_as_evaluate_answers(run, folder, tmp_path):
    test = pq.read_table(folder / "data/raw/test.parquet").to_pylist()
    rows = [(number, row["text"], row["label"]) for number, row in enumerate(test)]
    path, out = write_rows(tmp_path / "in.csv", ("id", "text", "actual"), rows), tmp_path / "out.csv"
    run("--csv", path, "--out", out)
    written = list(csv.DictReader(out.open(newline="")))
    assert list(written[0]) == ["id", "text", "actual", "label", "probability"]
    assert [(int(row["id"]), row["text"], row["actual"]) for row in written] == rows
    evaluated = list(csv.DictReader((folder / "reports/predictions.csv").open(newline="")))
    for row, expected in zip(written, evaluated, strict=True):
        assert float(row["probability"]) == pytest.approx(float(expected["confidence"]), abs=0.01)
        assert row["label"] == expected["predicted"] or float(row["probability"]) < 0.51


def test_texts_and_lines_are_answered_one_line_each(run):
    given = run("I loved it.", "So dull.")
    assert [line.split("\t")[0] in ("negative", "positive") for line in given.out.splitlines()] == [True, True]
    assert all(0.5 <= float(line.split("\t")[1]) <= 1 for line in given.out.splitlines())
    assert run(stdin="I loved it.\nSo dull.\n").out == given.out
    assert given.err == ""


def test_labels_cannot_control_the_terminal(run, monkeypatch):
    answers = [Answer("\x1b[2Ja\tb", 0.9, {}, False, False)]
    monkeypatch.setattr("stages.inference.predictor.Predictor.predict", lambda *arguments: answers)
    assert run("good").out == "\\x1b[2Ja\\tb\t0.9000\n"


def test_html_is_cleaned_as_for_training(run):
    plain, html = run("So dull & long, I hated it.", "<p>So <b>dull</b> &amp; long,<br/>I hated it.").out.splitlines()
    assert plain == html


def test_texts_beyond_the_limit_are_counted(run):
    warning = run("dull " * 100, "good", "good " * 100).err
    assert warning == "warning: 2 of 3 texts were longer than the model reads, 64 tokens, and were truncated\n"


def test_more_rows_than_a_chunk_keep_their_order(run, tmp_path, monkeypatch):
    monkeypatch.setattr("stages.inference.csv_file.ROWS_AT_ONCE", 7)
    path = write_rows(tmp_path / "in.csv", ("text",), [(f"number {number} is good",) for number in range(20)])
    rows = list(csv.DictReader(io.StringIO(run("--csv", path).out)))
    assert [row["text"] for row in rows] == [f"number {number} is good" for number in range(20)]


def test_other_formats_and_bytes_are_kept(run, tmp_path):
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    path.write_bytes(b"\xef\xbb\xbfreview\tnote\nSo dull\t\xff\n\nGood\t\n")
    run("--csv", path, "--out", out, "--delimiter", "\\t", "--text-column", "review", "--prefix", "my_")
    head, dull, good = out.read_bytes().splitlines()
    assert head == b"review\tnote\tmy_label\tmy_probability"
    assert dull.startswith(b"So dull\t\xff\t")
    assert good.startswith(b"Good\t\t")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text\ngood\n\n \n", r"in.csv row 2 \(line 4\): empty text"),
        (b"text,id\ngood,1\ngood\n", r"in.csv row 2 \(line 3\): has 1 columns, expected 2"),
        (b'text\n"good\n', r"in.csv row 1 \(line 2\): cannot be read as csv \(unexpected end of data\)"),
        (b"text\ncaf\xe9\n", r"in.csv row 1 \(line 2\): text has bytes that are not of its encoding"),
        (b"review\ngood\n", r"--text-column .*: .*in.csv has no column 'text'; it has only one, 'review'"),
        (b"text,text\na,b\n", r"in.csv has several columns 'text'"),
        (b"text,label\ngood,1\n", r"in.csv: has a column 'label' already; --prefix predicted_ adds predicted_label"),
        (b"", r"in.csv: is empty"),
    ],
)
def test_a_broken_file_is_an_error_that_names_the_row_and_nothing_is_written(run, tmp_path, content, message):
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    path.write_bytes(content)
    with pytest.raises(predict.UserError, match=message):
        run("--csv", path, "--out", out)
    assert [file.name for file in tmp_path.iterdir()] == ["in.csv"]


def test_an_error_is_one_message(fails, tmp_path):
    assert "error in predict: line 2: empty text." in fails(stdin=b"good\n\n")
    assert f"error in predict: {tmp_path}/no.csv: cannot be read (No such file" in fails("--csv", tmp_path / "no.csv")
    assert "nowhere: has no model" in fails("--model", "nowhere", "good")
    assert "--out needs --csv" in fails("--out", "a.csv", code=2)
    assert "give either texts or --csv" in fails("--csv", "a.csv", "good", code=2)
    found = fails("--min-probability", "2", "good", code=2)
    assert "argument --min-probability: found '2'; allowed: a number from 0 to 1" in found
    assert "argument --top-k: found '0'; allowed: a whole number ≥ 1" in fails("--top-k", 0, "good", code=2)
    assert "error in predict: --top-k: found 3; this model has 2 labels." in fails("--top-k", 3, "good")


def test_the_output_may_be_named_as_stdout(run, tmp_path):
    path = write_rows(tmp_path / "in.csv", ("text",), [("fine",)])
    expected = run("--csv", path).out
    assert run("--csv", path, "--out", "/dev/stdout").out == expected
    assert expected.startswith("text,label,probability")


def test_it_works_without_params(run, folder, tmp_path, monkeypatch):
    expected = run("I loved it.").out
    monkeypatch.setattr(predict, "PARAMS", tmp_path / "params.yaml")
    assert run("--model", folder / "models/classifier", "I loved it.").out == expected


def read_cells(output):
    return [line.split("\t") for line in output.splitlines()]


def test_a_text_below_the_threshold_has_no_label_and_its_probability(run, folder, change_model):
    texts = [
        text.replace("\n", " ") for text in pq.read_table(folder / "data/raw/test.parquet")["text"].to_pylist()[:20]
    ]
    plain = read_cells(run(*texts).out)
    threshold = sorted({float(probability) for _, probability in plain})[-2] + 5e-5
    found = run("--model", change_model(thresholds=[threshold]), *texts)
    expected = [[label if float(probability) > threshold else "", probability] for label, probability in plain]
    assert read_cells(found.out) == expected
    empty = [label for label, _ in expected].count("")
    assert 0 < empty < 20
    assert f"{empty} of 20 texts have no label: no probability reaches {threshold:g}\n" in found.err


def test_the_option_replaces_the_thresholds_of_the_model(run, change_model):
    assert read_cells(run("--min-probability", 1, "So dull.").out)[0][0] == ""
    model = change_model(thresholds=[1.0])
    assert run("--model", model, "So dull.").out.startswith("\t")
    assert run("--model", model, "--min-probability", "0", "So dull.").out == run("So dull.").out


def test_scores_and_next_labels_are_added_where_they_are_asked_for(run, tmp_path):
    path = write_rows(tmp_path / "in.csv", ("text",), [("I loved it.",), ("So dull.",)])
    rows = list(csv.DictReader(io.StringIO(run("--csv", path, "--scores", "--top-k", 2, "--prefix", "my_").out)))
    columns = ["label", "probability", "label_2", "probability_2", "score_negative", "score_positive"]
    assert list(rows[0]) == ["text", *(f"my_{name}" for name in columns)]
    for row in rows:
        assert {row["my_label"], row["my_label_2"]} == {"negative", "positive"}
        assert row[f"my_score_{row['my_label']}"] == row["my_probability"] >= row["my_probability_2"]
        assert float(row["my_score_negative"]) + float(row["my_score_positive"]) == pytest.approx(1, abs=1e-3)
    ((label, probability, *scores),) = read_cells(run("--scores", "I loved it.").out)
    assert [one.split("=")[0] for one in scores] == ["negative", "positive"]
    assert f"{label}={probability}" in scores


def test_a_column_of_a_score_that_the_file_has_already_is_an_error(run, tmp_path):
    path = write_rows(tmp_path / "in.csv", ("text", "score_positive"), [("fine", "1")])
    assert run("--csv", path).out.startswith("text,score_positive,label,probability")
    with pytest.raises(predict.UserError, match="has a column 'score_positive' already; --prefix predicted_ adds"):
        run("--csv", path, "--scores")


def test_several_labels_are_joined_and_none_is_an_empty_cell(run, change_model, tmp_path):
    model = change_model(problem_type="multi_label_classification", thresholds=[0.0, 0.0])
    ((labels, probabilities, *scores),) = read_cells(run("--model", model, "--scores", "I loved it.").out)
    assert labels == "negative|positive"
    assert scores == [f"{name}={p}" for name, p in zip(labels.split("|"), probabilities.split("|"), strict=True)]
    path = write_rows(tmp_path / "in.csv", ("text",), [("I loved it.",)])
    none = run("--csv", path, "--model", model, "--min-probability", 1)
    assert none.out.splitlines()[1] == "I loved it.,,"
    assert none.err == ""
    with pytest.raises(predict.UserError, match=r"--top-k: found 2; this model gives a text any number of labels"):
        run("--model", model, "--top-k", 2, "I loved it.")


def test_joined_labels_that_the_format_cannot_hold_are_an_error(run, change_model, tmp_path):
    model = change_model(problem_type="multi_label_classification")
    path = write_rows(tmp_path / "in.csv", ("text",), [("fine",)])
    (tmp_path / "params.yaml").write_text("")
    settings = predict.Settings(predict.Layout(delimiter="|", quotechar=None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "read_settings", lambda arguments: settings)
        with pytest.raises(predict.UserError, match=r"the label 'negative\|positive' of the model"):
            run("--csv", path, "--model", model)
