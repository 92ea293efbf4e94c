// The network over symbols: its weights packed for products, and a step of it forward in time.
#ifndef CHARLOOM_NETWORK_H
#define CHARLOOM_NETWORK_H

#include "cells.h"
#include "product.h"

#define API __attribute__((visibility("default")))
#define MOST_LAYERS 64

typedef struct {
    int32_t cell, activation, layers;
    int32_t V, E, H;   // symbols; embedding size, 0 without one; hidden units
    int32_t boundary;  // the symbol that is read with a state of zero, since a new text begins with it; -1: there is none
} Shape;

// Where the parameters lie in the flat vector, in floats: model/parameters.py.
typedef struct {
    ptrdiff_t embedding, Wx[MOST_LAYERS], b[MOST_LAYERS], Wh[MOST_LAYERS], bn[MOST_LAYERS], Wy, by, size;
} Offsets;

typedef struct {
    Shape shape;
    int G, S;            // gates and states of the cell
    ptrdiff_t GH;        // G * H
    Offsets at;
    const float *weights;  // (at.size), the caller's; biases and the input table are read there
    float *unknown;        // (E or GH): the input row of the unknown symbol, the mean of all rows
    float *Wx[MOST_LAYERS], *Wh[MOST_LAYERS], *Wy;      // packed; Wx[0] is NULL without an embedding
    float *WxT[MOST_LAYERS], *WhT[MOST_LAYERS], *WyT;   // their transposes, packed; NULL if the network does not train
    float *memory;         // all of these
} Network;

INLINE ptrdiff_t input_size(const Shape *s, int layer) { return layer ? s->H : s->E ? s->E : s->V; }
INLINE int has_product(const Shape *s, int layer) { return layer || s->E; }  // whether the layer's input passes through Wx as a vector

INLINE int begins(const Shape *s, int32_t id) { return s->boundary >= 0 && id == s->boundary; }

// Returns a network without weights, or NULL if there is no memory. `trains`: it also holds the transposes.
API Network *network_new(const Shape *shape, int trains);
API void network_free(Network *network);

// Packs new weights, which must stay as they are until the next call.
API void network_pack(Network *network, const float *weights, int threads);

// Writes the input's share of the gates of layer 0 for R symbols to z (R, GH), or the rows of the embedding to x (R, E) if there is one.
void input_rows(const Network *network, ptrdiff_t R, const int32_t *ids, float *x_or_z);

// z (R, GH) = x Wx + b for x (R, D).
void input_product(const Network *network, int layer, ptrdiff_t R, const float *x, float *z);

// A step of one layer: z (R, GH) is the input's share of the gates and is overwritten with the gates. The states h and c (R, H) may be
// those before. `u` (R, 3H) is room for the gru, and `q` (R, H) is written if it is not NULL.
void layer_forward(const Network *network, int layer, ptrdiff_t R, float *z, float *u, float *q, const float *h_before, float *h,
                   const float *c_before, float *c);

// logits (R, V) = h Wy + by for h (R, H).
void output_product(const Network *network, ptrdiff_t R, const float *h, float *logits);

// Room for steps of the whole network without a tape, in floats, and such a step: reads R symbols, updates the states, which are zero before a
// boundary, and returns the output of the top layer, which is its state. state[(l * S + s) * state_stride + row * H] is state s of layer l.
ptrdiff_t step_room(const Network *network, ptrdiff_t R);
const float *network_step(const Network *network, ptrdiff_t R, const int32_t *ids, float *state, ptrdiff_t state_stride, float *room);

// Reads ids (T, B) from state (L, S, B, H), which becomes the state afterwards. What is not NULL is written: `output` (T, B, H) of the top
// layer, `logits` (T, B, V), and `costs` (T, B), the nats of targets (T, B). Returns 0, or -1 if there is no memory.
API int network_read(const Network *network, int32_t T, int32_t B, const int32_t *ids, float *state, float *output, float *logits,
                     const int32_t *targets, double unknown_cost, double *costs, int threads);

// logits (R, V) of outputs (R, H) of the top layer.
API void network_logits(const Network *network, int32_t R, const float *output, float *logits);

// Returns into how many parts of its rows a batch is divided among threads.
int32_t parts_of(int32_t B, int threads);

// Between two arrays of one block of memory, a build with AddressSanitizer leaves a gap that must not be touched.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define GAP 16  // floats
#define FORBID(start, floats) __asan_poison_memory_region(start, (size_t)(floats) * sizeof(float))
#else
#define GAP 0
#define FORBID(start, floats) ((void)0)
#endif

void *aligned_memory(ptrdiff_t floats);  // of a multiple of 64 bytes, aligned to 64; NULL if there is none. `free` frees it.

#endif
