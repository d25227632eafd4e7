"""An ONNX graph whose weights are 8-bit integers, and whose products are those of integers.

Each row (token) of a product's left side is quantized by itself, while the graph runs: x = scale (q - zero), with q
from 0 to 255, and x W = scale (q - zero) W. Quantization for each token is that of ZeroQuant (arXiv:2206.01861,
section 4.2).

`onnxruntime.quantization.quantize_dynamic` has one scale for all rows of a batch. With it a text's logits changed by up
to 1.1 with the texts beside it (all-MiniLM-L6-v2, 500 texts of the demo corpus, alone and together); here they change
by 9e-4 at most, and their mean difference from fp32 is 0.027 instead of 0.075.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

MIDDLE = 128  # the integer of 0
LEAST_RANGE = 1e-12  # of a row or column whose values are all 0
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
        one_sided = is_one_sided(*weights.shape)
        rows = self.quantize_rows(x, len(weights), one_sided)
        whole, scales = quantize_weights(weights, self.weight_steps, axis=0)
        integers, scale = self.constant(f"{name}_int8", whole), self.constant(f"{name}_scale", scales[0])
        one, middle = self.constant("int8_one", np.float32(1)), self.constant("int8_middle", np.uint8(MIDDLE))
        product, scaled = f"{output}_integers", f"{output}_scaled" if one_sided else output
        self.add("MatMulIntegerToFloat", [f"{rows}_whole", integers, one, scale, middle], product, RUNTIME_DOMAIN)
        self.add("Mul", [product, f"{rows}_scale"], scaled)
        if one_sided:
            sums = self.constant(f"{name}_sums", (whole * scales).sum(0).astype(np.float32))
            self.add("Mul", [f"{rows}_offset", sums], f"{output}_offset")
            self.add("Sub", [scaled, f"{output}_offset"], output)

    def quantize_rows(self, x: str, width: int, one_sided: bool) -> str:
        """Quantize the rows of `x`, `(..., width)`; return the name of the result, of which `<name>_whole` is uint8.

        `<name>_scale` is that of each row, `(..., 1)`. If `one_sided`, `<name>_offset` is what MIDDLE stands for.
        """
        name = f"{x}_one_sided" if one_sided else f"{x}_centred"
        if name not in self.quantized_rows:
            self.quantized_rows.add(name)
            last = self.constant("int8_last_axis", np.array([-1]))
            self.add("ReduceMax", [x, last], f"{name}_max", keepdims=1)
            self.add("ReduceMin", [x, last], f"{name}_min", keepdims=1)
            (self.find_zeros if one_sided else self.centre)(name)
            self.add("QuantizeLinear", [x, f"{name}_scale", f"{name}_zero"], f"{name}_whole", axis=-1, block_size=width)
        return name

    def centre(self, name: str) -> None:
        """The scale of rows whose integers reach as far below MIDDLE as above it."""
        least, steps = self.constant("int8_least", np.float32(LEAST_RANGE)), self.constant("int8_127", np.float32(127))
        self.add("Neg", [f"{name}_min"], f"{name}_depth")
        self.add("Max", [f"{name}_max", f"{name}_depth", least], f"{name}_range")
        self.add("Div", [f"{name}_range", steps], f"{name}_scale")
        self.add("Shape", [f"{name}_scale"], f"{name}_shape")
        self.add("Expand", [self.constant("int8_middle", np.uint8(MIDDLE)), f"{name}_shape"], f"{name}_zero")

    def find_zeros(self, name: str) -> None:
        """Scale, integer of 0 and offset of rows whose integers are all from 0 to 255."""
        least, steps = self.constant("int8_least", np.float32(LEAST_RANGE)), self.constant("int8_255", np.float32(255))
        none, middle = self.constant("int8_none", np.float32(0)), self.constant("int8_128", np.float32(MIDDLE))
        self.add("Neg", [f"{name}_min"], f"{name}_below")
        self.add("Max", [f"{name}_below", none], f"{name}_depth")
        self.add("Max", [f"{name}_max", least], f"{name}_height")
        self.add("Add", [f"{name}_height", f"{name}_depth"], f"{name}_range")
        self.add("Div", [f"{name}_range", steps], f"{name}_scale")
        self.add("Div", [f"{name}_depth", f"{name}_scale"], f"{name}_depth_steps")
        self.add("Round", [f"{name}_depth_steps"], f"{name}_zero_float")
        self.add("Cast", [f"{name}_zero_float"], f"{name}_zero", to=TensorProto.UINT8)
        self.add("Sub", [f"{name}_zero_float", middle], f"{name}_offset_steps")
        self.add("Mul", [f"{name}_offset_steps", f"{name}_scale"], f"{name}_offset")

    def add_lookup(self, node: NodeProto, table: np.ndarray) -> None:
        """Rows of a table of integers, each multiplied by its scale."""
        (name, rows), (output,) = node.input, node.output
        whole, scales = quantize_weights(table, 127, axis=1)
        self.add("Gather", [self.constant(f"{name}_int8", whole), rows], f"{output}_row")
        self.add("Gather", [self.constant(f"{name}_scale", scales), rows], f"{output}_row_scale")
        self.add("Cast", [f"{output}_row"], f"{output}_row_float", to=TensorProto.FLOAT)
        self.add("Mul", [f"{output}_row_float", f"{output}_row_scale"], output)

    def add(self, kind: str, inputs: list[str], output: str, domain: str | None = None, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))

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


def is_one_sided(inputs: int, outputs: int) -> bool:
    """Whether a product's left side is taken for the output of GELU or ReLU, with nothing far below 0.

    It is in the product that narrows a row, in the feed-forward part. There each row has an integer of 0 of its own,
    for which one more sum is subtracted; with that in all products 8 % fewer texts a second were answered.
    """
    return inputs > outputs


def quantize_weights(weights: np.ndarray, steps: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights `(I, O)` as whole numbers from `-steps` to `steps`, int8, and their scales, `(1, O)` or `(I, 1)`."""
    scales = np.maximum(np.abs(weights).max(axis, keepdims=True), LEAST_RANGE) / steps
    return np.round(weights / scales).astype(np.int8), scales.astype(np.float32)


def get_axis(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
