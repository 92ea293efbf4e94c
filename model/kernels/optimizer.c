// Norm, clipping, decay and the optimizers. See optimizer.h.
#include "optimizer.h"

#include <stdlib.h>

#include "threads.h"

#define BLOCK 4096  // entries whose squares are summed in single precision, and that are updated by one task

typedef struct {
    const float *gradient;
    ptrdiff_t P;
    double *sums;
} NormJob;

static void square_block(void *data, int index, int thread) {
    (void)thread;
    const NormJob *job = data;
    const ptrdiff_t start = (ptrdiff_t)index * BLOCK, stop = start + BLOCK < job->P ? start + BLOCK : job->P;
    float lanes[LANES] = {0};
    for (ptrdiff_t k = start; k < stop; k += LANES)
        for (ptrdiff_t v = k; v < k + LANES && v < stop; v += WIDTH) {
            vec g = load_part(job->gradient + v, stop - v);
            store(lanes + (v - k), fma_vec(g, g, load(lanes + (v - k))));
        }
    job->sums[index] = sum_of_lanes(lanes);
}

double gradient_norm(const float *gradient, ptrdiff_t P, int threads) {
    const int blocks = (int)((P + BLOCK - 1) / BLOCK);
    NormJob job = {gradient, P, malloc((size_t)(blocks + 1) * sizeof(double))};
    if (!job.sums) return -1;
    run_tasks(threads, blocks, square_block, &job);
    double sum = 0;
    for (int i = 0; i < blocks; i++) sum += job.sums[i];
    free(job.sums);
    return sqrt(sum);
}

typedef struct {
    const UpdateRule *rule;
    float *weights, *m, *v;
    const float *gradient;
    int32_t parameters;
    const int64_t *bounds;
    const float *rates, *kept;
} UpdateJob;

// Entries start..stop-1, which belong to one parameter.
static void update_range(const UpdateJob *job, ptrdiff_t start, ptrdiff_t stop, float rate, float kept) {
    const UpdateRule *rule = job->rule;
    const vec b1 = splat(rule->beta1), b2 = splat(rule->beta2), eps = splat(rule->epsilon);
    for (ptrdiff_t k = start; k < stop; k += WIDTH) {
        const ptrdiff_t n = stop - k;
        vec g = load_part(job->gradient + k, n) * rule->shrink, w = load_part(job->weights + k, n) * kept, step = g, m = g, v = g;
        if (rule->clip_value > 0) g = at_most(at_least(g, splat(-rule->clip_value)), splat(rule->clip_value));
        switch (rule->rule) {
            case ADAM:
                m = fma_vec(b1, load_part(job->m + k, n), g * rule->fresh1);
                v = fma_vec(b2, load_part(job->v + k, n), g * rule->fresh2 * g);
                step = m * rule->m_factor / (sqrt_vec(v * rule->v_factor) + eps);
                break;
            case RMSPROP:
                v = fma_vec(b2, load_part(job->v + k, n), g * rule->fresh2 * g);
                step = g / (sqrt_vec(v) + eps);
                break;
            case ADAGRAD:
                v = fma_vec(g, g, load_part(job->v + k, n));
                step = g / (sqrt_vec(v) + eps);
                break;
            case SGD: step = m = fma_vec(splat(rule->momentum), load_part(job->m + k, n), g); break;
        }
        if (job->m) store_part(job->m + k, m, n);
        if (job->v) store_part(job->v + k, v, n);
        store_part(job->weights + k, fma_vec(splat(-rate), step, w), n);
    }
}

static void update_block(void *data, int index, int thread) {
    (void)thread;
    const UpdateJob *job = data;
    const ptrdiff_t start = (ptrdiff_t)index * BLOCK, stop = start + BLOCK;
    for (int i = 0; i < job->parameters; i++) {
        const ptrdiff_t first = job->bounds[i] > start ? job->bounds[i] : start, last = job->bounds[i + 1] < stop ? job->bounds[i + 1] : stop;
        if (first < last) update_range(job, first, last, job->rates[i], job->kept[i]);
    }
}

void update_weights(const UpdateRule *rule, float *weights, const float *gradient, float *m, float *v, int32_t parameters,
                    const int64_t *bounds, const float *rates, const float *kept, int threads) {
    UpdateJob job = {rule, weights, m, v, gradient, parameters, bounds, rates, kept};
    run_tasks(threads, (int)((bounds[parameters] + BLOCK - 1) / BLOCK), update_block, &job);
}
