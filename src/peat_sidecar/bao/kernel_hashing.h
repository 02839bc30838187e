/* BLAKE3's compression function in every instruction set, and the choice among them.
 *
 * Included by kernel.c alone. BLAKE3: github.com/BLAKE3-team/BLAKE3-specs.
 *
 * A batch of chaining values lies in columns: word w of value i is words[w * STRIDE + i], so that vectors
 * take values side by side.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLOCK_BYTES 64
#define CHUNK_BYTES 1024
#define VALUE_BYTES 32
#define PAIR_BYTES 64
#define BATCH_CHUNKS 1024
#define STRIDE (BATCH_CHUNKS + 16) /* a power of two would put all rows of a column into one set of the cache */

enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8 };

static const uint32_t INITIAL[8] = {
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
};

/* One round over the state v and the message words m, then all seven; each instruction set has its own MIX.
 * Constant indices keep both in registers. */
#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15) \
    do {                                                                           \
        MIX(0, 4, 8, 12, m[s0], m[s1]);                                            \
        MIX(1, 5, 9, 13, m[s2], m[s3]);                                            \
        MIX(2, 6, 10, 14, m[s4], m[s5]);                                           \
        MIX(3, 7, 11, 15, m[s6], m[s7]);                                           \
        MIX(0, 5, 10, 15, m[s8], m[s9]);                                           \
        MIX(1, 6, 11, 12, m[s10], m[s11]);                                         \
        MIX(2, 7, 8, 13, m[s12], m[s13]);                                          \
        MIX(3, 4, 9, 14, m[s14], m[s15]);                                          \
    } while (0)

#define ROUNDS                                                        \
    do {                                                              \
        ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);  \
        ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8);  \
        ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1);  \
        ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6);  \
        ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4);  \
        ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7);  \
        ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13);  \
    } while (0)

/* Plain C: serves every machine, and every odd end that fills no vector. */

static uint32_t load_word(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static void store_word(uint8_t *to, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(word >> (8 * i));
}

static uint32_t rotate(uint32_t word, int by)
{
    return word >> by | word << (32 - by);
}

#define MIX(a, b, c, d, x, y)              \
    do {                                   \
        v[a] += v[b] + (x);                \
        v[d] = rotate(v[d] ^ v[a], 16);    \
        v[c] += v[d];                      \
        v[b] = rotate(v[b] ^ v[c], 12);    \
        v[a] += v[b] + (y);                \
        v[d] = rotate(v[d] ^ v[a], 8);     \
        v[c] += v[d];                      \
        v[b] = rotate(v[b] ^ v[c], 7);     \
    } while (0)

static void compress(uint32_t value[8], const uint32_t m[16], uint64_t counter, uint32_t length, uint32_t flags)
{
    uint32_t v[16];
    memcpy(v, value, 32);
    memcpy(v + 8, INITIAL, 16);
    v[12] = (uint32_t)counter;
    v[13] = (uint32_t)(counter >> 32);
    v[14] = length;
    v[15] = flags;
    ROUNDS;
    for (int i = 0; i < 8; i++)
        value[i] = v[i] ^ v[8 + i];
}

#undef MIX

/* One chunk of 0 to 1,024 bytes into one column. */
static void hash_chunk(const uint8_t *data, size_t length, uint64_t counter, bool is_root, uint32_t *out)
{
    uint32_t value[8], flags = CHUNK_START;
    memcpy(value, INITIAL, sizeof value);
    for (bool last = false; !last;) {
        size_t taken = length < BLOCK_BYTES ? length : BLOCK_BYTES;
        uint8_t block[BLOCK_BYTES] = {0};
        uint32_t m[16];
        if (taken > 0)
            memcpy(block, data, taken);
        for (int i = 0; i < 16; i++)
            m[i] = load_word(block + 4 * i);
        last = length <= BLOCK_BYTES;
        if (last)
            flags |= CHUNK_END | (is_root ? ROOT : 0);
        compress(value, m, counter, (uint32_t)taken, flags);
        data += taken;
        length -= taken;
        flags = 0;
    }
    for (int i = 0; i < 8; i++)
        out[i * STRIDE] = value[i];
}

/* One parent of two columns into one column, which may be the first of them. */
static void hash_parent(const uint32_t *in, bool is_root, uint32_t *out)
{
    uint32_t m[16], value[8];
    for (int i = 0; i < 8; i++) {
        m[i] = in[i * STRIDE];
        m[8 + i] = in[i * STRIDE + 1];
    }
    memcpy(value, INITIAL, sizeof value);
    compress(value, m, 0, BLOCK_BYTES, PARENT | (is_root ? ROOT : 0));
    for (int i = 0; i < 8; i++)
        out[i * STRIDE] = value[i];
}

static void hash_pair(const uint8_t *pair, bool is_root, uint8_t *out)
{
    uint32_t m[16], value[8];
    for (int i = 0; i < 16; i++)
        m[i] = load_word(pair + 4 * i);
    memcpy(value, INITIAL, sizeof value);
    compress(value, m, 0, BLOCK_BYTES, PARENT | (is_root ? ROOT : 0));
    for (int i = 0; i < 8; i++)
        store_word(out + 4 * i, value[i]);
}

static void hash_chunks_portable(const uint8_t *data, uint64_t counter, uint32_t *out)
{
    hash_chunk(data, CHUNK_BYTES, counter, false, out);
}

static void hash_parents_portable(const uint32_t *in, uint32_t *out)
{
    hash_parent(in, false, out);
}

/* The instruction sets. */

struct instruction_set {
    const char *name;
    size_t lanes;
    void (*hash_chunks)(const uint8_t *data, uint64_t counter, uint32_t *out);
    void (*hash_parents)(const uint32_t *in, uint32_t *out);
    const struct instruction_set *narrower; /* takes what is left over */
};

static const struct instruction_set PORTABLE = {
    "portable", 1, hash_chunks_portable, hash_parents_portable, NULL,
};

#if defined(__GNUC__) && defined(__x86_64__)
#define HAS_X86 1

#define LANES 4
#define SUFFIX _sse2
#include "kernel_lanes.h"
static const struct instruction_set SSE2 = {"sse2", 4, hash_chunks_sse2, hash_parents_sse2, &PORTABLE};

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define LANES 8
#define SUFFIX _avx2
#include "kernel_lanes.h"
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,prefer-vector-width=512")
#endif
#define LANES 16
#define SUFFIX _avx512
#include "kernel_lanes.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
static const struct instruction_set AVX2 = {"avx2", 8, hash_chunks_avx2, hash_parents_avx2, &SSE2};
static const struct instruction_set AVX512 = {"avx512", 16, hash_chunks_avx512, hash_parents_avx512, &AVX2};

#elif defined(__GNUC__) && defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HAS_NEON 1

#define LANES 4
#define SUFFIX _neon
#include "kernel_lanes.h"
static const struct instruction_set NEON = {"neon", 4, hash_chunks_neon, hash_parents_neon, &PORTABLE};
#endif

/* Those that run on this machine, the fastest first. */
static const struct instruction_set *runnable[4];
static size_t runnable_count = 0;
static const struct instruction_set *chosen = &PORTABLE;

static void find_runnable(void)
{
    size_t count = 0;
#if defined(HAS_X86)
    __builtin_cpu_init();
    bool has_avx2 = __builtin_cpu_supports("avx2");
    if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        runnable[count++] = &AVX512;
    if (has_avx2)
        runnable[count++] = &AVX2;
    runnable[count++] = &SSE2;
#elif defined(HAS_NEON)
    runnable[count++] = &NEON;
#endif
    runnable[count++] = &PORTABLE;
    runnable_count = count;
    chosen = runnable[0];
}
