import datasets
import numpy as np
import pytest
import torch

from stages.lib.batches import LengthGroupedSampler, PaddingCollator, TokenRows, by_length


@pytest.fixture
def split():
    ids = [[1, 2], [3, 4, 5, 6], [7], [8, 9, 10]]
    features = datasets.Features(
        input_ids=datasets.List(datasets.Value("int32")), length=datasets.Value("int32"),
        labels=datasets.ClassLabel(names=["a", "b"]),
    )  # fmt: skip
    return datasets.Dataset.from_dict(
        {"input_ids": ids, "length": [len(row) for row in ids], "labels": [0, 1, 0, 1]}, features=features
    )


def test_rows_are_those_of_the_data_set(split):
    rows = TokenRows(split)
    assert [(row["input_ids"].tolist(), row["labels"]) for row in rows] == list(
        zip(split["input_ids"], split["labels"], strict=True)
    )


def test_an_order_arranges_rows_longest_first(split):
    order = by_length(split)
    assert [len(row["input_ids"]) for row in TokenRows(split, order)] == [4, 3, 2, 1]
    assert [row["labels"] for row in TokenRows(split, order)] == [1, 1, 0, 0]


def test_rows_survive_a_data_set_of_many_chunks(split):
    chunked = datasets.concatenate_datasets([split, split])
    assert TokenRows(chunked)[5]["input_ids"].tolist() == [3, 4, 5, 6]


def test_a_batch_is_padded_to_its_own_longest_row(split):
    rows = TokenRows(split)
    batch = PaddingCollator(pad_token_id=99)([rows[2], rows[0]])
    assert batch["input_ids"].tolist() == [[7, 99], [1, 2]]
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert batch["labels"].tolist() == [0, 0]
    assert all(str(value.dtype) == "torch.int64" for value in batch.values())


def test_lengths_are_counted_without_reading_rows(split):
    assert np.array_equal(by_length(split), [1, 3, 0, 2])


def test_a_sampler_groups_like_lengths_and_shuffles_the_batches():
    lengths = np.random.default_rng(0).integers(5, 500, 1003)
    sampler = LengthGroupedSampler(lengths, 10)
    torch.manual_seed(0)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(1003)) != first != second
    batches = lengths[np.array(first[:1000]).reshape(100, 10)]
    means, spreads = batches.mean(1), np.ptp(batches, 1)
    assert np.mean(spreads) < 60
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3  # a long batch says nothing about the next
    torch.manual_seed(0)
    assert list(sampler) == first
