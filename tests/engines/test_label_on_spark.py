import datetime

import pytest

from stages.inference.csv_file import Layout
from stages.inference.output_columns import Answer, OutputColumns
from stages.inference.parquet_files import ParquetTask
from stages.inference.parquet_folders import count_rows, label_pairs, pair_files

sql = pytest.importorskip("pyspark.sql", reason="PySpark is not installed: make test-engines")


@pytest.fixture
def spark(monkeypatch):
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    session = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    yield session
    session.stop()


def test_spark_labels_as_predict_does(run_example):
    run_example("label_on_spark.py")


@pytest.mark.parametrize("kind", ["INT96", "TIMESTAMP_MICROS"])
def test_spark_reads_what_predict_made_of_its_files(spark, tmp_path, kind):
    time, task = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901), ParquetTask(Layout(), OutputColumns(["a", "b"]), "")
    spark.conf.set("spark.sql.parquet.outputTimestampType", kind)
    spark.createDataFrame([("good", time)], ["text", "at"]).write.parquet(str(tmp_path / "in"))
    answer = task.columns.make_values(Answer("a", 0.75, {"a": 0.75, "b": 0.25}, False, False))
    rows = count_rows(pair_files(tmp_path / "in", tmp_path / "out"), task)
    label_pairs(rows, lambda texts, locations: [answer for _ in texts], task)
    (row,) = spark.read.parquet(str(tmp_path / "out")).collect()
    assert row.asDict() == {"text": "good", "at": time, "label": "a", "probability": 0.75}
