"""The pages of the report, also for hostile texts."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from stages.evaluation.metrics import compute_test_metrics
from stages.report.html import how_to_repeat, seconds, write_report
from stages.report.model_card import code
from stages.report.summary import summarize

HOSTILE = '<script>alert(1)</script> | `code` @someone "&amp;\n</p></blockquote>{{ 7 * 7 }}'
LOADS = ("src", "href", "data", "action", "poster", "srcset", "background")


class Page(HTMLParser):
    """The tags of a page, what they may load, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name.split(":")[-1] in LOADS]

    def handle_data(self, data):
        self.text += data


def write(
    folder,
    names=("bad", "good"),
    text="a text",
    validation="10,1,0.5,0.8,0.8,0.8,0.8\n",
    tags=None,
    rows=60,
    stride=None,
    source=None,
):
    labels = np.arange(rows) % len(names)
    logits = np.random.default_rng(0).normal(size=(rows, len(names))).astype(np.float32)
    (folder / "t.csv").write_text("step,epoch,loss,learning_rate,grad_norm\n5,1,0.7,1,1\n10,1,0.5,1,1\n")
    columns = "step,epoch,loss,accuracy,precision_macro,recall_macro,f1_macro\n"
    (folder / "v.csv").write_text(columns + validation)
    split = {"rows": rows, "tokens": 9, "length": {"p50": 3}, "share_truncated": 0.1}
    write_report(
        folder,
        summarize(logits, labels, list(names), np.arange(rows), [text] * rows, 5, 0),
        (folder / "t.csv", folder / "v.csv"),
        tags or {"git.commit": "c" * 40, "git.dirty": "false"},
        metrics=compute_test_metrics(logits, labels),
        parameters={"trainable_parameters": 1, "total_parameters": 2},
        params={
            "model.name": text,
            "model.pretrained": True,
            "model.revision": None,
            "preprocess.max_length": 128,
            "preprocess.stride": stride,
        },
        statistics={
            "splits": dict.fromkeys(("train", "test"), split),
            "leaks": {"train_and_test": 12},
            "dropped": {"train": {"empty text": 34}},
        },
        manifest={"source": {"source": "csv", "path": source or text}},
        precision="fp32",
        timings={"train_seconds": 61.2, "train_peak_memory_mb": 1234.5},
    )
    return (folder / "report.html").read_text(), (folder / "report.md").read_text()


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_the_page_needs_no_other_file_and_no_network(tmp_path, classes):
    html, markdown = write(tmp_path, [f"class {number}" for number in range(classes)])
    page = Page(html)
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    assert page.tags.count("svg") == 3 + (classes > 20)
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in page.loads)
    assert not re.search(r"https?://|@import|url\((?!#)", html + markdown)


def test_the_short_form_for_pull_requests_has_no_secrets_of_the_source(tmp_path):
    address = "https://me:secret@example.org/a.csv?token=secret"
    _, markdown = write(tmp_path, source=address)
    assert "rows of `https://example.org/a.csv`" in markdown
    assert "secret" not in markdown


def test_windows_are_explained_where_there_are_any(tmp_path):
    read, cut = (Page(write(tmp_path, stride=stride)[0]).text for stride in (32, None))
    for text in ("read in windows, which share\n32:", "all windows of a text"):
        assert text in read
        assert text not in cut


def test_hostile_names_and_texts_are_text(tmp_path):
    html, markdown = write(tmp_path, [HOSTILE, "好"], HOSTILE)
    page = Page(html)
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert page.tags.count("blockquote") == 5
    (row,) = (line for line in markdown.splitlines() if line.startswith("| `<script>"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 7
    assert row.count("`") == 2
    assert "\n@" not in markdown


def test_both_pages_say_what_was_measured_with_its_interval(tmp_path):
    html, markdown = write(tmp_path)
    heading = re.search(r"Test accuracy (0\.\d+) \((0\.\d+)–(0\.\d+)\)", markdown).groups()
    low, high = map(float, heading[1:])
    assert low < float(heading[0]) < high
    assert all(number in Page(html).text for number in heading)
    for text in ("Expected calibration error", "1 min 1 s", "Leaks (train and test): 12", "34 rows of train dropped"):
        assert text in Page(html).text
    assert f"git checkout {'c' * 40}\ndvc repro" in html
    assert f"git checkout {'c' * 40}\ndvc repro" in markdown


def test_equal_runs_have_equal_pages(tmp_path):
    assert write(tmp_path) == write(tmp_path)


def test_curves_without_validation_are_told(tmp_path):
    html, _ = write(tmp_path, validation="")
    assert "No validation was recorded." in html
    assert Page(html).tags.count("svg") == 2


def test_the_command_that_repeats_names_the_experiment_or_what_is_lacking():
    assert how_to_repeat({"git.commit": "c", "dvc.exp_name": "warm-up", "git.dirty": "true"}) == {
        "commands": ["git checkout c", "dvc exp apply warm-up", "dvc repro"], "lacking": ""
    }  # fmt: skip
    assert "not committed" in how_to_repeat({"git.commit": "c", "git.dirty": "true"})["lacking"]
    assert "no commit" in how_to_repeat({})["lacking"]


def test_values_in_markdown_are_one_line_of_code():
    assert code("a\n|`b`") == "`a \\|'b'`"
    assert code("") == "` `"


def test_seconds_are_told_as_people_do():
    assert [seconds(value) for value in (1.26, 61.2, 59.9, 7265)] == ["1.3 s", "1 min 1 s", "1 min 0 s", "2 h 1 min"]
