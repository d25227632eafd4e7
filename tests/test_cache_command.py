import subprocess
from types import SimpleNamespace

import pytest
from datasets import Dataset, DatasetDict
from support.project import ROOT
from support.warm_python import find_python

from stages.core.param_sections import Cache
from stages.model.classifier import build_classifier
from stages.model.freezing import freeze
from stages.training.inputs import prepare_inputs


@pytest.fixture
def run_cache(workspace, write_params):
    write_params()

    def run(*arguments):
        return subprocess.run(
            [find_python(), "-m", "stages.cache", *arguments], cwd=workspace, env={"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    return run


def test_cached_features_are_listed_and_deleted(run_cache, workspace, tiny_model, monkeypatch):
    monkeypatch.delenv("PIPELINE_CACHE", raising=False)
    cache = workspace / ".cache/frozen"
    assert run_cache() == f"0.000 GB of at most 20 (cache.max_size_gb) in {cache}\n"
    (cache / "old").mkdir(parents=True)
    (cache / "old/manifest.json").write_text("{}")
    (cache / "old/hidden").write_bytes(bytes(3_000_000))
    tokenizer = SimpleNamespace(pad_token_id=0, model_max_length=128)
    for freeze_layers, rows in ((1, 10), (1, 30), ("all", 30)):
        data = {
            "train": Dataset.from_dict({"input_ids": [[2, number] for number in range(rows)], "labels": [0] * rows})
        }
        model = build_classifier(tiny_model, ["no", "yes"], None)
        freeze(model, freeze_layers)
        prepare_inputs(model, DatasetDict(data), ("train",), tokenizer, "fp32", Cache(max_size_gb=1))
    title, pooled, one_layer, old, total = run_cache().splitlines()
    assert title.split() == ["model", "layers", "precision", "computed", "on", "rows", "GB", "last", "used"]
    assert pooled.startswith("bert-32-")
    assert pooled.split()[1:5] == ["all", "2,", "first", "float32"]
    assert one_layer.split()[0] == pooled.split()[0]
    assert one_layer.split()[1:3] == ["1", "float32"]
    assert one_layer.split()[-4] == "30"  # in two entries
    assert old.startswith("of another version")
    assert total == f"0.003 GB of at most 20 (cache.max_size_gb) in {cache}"
    assert run_cache("--clear").endswith(f" GB of cached features in {cache} were deleted\n")
    assert run_cache() == f"0.000 GB of at most 20 (cache.max_size_gb) in {cache}\n"
    assert not [path for path in cache.iterdir() if path.is_dir()]
