// Products of a matrix with packed weights. See product.h.
#include "product.h"

#define VECTORS (PANEL / WIDTH)  // of a panel's row

// A tile of the result is kept in registers: TILE_ROWS rows of up to MOST_PANELS panels. These are as many sums as leave room for the
// operands: 24 of 32 registers with AVX-512 (12 rows of 2 panels) and NEON (6 rows of 1 panel), 12 of 16 with AVX2 (6 rows of 1 panel).
// Fewer rows take more panels at once, so that there are always several independent sums.
#if WIDTH == 16
#define TILE_ROWS 12
#define SUMS 24
#else
#define TILE_ROWS 6
#define SUMS (WIDTH == 8 ? 12 : 24)
#endif
#define MOST_PANELS 4

// C (rows, PANEL * panels) += A W for one tile; a[r * a_row + k * a_k] is A[r][k]. `rows` and `panels` are constants after inlining.
INLINE void tile(const int rows, const int panels, ptrdiff_t K, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, const float *w,
                 ptrdiff_t w_panel, float *c, ptrdiff_t c_row) {
    vec sum[TILE_ROWS][MOST_PANELS * VECTORS];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int v = 0; v < panels * VECTORS; v++) sum[r][v] = load(c + r * c_row + v * WIDTH);
    for (int r = 0; r < rows; r++)  // the tile below is likely to be next
        for (int p = 0; p < panels; p++) __builtin_prefetch(c + (rows + r) * c_row + p * PANEL, 1);
    for (ptrdiff_t k = 0; k < K; k++) {
        vec column[MOST_PANELS * VECTORS];
#pragma GCC unroll 16
        for (int v = 0; v < panels * VECTORS; v++) column[v] = load(w + (v / VECTORS) * w_panel + k * PANEL + (v % VECTORS) * WIDTH);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            vec x = splat(a[r * a_row + k * a_k]);
#pragma GCC unroll 16
            for (int v = 0; v < panels * VECTORS; v++) sum[r][v] = fma_vec(x, column[v], sum[r][v]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (int v = 0; v < panels * VECTORS; v++) store(c + r * c_row + v * WIDTH, sum[r][v]);
}

// The most panels, of 4, 2 or 1, that a tile of `rows` rows can take.
INLINE int panels_for(int rows) {
    for (int panels = MOST_PANELS; panels > 1; panels /= 2)
        if (rows * panels * VECTORS <= SUMS) return panels;
    return 1;
}

// The tile of `rows` by `panels`: a switch, so that both are constants in the tile that is run.
#define ROWS(n) case n: if (n * panels * VECTORS <= SUMS || panels == 1) tile(n, panels, K, a, a_row, a_k, w, w_panel, c, c_row); break;
INLINE void any_rows(int rows, const int panels, ptrdiff_t K, const float *a, ptrdiff_t a_row, ptrdiff_t a_k, const float *w,
                     ptrdiff_t w_panel, float *c, ptrdiff_t c_row) {
    switch (rows) {
        ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6)
#if TILE_ROWS == 12
        ROWS(7) ROWS(8) ROWS(9) ROWS(10) ROWS(11) ROWS(12)
#endif
    }
}

// Rows of A as they lie in memory, `a_row` floats apart.
static void rows_tile(int rows, int panels, ptrdiff_t K, const float *a, ptrdiff_t a_row, const float *w, ptrdiff_t w_panel, float *c,
                      ptrdiff_t c_row) {
    if (panels == 4) any_rows(rows, 4, K, a, a_row, 1, w, w_panel, c, c_row);
    if (panels == 2) any_rows(rows, 2, K, a, a_row, 1, w, w_panel, c, c_row);
    if (panels == 1) any_rows(rows, 1, K, a, a_row, 1, w, w_panel, c, c_row);
}

// Rows of A that were packed for a tile: the TILE_ROWS numbers of each k lie together.
static void packed_tile(int rows, int panels, ptrdiff_t K, const float *a, const float *w, ptrdiff_t w_panel, float *c, ptrdiff_t c_row) {
    if (panels == 4) any_rows(rows, 4, K, a, 1, TILE_ROWS, w, w_panel, c, c_row);
    if (panels == 2) any_rows(rows, 2, K, a, 1, TILE_ROWS, w, w_panel, c, c_row);
    if (panels == 1) any_rows(rows, 1, K, a, 1, TILE_ROWS, w, w_panel, c, c_row);
}

// A panel that is cut by the edge of C goes through a copy of its columns.
INLINE void copy_in(float (*edge)[PANEL], const float *c, ptrdiff_t c_row, int rows, ptrdiff_t columns) {
    memset(edge, 0, TILE_ROWS * sizeof *edge);
    for (int r = 0; r < rows; r++) memcpy(edge[r], c + r * c_row, (size_t)columns * sizeof(float));
}

INLINE void copy_out(float (*edge)[PANEL], float *c, ptrdiff_t c_row, int rows, ptrdiff_t columns) {
    for (int r = 0; r < rows; r++) memcpy(c + r * c_row, edge[r], (size_t)columns * sizeof(float));
}

// M rows are divided into tiles of about the same height.
INLINE ptrdiff_t tiles_of(ptrdiff_t M) { return (M + TILE_ROWS - 1) / TILE_ROWS; }
INLINE ptrdiff_t tile_start(ptrdiff_t M, ptrdiff_t tiles, ptrdiff_t index) { return M * index / tiles; }

// Rows that pass over all panels together: as many as fit the second cache.
#define BLOCK_NUMBERS 65536

static void product_of_block(ptrdiff_t M, ptrdiff_t K, ptrdiff_t N, const float *A, ptrdiff_t a_stride, const float *packed, float *C,
                             ptrdiff_t c_stride) {
    const ptrdiff_t tiles = tiles_of(M), whole = N / PANEL;
    const int most = panels_for((int)((M + tiles - 1) / tiles));
    int panels;
    for (ptrdiff_t p = 0; p < whole; p += panels) {  // the outer loop, so that a panel stays in the first cache for all rows
        panels = most;
        while (p + panels > whole) panels /= 2;
        for (ptrdiff_t i = 0; i < tiles; i++) {
            const ptrdiff_t m = tile_start(M, tiles, i), rows = tile_start(M, tiles, i + 1) - m;
            rows_tile((int)rows, panels, K, A + m * a_stride, a_stride, packed + p * K * PANEL, K * PANEL, C + m * c_stride + p * PANEL, c_stride);
        }
    }
    const ptrdiff_t rest = N - whole * PANEL;
    for (ptrdiff_t i = 0; rest && i < tiles; i++) {
        const ptrdiff_t m = tile_start(M, tiles, i), rows = tile_start(M, tiles, i + 1) - m;
        float edge[TILE_ROWS][PANEL], *c = C + m * c_stride + whole * PANEL;
        copy_in(edge, c, c_stride, (int)rows, rest);
        rows_tile((int)rows, 1, K, A + m * a_stride, a_stride, packed + whole * K * PANEL, K * PANEL, edge[0], PANEL);
        copy_out(edge, c, c_stride, (int)rows, rest);
    }
}

void product(ptrdiff_t M, ptrdiff_t K, ptrdiff_t N, const float *A, ptrdiff_t a_stride, const float *packed, float *C, ptrdiff_t c_stride) {
    const ptrdiff_t fitting = BLOCK_NUMBERS / (K ? K : 1) / TILE_ROWS * TILE_ROWS, rows = fitting > 2 * TILE_ROWS ? fitting : 2 * TILE_ROWS;
    for (ptrdiff_t m = 0; m < M; m += rows)
        product_of_block(M - m < rows ? M - m : rows, K, N, A + m * a_stride, a_stride, packed, C + m * c_stride, c_stride);
}

void pack(ptrdiff_t K, ptrdiff_t N, const float *W, ptrdiff_t stride, float *packed, ptrdiff_t first, ptrdiff_t last) {
    for (ptrdiff_t p = first; p < last; p++) {
        const ptrdiff_t start = p * PANEL, columns = N - start < PANEL ? N - start : PANEL;
        float *to = packed + p * K * PANEL;
        for (ptrdiff_t k = 0; k < K; k++, to += PANEL) {
            const float *from = W + k * stride + start;
            if (columns == PANEL) {
                memcpy(to, from, PANEL * sizeof *to);
            } else {
                memset(to, 0, PANEL * sizeof *to);
                memcpy(to, from, (size_t)columns * sizeof *to);
            }
        }
    }
}

void pack_transposed(ptrdiff_t K, ptrdiff_t N, const float *W, ptrdiff_t stride, float *packed, ptrdiff_t first, ptrdiff_t last) {
    for (ptrdiff_t p = first; p < last; p++) {
        const ptrdiff_t start = p * PANEL, columns = N - start < PANEL ? N - start : PANEL;
        float *to = packed + p * K * PANEL;
        if (columns < PANEL) memset(to, 0, (size_t)K * PANEL * sizeof *to);
        for (ptrdiff_t k = 0; k < K; k++)
            for (ptrdiff_t j = 0; j < columns; j++) to[k * PANEL + j] = W[(start + j) * stride + k];
    }
}

// Rows k of A and B that are packed at a time: with them, the panels of B at hand fit the first cache, and all of A the second or third.
#define BLOCK_K 256

ptrdiff_t outer_room(ptrdiff_t M) { return BLOCK_K * (tiles_of(M) * TILE_ROWS + MOST_PANELS * PANEL); }

// Packs the columns of A (K, M) for tiles: those of a tile lie together for each k.
static void pack_tiles(ptrdiff_t K, ptrdiff_t M, const float *A, ptrdiff_t a_stride, float *to) {
    const ptrdiff_t tiles = tiles_of(M);
    for (ptrdiff_t i = 0; i < tiles; i++, to += BLOCK_K * TILE_ROWS) {
        const ptrdiff_t m = tile_start(M, tiles, i), rows = tile_start(M, tiles, i + 1) - m;
        if (m + TILE_ROWS <= M)  // a copy of constant size is far faster; columns of the next tile do no harm
            for (ptrdiff_t k = 0; k < K; k++) memcpy(to + k * TILE_ROWS, A + k * a_stride + m, TILE_ROWS * sizeof *to);
        else
            for (ptrdiff_t k = 0; k < K; k++) memcpy(to + k * TILE_ROWS, A + k * a_stride + m, (size_t)rows * sizeof *to);
    }
}

void outer_product(ptrdiff_t K, ptrdiff_t M, const float *A, ptrdiff_t a_stride, const float *B, ptrdiff_t b_stride, ptrdiff_t first,
                   ptrdiff_t last, float *C, ptrdiff_t c_stride, float *sums, float *room) {
    const ptrdiff_t N = last - first, tiles = tiles_of(M);
    float *const a = room, *const b = room + BLOCK_K * tiles * TILE_ROWS;
    const int most = panels_for((int)((M + tiles - 1) / tiles));
    B += first, C += first;
    for (ptrdiff_t start = 0; start < K; start += BLOCK_K, A += BLOCK_K * a_stride, B += BLOCK_K * b_stride) {
        const ptrdiff_t block = K - start < BLOCK_K ? K - start : BLOCK_K;
        pack_tiles(block, M, A, a_stride, a);
        for (ptrdiff_t k = 0; sums && k < block; k++)
            for (ptrdiff_t n = 0; n < N; n++) sums[first + n] += B[k * b_stride + n];
        int panels;
        for (ptrdiff_t n = 0; n < N; n += panels * PANEL) {
            panels = most;
            while (panels > 1 && n + panels * PANEL > N) panels /= 2;
            const ptrdiff_t columns = N - n < panels * PANEL ? N - n : panels * PANEL;
            pack(block, columns, B + n, b_stride, b, 0, panels);
            for (ptrdiff_t i = 0; i < tiles; i++) {
                const ptrdiff_t m = tile_start(M, tiles, i), rows = tile_start(M, tiles, i + 1) - m;
                const float *tile_of_a = a + i * BLOCK_K * TILE_ROWS;
                float *c = C + m * c_stride + n, edge[TILE_ROWS][PANEL];
                if (columns == panels * PANEL) {
                    packed_tile((int)rows, panels, block, tile_of_a, b, block * PANEL, c, c_stride);
                } else {
                    copy_in(edge, c, c_stride, (int)rows, columns);
                    packed_tile((int)rows, 1, block, tile_of_a, b, block * PANEL, edge[0], PANEL);
                    copy_out(edge, c, c_stride, (int)rows, columns);
                }
            }
        }
    }
}
