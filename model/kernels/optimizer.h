// Norm of the gradient, clipping, weight decay, and the four optimizers: model/optimizer.py has the equations.
#ifndef CHARLOOM_OPTIMIZER_H
#define CHARLOOM_OPTIMIZER_H

#include "network.h"

enum { ADAM, RMSPROP, ADAGRAD, SGD };

typedef struct {
    int32_t rule;
    float shrink;      // the gradient is multiplied by it ...
    float clip_value;  // ... and its entries are cut to this size; 0: never
    float beta1, beta2, momentum, epsilon;
    float fresh1, fresh2;      // 1 - beta1, 1 - beta2: in single precision they would lose their digits
    float m_factor, v_factor;  // adam: 1 / (1 - beta1^t), 1 / (1 - beta2^t)
} UpdateRule;

// Returns the Euclidean norm of gradient (P); not finite if an entry or a sum is not; -1 if there is no memory.
API double gradient_norm(const float *gradient, ptrdiff_t P, int threads);

// Updates weights (P) once. Parameter i has the entries bounds[i]..bounds[i+1]-1, learning rate rates[i], and keeps the share kept[i] of its
// weights (decoupled weight decay). `m` and `v` (P) are the optimizer's memory; what a rule does not have is NULL.
API void update_weights(const UpdateRule *rule, float *weights, const float *gradient, float *m, float *v, int32_t parameters,
                        const int64_t *bounds, const float *rates, const float *kept, int threads);

#endif
