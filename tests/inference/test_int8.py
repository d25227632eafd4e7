import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from stages.inference.int8 import quantize

RANDOM = np.random.default_rng(0)
TABLE = RANDOM.normal(size=(1100, 64)).astype(np.float32)
SQUARE = RANDOM.normal(size=(64, 64)).astype(np.float32)
NARROW = RANDOM.normal(size=(64, 8)).astype(np.float32)


@pytest.fixture
def make(tmp_path):
    """Rows of a table, times a matrix, twice, in fp32 and int8; `make()` returns a function of ids for each of both."""

    def make(steps=127, is_kept=lambda inputs, outputs: False, weights=SQUARE, table=TABLE):
        nodes = [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("MatMul", ["rows", "weights"], ["left"]),
            helper.make_node("MatMul", ["rows", "weights"], ["right"]),
            helper.make_node("Add", ["left", "right"], ["sum"]),
        ]
        graph = helper.make_graph(
            nodes, "test",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows"])],
            [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["rows", weights.shape[1]])],
            [numpy_helper.from_array(table, "table"), numpy_helper.from_array(weights, "weights")],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 21)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "fp32.onnx")
        quantize(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", steps, is_kept)
        sessions = [onnxruntime.InferenceSession(tmp_path / f"{name}.onnx") for name in ("fp32", "int8")]
        return [lambda ids, session=session: session.run(None, {"ids": np.array(ids)})[0] for session in sessions]

    return make


@pytest.mark.parametrize("weights", [SQUARE, NARROW], ids=["square", "narrow"])
@pytest.mark.parametrize(("steps", "error"), [(127, 0.015), (63, 0.025)])
def test_a_product_of_integers_is_the_product_of_floats_but_for_rounding(make, steps, error, weights):
    fp32, int8 = make(steps, weights=weights)
    expected, found = fp32(range(200)), int8(range(200))
    assert 0 < np.abs(expected - found).mean() / np.abs(expected).mean() < error


@pytest.mark.parametrize("shift", [-5, 0.5, 5])
def test_a_narrowing_product_is_exact_to_8_bits_of_a_row_from_its_least_to_its_greatest_value(make, shift):
    fp32, int8 = make(weights=NARROW, table=np.abs(TABLE) * 0.1 + np.float32(shift))
    assert np.abs(fp32(range(200)) - int8(range(200))).mean() / np.abs(fp32(range(200))).mean() < 0.02


@pytest.mark.parametrize("weights", [SQUARE, NARROW], ids=["square", "narrow"])
def test_a_row_has_the_same_result_beside_any_other_rows(make, weights):
    _, int8 = make(weights=weights)
    largest = int(np.abs(TABLE).max(1).argmax())
    assert np.array_equal(int8([3])[0], int8([largest, 3, 5])[1])


def test_products_that_are_kept_stay_in_fp32_and_tables_do_not(make, tmp_path):
    make(is_kept=lambda inputs, outputs: (inputs, outputs) == (64, 64))
    graph = onnx.load(tmp_path / "int8.onnx").graph
    assert [node.op_type for node in graph.node].count("MatMul") == 2
    assert {tensor.name for tensor in graph.initializer} == {"table_int8", "table_scale", "weights"}


def test_the_file_holds_no_weights_twice(make, tmp_path):
    make()
    names = [tensor.name for tensor in onnx.load(tmp_path / "int8.onnx").graph.initializer]
    assert len(names) == len(set(names))
    assert not {"table", "weights"} & set(names)
    assert (tmp_path / "int8.onnx").stat().st_size < (tmp_path / "fp32.onnx").stat().st_size / 3


@pytest.mark.parametrize("weights", [SQUARE, NARROW], ids=["square", "narrow"])
def test_a_row_of_zeros_gives_zeros(make, weights):
    _, int8 = make(weights=weights, table=np.where(np.arange(len(TABLE))[:, None] == 7, np.float32(0), TABLE))
    assert np.abs(int8([7])).max() < 1e-15
