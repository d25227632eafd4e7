"""Logging of pipeline runs to MLflow.

Takes params, metrics, files and tags from the stages, and writes them to a journal on disk; a separate process sends
the journal to MLflow. Also keeps DVC's experiments and MLflow's runs in agreement, and returns registered models.
"""
