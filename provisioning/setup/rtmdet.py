"""Reduces RTMDet-nano to the part that a node runs: the graph up to the six convolutions of its heads, for pictures of any size.

The published file also decodes boxes inside the graph, for one fixed size; without that part any size can be used
(arXiv 2212.07784 describes the head: one class map and four distances at each of three strides).
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

_STRIDES = (8, 16, 32)
_HEADS = [
    (f"{kind}{stride}", f"bbox_head.rtm_{kind}.{level}.weight") for kind in ("cls", "reg") for level, stride in enumerate(_STRIDES)
]


def cut(published: bytes) -> bytes:
    """The ONNX file, with symbolic height and width: input (1, 3, h, w) to cls8..32 (1, 1, h, w) and reg8..32 (1, 4, h, w)."""
    model = onnx.load_model_from_string(published)
    heads = [(name, _output_of(model.graph, weight)) for name, weight in _HEADS]
    nodes = _needed(model.graph, [output for _, output in heads])
    used = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in used]
    nodes += [helper.make_node("Identity", [output], [name]) for name, output in heads]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "height", "width"])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1 if name.startswith("cls") else 4, f"h_{name}", f"w_{name}"])
        for name, _ in heads
    ]
    graph = helper.make_graph(nodes, "rtmdet_nano_person", inputs, outputs, weights)
    opset = [helper.make_opsetid("", model.opset_import[0].version)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="lykta")
    return bytes(made.SerializeToString(deterministic=True))


def _output_of(graph: onnx.GraphProto, weight: str) -> str:
    """Name of the output of the convolution with that weight."""
    (node,) = (n for n in graph.node if n.op_type == "Conv" and len(n.input) > 1 and n.input[1].endswith(weight))
    return str(node.output[0])


def _needed(graph: onnx.GraphProto, outputs: list[str]) -> list[onnx.NodeProto]:
    """The nodes that these outputs depend on, in the file's order."""
    makers = {output: index for index, node in enumerate(graph.node) for output in node.output}
    wanted, found = list(outputs), set[int]()
    while wanted:
        index = makers.get(wanted.pop())
        if index is not None and index not in found:
            found.add(index)
            wanted += graph.node[index].input
    return [graph.node[index] for index in sorted(found)]
