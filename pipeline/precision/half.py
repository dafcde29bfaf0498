"""A network in half precision, some of its layers left in float32."""

from __future__ import annotations

from collections.abc import Collection

from mattemill.pipeline.precision.graph import Graph, drop_unused


def halved(graph: Graph, kept: Collection[str] = ()) -> Graph:
    """Weights and arithmetic in float16, inputs and outputs in float32, the layers `kept` in float32, too."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    model = type(graph.model)()
    model.CopyFrom(graph.model)
    for node in model.graph.node:  # the converter knows nodes by name only
        node.name = node.name or node.output[0]
        if node.op_type == "Resize" and len(node.input) == 4 and node.input[3]:
            # Scales beside sizes are an empty constant, which may be. Behind the converter's cast it is no constant
            # any more, and ONNX Runtime refuses the two together.
            node.input[2] = ""
    drop_unused(model)
    return Graph(
        convert_float_to_float16(
            model, keep_io_types=True, op_block_list=DEFAULT_OP_BLOCK_LIST, node_block_list=sorted(kept)
        )
    )
