// Softmax, cross-entropy and the logarithm. See loss.h.
#include "loss.h"

double natural_log(double x) {
    if (!(x > 0) || x > 1.7e308) return log(x);  // -inf, inf, NaN
    int exponent;
    double m = frexp(x, &exponent);  // m in [1/2, 1)
    if (m < 0.70710678118654752) m *= 2, exponent--;
    const double s = (m - 1) / (m + 1), s2 = s * s;  // ln m = 2 artanh s, |s| < 0.1716
    double p = 0;
    for (int n = 23; n >= 3; n -= 2) p = fma(p, s2, 1.0 / n);
    return fma(exponent, 0.69314718055994531, fma(2 * s * s2, p, 2 * s));
}

float highest_of(const float *x, ptrdiff_t N) {
    vec highest = splat(-INFINITY);
    ptrdiff_t k = 0;
    for (; k + WIDTH <= N; k += WIDTH) highest = larger(highest, load(x + k));
    float lanes[WIDTH], most = -INFINITY;
    store(lanes, highest);
    for (int i = 0; i < WIDTH; i++) most = lanes[i] > most ? lanes[i] : most;
    for (; k < N; k++) most = x[k] > most ? x[k] : most;
    return most;
}

float exp_and_sum(float *x, ptrdiff_t N, float highest, float scale) {
    float sums[LANES] = {0};
    for (ptrdiff_t k = 0; k < N; k += LANES)
        for (ptrdiff_t v = k; v < k + LANES && v < N; v += WIDTH) {
            store_part(x + v, exp_vec((load_part(x + v, N - v) - highest) * scale), N - v);
            store(sums + (v - k), load(sums + (v - k)) + load_part(x + v, N - v));
        }
    return sum_of_lanes(sums);
}

double cross_entropy(float *logits, ptrdiff_t V, int32_t target, double unknown_cost, float gradient) {
    const float highest = highest_of(logits, V);
    const int known = target < V;
    const float picked = known ? logits[target] - highest : 0.0f;
    const float total = exp_and_sum(logits, V, highest, 1.0f);
    if (gradient != 0.0f) {
        const float each = known ? gradient / total : 0.0f;
        for (ptrdiff_t k = 0; k < V; k += WIDTH) store_part(logits + k, load_part(logits + k, V - k) * each, V - k);
        if (known) logits[target] -= gradient;
    }
    return known ? natural_log(total) - picked : unknown_cost;
}
