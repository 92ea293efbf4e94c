// Vectors of floats, and the functions that the cells need of them: fused multiply-add, exp, tanh and sigmoid.
//
// One source for all processors: WIDTH floats are computed at once, with the compiler's vector types. What these cannot say (a fused
// multiply-add that is never split, minimum and maximum that let NaN pass) is one intrinsic each. The bits of a result never depend
// on WIDTH: functions work element by element, and sums have a fixed number of partial sums (LANES).
#ifndef CHARLOOM_VECTOR_H
#define CHARLOOM_VECTOR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define WIDTH 16
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define WIDTH 8
#elif defined(__aarch64__)
#include <arm_neon.h>
#define WIDTH 4
#else
#error "no instruction set of these: AVX-512, AVX2 with FMA, NEON"
#endif

#define LANES 16  // partial sums of a sum over an array: element k goes to lane k mod LANES
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(WIDTH * 4)));
typedef int32_t ivec __attribute__((vector_size(WIDTH * 4)));

#if WIDTH == 16
INLINE vec splat(float x) { return (vec)_mm512_set1_ps(x); }
INLINE vec fma_vec(vec a, vec b, vec c) { return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE vec at_least(vec x, vec low) { return (vec)_mm512_max_ps((__m512)low, (__m512)x); }  // NaN stays NaN: the second operand
INLINE vec at_most(vec x, vec high) { return (vec)_mm512_min_ps((__m512)high, (__m512)x); }
INLINE vec larger(vec x, vec y) { return at_least(x, y); }  // NaN in y is left out
INLINE vec sqrt_vec(vec x) { return (vec)_mm512_sqrt_ps((__m512)x); }
#elif WIDTH == 8
INLINE vec splat(float x) { return (vec)_mm256_set1_ps(x); }
INLINE vec fma_vec(vec a, vec b, vec c) { return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE vec at_least(vec x, vec low) { return (vec)_mm256_max_ps((__m256)low, (__m256)x); }
INLINE vec at_most(vec x, vec high) { return (vec)_mm256_min_ps((__m256)high, (__m256)x); }
INLINE vec larger(vec x, vec y) { return at_least(x, y); }
INLINE vec sqrt_vec(vec x) { return (vec)_mm256_sqrt_ps((__m256)x); }
#else
INLINE vec splat(float x) { return (vec)vdupq_n_f32(x); }
INLINE vec fma_vec(vec a, vec b, vec c) { return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE vec at_least(vec x, vec low) { return (vec)vmaxq_f32((float32x4_t)low, (float32x4_t)x); }
INLINE vec at_most(vec x, vec high) { return (vec)vminq_f32((float32x4_t)high, (float32x4_t)x); }
INLINE vec larger(vec x, vec y) { return (vec)vmaxnmq_f32((float32x4_t)x, (float32x4_t)y); }
INLINE vec sqrt_vec(vec x) { return (vec)vsqrtq_f32((float32x4_t)x); }
#endif

INLINE vec load(const float *x) {
    vec v;
    memcpy(&v, x, sizeof v);
    return v;
}

INLINE void store(float *x, vec v) { memcpy(x, &v, sizeof v); }

// The first `count` floats of an array, 0 behind them; the array may end there.
INLINE vec load_part(const float *x, ptrdiff_t count) {
    if (count >= WIDTH) return load(x);
    float part[WIDTH] = {0};
    memcpy(part, x, (size_t)count * sizeof *x);
    return load(part);
}

INLINE void store_part(float *x, vec v, ptrdiff_t count) {
    if (count >= WIDTH) {
        store(x, v);
        return;
    }
    float part[WIDTH];
    store(part, v);
    memcpy(x, part, (size_t)count * sizeof *x);
}

// e^x; largest relative error 8e-8 for x above -87, where results are normal numbers. Inf above 88.72, 0 below -104; NaN stays NaN.
//
// x = n ln 2 + r, |r| <= ln 2 / 2: e^x = 2^n e^r. Adding 1.5 * 2^23 rounds x / ln 2 to the whole number n and leaves n in the lowest bits.
// e^r is a polynomial of degree 6, fitted for the smallest relative error (3e-9 before rounding).
INLINE vec exp_vec(vec x) {
    const vec shift = splat(0x1.8p23f);
    x = at_most(at_least(x, splat(-110.0f)), splat(89.0f));
    vec shifted = fma_vec(x, splat(0x1.715476p0f), shift);
    vec n = shifted - shift;
    vec r = fma_vec(n, splat(-0x1.62e400p-1f), x);  // ln 2 in two parts: the first has few bits, so that n times it is exact
    r = fma_vec(n, splat(-0x1.7f7d1cp-20f), r);
    vec p = splat(0x1.6a2434p-10f);
    p = fma_vec(p, r, splat(0x1.1239e2p-7f));
    p = fma_vec(p, r, splat(0x1.5558f2p-5f));
    p = fma_vec(p, r, splat(0x1.555492p-3f));
    p = fma_vec(p, r, splat(0x1.fffffcp-2f));
    p = fma_vec(p, r, splat(1.0f));
    p = fma_vec(p, r, splat(1.0f));
    ivec whole = (ivec)shifted - (ivec)shift;
    ivec half = whole >> 1;  // 2^n as the product of two powers, since 2^128 and 2^-150 are no floats
    vec low = (vec)((half + 127) << 23), high = (vec)((whole - half + 127) << 23);
    return p * low * high;
}

// tanh x; largest relative error 3e-7, and never beyond 1 in size. NaN stays NaN.
//
// A rational function of degrees 13 and 6, fitted for the smallest relative error on |x| <= 7.9; beyond, the value there, which is
// 1 - 1.8e-7.
INLINE vec tanh_vec(vec x) {
    x = at_most(at_least(x, splat(-7.9f)), splat(7.9f));
    vec s = x * x;
    vec p = splat(-1.1924581331049233e-13f);
    p = fma_vec(p, s, splat(6.482911429905869e-11f));
    p = fma_vec(p, s, splat(-2.2525695086983433e-08f));
    p = fma_vec(p, s, splat(1.1689582606777549e-05f));
    p = fma_vec(p, s, splat(0.0031536538153886795f));
    p = fma_vec(p, s, splat(0.13128137588500977f));
    p = fma_vec(p, s, splat(1.0f));
    vec q = splat(0.0002619340375531465f);
    q = fma_vec(q, s, splat(0.024691911414265633f));
    q = fma_vec(q, s, splat(0.4646146893501282f));
    q = fma_vec(q, s, splat(1.0f));
    return x * p / q;
}

// 1 / (1 + e^-x) = tanh(x / 2) / 2 + 1 / 2; largest absolute error 1.8e-7.
INLINE vec sigmoid_vec(vec x) { return fma_vec(tanh_vec(x * 0.5f), splat(0.5f), splat(0.5f)); }

// The sum of LANES partial sums, always in the same order.
INLINE float sum_of_lanes(const float *lane) {
    float s[8];
    for (int i = 0; i < 8; i++) s[i] = lane[i] + lane[i + 8];
    for (int i = 0; i < 4; i++) s[i] += s[i + 4];
    return (s[0] + s[2]) + (s[1] + s[3]);
}

#endif
