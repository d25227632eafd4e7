"""The pages of the report, also for hostile texts."""

import re
from html.parser import HTMLParser

import pytest
from support.run_facts import make_facts, make_summary

from stages.report.curves import History
from stages.report.html import describe_repeat, write_report

HOSTILE = '<script>alert(1)</script> | `code` @someone "&amp;\n</p></blockquote>{{ 7 * 7 }}'
LOADS = ("src", "href", "data", "action", "poster", "srcset", "background")
HISTORY = History(
    [{"step": 5, "loss": 0.7}, {"step": 10, "loss": 0.5}],
    [{"step": 10, "loss": 0.5, "accuracy": 0.8, "f1_macro": 0.8, "best": 1}],
)
TIMINGS = {"train_seconds": 61.2, "train_peak_memory_mb": 1234.5}


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


def write(folder, names=("bad", "good"), text="a text", results=None, **facts):
    """The text of both pages."""
    write_report(folder, make_summary(names, text, **results or {}), make_facts(names, **facts), HISTORY, TIMINGS)
    return (folder / "report.html").read_text(), (folder / "report.md").read_text()


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_the_page_needs_no_other_file_and_no_network(tmp_path, classes):
    source = {"source": "csv", "path": "a.csv", "revision": None}
    html, markdown = write(tmp_path, [f"class {number}" for number in range(classes)], source=source)
    page = Page(html)
    assert not {"script", "link", "iframe", "img"} & set(page.tags)
    assert page.tags.count("svg") == 3 + (classes > 20)
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in page.loads)
    assert not re.search(r"https?://|@import|url\((?!#)", html + markdown)


def test_the_short_form_for_pull_requests_has_no_secrets_of_the_source(tmp_path):
    _, markdown = write(tmp_path)
    assert "rows of `https://example.org/a.csv`" in markdown
    assert "secret" not in markdown


def test_windows_are_explained_where_there_are_any(tmp_path):
    pages = [write(tmp_path, params={"preprocess.stride": stride})[0] for stride in (32, None)]
    with_windows, truncated = (Page(page).text for page in pages)
    for text in ("read in windows, which overlap by\n32 tokens", "all windows of a text"):
        assert text in with_windows
        assert text not in truncated


def test_both_pages_name_the_classes_that_a_split_lacks(tmp_path):
    html, markdown = write(tmp_path, missing={"test": {f"rare <b>{number}": 7 for number in range(30)}})
    assert "Test has no rows of 30 of the classes of train" in Page(html).text
    assert "rare <b>0, rare <b>1, " in Page(html).text
    assert "**Test has no rows of 30 of the classes of train: `rare <b>0`, `rare <b>1`, " in markdown
    assert "`rare <b>19`, ….**" in markdown
    assert not any("has no rows" in page for page in write(tmp_path))


def test_hostile_names_and_texts_are_text(tmp_path):
    html, markdown = write(tmp_path, [HOSTILE, "好"], HOSTILE, params={"model.name": HOSTILE})
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


def test_pages_of_several_labels_a_text_speak_of_labels(tmp_path):
    names = ["late", HOSTILE]
    html, markdown = write(tmp_path, names, results={"is_multi_label": True, "thresholds": [0.4, 0.6]})
    page = Page(html)
    assert re.match(r"### Test F1 \(micro\) 0\.\d+ \(0\.\d+–0\.\d+\)\n", markdown)
    for text in ("Subset accuracy (all labels right)", "By label", "(none)", "A text may have several labels, or none"):
        assert text in page.text
    assert "predicted as no label" in page.text
    assert not re.search(r"\bclass(es)?\b", page.text.replace("Expected", ""))
    assert "script" not in page.tags
    assert "| label | rows |" in markdown


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_slices_are_shown_with_what_does_not_count(tmp_path, is_multi_label):
    languages = ["en"] * 40 + ["de"] * 17 + ["", "<b>", "|"]
    results = {"slices": {"language": languages, "row": [str(row) for row in range(60)]}}
    html, markdown = write(tmp_path, results=results | {"is_multi_label": is_multi_label})
    page = Page(html)
    for text in ("By slice", "Lowest accuracy of a slice", "(empty)", "<b>", "The 20 of 60 values with the most rows"):
        assert text in page.text
    assert "| `en` | 40 |" in markdown
    assert html.count('<tr class="soft">') == 4 + 20
    assert "By slice" not in write(tmp_path)[0]


def test_metrics_of_an_order_are_shown_where_there_is_one(tmp_path):
    html, markdown = write(tmp_path, "abcdef", results={"is_ordinal": True})
    for text in ("Kappa, quadratic weights", "Mean absolute error, in classes", "Class among the three most likely"):
        assert text in html
        assert text in markdown
        assert text not in write(tmp_path)[0]


def test_equal_runs_have_equal_pages(tmp_path):
    assert write(tmp_path) == write(tmp_path)


def test_the_command_that_repeats_names_the_experiment_or_what_is_lacking():
    assert describe_repeat({"git.commit": "c", "dvc.exp_name": "warm-up", "git.dirty": "true"}) == {
        "commands": ["git checkout c", "dvc exp apply warm-up", "dvc repro"], "lacking": ""
    }  # fmt: skip
    assert "not committed" in describe_repeat({"git.commit": "c", "git.dirty": "true"})["lacking"]
    assert "no commit" in describe_repeat({})["lacking"]
