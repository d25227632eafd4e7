"""Models of each family: both of their parts on the GPU against the complete model on the CPU."""

import copy
from itertools import product
from typing import Any

import torch
from support.tiny_models import tiny_config
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from stages.model.freezing import freeze
from stages.model.partition import DTYPES, build_frozen_encoder, build_trainable_classifier

IDS = torch.randint(5, 600, (4, 12), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(12) < torch.tensor([[12], [7], [9], [1]])).long()
LABELS = torch.tensor([0, 1, 2, 0])


def check_family(family: str) -> dict[str, Any]:
    """Largest differences of the logits by precision, and the devices of all gradients."""
    torch.manual_seed(0)
    config = tiny_config(family)
    config.num_labels = 3
    complete = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in complete.parameters():  # values that matter: a layer begins with almost no effect
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        expected = complete(IDS, MASK).logits
    differences, devices = dict.fromkeys(DTYPES, 0.0), set()
    for freeze_layers, precision in product([0, "all"] if family == "albert" else [0, 2, "all"], DTYPES):
        model = copy.deepcopy(complete)
        freeze(model, freeze_layers)
        logits = train_a_step(model, freeze_layers, precision)
        difference = (logits - expected).abs().max().item()
        differences[precision] = max(differences[precision], difference)
        devices |= {str(value.grad.device) for value in model.parameters() if value.requires_grad}
    return {"differences": differences, "devices": sorted(devices), "scale": expected.abs().max().item()}


def train_a_step(model: PreTrainedModel, freeze_layers: Any, precision: str) -> torch.Tensor:
    """The logits, on the CPU; then the parameters of `model` have gradients."""
    frozen = build_frozen_encoder(model, freeze_layers, precision)
    classifier = build_trainable_classifier(model, freeze_layers).to("cuda")
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
    batch = {"input_ids": IDS.cuda(), "attention_mask": MASK.cuda()}
    with torch.autocast("cuda", DTYPES[precision], enabled=precision != "fp32"):
        logits = classifier(**(frozen(batch) if frozen else batch)).logits.float()
        loss = cross_entropy(logits, LABELS.cuda())
    scaler.scale(loss).backward()
    return logits.detach().cpu()
