// The network over symbols. See network.h.
#include "network.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "loss.h"
#include "threads.h"

#define HUGE_PAGE ((size_t)1 << 21)

void *aligned_memory(ptrdiff_t floats) {
    const size_t bytes = ((size_t)(floats > 0 ? floats : 1) * sizeof(float) + 63) / 64 * 64;
    const int large = bytes >= 2 * HUGE_PAGE;
    void *memory = NULL;
    if (posix_memalign(&memory, large ? HUGE_PAGE : 64, bytes)) return NULL;
#ifdef MADV_HUGEPAGE
    if (large) madvise(memory, bytes, MADV_HUGEPAGE);  // fewer misses of the page table; only a hint
#endif
    return memory;
}

#define LEAST_ROWS 4  // of a part: with fewer, threads would mostly read the same weights

int32_t parts_of(int32_t B, int threads) {
    const int32_t most = B / LEAST_ROWS;
    return most < 1 || threads < 1 ? 1 : threads < most ? threads : most;
}

static Offsets offsets_of(const Shape *s) {
    Offsets at = {0};
    const ptrdiff_t H = s->H, GH = gates_of(s->cell) * H;
    ptrdiff_t end = 0;
    at.embedding = end;
    end += (ptrdiff_t)s->V * s->E;
    for (int l = 0; l < s->layers; l++) {
        at.Wx[l] = end, end += input_size(s, l) * GH;
        at.b[l] = end, end += GH;
        at.Wh[l] = end, end += H * GH;
        at.bn[l] = end, end += s->cell == GRU ? H : 0;
    }
    at.Wy = end, end += H * s->V;
    at.by = end, end += s->V;
    at.size = end;
    return at;
}

// ── packing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

// One of the matrices to pack: K x N, or the transpose of an N x K matrix.
typedef struct {
    ptrdiff_t K, N, at;
    int transposed;
    float **packed;
} Packing;

static int packings_of(Network *n, int trains, Packing *list) {
    const Shape *s = &n->shape;
    int count = 0;
    for (int l = 0; l < s->layers; l++) {
        if (has_product(s, l)) {
            list[count++] = (Packing){input_size(s, l), n->GH, n->at.Wx[l], 0, &n->Wx[l]};
            if (trains) list[count++] = (Packing){n->GH, input_size(s, l), n->at.Wx[l], 1, &n->WxT[l]};
        }
        list[count++] = (Packing){s->H, n->GH, n->at.Wh[l], 0, &n->Wh[l]};
        if (trains) list[count++] = (Packing){n->GH, s->H, n->at.Wh[l], 1, &n->WhT[l]};
    }
    list[count++] = (Packing){s->H, s->V, n->at.Wy, 0, &n->Wy};
    if (trains) list[count++] = (Packing){s->V, s->H, n->at.Wy, 1, &n->WyT};
    return count;
}

#define MOST_PACKINGS (4 * MOST_LAYERS + 2)

Network *network_new(const Shape *shape, int trains) {
    Network *n = calloc(1, sizeof *n);
    if (!n) return NULL;
    n->shape = *shape;
    n->G = gates_of(shape->cell), n->S = states_of(shape->cell), n->GH = (ptrdiff_t)n->G * shape->H;
    n->at = offsets_of(shape);
    Packing list[MOST_PACKINGS];
    const int count = packings_of(n, trains, list);
    ptrdiff_t size = (shape->E ? shape->E : n->GH) + 15;
    for (int i = 0; i < count; i++) size += packed_size(list[i].K, list[i].N) + GAP;
    float *end = n->memory = aligned_memory(size);
    if (!end) {
        free(n);
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        *list[i].packed = end, end += packed_size(list[i].K, list[i].N);
        FORBID(end, GAP);
        end += GAP;
    }
    n->unknown = end;
    return n;
}

void network_free(Network *n) {
    if (n) free(n->memory);
    free(n);
}

#define PANELS_AT_ONCE 16

typedef struct {
    Network *network;
    Packing list[MOST_PACKINGS];
    int count;
} PackJob;

static void pack_some(void *data, int index, int thread) {
    (void)thread;
    PackJob *job = data;
    Network *n = job->network;
    if (index == 0) {  // the first task is the row of the unknown symbol
        const Shape *s = &n->shape;
        const ptrdiff_t width = s->E ? s->E : n->GH;
        const float *rows = n->weights + (s->E ? n->at.embedding : n->at.Wx[0]);
        memset(n->unknown, 0, (size_t)width * sizeof(float));
        for (ptrdiff_t v = 0; v < s->V; v++)
            for (ptrdiff_t j = 0; j < width; j++) n->unknown[j] += rows[v * width + j];
        for (ptrdiff_t j = 0; j < width; j++) n->unknown[j] /= (float)s->V;
        return;
    }
    ptrdiff_t first = (ptrdiff_t)(index - 1) * PANELS_AT_ONCE, last = first + PANELS_AT_ONCE;
    for (int i = 0; i < job->count && last > 0; i++) {
        const Packing *p = &job->list[i];
        const ptrdiff_t panels = panels_of(p->N);
        const ptrdiff_t from = first > 0 ? first : 0, to = last < panels ? last : panels;
        if (from < to) (p->transposed ? pack_transposed : pack)(p->K, p->N, n->weights + p->at, p->transposed ? p->K : p->N, *p->packed, from, to);
        first -= panels, last -= panels;
    }
}

void network_pack(Network *n, const float *weights, int threads) {
    PackJob job = {.network = n};
    n->weights = weights;
    job.count = packings_of(n, n->WyT != NULL, job.list);
    ptrdiff_t panels = 0;
    for (int i = 0; i < job.count; i++) panels += panels_of(job.list[i].N);
    run_tasks(threads, (int)(1 + (panels + PANELS_AT_ONCE - 1) / PANELS_AT_ONCE), pack_some, &job);
}

// ── one step ────────────────────────────────────────────────────────────────────────────────────────────────────────

void input_rows(const Network *n, ptrdiff_t R, const int32_t *ids, float *out) {
    const Shape *s = &n->shape;
    const ptrdiff_t width = s->E ? s->E : n->GH;
    const float *rows = n->weights + (s->E ? n->at.embedding : n->at.Wx[0]), *b = n->weights + n->at.b[0];
    for (ptrdiff_t r = 0; r < R; r++, out += width) {
        const float *row = (uint32_t)ids[r] < (uint32_t)s->V ? rows + ids[r] * width : n->unknown;
        if (s->E)
            memcpy(out, row, (size_t)width * sizeof *out);
        else
            for (ptrdiff_t j = 0; j < width; j++) out[j] = row[j] + b[j];
    }
}

static void rows_of(ptrdiff_t R, ptrdiff_t width, const float *row, float *out) {
    for (ptrdiff_t r = 0; r < R; r++, out += width) memcpy(out, row, (size_t)width * sizeof *out);
}

void input_product(const Network *n, int layer, ptrdiff_t R, const float *x, float *z) {
    const ptrdiff_t D = input_size(&n->shape, layer);
    rows_of(R, n->GH, n->weights + n->at.b[layer], z);
    product(R, D, n->GH, x, D, n->Wx[layer], z, n->GH);
}

void layer_forward(const Network *n, int layer, ptrdiff_t R, float *z, float *u, float *q, const float *h_before, float *h,
                   const float *c_before, float *c) {
    const ptrdiff_t H = n->shape.H;
    float *argument = z;
    if (n->shape.cell == GRU) gru_begin(R, H, z, n->weights + n->at.bn[layer], argument = u);
    product(R, H, n->GH, h_before, H, n->Wh[layer], argument, n->GH);
    switch (n->shape.cell) {
        case RNN: rnn_forward(n->shape.activation, R, H, z, h); break;
        case GRU: gru_forward(R, H, z, u, q, h_before, h); break;
        case LSTM: lstm_forward(R, H, z, c_before, c, h); break;
    }
}

void output_product(const Network *n, ptrdiff_t R, const float *h, float *logits) {
    rows_of(R, n->shape.V, n->weights + n->at.by, logits);
    product(R, n->shape.H, n->shape.V, h, n->shape.H, n->Wy, logits, n->shape.V);
}

// ── many steps, without a tape ──────────────────────────────────────────────────────────────────────────────────────

ptrdiff_t step_room(const Network *n, ptrdiff_t R) { return R * (2 * n->GH + n->shape.E); }

const float *network_step(const Network *n, ptrdiff_t R, const int32_t *ids, float *state, ptrdiff_t state_stride, float *room) {
    const Shape *s = &n->shape;
    float *const z = room, *const u = z + R * n->GH, *const embedded = u + R * n->GH;
    const float *x = embedded;
    for (ptrdiff_t r = 0; r < R; r++)
        for (ptrdiff_t k = 0; begins(s, ids[r]) && k < (ptrdiff_t)s->layers * n->S; k++)
            memset(state + k * state_stride + r * s->H, 0, (size_t)s->H * sizeof *state);
    input_rows(n, R, ids, s->E ? embedded : z);
    for (int l = 0; l < s->layers; l++) {
        float *h = state + (ptrdiff_t)l * n->S * state_stride, *c = h + state_stride;
        if (has_product(s, l)) input_product(n, l, R, x, z);
        layer_forward(n, l, R, z, u, NULL, h, h, c, c);
        x = h;
    }
    return x;
}

typedef struct {
    const Network *network;
    int32_t T, B, parts;
    const int32_t *ids, *targets;
    float *state, *output, *logits, *room;
    ptrdiff_t room_of_part;
    double unknown_cost, *costs;
} ReadJob;

static void read_some(void *data, int index, int thread) {
    (void)thread;
    const ReadJob *job = data;
    const Network *n = job->network;
    const ptrdiff_t H = n->shape.H, V = n->shape.V, B = job->B;
    const ptrdiff_t first = B * index / job->parts, R = B * (index + 1) / job->parts - first;
    float *room = job->room + index * job->room_of_part, *own_logits = room + step_room(n, R);
    for (ptrdiff_t t = 0; t < job->T; t++) {
        const ptrdiff_t at = t * B + first;
        const float *h = network_step(n, R, job->ids + at, job->state + first * H, B * H, room);
        if (job->output) memcpy(job->output + at * H, h, (size_t)(R * H) * sizeof *h);
        if (!job->logits && !job->costs) continue;
        float *logits = job->logits ? job->logits + at * V : own_logits;
        output_product(n, R, h, logits);
        if (!job->costs) continue;
        for (ptrdiff_t r = 0; r < R; r++) {
            float *row = logits + r * V;
            if (job->logits) row = memcpy(own_logits + r * V, row, (size_t)V * sizeof *row);
            job->costs[at + r] = cross_entropy(row, V, job->targets[at + r], job->unknown_cost, 0.0f);
        }
    }
}

int network_read(const Network *n, int32_t T, int32_t B, const int32_t *ids, float *state, float *output, float *logits,
                 const int32_t *targets, double unknown_cost, double *costs, int threads) {
    ReadJob job = {n, T, B, parts_of(B, threads), ids, targets, state, output, logits, NULL, 0, unknown_cost, costs};
    const ptrdiff_t most = (B + job.parts - 1) / job.parts;
    job.room_of_part = (step_room(n, most) + (costs ? most * n->shape.V : 0) + 15) / 16 * 16;
    job.room = aligned_memory(job.room_of_part * job.parts);
    if (!job.room) return -1;
    run_tasks(threads, job.parts, read_some, &job);
    free(job.room);
    return 0;
}

void network_logits(const Network *n, int32_t R, const float *output, float *logits) { output_product(n, R, output, logits); }
