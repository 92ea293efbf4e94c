// Products of a matrix with weights that were packed for it.
#ifndef CHARLOOM_PRODUCT_H
#define CHARLOOM_PRODUCT_H

#include "vector.h"

// Weights W (K, N) are packed into panels of PANEL columns: panel p holds W[k][16 p + j] at [k][j], k = 0..K-1, with zeros behind column
// N. A product then reads them in the order in which they lie.
#define PANEL 16

INLINE ptrdiff_t panels_of(ptrdiff_t N) { return (N + PANEL - 1) / PANEL; }
INLINE ptrdiff_t packed_size(ptrdiff_t K, ptrdiff_t N) { return K * panels_of(N) * PANEL; }  // in floats

// Packs panels first..last-1 of W (K, N), whose rows are `stride` floats apart.
void pack(ptrdiff_t K, ptrdiff_t N, const float *W, ptrdiff_t stride, float *packed, ptrdiff_t first, ptrdiff_t last);

// Packs panels first..last-1 of the transpose of W (N, K).
void pack_transposed(ptrdiff_t K, ptrdiff_t N, const float *W, ptrdiff_t stride, float *packed, ptrdiff_t first, ptrdiff_t last);

// C (M, N) += A (M, K) W (K, N). Rows of A and C are a_stride and c_stride floats apart; C must not overlap A.
//
// Each number of C is one chain of fused multiply-adds in the order of k: c = fma(a[0], w[0], c); c = fma(a[1], w[1], c); ... So its bits do
// not depend on M, on the other rows, on the vectors' width or on the compiler.
void product(ptrdiff_t M, ptrdiff_t K, ptrdiff_t N, const float *A, ptrdiff_t a_stride, const float *packed, float *C, ptrdiff_t c_stride);

// C (M, N) += sum over k of A[k][m] B[k][n], for columns first..last-1 of N: the gradient of weights, whose chains run over rows k of
// the activations A (K, M) and of the gradients B (K, N). If `sums` (N) is not NULL, sums[n] += B[k][n] for each k. `room` holds at least
// `outer_room(M)` floats.
void outer_product(ptrdiff_t K, ptrdiff_t M, const float *A, ptrdiff_t a_stride, const float *B, ptrdiff_t b_stride, ptrdiff_t first,
                   ptrdiff_t last, float *C, ptrdiff_t c_stride, float *sums, float *room);
ptrdiff_t outer_room(ptrdiff_t M);

#endif
