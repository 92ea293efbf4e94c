// Softmax over the logits of a row, cross-entropy, and a logarithm with the same bits everywhere.
#ifndef CHARLOOM_LOSS_H
#define CHARLOOM_LOSS_H

#include "vector.h"

// ln x for x > 0, in double precision; largest relative error 4e-16. The C library's differs from system to system in the last bit.
double natural_log(double x);

// The highest of N numbers; NaN are left out, so that they are found later.
float highest_of(const float *x, ptrdiff_t N);

// x = e^((x - highest) scale) for N numbers; returns their sum.
float exp_and_sum(float *x, ptrdiff_t N, float highest, float scale);

// -ln p(target) in nats, for logits (V). If `gradient` is not 0, the logits are overwritten with (p - onehot(target)) gradient. A target of
// V or more is a symbol outside the alphabet: it costs `unknown_cost` and has no gradient.
double cross_entropy(float *logits, ptrdiff_t V, int32_t target, double unknown_cost, float gradient);

#endif
