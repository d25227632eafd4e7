"""From text to batches of tokens.

Takes the rows of `data/raw` and a model's tokenizer. Returns the data set of tokens, its statistics, and padded batches
of rows of similar length; texts longer than the model reads become windows, whose scores are pooled again.
"""
