// The loss of a chunk of text and the gradients of all parameters: truncated backpropagation through time.
#ifndef CHARLOOM_TRAINING_H
#define CHARLOOM_TRAINING_H

#include "network.h"

typedef struct Tape Tape;  // the values of the forward pass that the backward pass needs, for up to T x B symbols

// Returns a tape, or NULL if there is no memory. `dropout`: it also holds the outputs that are left after dropout.
API Tape *tape_new(const Network *network, int32_t T, int32_t B, int dropout);
API void tape_free(Tape *tape);

// Reads inputs (T, B) from state (L, S, B, H), which becomes the state afterwards, and overwrites `gradients` (all parameters) with those of
// the sum of nats of targets (T, B), times `scale`; `nats` is that sum, not scaled. `network` holds transposes; T and B are at most the
// tape's. masks (L, B, H) is NULL or a factor for each layer's outputs. The state is zero before a boundary, and no gradient passes back from
// there. Returns 0, or -1 if there is no memory.
//
// The work is divided among threads by streams, then by columns of the weights, so that no sum depends on their number.
API int gradients_of(const Network *network, Tape *tape, int32_t T, int32_t B, const int32_t *inputs, const int32_t *targets, float *state,
                     const float *masks, double scale, double unknown_cost, float *gradients, int threads, double *nats);

#endif
