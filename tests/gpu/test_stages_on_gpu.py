"""The pipeline on a GPU, pretended or (REAL_GPU=1) real: what a user gets must not depend on the machine."""

import math
import shutil

import pytest
from support.gpu import IS_REAL, get_result, require_real_gpu, run_checks
from support.tiny_models import FAMILIES

PROGRAM = "support.gpu_programs.pipeline"
RUNS = (
    *("cpu", "fp32", "fp16", "bf16", "nothing frozen", "all layers frozen", "pinned", "on disk", "not cached"),
    *("overflow", "little memory"),
)
RANDOM = ("random", "interrupted")  # with deterministic algorithms
STEPS = 14
TOLERANCE = 0.02 if IS_REAL else 1e-4  # of fp32: CUDA's kernels add in another order


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gpu")


@pytest.fixture(scope="module")
def results(folder):
    names = [*RUNS, *(f"family {name}" for name in FAMILIES)]
    if not IS_REAL:
        return run_checks(folder, PROGRAM, *names, *RANDOM)
    # cuBLAS reads whether it has to be deterministic when it is first used.
    return run_checks(folder, PROGRAM, *names) | run_checks(folder, PROGRAM, *RANDOM)


@pytest.fixture(scope="module")
def results_of_two(folder, results, tmp_path_factory):
    """The same on a machine with two GPUs."""
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("two_gpus"), symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(copy / "cache")
    return run_checks(copy, PROGRAM, "fp32", "fp16", gpus=2)


def assert_same_training(found, expected, loss=TOLERANCE, norm=TOLERANCE):
    """Loss and gradient of each step, within relative differences, and the result on the test rows."""
    assert found["steps"] == expected["steps"] == STEPS
    assert [row[0] for row in found["curve"]] == pytest.approx([row[0] for row in expected["curve"]], rel=loss)
    assert [row[1] for row in found["curve"]] == pytest.approx([row[1] for row in expected["curve"]], rel=norm)
    assert found["test_loss"] == pytest.approx(expected["test_loss"], rel=loss)


def test_a_gpu_gives_what_a_cpu_gives(results):
    assert_same_training(get_result(results, "fp32"), get_result(results, "cpu"))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_gives_nearly_the_same(results, precision):
    found = get_result(results, precision)
    assert found["places"] == ["gpu", "gpu"]
    assert_same_training(found, get_result(results, "cpu"), loss=0.02, norm=0.15)


@pytest.mark.parametrize(("name", "place"), [("fp32", "gpu"), ("pinned", "pinned"), ("on disk", "disk")])
def test_it_does_not_matter_where_features_are(results, name, place):
    found, computed = get_result(results, name), get_result(results, "not cached")
    assert (found["places"], computed["places"]) == ([place] * 2, ["tokens"] * 2)
    assert_same_training(found, computed)
    assert found["weights"] == computed["weights"] or IS_REAL


@pytest.mark.parametrize("name", [name for name in RUNS if name != "little memory"] + list(RANDOM))
def test_predict_and_plain_transformers_give_what_evaluate_gave(results, name):
    found = get_result(results, name)
    assert found["difference_to_predict"] < 0.002  # of a confidence, which is written with four decimals
    assert found["difference_to_plain_model"] < 0.02


@pytest.mark.parametrize("name", ["nothing frozen", "all layers frozen"])
def test_all_and_no_layers_can_be_frozen(results, name):
    found = get_result(results, name)
    assert found["places"] == (["tokens"] if name == "nothing frozen" else ["gpu"]) * 2
    assert found["steps"] == STEPS
    assert found["curve"] != get_result(results, "fp32")["curve"]


@pytest.mark.parametrize("family", FAMILIES)
def test_both_parts_of_a_model_compute_on_the_gpu_what_it_computes_on_the_cpu(results, family):
    found = get_result(results, f"family {family}")
    assert found["devices"] == ["cuda:0"]
    limits = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.01}
    assert all(found["differences"][name] < limit * found["scale"] for name, limit in limits.items())


def test_peak_memory_of_the_gpu_is_reported(results):
    timings = get_result(results, "fp32")["timings"]
    assert 1 < timings["train_peak_gpu_memory_mb"] < 1000
    assert "train_peak_gpu_memory_mb" not in get_result(results, "cpu")["timings"]


def test_steps_with_an_overflow_in_fp16_are_skipped(results):
    found = get_result(results, "overflow")
    assert 2 <= found["skipped"] < STEPS / 2
    assert found["steps"] == STEPS
    assert not math.isfinite(found["curve"][0][1])
    assert math.isfinite(found["validation_loss"])
    assert get_result(results, "fp16")["skipped"] == 0


def test_features_are_computed_with_little_memory(results):
    assert_same_training(get_result(results, "little memory"), get_result(results, "fp32"))


def test_an_interrupted_training_resumes_with_the_random_states_of_the_gpu(results):
    interrupted, complete = get_result(results, "interrupted"), get_result(results, "random")
    assert interrupted["curve"] == complete["curve"]
    assert interrupted["weights"] == complete["weights"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_second_gpu_changes_nothing(results, results_of_two, precision):
    found, expected = get_result(results_of_two, precision), get_result(results, precision)
    assert_same_training(found, expected)
    assert found["weights"] == expected["weights"] or IS_REAL


def test_deterministic_trainings_give_equal_bytes_on_a_real_gpu(folder, results):
    require_real_gpu()
    again = run_checks(folder, PROGRAM, "random again")
    assert get_result(again, "random again")["weights"] == get_result(results, "random")["weights"]
