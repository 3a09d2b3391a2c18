#!/bin/sh
# Runs exported models in ONNX Runtime, which shares nothing with this program, and reads Core ML packages with Apple's
# coremltools; both are compared with MLX's numbers.
# Needs cargo and Python 3 with pip; downloads stay under target/export. Arguments are folders of further exports.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
work=${CARGO_TARGET_DIR:-$root/target}/export
mkdir -p "$work"
export PIP_ROOT_USER_ACTION=ignore

fail() {
    echo "export: $1" >&2
    exit 1
}

python3 -m pip --version >/dev/null 2>&1 || fail "needs python3 with pip (Debian: apt install python3-pip)"

# The folder appears by a rename, so an interrupted run leaves nothing half done.
packages=$work/python-1
if [ ! -d "$packages" ]; then
    rm -rf "$packages.partial"
    python3 -m pip install --quiet --disable-pip-version-check --only-binary=:all: --target "$packages.partial" \
        onnx==1.23.2 onnxruntime==1.31.1 numpy || fail "pip could not install onnx and onnxruntime"
    mv "$packages.partial" "$packages"
fi

reader=$work/coremltools-1
if [ ! -d "$reader" ]; then
    rm -rf "$reader.partial"
    python3 -m pip install --quiet --disable-pip-version-check --only-binary=:all: --target "$reader.partial" \
        coremltools==9.0 || fail "pip could not install coremltools"
    mv "$reader.partial" "$reader"
fi

# Tests write the models that they draw, of every kind and with the values that MLX gave.
models=$work/models
rm -rf "$models"
(cd "$root" && NCPS_EXPORT_DIR="$models" cargo test --quiet -p ncps-mlx --lib export::tests::random >/dev/null) ||
    fail "the models could not be exported"
for folder in "$models" "$@"; do
    PYTHONPATH="$packages" python3 "$root/.ci/export.py" "$folder" || fail "ONNX Runtime and MLX differ"
    TQDM_DISABLE=1 PYTHONPATH="$reader" python3 "$root/.ci/coreml.py" "$folder" || fail "coremltools and MLX differ"
done
