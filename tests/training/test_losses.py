import numpy as np
import pytest
import torch

from stages.training.losses import balance_classes, make_loss, make_multi_label_loss


def test_balanced_weights_give_all_classes_the_same_total_weight():
    weights = balance_classes(np.array([0] * 30 + [1] * 10), 2)
    assert weights.tolist() == pytest.approx([40 / 60, 2.0])


def test_balanced_weights_of_several_labels_make_rows_with_and_without_a_label_equal():
    labels = np.array([[True, False]] * 10 + [[False, False]] * 30)
    assert balance_classes(labels, 2).tolist() == [3, 1]  # of the second label there is no row to weigh
    assert balance_classes(~labels, 2).tolist() == [pytest.approx(1 / 3), 1]  # nor is there one without it


def test_the_multi_label_loss_is_that_of_torch_over_all_labels_of_the_step():
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.eye(3).repeat(2, 1)
    weights = torch.tensor([1.0, 2.0, 0.5])
    mean = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights)
    assert make_multi_label_loss(weights, 0)({"logits": logits}, labels) == pytest.approx(mean)
    assert make_multi_label_loss(weights, 0)({"logits": logits}, labels, torch.tensor(36)) == pytest.approx(mean / 2)
    smoothed = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels * 0.8 + 0.1)
    assert make_multi_label_loss(None, 0.2)({"logits": logits}, labels) == pytest.approx(smoothed)


def test_the_loss_is_that_of_torch_over_all_rows_of_the_step():
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
    weights = torch.tensor([1.0, 2.0, 0.5])
    loss = make_loss(weights, 0.1)
    total = torch.nn.functional.cross_entropy(logits, labels, weights, reduction="sum", label_smoothing=0.1)
    assert loss({"logits": logits}, labels, torch.tensor(12)) == pytest.approx(total / 12)
    assert loss({"logits": logits}, labels) == pytest.approx(total / 6)


def test_rows_with_the_ignored_label_change_no_loss():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels, several = torch.tensor([0, 1, 2, 0, -100, -100]), torch.eye(3).repeat(2, 1)
    several[4:] = -100
    for make, values, items in ((make_loss, labels, 4), (make_multi_label_loss, several, 12)):
        loss = make(torch.tensor([1.0, 2.0, 0.5]), 0.1)
        found = loss({"logits": logits}, values, torch.tensor(items))
        assert found == pytest.approx(loss({"logits": logits[:4]}, values[:4]))
