// The functions of vector.h over arrays, for tests.
#include "loss.h"
#include "network.h"

API void exp_of(ptrdiff_t N, const float *x, float *y) {
    for (ptrdiff_t k = 0; k < N; k += WIDTH) store_part(y + k, exp_vec(load_part(x + k, N - k)), N - k);
}
API void tanh_of(ptrdiff_t N, const float *x, float *y) {
    for (ptrdiff_t k = 0; k < N; k += WIDTH) store_part(y + k, tanh_vec(load_part(x + k, N - k)), N - k);
}
API void sigmoid_of(ptrdiff_t N, const float *x, float *y) {
    for (ptrdiff_t k = 0; k < N; k += WIDTH) store_part(y + k, sigmoid_vec(load_part(x + k, N - k)), N - k);
}
API void log_of(ptrdiff_t N, const double *x, double *y) {
    for (ptrdiff_t k = 0; k < N; k++) y[k] = natural_log(x[k]);
}
