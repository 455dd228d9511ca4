/* Prints the CPU milliseconds of the fastest of some runs of llama.cpp's product of M rows and a
   Q4_0 matrix, in the order that it chooses for this machine: MATMUL M K N RUNS, on one thread. */

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static ggml_backend_buffer_type_t best_order(ggml_backend_t backend) {
    ggml_backend_dev_t device = ggml_backend_get_device(backend);
    ggml_backend_dev_get_extra_bufts_t more = (ggml_backend_dev_get_extra_bufts_t)
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device),
                                          "ggml_backend_dev_get_extra_bufts");
    ggml_backend_buffer_type_t *found = more ? more(device) : NULL;
    return found && found[0] ? found[0] : ggml_backend_get_default_buffer_type(backend);
}

int main(int count, char **words) {
    if (count != 5) return 2;
    long M = atol(words[1]), K = atol(words[2]), N = atol(words[3]), runs = atol(words[4]);
    ggml_backend_t backend = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(backend, 1);
    struct ggml_init_params params = {1 << 20, NULL, true};
    struct ggml_context *weights = ggml_init(params), *rest = ggml_init(params);
    struct ggml_tensor *w = ggml_new_tensor_2d(weights, GGML_TYPE_Q4_0, K, N);
    ggml_backend_buffer_type_t order = best_order(backend);
    ggml_backend_alloc_ctx_tensors_from_buft(weights, order);
    struct ggml_tensor *x = ggml_new_tensor_2d(rest, GGML_TYPE_F32, K, M);
    struct ggml_cgraph *graph = ggml_new_graph(rest);
    ggml_build_forward_expand(graph, ggml_mul_mat(rest, w, x));
    ggml_backend_alloc_ctx_tensors(rest, backend);
    unsigned char *bytes = malloc(ggml_nbytes(w));
    for (size_t i = 0; i < ggml_nbytes(w); i++)
        bytes[i] = i % 18 == 0 ? 0 : i % 18 == 1 ? 0x18 : rand() & 255; /* scales of 0.002 */
    ggml_backend_tensor_set(w, bytes, 0, ggml_nbytes(w));
    float *states = malloc(ggml_nbytes(x));
    for (long i = 0; i < M * K; i++) states[i] = rand() / (float)RAND_MAX - 0.5f;
    ggml_backend_tensor_set(x, states, 0, ggml_nbytes(x));
    double least = 1e9;
    for (long i = 0; i < runs; i++) {
        clock_t begun = clock();
        ggml_backend_graph_compute(backend, graph);
        double ms = 1e3 * (clock() - begun) / CLOCKS_PER_SEC;
        least = ms < least ? ms : least;
    }
    printf("{\"ms\": %.3f, \"order\": \"%s\"}\n", least, ggml_backend_buft_name(order));
    return 0;
}
