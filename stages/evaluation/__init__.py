"""A model's predictions and how good they are: metrics, their intervals, temperature, thresholds, and the gate's rules.

Also how two samples of texts differ, and whether by chance. It takes logits, features and labels as NumPy arrays, and
metrics as plain values. It returns numbers and verdicts; it reads no model and writes no file.
"""
