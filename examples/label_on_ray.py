"""Label the column `text` of Parquet files with a registered model, on Ray Data.

python examples/label_on_ray.py reviews labelled --model models:/text-classifier@champion --actors 8
"""

import argparse

import mlflow.pyfunc
import pyarrow as pa
import ray


class Labeller:
    def __init__(self, model: str):
        self.model = mlflow.pyfunc.load_model(model)

    def __call__(self, rows: pa.Table) -> pa.Table:
        answers = self.model.predict(rows.select(["text"]).to_pandas())
        labels = [label or None for label in answers["label"]]  # null where the model is not sure enough
        rows = rows.append_column("label", pa.array(labels, pa.string()))
        return rows.append_column("probability", pa.array(answers["probability"], pa.float64()))


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("source", help="folder or file that Ray reads, such as s3://bucket/reviews")
parser.add_argument("out", help="folder that Ray writes")
parser.add_argument("--model", default="models:/text-classifier@champion", help="URI of a model in MLflow")
parser.add_argument("--actors", type=int, default=1, help="how many processes compute; at most one a core")
arguments = parser.parse_args()

# An actor computes on one core. Ray counts half of it, so that the tasks that read and write find a place, too.
labelled = ray.data.read_parquet(arguments.source).map_batches(
    Labeller, fn_constructor_args=[arguments.model], compute=ray.data.ActorPoolStrategy(size=arguments.actors),
    batch_format="pyarrow", batch_size=1000, num_cpus=0.5,
)  # fmt: skip
labelled.write_parquet(arguments.out)
