#!/usr/bin/env python3
"""Make `hostile/`: models that are whole files and mean harm.

    .cache/venv/bin/python tests/reference/make_hostile.py
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent / "hostile"
SHAPE = [1, 3, 64, 64]


def model(name, nodes, weights=(), output="y"):
    graph = helper.make_graph(
        nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], list(weights))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return made.SerializeToString(deterministic=True)


def huge():
    """Ten gigabytes of zeros, in a few bytes."""
    size = numpy_helper.from_array(np.array([1, 52_000, 52_000], np.int64), "size")
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
             helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=1),
             helper.make_node("Add", ["x", "sum"], ["y"])]
    return model("huge", nodes, [size])


def cyclic():
    """Each of two nodes wants what the other gives."""
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("Identity", ["b"], ["y"])]
    return model("cyclic", nodes)


def long():
    """A chain of nodes, one after the other."""
    names = ["x", *(f"n{at}" for at in range(3_000)), "y"]
    return model("long", [helper.make_node("Tanh", [a], [b]) for a, b in zip(names, names[1:])])


def deep():
    """A graph within a graph within a graph …"""
    inner = helper.make_node("Identity", ["x"], ["y"])
    for _ in range(60):
        branch = helper.make_graph(
            [inner], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)])
        inner = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
        if inner.ByteSize() > 50_000:
            break
    yes = numpy_helper.from_array(np.array(True), "yes")
    return model("deep", [inner], [yes])


def nested():
    """Brackets without an end: field 7 (graph) of field 7 …"""
    bytes_ = b""
    for _ in range(20_000):
        length, at = b"", len(bytes_)
        while at >= 0x80:
            length, at = length + bytes([at & 0x7F | 0x80]), at >> 7
        bytes_ = b"\x3a" + length + bytes([at]) + bytes_
        if len(bytes_) > 60_000:
            break
    return bytes_


def main():
    HERE.mkdir(exist_ok=True)
    for make in (huge, cyclic, long, deep, nested):
        name, bytes_ = make.__name__, make()
        (HERE / f"{name}.onnx").write_bytes(bytes_)
        description = {
            "name": name, "version": "1", "file": f"{name}.onnx",
            "sha256": hashlib.sha256(bytes_).hexdigest(), "licence": "MIT",
            "source": "tests/reference/make_hostile.py", "head": {"family": "yolov8"},
            "input": {"width": 64, "height": 64, "colour_order": "rgb", "mean": [0.0, 0.0, 0.0],
                      "std": [1.0, 1.0, 1.0], "padding": 0},
            "confidence": 0.5, "nms_iou": 0.5, "labels": ["a"],
        }
        (HERE / f"{name}.json").write_text(json.dumps(description, indent=2) + "\n")


if __name__ == "__main__":
    main()
