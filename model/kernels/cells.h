// One step of each cell in time, forward beside backward, for R rows (streams of text) of H hidden units. The equations are those of
// model/cells/*.py, in the same letters.
//
// z (R, G*H) is the argument of the gates: x Wx + b + h_before Wh. The forward step overwrites it with the gates, which the backward step
// overwrites with dz. `dh` (R, H) is the gradient of the output, from above and from the next step. Rows lie one behind the other.
#ifndef CHARLOOM_CELLS_H
#define CHARLOOM_CELLS_H

#include "vector.h"

enum { RNN, GRU, LSTM };               // cells
enum { TANH, RELU, IDENTITY };         // activations of the rnn

INLINE int gates_of(int cell) { return cell == RNN ? 1 : cell == GRU ? 3 : 4; }
INLINE int states_of(int cell) { return cell == LSTM ? 2 : 1; }

// h = φ(z). Backward: dz = dh φ'(z), as a function of h.
void rnn_forward(int activation, ptrdiff_t R, ptrdiff_t H, const float *z, float *h);
void rnn_backward(int activation, ptrdiff_t R, ptrdiff_t H, float *dz, const float *h, const float *dh);

// The gates are r z n. Here z (R, 3H) is the input's share alone, and `u` (R, 3H) what the recurrent product is added to: gru_begin writes
// z_r, z_z and bn to it. gru_forward then computes q = u_n, the gates, and h = (1 - z) n + z h_before; h may be h_before, and q may be NULL.
// gru_backward overwrites the gates with da_r, da_z, da_n, q with dq, u with da_r, da_z, dq, and adds dh z to dh_before (if not NULL).
void gru_begin(ptrdiff_t R, ptrdiff_t H, const float *z, const float *bn, float *u);
void gru_forward(ptrdiff_t R, ptrdiff_t H, float *z, const float *u, float *q, const float *h_before, float *h);
void gru_backward(ptrdiff_t R, ptrdiff_t H, float *gates, float *q, float *u, const float *h_before, const float *dh, float *dh_before);

// The gates are i f o g; c = f c_before + i g; h = o tanh c; c may be c_before. Backward: `dc` (R, H) is the gradient of c from the
// next step, and becomes that of c_before.
void lstm_forward(ptrdiff_t R, ptrdiff_t H, float *z, const float *c_before, float *c, float *h);
void lstm_backward(ptrdiff_t R, ptrdiff_t H, float *gates, const float *c_before, const float *c, const float *dh, float *dc);

#endif
