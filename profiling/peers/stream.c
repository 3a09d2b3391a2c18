// STREAM's copy and triad (McCalpin 1995) on one thread in f32, with ordinary stores and with stores past the caches
// (AVX-512): GB/s, the best of 30 passes, bytes counted as STREAM counts them.
//
//     gcc -O3 -march=native profiling/peers/stream.c -o stream && ./stream 64
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Runs a loop over the arrays and keeps its shortest time.
#define TIMED(best, loop)                          \
    do {                                           \
        double begin = now();                      \
        loop;                                      \
        __asm__ volatile("" ::: "memory");         \
        double seconds = now() - begin;            \
        if (seconds < best) best = seconds;        \
    } while (0)

int main(int argc, char **argv) {
    size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
    size_t n = mib << 18;
    float *a = aligned_alloc(64, 4 * n), *b = aligned_alloc(64, 4 * n), *c = aligned_alloc(64, 4 * n);
    if (!n || !a || !b || !c) return fprintf(stderr, "no memory for three arrays of %zu MiB\n", mib), 1;
    for (size_t i = 0; i < n; i++) a[i] = 1, b[i] = 2, c[i] = 0.5f;
    double copy = 1e9, triad = 1e9, copy_past = 1e9, triad_past = 1e9;
    __m512 s = _mm512_set1_ps(3);
    for (int pass = 0; pass < 30; pass++) {
        TIMED(copy, for (size_t i = 0; i < n; i++) c[i] = a[i]);
        TIMED(triad, for (size_t i = 0; i < n; i++) a[i] = b[i] + 3 * c[i]);
        TIMED(copy_past,
              for (size_t i = 0; i < n; i += 16) _mm512_stream_ps(c + i, _mm512_load_ps(a + i)); _mm_sfence());
        TIMED(triad_past,
              for (size_t i = 0; i < n; i += 16)
                  _mm512_stream_ps(a + i, _mm512_fmadd_ps(s, _mm512_load_ps(c + i), _mm512_load_ps(b + i)));
              _mm_sfence());
    }
    double gigabytes = 4e-9 * (double)n;
    printf("ordinary stores:   copy %.1f, triad %.1f GB/s\n", 2 * gigabytes / copy, 3 * gigabytes / triad);
    printf("past the caches:   copy %.1f, triad %.1f GB/s\n", 2 * gigabytes / copy_past, 3 * gigabytes / triad_past);
    return 0;
}
