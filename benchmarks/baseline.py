"""The accuracy of TF-IDF and logistic regression on the data of the last `dvc repro`.

python -m benchmarks.baseline
"""

import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline

from stages.core.files import read_json
from stages.core.paths import MANIFEST, RAW, TEST_METRICS


def main() -> None:
    manifest = read_json(MANIFEST)
    train = pq.read_table(RAW / "train.parquet").to_pydict()
    test = pq.read_table(RAW / "test.parquet").to_pydict()
    print(f"data: {manifest['source']['path'] or manifest['source']['source']}, {len(train['text']):,} training rows")
    for name, words in (("single words", (1, 1)), ("words and pairs of words", (1, 2))):
        model = make_pipeline(TfidfVectorizer(ngram_range=words, sublinear_tf=True), LogisticRegression(max_iter=1000))
        model.fit(train["text"], train["label"])
        accuracy = accuracy_score(test["label"], model.predict(test["text"]))
        print(f"TF-IDF of {name} + logistic regression: test accuracy {accuracy:.4f}")
    print(f"the pipeline: test accuracy {read_json(TEST_METRICS)['accuracy']:.4f}")


if __name__ == "__main__":
    main()
