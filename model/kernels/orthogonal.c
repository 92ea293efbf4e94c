// Orthogonal matrices, by the modified Gram-Schmidt process. See orthogonal.h.
//
// LAPACK would do it, too, but adds in another order on each processor. In double precision the rows of a random matrix come out orthogonal
// to about 1e-12.
#include "orthogonal.h"

#define ROWS 8  // that are worked on together, so that each row before them is read from memory once for all

static double dot(ptrdiff_t N, const double *a, const double *b) {
    double lane[LANES] = {0};
    ptrdiff_t k = 0;
    for (; k + LANES <= N; k += LANES)
        for (int i = 0; i < LANES; i++) lane[i] = fma(a[k + i], b[k + i], lane[i]);
    for (int i = 0; k < N; i++, k++) lane[i] = fma(a[k], b[k], lane[i]);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

// Takes from `row` its share along q, which has length 1.
static void take_share(ptrdiff_t N, const double *q, double *row) {
    const double share = -dot(N, q, row);
    for (ptrdiff_t k = 0; k < N; k++) row[k] = fma(share, q[k], row[k]);
}

void orthogonal(ptrdiff_t N, double *v) {
    for (ptrdiff_t first = 0; first < N; first += ROWS) {
        const ptrdiff_t last = first + ROWS < N ? first + ROWS : N;
        for (ptrdiff_t j = 0; j < first; j++)
            for (ptrdiff_t k = first; k < last; k++) take_share(N, v + j * N, v + k * N);
        for (ptrdiff_t k = first; k < last; k++) {
            for (ptrdiff_t j = first; j < k; j++) take_share(N, v + j * N, v + k * N);
            const double length = sqrt(dot(N, v + k * N, v + k * N));
            for (ptrdiff_t i = 0; i < N; i++) v[k * N + i] /= length;
        }
    }
}
