import subprocess
import sys

import numpy as np
import pytest
from support import easy_task
from support.easy_task import predict_logits

from stages.training.inputs import Inputs


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("freeze_layers", [0, 1, "all"])
def test_logits_have_the_bits_of_those_that_trainer_predicts(
    tiny_model, params, tmp_path, monkeypatch, freeze_layers, precision
):
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    changes = {"train.freeze_layers": freeze_layers, "train.precision": precision, "evaluate.precision": precision}
    changes |= {"train.per_device_eval_batch_size": 8, "evaluate.per_device_eval_batch_size": 8}
    trainer, _ = easy_task.train(tiny_model, params, tmp_path, changes)
    inputs: Inputs = trainer.inputs
    expected = trainer.predict(inputs.rows["test"]).predictions
    assert np.array_equal(predict_logits(inputs, "test", params(changes).evaluate), expected)


def test_the_stage_that_tests_does_not_import_trainer_and_the_metrics_library():
    code = "import sys, stages.evaluate; print(*({'transformers.trainer', 'transformers.pipelines', 'evaluate'} & "
    done = subprocess.run([sys.executable, "-c", f"{code}set(sys.modules)))"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
