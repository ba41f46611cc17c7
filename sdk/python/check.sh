#!/usr/bin/env bash
# What `make test-sdk` runs, with the hub and the agent in target/debug or in CLOUDCORE_BIN.
# SDK_PYTHON=python3.9 runs the tests once more with the wheel in that Python, from PyPI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cache=$(cd ../.. && pwd)/.cache
python=$cache/venv/bin/python
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
"$python" -m pytest

"$python" -m build --no-isolation --outdir "$scratch/dist" . > "$scratch/build.log" ||
  { cat "$scratch/build.log"; exit 1; }
wheel=$(echo "$scratch"/dist/*.whl)

# An environment with the wheel and what it needs, and nothing else.
"$python" -m venv --without-pip "$scratch/clean"
"$python" -m pip --python "$scratch/clean/bin/python" install --quiet --disable-pip-version-check \
  --no-index --find-links "$cache/wheels" "$wheel"
CLOUDCORE_SDK_PYTHON=$scratch/clean/bin/python "$python" -m pytest tests/test_docs.py -k contract
# Whoever uses the wheel gets its types.
(cd "$scratch" && "$python" -m mypy --strict --cache-dir=/dev/null \
  --python-executable "$scratch/clean/bin/python" --command '
from kubeedge_cloudcore import CloudCoreClient
name: str = CloudCoreClient("http://hub").list_devices()[0].device_id')

if [ -n "${SDK_PYTHON:-}" ]; then
  "$SDK_PYTHON" -m venv "$scratch/other"
  "$scratch/other/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel" pytest
  "$scratch/other/bin/python" -m pytest --override-ini pythonpath=
fi
echo "sdk: $(basename "$wheel") is good"
