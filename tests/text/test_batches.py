import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.text.batches import LengthGroupedSampler, MarkedRows, SharedBatches, TokenRows, pad_batch
from stages.text.labels import flatten_lists
from stages.text.padding import plan_batches, round_up_widths, sort_by_length


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


def test_a_batch_is_padded_to_a_multiple_of_eight_or_the_longest_row_of_all(split):
    batch = TokenRows(split, pad_token_id=99, max_length=4).__getitems__([2, 0])
    assert batch["input_ids"].tolist() == [[7, 99, 99, 99], [1, 2, 99, 99]]
    assert batch["attention_mask"].tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert round_up_widths(np.array([1, 8, 9, 30]), 30).tolist() == [8, 8, 16, 30]
    assert batch["labels"].tolist() == [0, 0]
    assert all(str(value.dtype) == "torch.int64" for value in batch.values())


def test_a_batch_without_padding_has_no_mask(split):
    batch = TokenRows(split, 0, 4).__getitems__([1])
    assert batch["input_ids"].tolist() == [[3, 4, 5, 6]]
    assert set(batch) == {"input_ids", "labels"}


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=6), st.integers(0, 4))
def test_a_padded_batch_holds_the_tokens_of_each_row_where_its_mask_is_1(rows, padding):
    width = max(map(len, rows)) + padding
    batch = pad_batch({"input_ids": rows, "token_type_ids": rows}, pad_token_id=99, width=width)
    mask = batch.get("attention_mask", np.ones((len(rows), width)))
    assert ("attention_mask" in batch) == any(len(row) < width for row in rows)
    for ids, types, used, row in zip(batch["input_ids"], batch["token_type_ids"], mask, rows, strict=True):
        assert ids[used == 1].tolist() == types[used == 1].tolist() == row
        assert set(ids[used == 0].tolist()) <= {99}
        assert set(types[used == 0].tolist()) <= {0}


def test_rows_are_read_from_a_data_set_of_many_chunks(split):
    chunked = datasets.concatenate_datasets([split, split])
    assert TokenRows(chunked, 0, 4).__getitems__([5])["input_ids"].tolist() == [[3, 4, 5, 6]]


def test_lists_of_many_chunks_are_one_array_and_their_lengths():
    lists = pa.array([[1, 2], [], [3], [4, 5, 6]])
    values, lengths = flatten_lists(pa.chunked_array([lists.slice(1, 2), lists.slice(0, 0), lists.slice(2)]))
    assert values.tolist() == [3, 3, 4, 5, 6]
    assert lengths.tolist() == [0, 1, 1, 3]


def test_batches_of_pairs_have_token_types(split):
    types = [[0, 1], [0, 0, 1, 1], [0], [0, 1, 1]]
    batch = TokenRows(split.add_column("token_type_ids", types), 99, 4).__getitems__([3, 1])
    assert batch["token_type_ids"].tolist() == [[0, 1, 1, 0], [0, 0, 1, 1]]


def test_budget_batches_hold_every_row_once_longest_first_within_the_budget():
    lengths = np.random.default_rng(0).integers(5, 500, 1003)
    batches = plan_batches(lengths, 500, 2000)
    assert len(batches) > 100
    assert np.concatenate(batches).tolist() == sort_by_length(lengths).tolist()
    assert all(len(batch) * round_up_widths(lengths, 500)[batch].max() <= 2000 for batch in batches)
    assert lengths[np.concatenate(batches)].tolist() == sorted(lengths, reverse=True)
    assert [len(batch) for batch in plan_batches(lengths[:5], 500, 1)] == [1] * 5  # one row at least


@given(st.lists(st.integers(1, 60), min_size=1, max_size=50), st.sampled_from([60, 64, 500]), st.integers(1, 500))
def test_budget_batches_hold_rows_of_one_width(lengths, max_length, budget):
    lengths = np.array(lengths)
    widths = round_up_widths(lengths, max_length)
    batches = plan_batches(lengths, max_length, budget)
    assert all(len(set(widths[batch])) == 1 for batch in batches)
    filled = plan_batches(lengths, max_length, budget, fixed_rows=True)
    for rows, expected in zip(filled, batches, strict=True):
        assert rows.tolist() == [*expected, *[expected[-1]] * (len(rows) - len(expected))]
        assert len(rows) == max(budget // widths[rows[0]], 1)


def test_the_width_of_a_row_does_not_depend_on_the_longest_row_of_the_data():
    lengths = np.array([3, 9, 30, 49])
    together = round_up_widths(lengths, 50)
    assert together.tolist() == [8, 16, 32, 50]
    assert [int(round_up_widths(lengths[[row]], 50)[0]) for row in range(4)] == together.tolist()


def test_a_sampler_groups_similar_lengths_and_shuffles_the_batches():
    lengths = np.random.default_rng(0).integers(5, 500, 1003)
    sampler = LengthGroupedSampler(lengths, 10, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(first) == sorted(second) == list(range(1003)) != first != second
    batches = lengths[np.array(first[:1000]).reshape(100, 10)]
    means, spreads = batches.mean(1), np.ptp(batches, 1)
    assert np.mean(spreads) < 60
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3  # a long batch says nothing about the next


def test_seed_and_epoch_alone_decide_the_order():
    lengths = np.random.default_rng(0).integers(5, 500, 100)
    orders = [list(LengthGroupedSampler(lengths, 10, seed)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 12))
def test_ranks_share_the_rows_of_each_batch(lengths, batch_size, count):
    """In their order, each row once; a rank without a row has one that does not count."""
    sampler = LengthGroupedSampler(np.array(lengths), batch_size, seed=0)
    order = list(sampler)
    shares = [list(SharedBatches(sampler, rank, count)) for rank in range(count)]
    for number, of_ranks in enumerate(zip(*shares, strict=True)):
        batch = order[number * batch_size : (number + 1) * batch_size]
        counted = [[row for row in share if row >= 0] for share in of_ranks]
        assert [counted[place % count][place // count] for place in range(len(batch))] == batch
        assert sum(map(len, counted)) == len(batch)
        assert all(share for share in of_ranks)
    assert {len(share) for share in shares} == {len(SharedBatches(sampler, 0, count))}


def test_marked_rows_have_a_label_that_the_loss_leaves_out(split):
    rows = MarkedRows(TokenRows(split, 0, 4))
    batch = rows.__getitems__([-1 - 3])
    assert batch["input_ids"].tolist() == [[8, 9, 10, 0]]
    assert batch["labels"].tolist() == [-100]
    assert rows.__getitems__([3])["labels"].tolist() == [1]
