// Orthogonal matrices for the weights before training.
#ifndef CHARLOOM_ORTHOGONAL_H
#define CHARLOOM_ORTHOGONAL_H

#include "network.h"

// Makes the rows v (N, N) orthonormal: row k loses its share along the rows before it and gets length 1. These are the columns of Q in the
// QR decomposition of the transpose, with a positive diagonal of R. The rows must be linearly independent.
API void orthogonal(ptrdiff_t N, double *v);

#endif
