import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from stages.model import attention


@pytest.mark.parametrize("scores", [1, 100, 5 * 4 * 7**2, 10**6])
@pytest.mark.parametrize("padded", [False, True])
def test_chunks_of_any_size_give_what_torch_gives(monkeypatch, scores, padded):
    monkeypatch.setattr(attention, "SCORES", scores)
    query, key, value = torch.randn(3, 5, 4, 7, 8, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(7) < torch.tensor([7, 3, 1, 5, 7])[:, None])[:, None, None].expand(-1, 1, 7, -1)
    mask = mask if padded else None
    expected = scaled_dot_product_attention(query, key, value, mask, scale=0.3).transpose(1, 2)
    output, _ = attention.attend_in_chunks(None, query, key, value, mask, scaling=0.3)
    assert torch.allclose(output, expected, atol=1e-6)


def test_a_position_that_reads_nothing_gets_numbers():
    """ModernBERT's local layers have such positions, at padding; NaN would go from them to all others."""
    query, key, value = torch.randn(3, 1, 1, 4, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    assert attention.attend_in_chunks(None, query, key, value, mask)[0].isfinite().all()
