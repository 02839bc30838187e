/* One instruction set of the kernel: LANES chunks, or LANES parents, hashed side by side.
 *
 * Included by kernel_hashing.h once for each width, between the pragmas that allow the instructions. It wants LANES
 * (4, 8 or 16) and SUFFIX (appended to each name), and gives hash_chunks and hash_parents. The vectors are
 * those of GCC and Clang, so the same text serves x86 and ARM; both must be little-endian.
 *
 * Row w of a vector array holds word w of every lane.
 */

#define JOIN_(left, right) left##right
#define JOIN(left, right) JOIN_(left, right)
#define NAME(name) JOIN(name, SUFFIX)
#define LANES_INLINE static inline __attribute__((always_inline))

typedef uint32_t NAME(words) __attribute__((vector_size(LANES * 4)));
typedef uint32_t NAME(unaligned) __attribute__((vector_size(LANES * 4), aligned(1), may_alias));
typedef uint8_t NAME(bytes) __attribute__((vector_size(LANES * 4)));
#define VECTOR NAME(words)
#define LOAD(from) ((VECTOR)(*(const NAME(unaligned) *)(from)))
#define STORE(to, value) (*(NAME(unaligned) *)(to) = (value))

#if defined(__clang__)
#define SHUFFLE(left, right, ...) __builtin_shufflevector(left, right, __VA_ARGS__)
#define SHUFFLE_BYTES(of, ...) \
    ((VECTOR)__builtin_shufflevector((NAME(bytes))(of), (NAME(bytes))(of), __VA_ARGS__))
#else
#define SHUFFLE(left, right, ...) __builtin_shuffle(left, right, (VECTOR){__VA_ARGS__})
#define SHUFFLE_BYTES(of, ...) ((VECTOR)__builtin_shuffle((NAME(bytes))(of), (NAME(bytes)){__VA_ARGS__}))
#endif

/* AVX-512 and NEON have rotations, which the compilers find; AVX2 moves bytes in one instruction; SSE2 shifts. */
#define ROTATE(x, by) (((x) >> (by)) | ((x) << (32 - (by))))
#if LANES == 8
#define ROTATE_16(x) \
    SHUFFLE_BYTES(x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, \
                  18, 19, 16, 17, 22, 23, 20, 21, 26, 27, 24, 25, 30, 31, 28, 29)
#define ROTATE_8(x) \
    SHUFFLE_BYTES(x, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12, \
                  17, 18, 19, 16, 21, 22, 23, 20, 25, 26, 27, 24, 29, 30, 31, 28)
#else
#define ROTATE_16(x) ROTATE(x, 16)
#define ROTATE_8(x) ROTATE(x, 8)
#endif

/* Which words of two vectors make one: interleaved in each block of four words (words, then pairs of words),
 * even and odd blocks, even and odd words. */
#if LANES == 16
#define LOW_WORDS 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define HIGH_WORDS 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define LOW_PAIRS 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH_PAIRS 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define EVEN_BLOCKS 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define ODD_BLOCKS 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
#define EVEN_WORDS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD_WORDS 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif LANES == 8
#define LOW_WORDS 0, 8, 1, 9, 4, 12, 5, 13
#define HIGH_WORDS 2, 10, 3, 11, 6, 14, 7, 15
#define LOW_PAIRS 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH_PAIRS 2, 3, 10, 11, 6, 7, 14, 15
#define EVEN_BLOCKS 0, 1, 2, 3, 8, 9, 10, 11
#define ODD_BLOCKS 4, 5, 6, 7, 12, 13, 14, 15
#define EVEN_WORDS 0, 2, 4, 6, 8, 10, 12, 14
#define ODD_WORDS 1, 3, 5, 7, 9, 11, 13, 15
#else
#define LOW_WORDS 0, 4, 1, 5
#define HIGH_WORDS 2, 6, 3, 7
#define LOW_PAIRS 0, 1, 4, 5
#define HIGH_PAIRS 2, 3, 6, 7
#define EVEN_WORDS 0, 2, 4, 6
#define ODD_WORDS 1, 3, 5, 7
#endif

LANES_INLINE VECTOR NAME(all_lanes)(uint32_t word)
{
    return word - (VECTOR){0};
}

/* Transposes LANES rows of LANES words in place. */
LANES_INLINE void NAME(transpose)(VECTOR *rows)
{
    VECTOR quads[LANES]; /* block j of quads[i + k] holds column 4j + k of rows i to i + 3 */
    for (int i = 0; i < LANES; i += 4) {
        VECTOR low_01 = SHUFFLE(rows[i], rows[i + 1], LOW_WORDS);
        VECTOR high_01 = SHUFFLE(rows[i], rows[i + 1], HIGH_WORDS);
        VECTOR low_23 = SHUFFLE(rows[i + 2], rows[i + 3], LOW_WORDS);
        VECTOR high_23 = SHUFFLE(rows[i + 2], rows[i + 3], HIGH_WORDS);
        quads[i] = SHUFFLE(low_01, low_23, LOW_PAIRS);
        quads[i + 1] = SHUFFLE(low_01, low_23, HIGH_PAIRS);
        quads[i + 2] = SHUFFLE(high_01, high_23, LOW_PAIRS);
        quads[i + 3] = SHUFFLE(high_01, high_23, HIGH_PAIRS);
    }
    for (int k = 0; k < 4; k++) {
#if LANES == 16
        VECTOR even_low = SHUFFLE(quads[k], quads[4 + k], EVEN_BLOCKS);
        VECTOR odd_low = SHUFFLE(quads[k], quads[4 + k], ODD_BLOCKS);
        VECTOR even_high = SHUFFLE(quads[8 + k], quads[12 + k], EVEN_BLOCKS);
        VECTOR odd_high = SHUFFLE(quads[8 + k], quads[12 + k], ODD_BLOCKS);
        rows[k] = SHUFFLE(even_low, even_high, EVEN_BLOCKS);
        rows[8 + k] = SHUFFLE(even_low, even_high, ODD_BLOCKS);
        rows[4 + k] = SHUFFLE(odd_low, odd_high, EVEN_BLOCKS);
        rows[12 + k] = SHUFFLE(odd_low, odd_high, ODD_BLOCKS);
#elif LANES == 8
        rows[k] = SHUFFLE(quads[k], quads[4 + k], EVEN_BLOCKS);
        rows[4 + k] = SHUFFLE(quads[k], quads[4 + k], ODD_BLOCKS);
#else
        rows[k] = quads[k];
#endif
    }
}

#define MIX(a, b, c, d, x, y)         \
    do {                              \
        v[a] = v[a] + v[b] + (x);     \
        v[d] = ROTATE_16(v[d] ^ v[a]); \
        v[c] = v[c] + v[d];           \
        v[b] = v[b] ^ v[c];           \
        v[b] = ROTATE(v[b], 12);      \
        v[a] = v[a] + v[b] + (y);     \
        v[d] = v[d] ^ v[a];           \
        v[d] = ROTATE_8(v[d]);        \
        v[c] = v[c] + v[d];           \
        v[b] = v[b] ^ v[c];           \
        v[b] = ROTATE(v[b], 7);       \
    } while (0)

/* The compression function in every lane. `v` holds the state's first eight and last four words. */
LANES_INLINE void NAME(compress)(VECTOR *v, const VECTOR *m)
{
    for (int i = 0; i < 4; i++)
        v[8 + i] = NAME(all_lanes)(INITIAL[i]);
    ROUNDS;
    for (int i = 0; i < 8; i++)
        v[i] ^= v[8 + i];
}

/* Chaining values of LANES whole chunks that follow one another, into so many columns of `out`. */
static void NAME(hash_chunks)(const uint8_t *data, uint64_t counter, uint32_t *out)
{
    VECTOR counter_low, counter_high, value[8];
    for (int i = 0; i < LANES; i++) {
        counter_low[i] = (uint32_t)(counter + i);
        counter_high[i] = (uint32_t)((counter + i) >> 32);
    }
    for (int i = 0; i < 8; i++)
        value[i] = NAME(all_lanes)(INITIAL[i]);
    for (int block = 0; block < CHUNK_BYTES / BLOCK_BYTES; block++) {
        const uint8_t *from = data + block * BLOCK_BYTES;
        VECTOR m[16], v[16];
        for (int part = 0; part < 16; part += LANES) {
            for (int i = 0; i < LANES; i++)
                m[part + i] = LOAD(from + i * CHUNK_BYTES + part * 4);
            NAME(transpose)(m + part);
        }
        for (int i = 0; i < LANES; i++)
            __builtin_prefetch(from + i * CHUNK_BYTES + 4 * BLOCK_BYTES);
        for (int i = 0; i < 8; i++)
            v[i] = value[i];
        v[12] = counter_low;
        v[13] = counter_high;
        v[14] = NAME(all_lanes)(BLOCK_BYTES);
        v[15] = NAME(all_lanes)((block == 0 ? CHUNK_START : 0) |
                                (block == CHUNK_BYTES / BLOCK_BYTES - 1 ? CHUNK_END : 0));
        NAME(compress)(v, m);
        for (int i = 0; i < 8; i++)
            value[i] = v[i];
    }
    for (int i = 0; i < 8; i++)
        STORE(out + i * STRIDE, value[i]);
}

/* LANES parents of twice so many columns of `in`; `out` may be the same columns, or lie before them. */
static void NAME(hash_parents)(const uint32_t *in, uint32_t *out)
{
    VECTOR m[16], v[16];
    for (int i = 0; i < 8; i++) {
        VECTOR first = LOAD(in + i * STRIDE), second = LOAD(in + i * STRIDE + LANES);
        m[i] = SHUFFLE(first, second, EVEN_WORDS);
        m[8 + i] = SHUFFLE(first, second, ODD_WORDS);
        v[i] = NAME(all_lanes)(INITIAL[i]);
    }
    v[12] = v[13] = NAME(all_lanes)(0);
    v[14] = NAME(all_lanes)(BLOCK_BYTES);
    v[15] = NAME(all_lanes)(PARENT);
    NAME(compress)(v, m);
    for (int i = 0; i < 8; i++)
        STORE(out + i * STRIDE, v[i]);
}

#undef JOIN_
#undef JOIN
#undef NAME
#undef LANES_INLINE
#undef VECTOR
#undef LOAD
#undef STORE
#undef SHUFFLE
#undef SHUFFLE_BYTES
#undef ROTATE
#undef ROTATE_16
#undef ROTATE_8
#undef LOW_WORDS
#undef HIGH_WORDS
#undef LOW_PAIRS
#undef HIGH_PAIRS
#undef EVEN_BLOCKS
#undef ODD_BLOCKS
#undef EVEN_WORDS
#undef ODD_WORDS
#undef MIX
#undef LANES
#undef SUFFIX
