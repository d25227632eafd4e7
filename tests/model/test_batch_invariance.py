import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_models import FAMILIES, VARIANTS, tiny_config
from torch import nn
from torch.nn.functional import linear
from transformers import AutoModelForSequenceClassification

from stages.core.errors import UserError
from stages.model.batch_invariance import WholeBlocks, compute_logits
from stages.model.partition import DTYPES, build_frozen_encoder, build_trainable_classifier
from stages.text.batches import add_attention_mask

WIDTHS = (8, 24)


def build(family):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(tiny_config(family)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=1)  # so that logits differ also in bf16
    return model


def draw_rows(count, width):
    """Tokens and mask of random rows of one width; some of them fill it."""
    random = torch.Generator().manual_seed(width)
    lengths = torch.randint(width - 7, width + 1, (count, 1), generator=random)
    mask = (torch.arange(width) < lengths).long()
    return torch.randint(5, 600, (count, width), generator=random) * mask, mask


def compute(frozen, classifier, precision, ids, mask):
    """Features, or None where nothing is frozen, and logits of a batch, without a mask when nothing is padded."""
    batch = add_attention_mask({"input_ids": ids}, mask.numpy().astype(bool))
    with torch.autocast("cpu", DTYPES[precision], enabled=precision != "fp32"):
        batch = frozen(batch) if frozen else batch
        return batch.get("inputs_embeds"), compute_logits(classifier, batch)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("freeze_layers", [0, 1, "all"])
@pytest.mark.parametrize("family", sorted([*FAMILIES, *VARIANTS]))
def test_features_and_logits_of_a_row_do_not_depend_on_its_batch(family, freeze_layers, precision):
    model = build(family)
    try:
        frozen = build_frozen_encoder(model, freeze_layers, precision)
    except UserError:
        frozen = None  # its layers cannot be frozen one by one
    classifier = build_trainable_classifier(model, freeze_layers if frozen else 0)
    random = torch.Generator().manual_seed(0)
    for width in WIDTHS:
        ids, mask = draw_rows(33, width)
        features, logits = compute(frozen, classifier, precision, ids, mask)
        for size in (1, 1, 2, 3, 5, 7, 12, 16, 31):
            rows = torch.randperm(33, generator=random)[:size]
            found, answers = compute(frozen, classifier, precision, ids[rows], mask[rows])
            assert torch.equal(answers, logits[rows]), (width, size)
            if features is not None:
                read = mask[rows].bool() if features.shape[1] > 1 else ...
                assert torch.equal(found[read], features[rows][read]), (width, size)
        assert len(logits.unique(dim=0)) > 8  # rows differ


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 40),
    inputs=st.sampled_from([3, 16, 96]),
    outputs=st.sampled_from([2, 16, 200]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_a_product_of_few_rows_has_the_bits_of_one_of_many(count, inputs, outputs, dtype):
    random = torch.Generator().manual_seed(0)
    rows, weight = torch.randn(64, inputs, generator=random), torch.randn(outputs, inputs, generator=random)
    rows, weight, heads = rows.to(dtype), weight.to(dtype), torch.randn(4, inputs, 5, generator=random).to(dtype)
    split = rows[:, None].expand(-1, 4, -1)
    with torch.no_grad(), WholeBlocks():
        many, many_heads = linear(rows, weight), torch.einsum("bhi,hid->bhd", split, heads)
        few, few_heads = linear(rows[:count], weight), torch.einsum("bhi,hid->bhd", split[:count], heads)
    assert torch.equal(few, many[:count])
    assert torch.equal(few_heads, many_heads[:count])


@pytest.mark.parametrize("shape", [(16,), (3, 16), (3, 5, 16), (0, 16), (8, 16)])
def test_products_in_whole_blocks_have_shape_and_values_of_others(shape):
    layer, values = nn.Linear(16, 4), torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = layer(values)
        with WholeBlocks():
            found = layer(values)
    assert found.shape == expected.shape == (*shape[:-1], 4)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("equation", ["bhi,hid->bhd", "bij,bjk->bik", "ij,kj->ki", "...i,i->..."])
def test_every_einsum_has_its_usual_result(equation):
    operands = equation.partition("->")[0].split(",")
    values = [torch.randn([3] * (3 if "." in letters else len(letters))) for letters in operands]
    expected = torch.einsum(equation, *values)
    with WholeBlocks():
        assert torch.allclose(torch.einsum(equation, *values), expected, atol=1e-6)
        assert torch.allclose(torch.einsum(equation, values), expected, atol=1e-6)
