"""Prediction with a finished classifier.

Takes a model folder and texts, given one by one, as rows of CSV and Parquet files, or in a request to MLflow's server.
Returns labels, probabilities, whether the model is sure enough to answer, and whether the text was truncated, computed
as `evaluate` computes them.
"""
