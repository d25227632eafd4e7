"""Precision and recall of label issues on the demo corpus, whose generator knows which labels are wrong.

python -m benchmarks.wrong_labels

Run it after `dvc repro` of the default params and `python -m stages.label_issues`. It compares their table with what
the same method finds by the probabilities of TF-IDF and logistic regression, with the same number of folds.
"""

from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from stages.core.csv_tables import read_csv
from stages.core.paths import LABEL_ISSUES, RAW
from stages.data import demo_corpus
from stages.studies.label_quality import find_label_issues, make_folds

SPLITS = ("train", "validation")
FOLDS, SEED = 5, 42


def main() -> None:
    tables = {split: pq.read_table(RAW / f"{split}.parquet").to_pydict() for split in SPLITS}
    texts = [text for table in tables.values() for text in table["text"]]
    labels = np.array([label == "positive" for table in tables.values() for label in table["label"]], dtype=int)
    with patch.object(demo_corpus, "WRONG_LABELS", 0.0):  # draws the same random numbers
        right = dict(pair for split in SPLITS for pair in demo_corpus.make_reviews(split, SEED))
    is_wrong = np.array([right[text] == "positive" for text in texts]) != labels.astype(bool)
    print(f"{is_wrong.sum()} of {len(labels):,} labels are wrong\n")
    print(
        "| probabilities of | found | of them wrong (precision) | of the wrong found (recall) |\n|---|---:|---:|---:|"
    )
    starts = {"train": 0, "validation": len(tables["train"]["text"])}
    report(
        "the fine-tuned model",
        [starts[split] + int(row) for split, row in read_csv(LABEL_ISSUES, ["split", "row"])],
        is_wrong,
    )
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(max_iter=1000))
    folds = make_folds(labels, np.arange(len(labels)), FOLDS, SEED)
    parts = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(FOLDS)]
    probabilities = cross_val_predict(model, texts, labels, cv=parts, method="predict_proba")
    report("TF-IDF and logistic regression", [one.row for one in find_label_issues(labels, probabilities)], is_wrong)


def report(name: str, found: list[int], is_wrong: np.ndarray) -> None:
    hits = is_wrong[found].sum()
    print(f"| {name} | {len(found)} | {hits / max(len(found), 1):.2f} | {hits / is_wrong.sum():.2f} |")


if __name__ == "__main__":
    main()
