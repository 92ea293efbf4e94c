// The loss of a chunk of text and the gradients of all parameters. See training.h.
#include "training.h"

#include <stdlib.h>

#include "loss.h"
#include "threads.h"

struct Tape {
    ptrdiff_t T, B;
    float *gates[MOST_LAYERS];    // (T, B, GH); the backward pass overwrites them with dz
    float *h[MOST_LAYERS];        // (T+1, B, H), [0] before the first step
    float *before[MOST_LAYERS];   // (T, B, H): h before each step, zero before a boundary; without a boundary it is h itself
    float *c[MOST_LAYERS];        // (T+1, B, H), lstm
    float *q[MOST_LAYERS];        // (T, B, H), gru; the backward pass overwrites it with dq
    float *dropped[MOST_LAYERS];  // (T, B, H): h times the mask; NULL without dropout
    float *embedded;              // (T, B, E)
    float *logits;                // (T, B, V); the backward pass overwrites them with their gradients
    float *dh;                    // (T, B, H): the gradient of the output of the layer at hand
    float *dembedded;             // (T, B, E)
    float *room;                  // (B, 3H): u of the gru
    float *dc;                    // (B, H), lstm
    float *c_before;              // (B, H): c before a step, zero before a boundary; lstm with a boundary
    float *kept;                  // (B, H): gradients that must not change; with a boundary
    double *costs;                // (T, B) nats
    float *memory;
    float *outer;                 // room for the gradients of weights, for each thread
    ptrdiff_t outer_size;
};

// Sets the pointers of a tape into `memory`, or only counts the floats it needs if that is NULL.
static ptrdiff_t lay_out(Tape *t, const Network *n, int dropout, float *memory) {
    const Shape *s = &n->shape;
    const ptrdiff_t H = s->H, N = t->T * t->B;
    ptrdiff_t end = 0;
#define TAKE(field, size)                                                  \
    do {                                                                   \
        const ptrdiff_t floats = size, next = end + (floats + 15) / 16 * 16 + GAP; \
        field = memory ? (void *)(memory + end) : NULL;                    \
        if (memory) FORBID(memory + end + floats, next - end - floats);    \
        end = next;                                                        \
    } while (0)
    TAKE(t->costs, 2 * N);
    for (int l = 0; l < s->layers; l++) {
        TAKE(t->gates[l], N * n->GH);
        TAKE(t->h[l], (N + t->B) * H);
        t->before[l] = t->h[l];
        if (s->boundary >= 0) TAKE(t->before[l], N * H);
        if (s->cell == LSTM) TAKE(t->c[l], (N + t->B) * H);
        if (s->cell == GRU) TAKE(t->q[l], N * H);
        if (dropout) TAKE(t->dropped[l], N * H);
    }
    TAKE(t->embedded, N * s->E);
    TAKE(t->logits, N * s->V);
    TAKE(t->dh, N * H);
    TAKE(t->dembedded, N * s->E);
    TAKE(t->room, t->B * 3 * H);
    TAKE(t->dc, t->B * H);
    if (s->boundary >= 0) {
        TAKE(t->c_before, t->B * H);
        TAKE(t->kept, t->B * H);
    }
#undef TAKE
    return end;
}

Tape *tape_new(const Network *n, int32_t T, int32_t B, int dropout) {
    Tape *tape = calloc(1, sizeof *tape);
    if (!tape) return NULL;
    tape->T = T, tape->B = B;
    tape->memory = aligned_memory(lay_out(tape, n, dropout, NULL));
    if (!tape->memory) {
        free(tape);
        return NULL;
    }
    lay_out(tape, n, dropout, tape->memory);
    return tape;
}

void tape_free(Tape *tape) {
    if (tape) free(tape->memory), free(tape->outer);
    free(tape);
}

typedef struct {
    const Network *network;
    Tape *tape;
    ptrdiff_t T, B;
    const int32_t *inputs, *targets;
    float *state;
    const float *masks;
    double scale, unknown_cost;
    float *gradients;
    int parts;  // of the streams: as many as threads, since each has a long way to go, unlike those of `parts_of`
} Job;

// ── some of the streams: forward, loss, backward ────────────────────────────────────────────────────────────────────

static float *state_of(const Job *job, int layer, int index) {
    return job->state + ((ptrdiff_t)layer * job->network->S + index) * job->B * job->network->shape.H;
}

// Input of a layer, (T, B, D).
static const float *input_of(const Job *job, int layer) {
    const Tape *tape = job->tape;
    if (!layer) return tape->embedded;
    return job->masks ? tape->dropped[layer - 1] : tape->h[layer - 1] + job->B * job->network->shape.H;
}

static void copy_rows(ptrdiff_t R, ptrdiff_t width, const float *from, float *to) { memcpy(to, from, (size_t)(R * width) * sizeof *to); }

static void times_mask(ptrdiff_t R, ptrdiff_t H, const float *from, const float *mask, float *to) {
    for (ptrdiff_t k = 0; k < R * H; k++) to[k] = from[k] * mask[k];
}

// Sets the rows of to (R, H) that begin a new text with the step at `at`: to those of `from`, or to zero if it is NULL.
static void set_starts(const Job *job, ptrdiff_t at, ptrdiff_t R, const float *from, float *to) {
    const Shape *s = &job->network->shape;
    const size_t bytes = (size_t)s->H * sizeof *to;
    for (ptrdiff_t r = 0; s->boundary >= 0 && r < R; r++) {
        if (!begins(s, job->inputs[at + r])) continue;
        if (from)
            memcpy(to + r * s->H, from + r * s->H, bytes);
        else
            memset(to + r * s->H, 0, bytes);
    }
}

// Returns the state x (R, H) as it is before the step at `at`: x itself, or with a boundary a copy in `room`, zero in the rows that begin a
// new text.
static const float *before_step(const Job *job, ptrdiff_t at, ptrdiff_t R, const float *x, float *room) {
    if (job->network->shape.boundary < 0) return x;
    copy_rows(R, job->network->shape.H, x, room);
    set_starts(job, at, R, NULL, room);
    return room;
}

static void forward(const Job *job, int layer, ptrdiff_t first, ptrdiff_t R) {
    const Network *n = job->network;
    const Tape *tape = job->tape;
    const ptrdiff_t H = n->shape.H, B = job->B, GH = n->GH, D = input_size(&n->shape, layer), E = n->shape.E;
    float *h = tape->h[layer], *c = tape->c[layer], *c_room = tape->c_before ? tape->c_before + first * H : NULL;
    copy_rows(R, H, state_of(job, layer, 0) + first * H, h + first * H);
    if (c) copy_rows(R, H, state_of(job, layer, 1) + first * H, c + first * H);
    for (ptrdiff_t t = 0; t < job->T; t++) {
        const ptrdiff_t at = t * B + first, next = at + B;  // rows of this step on the tape; of h and c after it
        float *z = tape->gates[layer] + at * GH;
        if (!layer) input_rows(n, R, job->inputs + at, E ? tape->embedded + at * E : z);
        if (has_product(&n->shape, layer)) input_product(n, layer, R, input_of(job, layer) + at * D, z);
        layer_forward(n, layer, R, z, tape->room + first * 3 * H, tape->q[layer] ? tape->q[layer] + at * H : NULL,
                      before_step(job, at, R, h + at * H, tape->before[layer] + at * H), h + next * H,
                      c ? before_step(job, at, R, c + at * H, c_room) : NULL, c ? c + next * H : NULL);
        if (job->masks) times_mask(R, H, h + next * H, job->masks + (layer * B + first) * H, tape->dropped[layer] + at * H);
    }
    const ptrdiff_t last = job->T * B + first;
    copy_rows(R, H, h + last * H, state_of(job, layer, 0) + first * H);
    if (c) copy_rows(R, H, c + last * H, state_of(job, layer, 1) + first * H);
}

// Turns the gradient dh of the layer's output into that of its input, and overwrites the gates with dz.
static void backward(const Job *job, int layer, ptrdiff_t first, ptrdiff_t R) {
    const Network *n = job->network;
    const Tape *tape = job->tape;
    const ptrdiff_t H = n->shape.H, B = job->B, GH = n->GH, D = input_size(&n->shape, layer);
    float *u = tape->room + first * 3 * H, *dc = tape->dc + first * H;
    float *c_room = tape->c_before ? tape->c_before + first * H : NULL, *kept = tape->kept ? tape->kept + first * H : NULL;
    memset(dc, 0, (size_t)(R * H) * sizeof *dc);
    if (job->masks)
        for (ptrdiff_t t = 0; t < job->T; t++) {
            float *dh = tape->dh + (t * B + first) * H;
            times_mask(R, H, dh, job->masks + (layer * B + first) * H, dh);
        }
    for (ptrdiff_t t = job->T - 1; t >= 0; t--) {
        const ptrdiff_t at = t * B + first, next = at + B;
        float *dz = tape->gates[layer] + at * GH, *dh = tape->dh + at * H, *dh_before = t ? dh - B * H : NULL;
        const float *h = tape->h[layer], *h_before = tape->before[layer] + at * H, *c = tape->c[layer], *through = dz;
        if (dh_before) set_starts(job, at, R, dh_before, kept);
        switch (n->shape.cell) {
            case RNN: rnn_backward(n->shape.activation, R, H, dz, h + next * H, dh); break;
            case GRU: gru_backward(R, H, dz, tape->q[layer] + at * H, u, h_before, dh, dh_before), through = u; break;
            case LSTM: lstm_backward(R, H, dz, before_step(job, at, R, c + at * H, c_room), c + next * H, dh, dc); break;
        }
        if (dh_before) {
            product(R, GH, H, through, GH, n->WhT[layer], dh_before, H);
            set_starts(job, at, R, kept, dh_before);
        }
        set_starts(job, at, R, NULL, dc);
    }
    if (!has_product(&n->shape, layer)) return;
    for (ptrdiff_t t = 0; t < job->T; t++) {
        const ptrdiff_t at = t * B + first;
        float *dx = (layer ? tape->dh : tape->dembedded) + at * D;
        memset(dx, 0, (size_t)(R * D) * sizeof *dx);
        product(R, GH, D, tape->gates[layer] + at * GH, GH, n->WxT[layer], dx, D);
    }
}

static void some_streams(void *data, int index, int thread) {
    (void)thread;
    const Job *job = data;
    const Network *n = job->network;
    const Tape *tape = job->tape;
    const ptrdiff_t H = n->shape.H, V = n->shape.V, B = job->B;
    const ptrdiff_t first = B * index / job->parts, R = B * (index + 1) / job->parts - first;
    const int layers = n->shape.layers;
    for (int l = 0; l < layers; l++) forward(job, l, first, R);
    const float *top = input_of(job, layers);
    for (ptrdiff_t t = 0; t < job->T; t++) {
        const ptrdiff_t at = t * B + first;
        float *logits = tape->logits + at * V, *dh = tape->dh + at * H;
        output_product(n, R, top + at * H, logits);
        for (ptrdiff_t r = 0; r < R; r++)
            tape->costs[at + r] = cross_entropy(logits + r * V, V, job->targets[at + r], job->unknown_cost, (float)job->scale);
        memset(dh, 0, (size_t)(R * H) * sizeof *dh);
        product(R, V, H, logits, V, n->WyT, dh, H);
    }
    for (int l = layers - 1; l >= 0; l--) backward(job, l, first, R);
}

// ── some columns of the weights' gradients ──────────────────────────────────────────────────────────────────────────

// C (M, N) += sum over the N rows of A and B; or rows of a table by symbol, if A is NULL.
typedef struct {
    ptrdiff_t M, N;
    const float *A, *B;
    ptrdiff_t b_stride;
    float *C, *sums;  // sums: of B's columns, or NULL
    ptrdiff_t c_stride;
} Gradient;

static int gradients_in(const Job *job, Gradient *list) {
    const Network *n = job->network;
    const Shape *s = &n->shape;
    const Tape *tape = job->tape;
    const Offsets *at = &n->at;
    const ptrdiff_t H = s->H, GH = n->GH;
    float *g = job->gradients;
    int count = 0;
    for (int l = 0; l < s->layers; l++) {
        const float *dz = tape->gates[l];
        float *b = g + at->b[l];
        if (has_product(s, l)) {
            const ptrdiff_t D = input_size(s, l);
            list[count++] = (Gradient){D, GH, input_of(job, l), dz, GH, g + at->Wx[l], b, GH};
        } else {
            list[count++] = (Gradient){s->V, GH, NULL, dz, GH, g + at->Wx[0], b, GH};
        }
        const ptrdiff_t own = s->cell == GRU ? 2 * H : GH;  // of the gru's recurrent product the last gradient is dq, not dn
        list[count++] = (Gradient){H, own, tape->before[l], dz, GH, g + at->Wh[l], NULL, GH};
        if (s->cell == GRU) list[count++] = (Gradient){H, H, tape->before[l], tape->q[l], H, g + at->Wh[l] + 2 * H, g + at->bn[l], GH};
    }
    if (s->E) list[count++] = (Gradient){s->V, s->E, NULL, tape->dembedded, s->E, g + at->embedding, NULL, s->E};
    list[count++] = (Gradient){H, s->V, input_of(job, s->layers), tape->logits, s->V, g + at->Wy, g + at->by, s->V};
    return count;
}

#define MOST_GRADIENTS (4 * MOST_LAYERS + 2)
#define TASKS_PER_THREAD 4
#define FEWEST_COLUMNS 64   // of a task: with fewer, packing the activations would take too much of it
#define MOST_COLUMNS 1024

typedef struct {
    const Job *job;
    Gradient list[MOST_GRADIENTS];
    int count;
    ptrdiff_t columns, room_of_thread;
} GradientJob;

static void add_rows_by_symbol(const Job *job, const Gradient *g, ptrdiff_t first, ptrdiff_t last) {
    const ptrdiff_t N = job->T * job->B, width = last - first;
    float unknown[MOST_COLUMNS] = {0};  // shared among all symbols, since their mean is the unknown symbol's row
    int any = 0;
    for (ptrdiff_t k = 0; k < N; k++) {
        const int known = job->inputs[k] < g->M;
        float *restrict to = known ? g->C + job->inputs[k] * g->c_stride + first : unknown;
        const float *restrict from = g->B + k * g->b_stride + first;
        for (ptrdiff_t j = 0; j < width; j++) to[j] += from[j];
        if (g->sums)
            for (ptrdiff_t j = 0; j < width; j++) g->sums[first + j] += from[j];
        any |= !known;
    }
    for (ptrdiff_t v = 0; any && v < g->M; v++)
        for (ptrdiff_t j = 0; j < width; j++) g->C[v * g->c_stride + first + j] += unknown[j] / (float)g->M;
}

static void some_columns(void *data, int index, int thread) {
    const GradientJob *all = data;
    const Job *job = all->job;
    const Gradient *g = all->list;
    for (; index * all->columns >= g->N; g++) index -= (int)((g->N + all->columns - 1) / all->columns);
    const ptrdiff_t first = index * all->columns, last = first + all->columns < g->N ? first + all->columns : g->N;
    const size_t bytes = (size_t)(last - first) * sizeof(float);
    for (ptrdiff_t m = 0; m < g->M; m++) memset(g->C + m * g->c_stride + first, 0, bytes);
    if (g->sums) memset(g->sums + first, 0, bytes);
    if (g->A)
        outer_product(job->T * job->B, g->M, g->A, g->M, g->B, g->b_stride, first, last, g->C, g->c_stride, g->sums,
                      job->tape->outer + thread * all->room_of_thread);
    else
        add_rows_by_symbol(job, g, first, last);
}

int gradients_of(const Network *network, Tape *tape, int32_t T, int32_t B, const int32_t *inputs, const int32_t *targets, float *state,
                 const float *masks, double scale, double unknown_cost, float *gradients, int threads, double *nats) {
    Job job = {network, tape, T, B, inputs, targets, state, masks, scale, unknown_cost, gradients, threads < B ? threads : B};
    GradientJob weights = {.job = &job};
    weights.count = gradients_in(&job, weights.list);
    ptrdiff_t columns = 0, most = 0;
    for (int i = 0; i < weights.count; i++) {
        columns += weights.list[i].N;
        if (weights.list[i].A && weights.list[i].M > most) most = weights.list[i].M;
    }
    columns = columns / (TASKS_PER_THREAD * threads) / PANEL * PANEL;
    weights.columns = columns < FEWEST_COLUMNS ? FEWEST_COLUMNS : columns > MOST_COLUMNS ? MOST_COLUMNS : columns;
    weights.room_of_thread = outer_room(most);
    if (weights.room_of_thread * threads > tape->outer_size) {
        free(tape->outer);
        tape->outer_size = weights.room_of_thread * threads;
        tape->outer = aligned_memory(tape->outer_size);
        if (!tape->outer) {
            tape->outer_size = 0;
            return -1;
        }
    }
    run_tasks(threads, job.parts, some_streams, &job);
    int tasks = 0;
    for (int i = 0; i < weights.count; i++) tasks += (int)((weights.list[i].N + weights.columns - 1) / weights.columns);
    run_tasks(threads, tasks, some_columns, &weights);
    *nats = 0;
    for (ptrdiff_t k = 0; k < job.T * job.B; k++) *nats += tape->costs[k];
    return 0;
}
