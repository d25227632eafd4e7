import pytest
import torch
from support.tiny_models import tiny_config

from stages.model.pooling import find_pooling, pool


@pytest.mark.parametrize(
    ("family", "changes", "expected"),
    [
        ("bert", {}, "first"),
        ("bert", {"pooling": "mean"}, "mean"),
        ("bert", {"pooling": "max"}, None),
        ("bert", {"classifier_pooling": "mean"}, "first"),  # a key that only ModernBERT's head reads
        ("modernbert", {"classifier_pooling": "cls"}, "first"),
        ("modernbert", {"classifier_pooling": "mean"}, "mean"),
    ],
)
def test_the_config_says_what_the_head_reads(family, changes, expected):
    config = tiny_config(family)
    config.update(changes)
    assert find_pooling(config) == expected


def test_the_mean_is_that_of_the_tokens_without_padding():
    hidden = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pool(hidden, mask, "mean").tolist() == [[[1, 2]], [[8, 9]]]
    assert pool(hidden, mask, "first").tolist() == [[[0, 1]], [[6, 7]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_mask_without_padding_changes_no_bits_of_the_mean_nor_do_other_rows(dtype):
    hidden = torch.randn(5, 24, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    mean = pool(hidden, None, "mean")
    assert torch.equal(pool(hidden, torch.ones(5, 24), "mean"), mean)
    assert torch.equal(pool(hidden[3:4], None, "mean"), mean[3:4])
    assert mean.dtype == dtype


def test_a_sum_beyond_fp16_does_not_overflow():
    assert pool(torch.full((1, 400, 1), 1000.0).half(), None, "mean").item() == 1000
