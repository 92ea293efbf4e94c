// Draws the next symbols of many texts: network, penalties, filters and draw, several symbols in one call.
#ifndef CHARLOOM_SAMPLING_H
#define CHARLOOM_SAMPLING_H

#include "network.h"

#define UTF8_STATES 8
#define MOST_ALTERNATIVES 20

// One text: its settings (model/config.py, SamplingConfig), and what changes from symbol to symbol.
typedef struct {
    double top_p, min_p;
    float inverse;                          // 1 / temperature; 0 always takes the likeliest symbol
    float repetition, presence, frequency;  // penalties
    int32_t top_k;
    int32_t alternatives;  // likeliest symbols that are reported for each symbol; -1: nothing is reported
    int32_t last;          // the last symbol
    int32_t utf8;          // state of the UTF-8 guide
    float *counts;         // (V) how often the text has each symbol; NULL without penalties
    uint8_t *present;      // (V) whether prompt or text have it
    const float *bias;     // (V)
    const uint8_t *forbidden;  // (V) symbols that must not come next, or NULL: then `count` is 1
} Row;

// The log-probabilities of the drawn symbols by the plain model, before penalties and filters; natural logarithms.
typedef struct {
    double *drawn;             // (B, count)
    int32_t *alternatives;     // (B, count, MOST_ALTERNATIVES) the likeliest symbols, of equals the first
    double *their_logprobs;    // (B, count, MOST_ALTERNATIVES)
} Logprobs;

// Draws `count` symbols of each of B texts into drawn (B, count), from state (L, S, B, H), which becomes the state afterwards; random
// (B, count) are numbers in [0, 1). allowed (UTF8_STATES, V) and next (UTF8_STATES, V) are the UTF-8 guide's, or NULL. Returns 0, or -1 if
// there is no memory. A row depends on nothing but its own settings, state and random numbers.
API int sample(const Network *network, int32_t B, int32_t count, Row *rows, float *state, const double *random, const uint8_t *allowed,
               const int32_t *next, int32_t *drawn, const Logprobs *logprobs, int threads);

// logs (N, V) = ln softmax(logits (N, V)). Logits that are NaN or infinite, from sums that overflowed, count as plus or minus 1e38.
API void log_softmax_of(ptrdiff_t N, ptrdiff_t V, const float *logits, double *logs);

#endif
