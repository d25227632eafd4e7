"""Repeats the pipeline in a temporary clone of the repository and compares the outputs.

Takes two `dvc.lock` files and the folders with their outputs; returns which outputs differ, and how, in words.
"""
