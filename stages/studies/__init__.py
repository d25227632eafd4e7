"""Studies: many trainings that answer one question together, and the statistics of their results.

A study takes params, and a function that trains with them and returns a score; its trials are kept in an Optuna
storage. The statistics take scores, labels and probabilities as plain values and NumPy arrays, and return numbers and
sentences: how much the seed changes, what more rows would give, and which labels are probably wrong. They read no file
and train nothing.
"""
