#!/usr/bin/env python3
"""ONNX Runtime on the agent's model, on one thread: what the agent's engine is measured by.

Prints one JSON line of milliseconds per frame: the model alone (`infer_…`), and with the same
pre- and post-processing in numpy (`median_ms`, for completeness; numpy is not ONNX Runtime).

Run after `deploy/setup.sh bench`:
    .cache/venv/bin/python tests/bench/ort_detect.py [--frames 50]
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/reference"))
import make_reference  # noqa: E402  (its folder is no package)


def measure(frames, work):
    """Milliseconds of each of `frames` calls, after one to warm up."""
    work()
    times = []
    for _ in range(frames):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache")
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    models = arguments.cache / "models"
    description = json.loads((models / "nanodet.json").read_text())
    image = np.asarray(Image.open(arguments.cache / "photos/astronaut.png").convert("RGB"))
    runtime = make_reference.session(models / description["file"], arguments.threads)
    tensor, _ = make_reference.preprocess(image, description)
    name = runtime.get_inputs()[0].name
    infer = measure(arguments.frames, lambda: runtime.run(None, {name: tensor}))
    confidence = description["confidence"]
    whole = measure(
        arguments.frames, lambda: make_reference.detect(runtime, description, image, confidence)
    )
    report = {
        "engine": f"onnxruntime {onnxruntime.__version__}",
        "threads": arguments.threads,
        "model": description["name"],
        "frames": arguments.frames,
        "infer_min_ms": round(min(infer), 3),
        "infer_ms": round(statistics.median(infer), 3),
        "median_ms": round(statistics.median(whole), 3),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
