import os

import torch
from support.checkout import Checkout
from support.gpu import find_real_gpus

SHOW = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'] or 'hidden')"


def test_tests_and_the_commands_that_they_start_see_no_gpu(tmp_path):
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert not torch.cuda.is_available()
    assert Checkout(tmp_path).run("python", "-c", SHOW, OMP_NUM_THREADS="1") == "hidden\n"


def test_the_gpus_that_were_visible_before_are_found_again(monkeypatch):
    def count(command, env):
        return env.get("CUDA_VISIBLE_DEVICES", "0,1").count(",") + 1

    monkeypatch.setattr("subprocess.check_output", count)
    for visible, expected in {"all": ["0", "1"], "3": ["3"], "GPU-8f,GPU-0e": ["GPU-8f", "GPU-0e"]}.items():
        monkeypatch.setenv("VISIBLE_GPUS", visible)
        find_real_gpus.cache_clear()
        assert find_real_gpus() == expected
    find_real_gpus.cache_clear()
