import pytest

pytest.importorskip("ray", reason="Ray is not installed: make test-engines")


def test_ray_labels_as_predict_does(run_example):
    run_example("label_on_ray.py", "--actors", "2")
