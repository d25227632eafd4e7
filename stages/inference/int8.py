"""An ONNX graph whose weights are 8-bit integers, and whose products are those of integers.

Each row (token) of a product's left side is quantized by itself, while the graph runs: q = round((x - low) / scale)
with scale = (high - low) / 255, and x W = scale (q W) + low (1 W), where 1 W are the sums of the columns of W.
Quantization for each token is that of ZeroQuant (arXiv:2206.01861, section 4.2).

`onnxruntime.quantization.quantize_dynamic` has one scale for all rows of a batch. With it a text's logits changed by up
to 0.7 with the texts beside it (all-MiniLM-L6-v2, two labels); here they change by 5e-5 at most, and their mean
difference from fp32 is a third of what it was.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

ROW_STEPS = 255
LEAST_RANGE = 1e-12  # of a row whose values are all equal
RUNTIME_DOMAIN = "com.microsoft"  # of the product of integers that ONNX Runtime computes at once
SMALLEST_TABLE = 1 << 16  # numbers; smaller tables of embeddings stay as they are

IsKept = Callable[[int, int], bool]  # whether weights `(inputs, outputs)` stay in fp32


def quantize(source: Path, target: Path, weight_steps: int, is_kept: IsKept) -> None:
    """Write the graph of `source` with its products by constant weights in int8, and so its tables of embeddings.

    Weights are whole numbers from `-weight_steps` to `weight_steps`, with a scale for each output, or each row of a
    table. Products of two activations, as in attention, stay in fp32.
    """
    model = onnx.load(source)
    writer = GraphWriter(model.graph, weight_steps)
    for node in list(model.graph.node):
        weights = writer.find_weights(node)
        if weights is None:
            writer.nodes.append(node)
        elif node.op_type == "Gather":
            writer.add_lookup(node, weights)
        elif is_kept(*weights.shape):
            writer.nodes.append(node)
        else:
            writer.add_product(node, weights)
    writer.finish()
    model.opset_import.append(helper.make_opsetid(RUNTIME_DOMAIN, 1))
    onnx.save(model, target)


class GraphWriter:
    """The nodes of a graph that are written anew, in their order."""

    def __init__(self, graph: onnx.GraphProto, weight_steps: int):
        self.graph, self.weight_steps = graph, weight_steps
        self.constants: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes: list[NodeProto] = []
        self.quantized_rows: set[str] = set()  # values that several products read, as those of query, key and value

    def find_weights(self, node: NodeProto) -> np.ndarray | None:
        """The constant matrix that a node multiplies by, `(inputs, outputs)`, or looks rows up in; None without one."""
        place = {"MatMul": 1, "Gather": 0}.get(node.op_type)
        tensor = None if place is None else self.constants.get(node.input[place])
        if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
            return None
        if node.op_type == "Gather" and (np.prod(tensor.dims) < SMALLEST_TABLE or get_axis(node) != 0):
            return None
        return numpy_helper.to_array(tensor)

    def add_product(self, node: NodeProto, weights: np.ndarray) -> None:
        """`x W` by integers; see the head of this file."""
        (x, name), (output,) = node.input, node.output
        self.quantize_rows(x)
        whole, scales = quantize_weights(weights, self.weight_steps, axis=0)
        integers, scale = self.constant(f"{name}_int8", whole), self.constant(f"{name}_scale", scales[0])
        sums = self.constant(f"{name}_sums", (whole * scales).sum(0).astype(np.float32))
        one, zero = self.constant("int8_one", np.float32(1)), self.constant("int8_zero", np.uint8(0))
        product, scaled, low = f"{output}_integers", f"{output}_scaled", f"{output}_low"
        self.add("MatMulIntegerToFloat", [f"{x}_whole", integers, one, scale, zero], product, domain=RUNTIME_DOMAIN)
        self.add("Mul", [product, f"{x}_scale"], scaled)
        self.add("Mul", [f"{x}_min", sums], low)
        self.add("Add", [scaled, low], output)

    def quantize_rows(self, x: str) -> None:
        """Values as uint8 `<x>_whole`, with `<x>_min` and `<x>_scale` of each row, `(..., 1)`."""
        if x in self.quantized_rows:
            return
        self.quantized_rows.add(x)
        last = self.constant("int8_last_axis", np.array([-1]))
        steps, least = (
            self.constant("int8_steps", np.float32(ROW_STEPS)),
            self.constant("int8_least", np.float32(LEAST_RANGE)),
        )
        one, zero = self.constant("int8_one", np.float32(1)), self.constant("int8_zero", np.uint8(0))
        self.add("ReduceMax", [x, last], f"{x}_max", keepdims=1)
        self.add("ReduceMin", [x, last], f"{x}_min", keepdims=1)
        self.add("Sub", [f"{x}_max", f"{x}_min"], f"{x}_difference")
        self.add("Max", [f"{x}_difference", least], f"{x}_range")
        self.add("Div", [f"{x}_range", steps], f"{x}_scale")
        self.add("Sub", [x, f"{x}_min"], f"{x}_shifted")
        self.add("Div", [f"{x}_shifted", f"{x}_scale"], f"{x}_steps")
        self.add("QuantizeLinear", [f"{x}_steps", one, zero], f"{x}_whole")

    def add_lookup(self, node: NodeProto, table: np.ndarray) -> None:
        """Rows of a table of integers, each multiplied by its scale."""
        (name, rows), (output,) = node.input, node.output
        whole, scales = quantize_weights(table, 127, axis=1)
        self.add("Gather", [self.constant(f"{name}_int8", whole), rows], f"{output}_row")
        self.add("Gather", [self.constant(f"{name}_scale", scales), rows], f"{output}_row_scale")
        self.add("Cast", [f"{output}_row"], f"{output}_row_float", to=TensorProto.FLOAT)
        self.add("Mul", [f"{output}_row_float", f"{output}_row_scale"], output)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def constant(self, name: str, values: np.ndarray | np.generic) -> str:
        """The name of a constant, which is added to the graph."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def finish(self) -> None:
        """Replace the graph's nodes, and keep the constants that these use."""
        used = {name for node in self.nodes for name in node.input} | {one.name for one in self.graph.output}
        for field, values in (
            (self.graph.node, self.nodes),
            (self.graph.initializer, [tensor for name, tensor in self.constants.items() if name in used]),
        ):
            del field[:]
            field.extend(values)
        del self.graph.value_info[:]  # types and shapes of values that may be gone


def quantize_weights(weights: np.ndarray, steps: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights `(I, O)` as whole numbers from `-steps` to `steps`, int8, and their scales, `(1, O)` or `(I, 1)`."""
    scales = np.maximum(np.abs(weights).max(axis, keepdims=True), LEAST_RANGE) / steps
    return np.round(weights / scales).astype(np.int8), scales.astype(np.float32)


def get_axis(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
