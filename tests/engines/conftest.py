"""A checkout whose champion the examples label reviews with, and what `stages.predict` gives for them."""

import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from support.champion import make_champion
from support.project import ROOT

VARIABLES = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable, "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="session")
def folder(finished, tmp_path_factory):
    """A folder of a champion, with reviews in three files, and the same labelled by `stages.predict`."""
    checkout = finished.copy(tmp_path_factory.mktemp("engines") / "checkout")
    make_champion(checkout)
    table = pq.read_table(checkout.folder / "data/raw/test.parquet")
    (checkout.folder / "reviews").mkdir()
    for number in range(3):
        part = table.slice(number * table.num_rows // 3, table.num_rows // 3).rename_columns({"label": "actual"})
        pq.write_table(part, checkout.folder / f"reviews/{number}.parquet")
    checkout.run("python", "-m", "stages.predict", "--parquet", "reviews", "--out", "labelled")
    return checkout.folder


@pytest.fixture
def run_example(folder, tmp_path):
    """Label the reviews with an example, and compare with what `stages.predict` gave."""

    def run(name, *arguments):
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | VARIABLES
        environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlruns/mlflow.db"
        result = subprocess.run(
            [sys.executable, ROOT / "examples" / name, folder / "reviews", tmp_path / "out", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-5000:]
        expected = pq.read_table(folder / "labelled").sort_by("text")
        found = pq.read_table(tmp_path / "out").sort_by("text")
        assert found.schema.names == expected.schema.names
        names = [name for name in expected.schema.names if name != "probability"]
        assert found.select(names).to_pylist() == expected.select(names).to_pylist()
        assert found["probability"].to_pylist() == pytest.approx(expected["probability"].to_pylist(), abs=1e-6)

    return run
