// Draws the next symbols of many texts. See sampling.h.
#include "sampling.h"

#include <stdlib.h>

#include "loss.h"
#include "threads.h"

#define OVERFLOWED 1e38f  // stands for infinity in logits; the difference of two stays finite in single precision

static int all_finite(const float *x, ptrdiff_t N) {
    ivec found = {0};
    for (ptrdiff_t k = 0; k < N; k += WIDTH) {
        vec v = load_part(x + k, N - k);
        found |= (v - v) != 0.0f;  // inf - inf and NaN - NaN are NaN, which differs from everything
    }
    int any = 0;
    for (int i = 0; i < WIDTH; i++) any |= found[i];
    return !any;
}

INLINE float finite_for(float x) { return isnan(x) ? -OVERFLOWED : isinf(x) ? copysignf(OVERFLOWED, x) : x; }

// NaN and infinite logits become finite.
static void make_finite(float *x, ptrdiff_t N) {
    if (all_finite(x, N)) return;
    for (ptrdiff_t k = 0; k < N; k++) x[k] = finite_for(x[k]);
}

// ── the likeliest first ─────────────────────────────────────────────────────────────────────────────────────────────

// A heap of keys from which symbols are taken in descending order of their values, of equals the first symbol.
typedef struct {
    uint64_t *keys;
    ptrdiff_t size;
} Heap;

// Ascending keys are descending values: the order of floats as whole numbers, with all bits of negative ones and the sign of others turned.
INLINE uint64_t key_of(float value, ptrdiff_t symbol) {
    uint32_t bits;
    value += 0.0f;  // -0 becomes 0: they are equal
    memcpy(&bits, &value, sizeof bits);
    bits = bits >> 31 ? ~bits : bits | 0x80000000u;
    return (uint64_t)~bits << 32 | (uint64_t)symbol;
}

static void sift_down(const Heap *heap, ptrdiff_t at) {
    const uint64_t key = heap->keys[at];
    for (ptrdiff_t child; (child = 2 * at + 1) < heap->size; at = child) {
        if (child + 1 < heap->size && heap->keys[child + 1] < heap->keys[child]) child++;
        if (key <= heap->keys[child]) break;
        heap->keys[at] = heap->keys[child];
    }
    heap->keys[at] = key;
}

static Heap heap_of(const float *x, ptrdiff_t N, uint64_t *keys) {
    Heap heap = {keys, N};
    for (ptrdiff_t k = 0; k < N; k++) keys[k] = key_of(x[k], k);
    for (ptrdiff_t at = N / 2 - 1; at >= 0; at--) sift_down(&heap, at);
    return heap;
}

// The place behind the heap, which has become free, keeps what was taken: the i-th symbol stands at keys[N - 1 - i].
static ptrdiff_t take_likeliest(Heap *heap) {
    const ptrdiff_t symbol = (ptrdiff_t)(heap->keys[0] & 0xffffffffu);
    heap->keys[0] = heap->keys[--heap->size];
    if (heap->size) sift_down(heap, 0);
    heap->keys[heap->size] = (uint64_t)symbol;
    return symbol;
}

// ── one symbol of one text ──────────────────────────────────────────────────────────────────────────────────────────

static void apply_penalties(const Row *row, ptrdiff_t V, float *logits) {
    for (ptrdiff_t k = 0; k < V; k++) {
        float s = logits[k];
        if (row->present[k] && row->repetition != 1.0f) s = s > 0 ? s / row->repetition : s * row->repetition;
        s -= row->frequency * row->counts[k];
        if (row->counts[k] > 0) s -= row->presence;
        logits[k] = s + row->bias[k];
    }
}

// Sums of LANES numbers each, so that long rows take few steps in double precision.
INLINE double block_sum(const float *p, ptrdiff_t N) {
    float lanes[LANES] = {0};
    memcpy(lanes, p, (size_t)(N < LANES ? N : LANES) * sizeof *p);
    return sum_of_lanes(lanes);
}

static double sum_of(const float *p, ptrdiff_t V) {
    double sum = 0;
    for (ptrdiff_t k = 0; k < V; k += LANES) sum += block_sum(p + k, V - k);
    return sum;
}

// Sets p (V) to 0 for every symbol that a filter excludes; the likeliest symbol always stays. `kept` has room for V floats.
static void filter(const Row *row, ptrdiff_t V, float *p, uint64_t *keys, float *kept) {
    Heap heap = heap_of(p, V, keys);
    const ptrdiff_t most = row->top_k && row->top_k < V ? row->top_k : V;
    ptrdiff_t taken = 0, stay = 0;
    double total = 0, sum = 0;
    if (row->top_k)  // the share of top_p is that of the k likeliest
        for (; taken < most; taken++) total += p[take_likeliest(&heap)];
    else
        total = sum_of(p, V);
    for (; stay < most; stay++) {
        if (stay == taken) take_likeliest(&heap), taken++;
        const float each = p[keys[V - 1 - stay]];
        if (stay && row->top_p < 1 && sum >= row->top_p * total) break;
        if (stay && row->min_p > 0 && each < row->min_p * kept[0]) break;
        kept[stay] = each;
        sum += each;
    }
    memset(p, 0, (size_t)V * sizeof *p);
    for (ptrdiff_t i = 0; i < stay; i++) p[keys[V - 1 - i]] = kept[i];
}

// The symbol at which the sum of p passes `random` times the sum of all.
static ptrdiff_t draw(const float *p, ptrdiff_t V, double random) {
    const double threshold = random * sum_of(p, V);
    double sum = 0;
    ptrdiff_t last = 0;
    for (ptrdiff_t k = 0; k < V; k += LANES) {
        const double next = sum + block_sum(p + k, V - k);
        if (next > threshold) {
            for (ptrdiff_t j = k; j < k + LANES && j < V; j++) {
                sum += p[j];
                if (p[j] > 0) last = j;
                if (sum > threshold) return last;
            }
            return last;  // rounding carried the threshold past the last of them
        }
        sum = next;
    }
    return last;
}

static ptrdiff_t likeliest_of(const float *x, ptrdiff_t V) {
    const float highest = highest_of(x, V);
    for (ptrdiff_t k = 0; k < V; k++)
        if (x[k] == highest) return k;
    return 0;
}

typedef struct {
    const Network *network;
    int32_t B, count, parts;
    Row *rows;
    float *state;
    const double *random;
    const uint8_t *allowed;
    const int32_t *next;
    int32_t *drawn;
    const Logprobs *logprobs;
    float *room;
    ptrdiff_t room_of_part;
} SampleJob;

static void report(const SampleJob *job, ptrdiff_t b, ptrdiff_t index, const float *logits, ptrdiff_t symbol, float *finite, uint64_t *keys) {
    const Row *row = &job->rows[b];
    const ptrdiff_t V = job->network->shape.V, at = b * job->count + index;
    memcpy(finite, logits, (size_t)V * sizeof *finite);
    make_finite(finite, V);
    const float highest = highest_of(finite, V);
    Heap heap = heap_of(finite, V, keys);
    int32_t *others = job->logprobs->alternatives + at * MOST_ALTERNATIVES;
    double *logs = job->logprobs->their_logprobs + at * MOST_ALTERNATIVES;
    for (int i = 0; i < row->alternatives && i < V; i++) {
        others[i] = (int32_t)take_likeliest(&heap);
        logs[i] = (double)finite[others[i]] - highest;
    }
    const double own = (double)finite[symbol] - highest, total = natural_log(exp_and_sum(finite, V, highest, 1.0f));
    job->logprobs->drawn[at] = own - total;
    for (int i = 0; i < row->alternatives && i < V; i++) logs[i] -= total;
}

// Draws from logits (V), which are overwritten.
static ptrdiff_t next_symbol(const SampleJob *job, const Row *row, float *logits, double random, uint64_t *keys, float *kept) {
    const ptrdiff_t V = job->network->shape.V;
    if (row->counts) apply_penalties(row, V, logits);
    make_finite(logits, V);
    if (row->forbidden)
        for (ptrdiff_t k = 0; k < V; k++)
            if (row->forbidden[k]) logits[k] = -INFINITY;
    if (job->allowed)
        for (ptrdiff_t k = 0; k < V; k++)
            if (!job->allowed[row->utf8 * V + k]) logits[k] = -INFINITY;
    if (row->inverse == 0) return likeliest_of(logits, V);
    exp_and_sum(logits, V, highest_of(logits, V), row->inverse);
    if (row->top_k || row->top_p < 1 || row->min_p > 0) filter(row, V, logits, keys, kept);
    return draw(logits, V, random);
}

static void sample_some(void *data, int index, int thread) {
    (void)thread;
    const SampleJob *job = data;
    const Network *n = job->network;
    const ptrdiff_t H = n->shape.H, V = n->shape.V;
    const ptrdiff_t first = (ptrdiff_t)job->B * index / job->parts, R = (ptrdiff_t)job->B * (index + 1) / job->parts - first;
    // In the order of their alignment: keys (V), plain logits (V), kept (V), logits (R, V), room of a step, ids (R).
    uint64_t *keys = (uint64_t *)(job->room + index * job->room_of_part);
    float *plain = (float *)(keys + V), *kept = plain + V, *logits = kept + V, *room = logits + R * V;
    int32_t *ids = (int32_t *)(room + step_room(n, R));
    for (ptrdiff_t r = 0; r < R; r++) ids[r] = job->rows[first + r].last;
    for (ptrdiff_t k = 0; k < job->count; k++) {
        const float *h = network_step(n, R, ids, job->state + first * H, job->B * H, room);
        output_product(n, R, h, logits);
        for (ptrdiff_t r = 0; r < R; r++) {
            Row *row = &job->rows[first + r];
            float *own = logits + r * V;
            if (row->alternatives >= 0) memcpy(plain, own, (size_t)V * sizeof *own);
            const ptrdiff_t symbol = next_symbol(job, row, own, job->random[(first + r) * job->count + k], keys, kept);
            if (row->alternatives >= 0) report(job, first + r, k, plain, symbol, kept, keys);
            if (row->counts) row->counts[symbol] += 1, row->present[symbol] = 1;
            if (job->next) row->utf8 = job->next[row->utf8 * V + symbol];
            job->drawn[(first + r) * job->count + k] = ids[r] = row->last = (int32_t)symbol;
        }
    }
}

int sample(const Network *n, int32_t B, int32_t count, Row *rows, float *state, const double *random, const uint8_t *allowed,
           const int32_t *next, int32_t *drawn, const Logprobs *logprobs, int threads) {
    SampleJob job = {n, B, count, parts_of(B, threads), rows, state, random, allowed, next, drawn, logprobs, NULL, 0};
    const ptrdiff_t V = n->shape.V, most = (B + job.parts - 1) / job.parts;
    job.room_of_part = (4 * V + most * V + step_room(n, most) + most + 15) / 16 * 16;
    job.room = aligned_memory(job.room_of_part * job.parts);
    if (!job.room) return -1;
    run_tasks(threads, job.parts, sample_some, &job);
    free(job.room);
    return 0;
}

void log_softmax_of(ptrdiff_t N, ptrdiff_t V, const float *logits, double *logs) {
    for (ptrdiff_t n = 0; n < N; n++, logits += V, logs += V) {
        float block[LANES], sums[LANES] = {0}, highest = -INFINITY;
        for (ptrdiff_t k = 0; k < V; k++) logs[k] = finite_for(logits[k]);
        for (ptrdiff_t k = 0; k < V; k++) highest = (float)logs[k] > highest ? (float)logs[k] : highest;
        for (ptrdiff_t k = 0; k < V; k += LANES) {
            for (ptrdiff_t j = 0; j < LANES; j++) block[j] = k + j < V ? (float)logs[k + j] : -INFINITY;
            exp_and_sum(block, LANES, highest, 1.0f);
            for (ptrdiff_t j = 0; j < LANES; j++) sums[j] += block[j];
        }
        const double total = natural_log(sum_of_lanes(sums));
        for (ptrdiff_t k = 0; k < V; k++) logs[k] = (logs[k] - highest) - total;
    }
}
