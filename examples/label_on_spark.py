"""Label the column `text` of Parquet files with a registered model, on Spark.

spark-submit examples/label_on_spark.py reviews labelled --model models:/text-classifier@champion
"""

import argparse

import mlflow.pyfunc
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, lit, nullif, struct

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("source", help="folder or file that Spark reads, such as s3a://bucket/reviews")
parser.add_argument("out", help="folder that Spark writes; it must not exist")
parser.add_argument("--model", default="models:/text-classifier@champion", help="URI of a model in MLflow")
arguments = parser.parse_args()

# A thousand rows at a time in the model, as in stages.predict; Spark's own 10,000 need more memory.
spark = SparkSession.builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "1000").getOrCreate()
predict = mlflow.pyfunc.spark_udf(spark, arguments.model, "label string, probability double", env_manager="local")
rows = spark.read.parquet(arguments.source).withColumn("answer", predict(struct("text")))
label = nullif(col("answer.label"), lit("")).alias("label")  # null where the model is not sure enough
rows.select("*", label, "answer.probability").drop("answer").write.parquet(arguments.out)
