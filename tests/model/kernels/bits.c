// Prints the bits of what the kernels compute, one number a line. The same lines must come from every compiler and processor.
//
// Built with all sources of model/kernels; nothing but standard output leaves it, so it also runs under an emulator. The numbers that go in
// are small whole numbers times a power of two, which no compiler can round differently.
#include <stdio.h>
#include <stdlib.h>

#include "loss.h"
#include "optimizer.h"
#include "orthogonal.h"
#include "product.h"
#include "training.h"

// elements.c has no header: Python is its caller.
void exp_of(ptrdiff_t N, const float *x, float *y);
void tanh_of(ptrdiff_t N, const float *x, float *y);
void sigmoid_of(ptrdiff_t N, const float *x, float *y);
void log_of(ptrdiff_t N, const double *x, double *y);

static uint32_t drawn;  // the state of a linear congruential generator (Numerical Recipes, 2nd edition, section 7.1)

// The next of the whole numbers -1024..1023.
static int draw(void) {
    drawn = 1664525u * drawn + 1013904223u;
    return (int)(drawn >> 21) - 1024;
}

static void fill(float *x, ptrdiff_t N, float unit) {
    for (ptrdiff_t k = 0; k < N; k++) x[k] = (float)draw() * unit;
}

static void print_floats(const char *name, const float *x, ptrdiff_t N) {
    for (ptrdiff_t k = 0; k < N; k++) {
        uint32_t bits;
        memcpy(&bits, x + k, sizeof bits);
        if (x[k] != x[k])
            printf("%s %td nan\n", name, k);  // processors give it another sign
        else
            printf("%s %td %08x\n", name, k, (unsigned)bits);
    }
}

static void print_doubles(const char *name, const double *x, ptrdiff_t N) {
    for (ptrdiff_t k = 0; k < N; k++) {
        uint64_t bits;
        memcpy(&bits, x + k, sizeof bits);
        printf("%s %td %016llx\n", name, k, (unsigned long long)bits);
    }
}

static float *floats(ptrdiff_t N) {
    float *x = calloc((size_t)N, sizeof *x);
    if (!x) exit(2);
    return x;
}

static void print_functions(void) {
    enum { N = 4003, M = 1001 };
    static float x[N], y[N];
    static double d[M], l[M];
    fill(x, 2000, 0x1p-6f);         // -16..16
    fill(x + 2000, 1500, 0x1p-3f);  // -128..128: e^x from 0 to infinity
    fill(x + 3500, N - 3500 - 5, 0x1p-20f);
    const float special[] = {INFINITY, -INFINITY, NAN, -0.0f, 0.0f};
    memcpy(x + N - 5, special, sizeof special);
    exp_of(N, x, y), print_floats("exp", y, N);
    tanh_of(N, x, y), print_floats("tanh", y, N);
    sigmoid_of(N, x, y), print_floats("sigmoid", y, N);
    for (int k = 0; k < M; k++) d[k] = ldexp(1025 + draw(), k % 200 - 100);
    log_of(M, d, l), print_doubles("log", l, M);
}

static void print_products(void) {
    enum { SIZES = 6 };
    const ptrdiff_t sizes[SIZES][3] = {{1, 1, 1}, {3, 7, 19}, {13, 33, 65}, {29, 5, 48}, {6, 300, 16}, {1, 61, 131}};
    for (int i = 0; i < SIZES; i++) {
        const ptrdiff_t M = sizes[i][0], K = sizes[i][1], N = sizes[i][2];
        float *A = floats(M * K), *W = floats(K * N), *packed = floats(packed_size(K, N)), *C = floats(M * N);
        fill(A, M * K, 0x1p-9f), fill(W, K * N, 0x1p-10f), fill(C, M * N, 0x1p-10f);
        pack(K, N, W, N, packed, 0, panels_of(N));
        product(M, K, N, A, K, packed, C, N);
        print_floats("product", C, M * N);
        free(A), free(W), free(packed), free(C);
    }
}

static void print_orthogonal(void) {
    for (ptrdiff_t N = 1; N < 50; N += 12) {
        double *v = malloc((size_t)(N * N) * sizeof *v);
        if (!v) exit(2);
        for (ptrdiff_t k = 0; k < N * N; k++) v[k] = draw() * 0x1p-10;
        orthogonal(N, v);
        print_doubles("orthogonal", v, N * N);
        free(v);
    }
}

// Three steps of training with each of the optimizers in turn, and what is read afterwards.
static void print_training(Shape s, int dropout, int threads) {
    enum { T = 11, B = 7, STEPS = 3 };
    Network *n = network_new(&s, 1);
    Tape *tape = n ? tape_new(n, T, B, dropout) : NULL;
    if (!tape) exit(2);
    const ptrdiff_t P = n->at.size, states = (ptrdiff_t)s.layers * n->S * B * s.H, kept = (ptrdiff_t)s.layers * B * s.H;
    float *weights = floats(P), *gradients = floats(P), *m = floats(P), *v = floats(P), *state = floats(states), *masks = floats(kept);
    float *logits = floats((ptrdiff_t)T * B * s.V);
    int32_t inputs[T * B], targets[T * B];
    double nats, costs[T * B];
    fill(weights, P, 0x1p-12f), fill(state, states, 0x1p-12f);
    for (ptrdiff_t k = 0; k < kept; k++) masks[k] = draw() < 512 ? 1.25f : 0.0f;
    for (int k = 0; k < T * B; k++) inputs[k] = (draw() + 1024) % (s.V + 1), targets[k] = (draw() + 1024) % (s.V + 1);  // V: unknown
    for (int step = 0; step < 4 * STEPS; step++) {
        network_pack(n, weights, threads);
        if (gradients_of(n, tape, T, B, inputs, targets, state, dropout ? masks : NULL, 1.0 / (T * B), 13.92, gradients, threads, &nats)) exit(2);
        const double norm = gradient_norm(gradients, P, threads);
        const int rule = step / STEPS;  // in the order of optimizer.h
        const float shrink = norm > 1 ? (float)(1 / norm) : 1.0f;
        const UpdateRule update = {rule, shrink, step % 2 ? 0.0f : 0.25f, 0.9f, 0.999f, 0.9f, 0x1p-20f, 1.5f, 3.0f};
        const int64_t bounds[] = {0, P / 3, P};
        const float rates[] = {0x1p-7f, 0x1p-8f}, keep[] = {0.9990234375f, 1.0f};
        print_doubles("nats", &nats, 1), print_doubles("norm", &norm, 1);
        if (step % STEPS == 0) print_floats("gradient", gradients, P);
        update_weights(&update, weights, gradients, m, v, 2, bounds, rates, keep, threads);
    }
    print_floats("weight", weights, P), print_floats("state", state, states);
    network_pack(n, weights, threads);
    if (network_read(n, T, B, inputs, state, NULL, logits, targets, 13.92, costs, threads)) exit(2);
    print_floats("logit", logits, (ptrdiff_t)T * B * s.V), print_doubles("cost", costs, T * B);
    tape_free(tape), network_free(n);
    free(weights), free(gradients), free(m), free(v), free(state), free(masks), free(logits);
}

int main(int count, char **arguments) {
    const int threads = count > 1 ? atoi(arguments[1]) : 1;
    print_functions();
    print_products();
    print_orthogonal();
    print_training((Shape){LSTM, TANH, 1, 21, 0, 19, -1}, 0, threads);
    print_training((Shape){LSTM, TANH, 2, 5, 3, 34, 4}, 1, threads);
    print_training((Shape){GRU, TANH, 2, 21, 0, 17, -1}, 0, threads);
    print_training((Shape){GRU, TANH, 1, 9, 6, 21, 8}, 1, threads);
    print_training((Shape){RNN, TANH, 2, 13, 0, 23, 12}, 1, threads);
    print_training((Shape){RNN, RELU, 2, 13, 4, 11, -1}, 0, threads);
    print_training((Shape){RNN, IDENTITY, 1, 6, 0, 9, -1}, 0, threads);
    return 0;
}
