"""What counting words reaches on the data of the last `dvc repro`: TF-IDF and logistic regression.

python -m benchmarks.baseline
"""

from pathlib import Path

import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline

from stages.core.files import read_json

RAW = Path("data/raw")


def main() -> None:
    manifest = read_json(RAW / "dataset.json")
    columns = {split: pq.read_table(RAW / f"{split}.parquet").to_pydict() for split in ("train", "test")}
    train, test = columns["train"], columns["test"]
    print(f"data: {manifest['source']['path'] or manifest['source']['source']}, {len(train['text']):,} training rows")
    for name, words in (("single words", (1, 1)), ("words and pairs of words", (1, 2))):
        model = make_pipeline(TfidfVectorizer(ngram_range=words, sublinear_tf=True), LogisticRegression(max_iter=1000))
        model.fit(train["text"], train["label"])
        accuracy = accuracy_score(test["label"], model.predict(test["text"]))
        print(f"TF-IDF of {name} + logistic regression: test accuracy {accuracy:.4f}")
    print(f"the pipeline: test accuracy {read_json(Path('metrics/evaluate.json'))['accuracy']:.4f}")


if __name__ == "__main__":
    main()
