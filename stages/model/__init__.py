"""Text classifiers: an encoder with a head, of any family in `families.py`.

Takes the sections `model` and `train` of params.yaml and a model folder. Returns classifiers of `transformers`, frozen
where asked, and their two parts: the frozen encoder, which computes features, and the classifier that trains on them.
"""
