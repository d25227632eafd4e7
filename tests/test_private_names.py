"""What we use of other libraries that they do not promise to keep: the one list, by which pyproject.toml caps them.

When a test here fails after an update, read the library's new code and then the place that uses the name.
"""

import atexit
import inspect
import re
import threading
from typing import Any

import optuna
import pytest
import torch
from mlflow import environment_variables
from mlflow.models import utils as model_utils
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from support.project import ROOT
from torch import nn
from transformers import Trainer

PRIVATE = {
    # stages/training/trainer.py, resumable_trainer.py and trials.py override the methods; checkpoints have the others
    Trainer: (
        *("_get_train_sampler", "_prepare_inputs", "_save_checkpoint", "_load_best_model", "_init_training_state"),
        *("_tr_loss", "_globalstep_last_logged"),
    ),
    # stages/tracking/system_metrics.py sends samples to the journal, not to a server; not private, and not documented
    SystemMetricsMonitor: (
        *("monitor", "publish_metrics", "collect_metrics", "aggregate_metrics", "finish"),
        *("monitors", "sampling_interval"),
    ),
    # stages/tracking/mlflow_sender.py replaces it while it logs a model
    model_utils: ("_validate_serving_input",),
    # stages/inference/served_model.py: whether MLflow's server asks, and not Python or Spark
    environment_variables: ("_MLFLOW_IS_IN_SERVING_ENVIRONMENT",),
    # stages/model/partition.py, first_token.py: views of a model that share its modules
    nn.Module: ("_modules",),
    # stages/studies/study.py: the storage's own name of a trial, by which it takes signs of life
    optuna.Trial: ("_trial_id",),
    # stages/warm.py ends a process without Python's own end, and closes MLflow's databases
    atexit: ("_run_exitfuncs",),
    threading: ("_shutdown",),
    SqlAlchemyStore: ("_engine_map",),
    # stages/core/hardware.py: whether bf16 is done in hardware
    torch.cpu: ("_is_avx512_bf16_supported", "_is_amx_tile_supported"),
}
NAMES = [(owner, name) for owner, names in PRIVATE.items() for name in names]


@pytest.mark.parametrize(("owner", "name"), NAMES, ids=[name for _, name in NAMES])
def test_a_private_name_that_we_use_still_exists(owner: Any, name: str):
    assert hasattr(owner, name) or re.search(rf"\bself\.{name}\b|\"{name}\"", inspect.getsource(owner))


def test_the_list_has_every_private_name_that_the_code_uses():
    """Names of the form `value._name` and overridden methods `def _name`, wherever they are not our own."""
    known = {name for _, name in NAMES} | {
        "_info",
        "_compute",
        "_exit",
    }  # all documented
    ours, used = {"_asdict", "_fields", "_replace"}, set()  # of NamedTuple, documented
    for file in (ROOT / "stages").rglob("*.py"):
        text = file.read_text()
        used |= set(re.findall(r"[\w)\]]\.(_[a-z]\w*)", text)) | set(re.findall(r"def (_[a-z]\w*)", text))
    assert len(used) > 8
    assert used - ours <= known


@pytest.mark.parametrize("package", ["mlflow", "torch", "transformers"])
def test_a_library_whose_private_names_we_use_has_a_highest_version(package):
    assert re.search(rf'"{package}(==[\d.]+|>=[\d.]+,<[\d.]+)"', (ROOT / "pyproject.toml").read_text())
