from concurrent.futures import ThreadPoolExecutor

from support.gpu import run_on_gpu


def test_experiments_that_run_at_once_have_a_gpu_of_their_own(tmp_path):
    with ThreadPoolExecutor() as pool:
        found = [pool.submit(run_on_gpu, tmp_path, "support.gpu_programs.queue", gpus=2) for _ in range(3)]
    printed = [one.result().splitlines() for one in found]
    assert len({lines[-1] for lines in printed}) == 2
    assert [len(lines) for lines in printed].count(2) <= 1  # the third waited for a GPU
