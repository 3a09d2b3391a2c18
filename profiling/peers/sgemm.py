"""Square f32 products by numpy's BLAS on one thread: GFLOP/s, the best within a second.

OPENBLAS_NUM_THREADS=1 python3 profiling/peers/sgemm.py 512
"""

import sys
import time

import numpy

side = int(sys.argv[1]) if len(sys.argv) > 1 else 512
left, right = (numpy.random.rand(side, side).astype("float32") for _ in range(2))
product = numpy.empty((side, side), "float32")
best, end = float("inf"), time.perf_counter() + 1
while time.perf_counter() < end:
    begin = time.perf_counter()
    numpy.dot(left, right, out=product)
    best = min(best, time.perf_counter() - begin)
print(f"numpy {numpy.__version__}, {side} x {side}: {2 * side**3 / best * 1e-9:.0f} GFLOP/s")
