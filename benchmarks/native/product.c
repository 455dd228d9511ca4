/* y[M, N] = x[M, K] times a matrix of 4-bit codes in blocks of 32 along K; states are rounded to
   8 bits, block by block, as llama.cpp's Q4_0 and onnxruntime's MatMulNBits at accuracy level 4 do.

   Sixteen outputs are a tile. Its codes are unpacked once, into a buffer that stays in the first
   or second cache, and serve all M rows, sixteen at a time: per block of 32 and row there are eight
   VNNI products, whose sums start at -8 times the states' sum (codes are counted from 0), then one
   conversion, one product of scales and one addition. Needs AVX-512 with VNNI; K a multiple of 32,
   M and N of 16. */

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { GROUP = 32, TILE = 16, ROWS = 16 };

/* Codes [N, K/32, 16], the first of two in a byte the low one, in the order that `product` reads:
   [N/16, K/32, 4, 16 outputs, 4], where the low halves are inputs 0 to 15 of a block. */
void pack(const uint8_t *codes, const float *scales, uint8_t *tiles, float *scales_by_tile, long K,
          long N) {
    long blocks = K / GROUP;
    for (long n = 0; n < N; n++)
        for (long b = 0; b < blocks; b++) {
            long tile = n / TILE * blocks + b, within = n % TILE;
            const uint8_t *from = codes + (n * blocks + b) * 16;
            for (int i = 0; i < 16; i++) {
                uint8_t low = from[i / 2] >> (i % 2 * 4) & 15;
                uint8_t high = from[8 + i / 2] >> (i % 2 * 4) & 15;
                tiles[tile * 256 + i / 4 * 64 + within * 4 + i % 4] = low | high << 4;
            }
            scales_by_tile[tile * TILE + within] = scales[n * blocks + b];
        }
}

static void round_states(const float *x, int8_t *q, float *scales, int32_t *starts, long count) {
    for (long b = 0; b < count; b++, x += GROUP, q += GROUP) {
        __m512 first = _mm512_loadu_ps(x), second = _mm512_loadu_ps(x + 16);
        __m512 most = _mm512_max_ps(_mm512_abs_ps(first), _mm512_abs_ps(second));
        float largest = _mm512_reduce_max_ps(most);
        __m512 rate = _mm512_set1_ps(largest > 0 ? 127 / largest : 0);
        __m512i one = _mm512_cvtps_epi32(_mm512_mul_ps(first, rate));
        __m512i other = _mm512_cvtps_epi32(_mm512_mul_ps(second, rate));
        _mm_storeu_si128((__m128i *)q, _mm512_cvtepi32_epi8(one));
        _mm_storeu_si128((__m128i *)(q + 16), _mm512_cvtepi32_epi8(other));
        scales[b] = largest / 127;
        starts[b] = -8 * _mm512_reduce_add_epi32(_mm512_add_epi32(one, other));
    }
}

static void sixteen_rows(const int8_t *q, const float *scales, const int32_t *starts,
                         const uint8_t *open, const float *tile_scales, float *y, long blocks,
                         long N) {
    __m512 sums[ROWS];
    for (int r = 0; r < ROWS; r++) sums[r] = _mm512_setzero_ps();
    for (long b = 0; b < blocks; b++) {
        __m512i w[8];
        for (int i = 0; i < 8; i++) w[i] = _mm512_load_si512(open + b * 512 + i * 64);
        __m512 scale = _mm512_loadu_ps(tile_scales + b * TILE);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; r++) {
            const int32_t *states = (const int32_t *)(q + (r * blocks + b) * GROUP);
            __m512i dot = _mm512_set1_epi32(starts[r * blocks + b]);
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
                dot = _mm512_dpbusd_epi32(dot, w[i], _mm512_set1_epi32(states[i]));
            __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(scales[r * blocks + b]));
            sums[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), both, sums[r]);
        }
    }
    for (int r = 0; r < ROWS; r++) _mm512_storeu_ps(y + r * N, sums[r]);
}

int product(const float *x, const uint8_t *tiles, const float *tile_scales, float *y, long M,
            long K, long N) {
    long blocks = K / GROUP;
    int8_t *q = aligned_alloc(64, M * K);
    float *scales = aligned_alloc(64, M * blocks * 4);
    int32_t *starts = aligned_alloc(64, M * blocks * 4);
    uint8_t *open = aligned_alloc(64, K * TILE);
    if (!q || !scales || !starts || !open) return 1;
    round_states(x, q, scales, starts, M * blocks);
    __m512i low = _mm512_set1_epi8(15);
    for (long n = 0; n < N / TILE; n++) {
        for (long b = 0; b < blocks; b++)
            for (int i = 0; i < 4; i++) {
                __m512i both = _mm512_loadu_si512(tiles + (n * blocks + b) * 256 + i * 64);
                __m512i high = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
                _mm512_store_si512(open + b * 512 + i * 64, _mm512_and_si512(both, low));
                _mm512_store_si512(open + b * 512 + 256 + i * 64, high);
            }
        for (long m = 0; m < M; m += ROWS)
            sixteen_rows(q + m * K, scales + m * blocks, starts + m * blocks, open,
                         tile_scales + n * blocks * TILE, y + m * N + n * TILE, blocks, N);
    }
    free(q), free(scales), free(starts), free(open);
    return 0;
}
