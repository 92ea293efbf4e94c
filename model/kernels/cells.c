// One step of each cell in time. See cells.h.
#include "cells.h"

// Runs over the H units of each row, WIDTH at a time: `j` is the first of them and `n` how many are left.
#define FOR_UNITS for (ptrdiff_t j = 0, n = H; j < H; j += WIDTH, n -= WIDTH)

INLINE vec one_minus(vec x) { return 1.0f - x; }

// ── rnn ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

void rnn_forward(int activation, ptrdiff_t R, ptrdiff_t H, const float *z, float *h) {
    H *= R;  // units do not depend on each other, so rows do not matter
    FOR_UNITS {
        vec x = load_part(z + j, n);
        if (activation == TANH) x = tanh_vec(x);
        if (activation == RELU) x = at_least(x, splat(0.0f)) + 0.0f;  // -0 becomes 0: processors differ in the sign of a maximum of zeros
        store_part(h + j, x, n);
    }
}

void rnn_backward(int activation, ptrdiff_t R, ptrdiff_t H, float *dz, const float *h, const float *dh) {
    H *= R;
    FOR_UNITS {
        vec y = load_part(h + j, n), slope = splat(1.0f);
        if (activation == TANH) slope = fma_vec(-y, y, slope);
        if (activation == RELU) slope = (vec)((ivec)slope & (y > 0.0f));
        store_part(dz + j, load_part(dh + j, n) * slope, n);
    }
}

// ── gru ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

void gru_begin(ptrdiff_t R, ptrdiff_t H, const float *z, const float *bn, float *u) {
    for (ptrdiff_t row = 0; row < R; row++, z += 3 * H, u += 3 * H) {
        memcpy(u, z, (size_t)(2 * H) * sizeof *u);
        memcpy(u + 2 * H, bn, (size_t)H * sizeof *u);
    }
}

void gru_forward(ptrdiff_t R, ptrdiff_t H, float *z, const float *u, float *q, const float *h_before, float *h) {
    for (ptrdiff_t row = 0; row < R; row++, z += 3 * H, u += 3 * H, h_before += H, h += H) {
        FOR_UNITS {
            vec r = sigmoid_vec(load_part(u + j, n)), zt = sigmoid_vec(load_part(u + H + j, n)), qt = load_part(u + 2 * H + j, n);
            vec nt = tanh_vec(fma_vec(r, qt, load_part(z + 2 * H + j, n)));
            store_part(z + j, r, n);
            store_part(z + H + j, zt, n);
            store_part(z + 2 * H + j, nt, n);
            if (q) store_part(q + j, qt, n);
            store_part(h + j, fma_vec(zt, load_part(h_before + j, n) - nt, nt), n);  // (1 - z) n + z h = n + z (h - n)
        }
        if (q) q += H;
    }
}

void gru_backward(ptrdiff_t R, ptrdiff_t H, float *gates, float *q, float *u, const float *h_before, const float *dh, float *dh_before) {
    for (ptrdiff_t row = 0; row < R; row++, gates += 3 * H, u += 3 * H, q += H, h_before += H, dh += H) {
        FOR_UNITS {
            vec r = load_part(gates + j, n), zt = load_part(gates + H + j, n), nt = load_part(gates + 2 * H + j, n);
            vec d = load_part(dh + j, n), qt = load_part(q + j, n), one = splat(1.0f);
            vec dn = d * one_minus(zt) * fma_vec(-nt, nt, one);
            vec dzt = d * (load_part(h_before + j, n) - nt) * zt * one_minus(zt);
            vec dr = dn * qt * r * one_minus(r), dq = dn * r;
            store_part(gates + j, dr, n);
            store_part(gates + H + j, dzt, n);
            store_part(gates + 2 * H + j, dn, n);
            store_part(q + j, dq, n);
            store_part(u + j, dr, n);
            store_part(u + H + j, dzt, n);
            store_part(u + 2 * H + j, dq, n);
            if (dh_before) store_part(dh_before + j, fma_vec(d, zt, load_part(dh_before + j, n)), n);
        }
        if (dh_before) dh_before += H;
    }
}

// ── lstm ────────────────────────────────────────────────────────────────────────────────────────────────────────────

void lstm_forward(ptrdiff_t R, ptrdiff_t H, float *z, const float *c_before, float *c, float *h) {
    for (ptrdiff_t row = 0; row < R; row++, z += 4 * H, c_before += H, c += H, h += H) {
        FOR_UNITS {
            vec i = sigmoid_vec(load_part(z + j, n)), f = sigmoid_vec(load_part(z + H + j, n));
            vec o = sigmoid_vec(load_part(z + 2 * H + j, n)), g = tanh_vec(load_part(z + 3 * H + j, n));
            vec ct = fma_vec(f, load_part(c_before + j, n), i * g);
            store_part(z + j, i, n);
            store_part(z + H + j, f, n);
            store_part(z + 2 * H + j, o, n);
            store_part(z + 3 * H + j, g, n);
            store_part(c + j, ct, n);
            store_part(h + j, o * tanh_vec(ct), n);
        }
    }
}

void lstm_backward(ptrdiff_t R, ptrdiff_t H, float *gates, const float *c_before, const float *c, const float *dh, float *dc) {
    for (ptrdiff_t row = 0; row < R; row++, gates += 4 * H, c_before += H, c += H, dh += H, dc += H) {
        FOR_UNITS {
            vec i = load_part(gates + j, n), f = load_part(gates + H + j, n);
            vec o = load_part(gates + 2 * H + j, n), g = load_part(gates + 3 * H + j, n);
            vec d = load_part(dh + j, n), tc = tanh_vec(load_part(c + j, n)), one = splat(1.0f);  // tanh c anew: a store would cost more
            vec dct = fma_vec(d * o, fma_vec(-tc, tc, one), load_part(dc + j, n));
            store_part(gates + j, dct * g * i * one_minus(i), n);
            store_part(gates + H + j, dct * load_part(c_before + j, n) * f * one_minus(f), n);
            store_part(gates + 2 * H + j, d * tc * o * one_minus(o), n);
            store_part(gates + 3 * H + j, dct * i * fma_vec(-g, g, one), n);
            store_part(dc + j, dct * f, n);
        }
    }
}
