#!/usr/bin/env python3
"""Make `detections.json`: what ONNX Runtime sees on the three photographs.

The pre- and post-processing is `agent/src/detect`'s, written a second time in numpy, so
that the agent's engine and its own code are both checked against something else.

Run after `deploy/setup.sh bench`:
    .cache/venv/bin/python tests/reference/make_reference.py
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")
CONFIDENCE = 0.25  # below the model's default, so that the comparison covers weak scores too
MAX_CANDIDATES = 1000


def session(model, threads=1):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(model), options, providers=["CPUExecutionProvider"]
    )


def placement(width, height, target_width, target_height):
    """Scaled size and top left corner of a frame centred in the model's input."""
    scale = min(target_width / width, target_height / height)
    scaled_width = min(max(int(np.floor(width * scale + 0.5)), 1), target_width)
    scaled_height = min(max(int(np.floor(height * scale + 0.5)), 1), target_height)
    left, top = (target_width - scaled_width) // 2, (target_height - scaled_height) // 2
    return scaled_width, scaled_height, left, top


def taps(source, target):
    """Both neighbours and the weight of the second, with half-pixel centres."""
    position = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * np.float32(
        np.float32(source) / np.float32(target)
    ) - np.float32(0.5)
    position = np.clip(position, np.float32(0), np.float32(source - 1))
    first = np.floor(position).astype(np.int64)
    second = np.minimum(first + 1, source - 1)
    return first, second, position - first.astype(np.float32)


def resize(image, width, height):
    """Bilinear, without anti-aliasing, in float32."""
    image = image.astype(np.float32)
    x0, x1, fx = taps(image.shape[1], width)
    y0, y1, fy = taps(image.shape[0], height)
    rows = image[:, x0] + (image[:, x1] - image[:, x0]) * fx[None, :, None]
    return rows[y0] + (rows[y1] - rows[y0]) * fy[:, None, None]


def preprocess(image, description):
    """RGB HxWx3 uint8 to the model's 1x3xHxW float32, and where the frame lies in it."""
    entry = description["input"]
    place = placement(image.shape[1], image.shape[0], entry["width"], entry["height"])
    width, height, left, top = place
    if entry.get("placement") == "corner":
        left, top = 0, 0
        place = (width, height, left, top)
    canvas = np.full((entry["height"], entry["width"], 3), entry["padding"], np.float32)
    canvas[top : top + height, left : left + width] = resize(image, width, height)
    if entry["colour_order"] == "bgr":
        canvas = canvas[:, :, ::-1]
    mean = np.array(entry["mean"], np.float32)
    inverse = np.float32(1) / np.array(entry["std"], np.float32)
    return np.ascontiguousarray(((canvas - mean) * inverse).transpose(2, 0, 1)[None]), place


def decode(outputs, description, confidence):
    """Boxes (x1, y1, x2, y2 in pixels of the input), scores and classes of one NanoDet run."""
    entry, head = description["input"], description["head"]
    classes, bins = len(description["labels"]), head["reg_max"] + 1
    by_shape = {output.shape[1:]: output[0] for output in outputs}
    found = []
    for stride in head["strides"]:
        columns, rows = -(-entry["width"] // stride), -(-entry["height"] // stride)
        scores = by_shape[(rows * columns, classes)]
        distances = by_shape[(rows * columns, 4 * bins)].reshape(-1, 4, bins)
        for cell, label in np.argwhere(scores >= np.float32(confidence)):
            exponent = np.exp(distances[cell] - distances[cell].max(axis=1, keepdims=True))
            expected = (exponent * np.arange(bins)).sum(axis=1) / exponent.sum(axis=1)
            left, top, right, bottom = expected * stride
            x, y = (cell % columns + 0.5) * stride, (cell // columns + 0.5) * stride
            box = (x - left, y - top, x + right, y + bottom)
            found.append((float(scores[cell, label]), int(label), *map(float, box)))
    return sorted(found, reverse=True)[:MAX_CANDIDATES]


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    return width * height / (area(a) + area(b) - width * height)


def detect(runtime, description, image, confidence):
    tensor, (width, height, left, top) = preprocess(image, description)
    outputs = runtime.run(None, {runtime.get_inputs()[0].name: tensor})
    scale_x, scale_y = image.shape[1] / width, image.shape[0] / height
    kept = []
    for score, label, x1, y1, x2, y2 in decode(outputs, description, confidence):
        x1, x2 = (float(np.clip((x - left) * scale_x, 0, image.shape[1])) for x in (x1, x2))
        y1, y2 = (float(np.clip((y - top) * scale_y, 0, image.shape[0])) for y in (y1, y2))
        if x2 - x1 < 1 or y2 - y1 < 1:
            continue  # it lay in the padding
        box = (x1, y1, x2, y2)
        same = (other for other in kept if other["class"] == label)
        if all(iou(box, other["box"]) <= description["nms_iou"] for other in same):
            kept.append({"class": label, "score": score, "box": box})
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("detections.json"))
    arguments = parser.parse_args()
    models = arguments.cache / "models"
    description = json.loads((models / "nanodet.json").read_text())
    model = models / description["file"]
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    if sha256 != description["sha256"]:
        raise SystemExit(f"{model} has SHA-256 {sha256}: run deploy/setup.sh")
    runtime = session(model)
    photographs = {}
    for name in PHOTOGRAPHS:
        image = np.asarray(Image.open(arguments.cache / f"photos/{name}.png").convert("RGB"))
        photographs[f"{name}.png"] = [
            {
                "label": description["labels"][one["class"]],
                "class": one["class"],
                "score": round(one["score"], 5),
                "box": {
                    "x": round(one["box"][0], 2),
                    "y": round(one["box"][1], 2),
                    "width": round(one["box"][2] - one["box"][0], 2),
                    "height": round(one["box"][3] - one["box"][1], 2),
                },
            }
            for one in detect(runtime, description, image, CONFIDENCE)
        ]
    reference = {
        "made_by": f"tests/reference/make_reference.py, onnxruntime {onnxruntime.__version__}",
        "model_sha256": sha256,
        "confidence": CONFIDENCE,
        "photographs": photographs,
    }
    arguments.out.write_text(json.dumps(reference, indent=2) + "\n")


if __name__ == "__main__":
    main()
