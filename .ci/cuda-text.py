#!/usr/bin/env python3
"""Compiles the GPU kernels' CUDA text, as the tests generate it for a variety of layers, by NVIDIA's run-time compiler:
for sm_80 and, with clusters of groups, for sm_90. Needs cargo and Python 3 with pip, and no GPU; the compiler stays under
target/cuda-text. With a folder as argument, the sources in it are compiled instead."""

import concurrent.futures
import ctypes
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

VERSION = "12.9.86"
WHEELS = {
    "x86_64": "210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4",
    "aarch64": "096d4de6bda726415dfaf3198d4f5c522b8e70139c97feef5cd2ca6d4cd9cead",
}
ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "cuda-text"


def fail(text):
    sys.exit(f"cuda-text: {text}")


def compiler():
    """The folder of libnvrtc, fetched once; it appears by a rename, so an interrupted run leaves nothing half done."""
    folder = WORK / f"nvrtc-{VERSION}"
    if not folder.is_dir():
        digest = WHEELS.get(platform.machine())
        if platform.system() != "Linux" or digest is None:
            print(f"cuda-text: skipped, NVIDIA has no compiler for {platform.system()} on {platform.machine()}")
            sys.exit(0)
        WORK.mkdir(parents=True, exist_ok=True)
        wanted = WORK / "nvrtc.txt"
        wanted.write_text(f"nvidia-cuda-nvrtc-cu12=={VERSION} --hash=sha256:{digest}\n")
        partial = WORK / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--only-binary=:all:", "--require-hashes", "--target", str(partial), "-r", str(wanted)]
        if subprocess.run(pip, env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}).returncode != 0:
            fail(f"pip could not install nvidia-cuda-nvrtc-cu12 {VERSION}")
        partial.rename(folder)
    return folder / "nvidia" / "cuda_nvrtc" / "lib"


def sources():
    folder = WORK / "sources"
    shutil.rmtree(folder, ignore_errors=True)
    # Both packages, so that what they need is built once: for one alone Cargo would choose other features.
    test = ["cargo", "test", "--quiet", "-p", "ncps-core", "-p", "ncps-mlx", "--lib", "kernel::tests::sources"]
    done = subprocess.run(test, cwd=ROOT, env={**os.environ, "NCPS_KERNEL_SOURCES": str(folder)}, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        fail("the GPU kernels' sources could not be written")
    return folder


def compile_text(library, path):
    """What the compiler says against a source, or nothing."""
    nvrtc = ctypes.CDLL(str(library))
    target = re.search(r"\.(sm_\d+)\.cu$", path.name)
    if target is None:
        return f"{path.name}: the name does not end in `.sm_NN.cu`"
    program = ctypes.c_void_p()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), path.read_bytes(), path.name.encode(), 0, None, None) != 0:
        return f"{path.name}: the compiler does not begin"
    options = (ctypes.c_char_p * 2)(f"--gpu-architecture={target[1]}".encode(), b"--disable-warnings")
    result = nvrtc.nvrtcCompileProgram(program, len(options), options)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    if result == 0:
        return None
    # Each message begins with the name of the source and its line.
    text = path.read_text().splitlines()
    said = log.value.decode(errors="replace").strip() or f"{path.name}: result {result} without a message"
    line = re.match(rf"{re.escape(path.name)}\((\d+)\)", said)
    shown = f"\n  line {line[1]} is: {text[int(line[1]) - 1].strip()}" if line else ""
    return f"{target[1]}: {said}{shown}"


def main():
    libraries = compiler()
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else sources()
    paths = sorted(folder.glob("*.cu"))
    if not paths:
        fail(f"there is no CUDA text in {folder}")
    # The library looks for its other half by name only.
    ctypes.CDLL(str(next(libraries.glob("libnvrtc-builtins.so.*"))), mode=ctypes.RTLD_GLOBAL)
    library = libraries / "libnvrtc.so.12"
    workers = os.cpu_count() or 1
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(compile_text, [library] * len(paths), paths, chunksize=4))
    wrong = [text for text in found if text]
    if wrong:
        print("\n\n".join(wrong), file=sys.stderr)
        fail(f"{len(wrong)} of {len(paths)} kernels are not CUDA")
    clusters = sum("__cluster_dims__" in path.read_text() for path in paths)
    print(f"cuda-text: {len(paths)} CUDA kernels, {clusters} with clusters, pass NVRTC {VERSION}")


if __name__ == "__main__":
    main()
