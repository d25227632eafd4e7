"""A model's predictions and how good they are: metrics, their intervals, temperature, thresholds, and the gate's rules.

It takes logits and labels as NumPy arrays, and metrics as plain values. It returns numbers and verdicts; it reads no
model and writes no file.
"""
