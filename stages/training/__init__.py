"""Training of classifiers with `transformers.Trainer`, resumable at any moment, and prediction of logits with it.

Takes a classifier, the data set of tokens and the section `train` of params.yaml. Returns the trained model's Trainer
with its history, whose features of frozen layers are computed once and cached; checkpoints are removed when it is done.
"""
