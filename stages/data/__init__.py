"""Sources of labelled text (folders, archives, CSV, JSON, Parquet, the hub, a demo corpus) and the splits made of them.

Takes the section `data` of the params and the seed, and writes the Parquet files and the manifest of `data/raw`. Rows
that cannot be used, and texts that are in two splits, are errors or are counted, as the params say.
"""
