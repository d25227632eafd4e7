import os
import re
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from support import hub
from support.project import ROOT

from stages.core.files import read_json


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """A data set repository with one split, in two configurations."""
    folder = tmp_path_factory.mktemp("reviews")
    features = Features(text=Value("string"), label=ClassLabel(names=["neg", "pos"]))
    columns = {"text": [f"text {number}" for number in range(80)], "label": [number % 2 for number in range(80)]}
    for name in ("small", "large"):
        Dataset.from_dict(columns, features).to_parquet(folder / f"{name}/train-00000-of-00001.parquet")
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/train-*\n" for name in ("small", "large"))
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return folder


# The client waits half a minute in all for a hub that it cannot reach; not here.
DOWNLOAD = """
import runpy, time
time.sleep = lambda seconds: None
runpy.run_module("stages.download", run_name="__main__")
"""


def download(folder, url):
    """Run the stage with the real client against a hub."""
    return subprocess.run(
        [sys.executable, "-c", DOWNLOAD], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": url, "HF_HOME": str(folder / "hf"),
                          "DVC_ROOT": str(folder)},
    )  # fmt: skip


def params_for(path, config=None, revision=None, **more):
    return {"data.source": "hub", "data.path": path, "data.config": config, "data.revision": revision} | more


def test_a_data_set_with_one_split_is_split_and_later_read_without_the_hub(write_params, workspace, reviews):
    write_params(params_for("someone/reviews", "small", hub.COMMIT))
    with hub.serve(datasets={"someone/reviews": reviews}) as (url, _):
        first = download(workspace, url)
        assert first.returncode == 0, first.stderr
    assert "65 train, 7 validation, 8 test rows" in first.stdout
    assert (workspace / "data/source/hub").read_text() == f"someone/reviews {hub.COMMIT}\n"
    raw = (workspace / "data/raw/train.parquet").read_bytes()
    assert download(workspace, url).returncode == 0
    assert (workspace / "data/raw/train.parquet").read_bytes() == raw
    write_params(params_for("someone/reviews", "small", "f" * 40))
    result = download(workspace, url)
    assert result.returncode == 1
    assert "the hub cannot be reached, and the local cache has someone/reviews at another revision" in result.stderr


def test_lists_of_classes_have_the_names_of_the_data_set_in_its_order(write_params, workspace, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tickets")
    features = Features(
        text=Value("string"),
        label=List(ClassLabel(names=["bug", "bill", "ask"])),
        channel=ClassLabel(names=["mail", "phone"]),
    )
    labels = [[number % 3] * (number % 4 > 0) + [1] * (number % 2) for number in range(80)]
    columns = {"text": [f"{n}" for n in range(80)], "label": labels, "channel": [n % 2 for n in range(80)]}
    Dataset.from_dict(columns, features).to_parquet(folder / "train.parquet")
    write_params(params_for("someone/tickets", None, hub.COMMIT, **{"data.slice_columns": ["channel"]}))
    with hub.serve(datasets={"someone/tickets": folder}) as (url, _):
        result = download(workspace, url)
    assert result.returncode == 0, result.stderr
    assert read_json(workspace / "data/raw/dataset.json")["labels"] == ["bug", "bill", "ask"]
    rows = [row for path in (workspace / "data/raw").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    names = {row["text"]: row["label"] for row in rows}
    assert {row["text"]: row["slice_channel"] for row in rows}["7"] == "phone"
    assert (len(names), names["0"], names["5"], names["7"]) == (80, [], ["bill", "ask"], ["bill"])
    assert re.search(r"labels of train: bill [\d.]+%, bug [\d.]+%, ask [\d.]+%\n", result.stdout)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (params_for("someone/none"), "data.path: the hub shows you no data set someone/none"),
        (params_for("a b"), "data.path: the hub shows you no data set a b"),
        (params_for("someone/reviews", "small", "v9"), "data.revision: the hub has no someone/reviews at revision v9"),
        (params_for("someone/reviews", "tiny"), "data.config: someone/reviews cannot be loaded from the hub: "),
        (params_for("someone/reviews"), "data.config: someone/reviews cannot be loaded from the hub: "),
        (
            params_for("someone/reviews", "small", **{"data.text_column": "review"}),
            "data.text_column: someone/reviews has no column 'review'; it has text, label",
        ),
        (
            params_for("someone/reviews", "small", **{"data.splits": {"test": "validation"}}),
            "someone/reviews: no split 'test'; expected validation, found train",
        ),
    ],
)
def test_what_the_hub_does_not_have_is_an_error_with_one_message(write_params, workspace, reviews, changes, message):
    write_params(changes)
    with hub.serve(datasets={"someone/reviews": reviews}) as (url, _):
        result = download(workspace, url)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (workspace / "data/raw").exists()


def test_a_hub_that_cannot_be_reached_is_an_error_with_one_message(write_params, workspace):
    write_params(params_for("someone/reviews"))
    result = download(workspace, "http://127.0.0.1:9")
    assert result.returncode == 1
    assert "data.path: someone/reviews is not in the local cache, and the hub cannot be reached" in result.stderr
    assert "Traceback" not in result.stderr
