"""Prediction with a finished classifier.

Takes a model folder and texts, given one by one, as rows of a CSV file or in a request to MLflow's server, and returns
labels, probabilities, whether the model is sure enough to answer, and whether the text was truncated, computed as
`evaluate` computes them.
"""
