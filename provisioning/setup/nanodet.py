"""Converts NanoDet-g from TensorFlow.js to ONNX, for machines that can reach package registries only.

The graph was once converted from ONNX: it has a transpose before and after each convolution. Here every tensor stays NCHW, the
transposes are removed, and the explicit paddings are moved into the convolutions.
Source of the format: TensorFlow.js converter, graph-model JSON (modelTopology, weightsManifest).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

Node = dict[str, Any]
Array = npt.NDArray[Any]
_PREFIX = "PartitionedCall/onnx_tf_prefix_"
_OUTPUTS = {
    "cls8": "Sigmoid_154", "cls16": "Sigmoid_165", "cls32": "Sigmoid_176",
    "dis8": "Split_153:1", "dis16": "Split_164:1", "dis32": "Split_175:1",
}  # fmt: skip
# The network's neck scales up twice and down twice; the file holds the target sizes for one input size only.
_SCALES = {"resize": 2.0, "resize_1": 2.0, "resize_2": 0.5, "resize_3": 0.5}


def convert(topology: bytes, weights: bytes) -> bytes:
    """ONNX with symbolic height and width: images (1, 3, h, w) to class maps and distance distributions, three strides."""
    graph = _Graph(json.loads(topology), weights)  # noqa: TID251 - its hash is pinned
    for name, source in _OUTPUTS.items():
        graph.emit("Identity", [graph.value(_PREFIX + source)], name)
    shape: list[str | int | None] = [1, 3, "height", "width"]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, None, f"h_{n}", f"w_{n}"]) for n in _OUTPUTS]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)]
    made = helper.make_graph(graph.nodes, "nanodet_g", inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="lykta")
    return bytes(model.SerializeToString(deterministic=True))


class _Graph:
    """Emits ONNX nodes for the values that the outputs depend on, recursively."""

    def __init__(self, model: dict[str, Any], weights: bytes) -> None:
        self._source: dict[str, Node] = {node["name"]: node for node in model["modelTopology"]["node"]}
        self._weights = _read_weights(model["weightsManifest"][0]["weights"], weights)
        self._done: dict[str, str] = {}
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def value(self, name: str) -> str:
        """Name of the NCHW tensor for a TensorFlow value; emits its nodes at the first call."""
        if name not in self._done:
            node = self._source[name.split(":", maxsplit=1)[0]]
            self._done[name] = getattr(self, f"_{node['op'].lower()}")(node, name)
        return self._done[name]

    def emit(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, array: Array) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def _placeholder(self, _node: Node, _name: str) -> str:
        return "images"

    def _transpose(self, node: Node, _name: str) -> str:
        return self.value(node["input"][0])

    def _leakyrelu(self, node: Node, name: str) -> str:
        return self.emit("LeakyRelu", [self.value(node["input"][0])], name, alpha=float(node["attr"]["alpha"]["f"]))

    def _sigmoid(self, node: Node, name: str) -> str:
        return self.emit("Sigmoid", [self.value(node["input"][0])], name)

    def _add(self, node: Node, name: str) -> str:
        left, right = node["input"]
        if right in self._weights:
            bias = self._constant(right, self._weights[right].astype(np.float32).reshape(1, -1, 1, 1))
            return self.emit("Add", [self.value(left), bias], name)
        return self.emit("Add", [self.value(left), self.value(right)], name)

    def _concatv2(self, node: Node, name: str) -> str:
        *parts, axis = node["input"]
        if int(self._weights[axis]) != 1:
            raise ValueError(f"{name}: joins along axis {self._weights[axis]}, not channels")
        return self.emit("Concat", [self.value(part) for part in parts], name, axis=1)

    def _conv2d(self, node: Node, name: str) -> str:
        source, pads = self._unpad(node["input"][0])
        kernel = self._weights[node["input"][1]].astype(np.float32).transpose(3, 2, 0, 1)
        weights = self._constant(node["input"][1], kernel)
        strides = [int(step) for step in node["attr"]["strides"]["list"]["i"][1:3]]
        return self.emit("Conv", [source, weights], name, kernel_shape=kernel.shape[2:], strides=strides, pads=pads)

    def _maxpool(self, node: Node, name: str) -> str:
        # The explicit padding is minus infinity, which is also ONNX's padding for max pooling.
        source, pads = self._unpad(node["input"][0])
        window = [int(size) for size in node["attr"]["ksize"]["list"]["i"][1:3]]
        strides = [int(step) for step in node["attr"]["strides"]["list"]["i"][1:3]]
        return self.emit("MaxPool", [source], name, kernel_shape=window, strides=strides, pads=pads)

    def _resizebilinear(self, node: Node, name: str) -> str:
        scale = _SCALES[name.split("/")[1]]
        scales = self._constant(f"scale_{scale}", np.array([1, 1, scale, scale], np.float32))
        mode = "half_pixel" if node["attr"]["half_pixel_centers"]["b"] else "asymmetric"
        return self.emit(
            "Resize", [self.value(node["input"][0]), "", scales], name, mode="linear", coordinate_transformation_mode=mode
        )

    def _splitv(self, node: Node, name: str) -> str:
        base = node["name"]
        sizes = self._constant(f"{base}_sizes", self._weights[node["input"][1]].astype(np.int64))
        outputs = [f"{base}_{n}" for n in range(2)]
        self.nodes.append(helper.make_node("Split", [self.value(node["input"][0]), sizes], outputs, axis=1))
        self._done |= {base: outputs[0], f"{base}:1": outputs[1]}
        return self._done[name]

    def _unpad(self, name: str) -> tuple[str, list[int]]:
        """The tensor before a padding of height and width, and the ONNX pads (top, left, bottom, right); zeros if there is none."""
        node = self._source[name]
        while node["op"] == "Transpose":
            name = node["input"][0]
            node = self._source[name.split(":")[0]]
        if node["op"] not in ("Pad", "PadV2"):
            return self.value(name), [0, 0, 0, 0]
        around = self._weights[node["input"][1]]
        return self.value(node["input"][0]), [int(n) for n in (around[2][0], around[3][0], around[2][1], around[3][1])]


def _read_weights(specs: list[dict[str, Any]], data: bytes) -> dict[str, Array]:
    """The arrays by name; 16-bit floats are converted to 32-bit ones."""
    found: dict[str, Array] = {}
    offset = 0
    for spec in specs:
        kind = np.dtype(spec.get("quantization", spec)["dtype"])
        count = int(np.prod(spec["shape"]))
        array = np.frombuffer(data, kind, count, offset).reshape(spec["shape"])
        found[spec["name"]] = array.astype(np.float32) if kind == np.float16 else array
        offset += count * kind.itemsize
    if offset != len(data):
        raise ValueError(f"weights: {len(data)} bytes, the manifest describes {offset}")
    return found
