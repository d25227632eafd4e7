import re

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from stages.data.demo_corpus import ADJECTIVES, LABELS, ROWS, make_reviews


@pytest.fixture(scope="module")
def splits():
    return {split: make_reviews(split, 42) for split in ROWS}


def test_the_same_seed_gives_the_same_reviews_and_another_seed_others(splits):
    assert make_reviews("test", 42) == splits["test"]
    assert make_reviews("test", 43) != splits["test"]


def test_splits_have_their_size_and_both_labels_equally(splits):
    for split, rows in splits.items():
        assert len(rows) == ROWS[split] == len({text for text, _ in rows})
        share = sum(label == LABELS[1] for _, label in rows) / len(rows)
        assert 0.45 < share < 0.55


def test_reviews_have_10_to_80_words(splits):
    lengths = [len(text.split()) for rows in splits.values() for text, _ in rows]
    assert min(lengths) >= 10
    assert max(lengths) <= 80


def test_some_words_of_sentiment_are_in_test_only(splits):
    words = {split: set(re.findall(r"\w+", " ".join(text for text, _ in rows))) for split, rows in splits.items()}
    sentiment = set(" ".join(ADJECTIVES.values()).split())
    assert len(sentiment & words["test"] - words["train"]) >= 20
    assert len(sentiment & words["test"] & words["train"]) >= 40


def test_counting_words_is_not_enough(splits):
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
    model.fit(*zip(*splits["train"], strict=True))
    assert 0.6 < model.score(*zip(*splits["test"], strict=True)) < 0.8
