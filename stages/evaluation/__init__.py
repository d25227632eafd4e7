"""A model's predictions and how good they are: metrics, their confidence intervals, and the rules of the gate.

It takes logits and labels as NumPy arrays, and metrics as plain values. It returns numbers and verdicts; it reads no
model and writes no file.
"""
