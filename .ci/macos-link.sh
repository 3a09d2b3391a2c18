#!/bin/sh
# Compiles the C++ half (mlx-c and our own kernels' glue) for arm64 macOS and links it with the published libmlx.dylib,
# so that the Mac build cannot rot unseen. Needs cargo and Python 3 with pip; downloads stay under target/macos-link.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
work=${CARGO_TARGET_DIR:-$root/target}/macos-link
mkdir -p "$work"
export PIP_ROOT_USER_ACTION=ignore
zig_version=0.17.0
mlx_version=0.32.2

fail() {
    echo "macos-link: $1" >&2
    exit 1
}

python3 -m pip --version >/dev/null 2>&1 || fail "needs python3 with pip (Debian: apt install python3-pip)"

# pip itself refuses a file whose digest is not listed.
cat > "$work/zig.txt" <<EOF
ziglang==$zig_version \
    --hash=sha256:97079827064a7492cce5541ceb438ae8003ce1e54e399676da2d62fb7a5dc08b \
    --hash=sha256:d2804f94f54f7fcf8169f4b212a619ad688a4e2e6592e976f0cf2e58e2cd8af3
EOF
cat > "$work/mlx.txt" <<EOF
mlx-metal==$mlx_version \
    --hash=sha256:3825fff379dbc107dd3413e564a06caeaa24819910ec49c0439e454c06a1b9b8
EOF

# Each folder appears by a rename, so an interrupted run leaves nothing half done.
zig_dir=$work/zig-$zig_version
if [ ! -d "$zig_dir" ]; then
    rm -rf "$zig_dir.partial"
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
        --target "$zig_dir.partial" -r "$work/zig.txt" || fail "pip could not install zig $zig_version"
    mv "$zig_dir.partial" "$zig_dir"
fi
mlx_dir=$work/mlx-$mlx_version
if [ ! -d "$mlx_dir" ]; then
    rm -rf "$mlx_dir.partial" "$work/download"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
        --python-version 3.12 --implementation py --abi none --platform macosx_14_0_arm64 \
        --dest "$work/download" -r "$work/mlx.txt" || fail "pip could not fetch mlx-metal $mlx_version"
    python3 -m zipfile -e "$work"/download/*.whl "$mlx_dir.partial"
    mv "$mlx_dir.partial" "$mlx_dir"
    rm -rf "$work/download"
fi

# The sources of mlx-c come from the published package, as in the build script.
manifest=$work/mlx-c-sources/Cargo.toml
mkdir -p "$work/mlx-c-sources"
: > "$work/mlx-c-sources/lib.rs"
cat > "$manifest" <<'EOF'
[package]
name = "mlx-c-sources"
version = "0.0.0"
edition = "2024"

[workspace]

[lib]
path = "lib.rs"

[dependencies]
mlx-sys = "=0.7.0"
EOF
cargo fetch --quiet --offline --manifest-path "$manifest" 2>/dev/null || cargo fetch --quiet --manifest-path "$manifest"
mlx_c=$(cargo metadata --offline --format-version 1 --manifest-path "$manifest" | python3 -c '
import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(os.path.dirname(next(p["manifest_path"] for p in packages if p["name"] == "mlx-sys")) + "/src/mlx-c")')

build=$work/build
rm -rf "$build"
mkdir -p "$build"
export ZIG_GLOBAL_CACHE_DIR="$work/zig-cache" ZIG_LOCAL_CACHE_DIR="$work/zig-cache"

# zig's headers leave NAN and INFINITY to a C library that is not the one of macOS.
cxx() {
    PYTHONPATH="$zig_dir" python3 -m ziglang c++ -target aarch64-macos.14.0 -std=gnu++20 -O1 \
        '-DNAN=__builtin_nanf("")' '-DINFINITY=__builtin_inff()' \
        -isystem "$mlx_dir/mlx/include" -isystem "$mlx_dir/mlx/include/metal_cpp" "$@"
}

for file in "$mlx_c"/mlx/c/*.cpp; do
    echo "#include \"$file\""
done > "$build/mlx_c.cpp"
cxx -include "$root/ncps/mlx-sys/native/mlx_c_compat.h" -I "$mlx_c" -c "$build/mlx_c.cpp" -o "$build/mlx_c.o"
set -- "$build/mlx_c.o"
count=0
for file in "$root"/ncps/core/src/kernel/*.cpp "$root"/ncps/core/src/kernel/*/*.cpp; do
    [ -e "$file" ] || continue
    count=$((count + 1))
    cxx -I "$root/ncps/core/src/kernel" -I "$mlx_c" -Wall -c "$file" -o "$build/kernel_$count.o"
    set -- "$@" "$build/kernel_$count.o"
done

# Our C++ calls Rust functions named ncps_*, which no Rust for macOS is here to define: each gets a body that traps.
# Any other undefined symbol still fails the link.
python3 - "$@" > "$build/rust_half.cpp" <<'EOF'
import struct, sys

MACHO_64, SYMTAB, EXTERNAL, DEFINED = 0xFEEDFACF, 2, 0x01, 0x0E

def symbols(path):
    """Yields each external symbol of a Mach-O object with whether it is defined there."""
    data = open(path, "rb").read()
    magic, *_, count, _, _, _ = struct.unpack_from("<8I", data)
    assert magic == MACHO_64, f"{path} is not a 64-bit Mach-O object"
    at = 32
    for _ in range(count):
        command, size = struct.unpack_from("<2I", data, at)
        if command == SYMTAB:
            table, number, strings, _ = struct.unpack_from("<4I", data, at + 8)
            for index in range(number):
                name, kind = struct.unpack_from("<IB", data, table + 16 * index)
                if kind & EXTERNAL:
                    end = data.index(0, strings + name)
                    yield data[strings + name:end].decode(), bool(kind & DEFINED)
        at += size

found = [pair for path in sys.argv[1:] for pair in symbols(path)]
defined = {name for name, is_defined in found if is_defined}
wanted = {name for name, is_defined in found if not is_defined} - defined
for name in sorted(name[1:] for name in wanted if name.startswith("_ncps_")):
    print(f'extern "C" void {name}() {{ __builtin_trap(); }}')
print('extern "C" int mlx_version(void*);')
print("int main() { void* text = nullptr; return mlx_version(&text); }")
EOF
stubs=$(grep -c builtin_trap "$build/rust_half.cpp" || true)
cxx -c "$build/rust_half.cpp" -o "$build/rust_half.o"
# As a library first: a program's link drops what main does not reach, and would not miss what that needs.
cxx -shared "$@" "$build/rust_half.o" -L "$mlx_dir/mlx/lib" -lmlx -o "$build/all.dylib"
cxx "$@" "$build/rust_half.o" -L "$mlx_dir/mlx/lib" -lmlx -Wl,-rpath,@executable_path -o "$build/program"

python3 - "$build/program" <<'EOF' || fail "the result is not an arm64 Mach-O program that loads libmlx.dylib"
import struct, sys

data = open(sys.argv[1], "rb").read()
magic, processor, _, kind = struct.unpack_from("<4I", data)
is_arm64_program = (magic, processor, kind) == (0xFEEDFACF, 0x0100000C, 2)
sys.exit(0 if is_arm64_program and b"@rpath/libmlx.dylib" in data else 1)
EOF
echo "macos-link: mlx-c and $count C++ files of ours link with libmlx.dylib $mlx_version for arm64 macOS ($stubs Rust functions stubbed)"

# The GPU kernels' Metal text, as the tests generate it for a variety of layers, through clang's own checks.
sources=$work/metal
rm -rf "$sources"
(cd "$root" && NCPS_KERNEL_SOURCES="$sources" cargo test --quiet -p ncps-core -p ncps-mlx --lib kernel::tests::sources >/dev/null) ||
    fail "the GPU kernels' sources could not be written"
checked=0
for file in "$sources"/*.metal; do
    # A threadgroup variable inside a function is static to clang.
    sed 's/^threadgroup float4 shared_words/static &/' "$file" > "$build/kernel.cpp"
    "$zig_dir/ziglang/zig" clang -cc1 -triple x86_64-unknown-linux-gnu -std=c++17 -fsyntax-only -w -x c++ \
        -include "$root/.ci/metal_shim.h" "$build/kernel.cpp" || fail "$file is not Metal"
    checked=$((checked + 1))
done
[ "$checked" -gt 0 ] || fail "there was no Metal text to check"
echo "macos-link: $checked Metal kernels pass clang"
