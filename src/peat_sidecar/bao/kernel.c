/* The tree kernel: BLAKE3 chaining values of subtrees, their pairs, and runs of the wire.
 *
 * Pure: bytes in, bytes out. It keeps nothing between calls but the chosen instruction set, releases the GIL
 * where it works longer than that costs, and uses the stable ABI only. BLAKE3: github.com/BLAKE3-team/BLAKE3-specs.
 * Its reference is a slow twin in plain Python in the tests.
 *
 * A batch of chaining values lies in columns: word w of value i is words[w * STRIDE + i], so that vectors
 * take values side by side.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 64
#define CHUNK_BYTES 1024
#define GROUP_BYTES 16384
#define GROUP_LEVELS 4 /* of parents between a chunk and its group */
#define VALUE_BYTES 32
#define PAIR_BYTES 64
#define BATCH_CHUNKS 1024
#define STRIDE (BATCH_CHUNKS + 16) /* a power of two would put all rows of a column into one set of the cache */
#define MAX_CHUNKS (UINT64_C(1) << 54) /* of a blob of 2^64 bytes */

enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8 };

static const uint32_t INITIAL[8] = {
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
};

static const uint8_t SCHEDULE[7][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
    {3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1},
    {10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
    {12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4},
    {9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
    {11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13},
};

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

static void mix(uint32_t *v, int a, int b, int c, int d, uint32_t x, uint32_t y)
{
    v[a] += v[b] + x;
    v[d] = rotate(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = rotate(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 7);
}

static void compress(uint32_t value[8], const uint32_t m[16], uint64_t counter, uint32_t length, uint32_t flags)
{
    uint32_t v[16];
    memcpy(v, value, 32);
    memcpy(v + 8, INITIAL, 16);
    v[12] = (uint32_t)counter;
    v[13] = (uint32_t)(counter >> 32);
    v[14] = length;
    v[15] = flags;
    for (int round = 0; round < 7; round++) {
        const uint8_t *s = SCHEDULE[round];
        mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
        mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
        mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
        mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
        mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
        mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
        mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
        mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
    }
    for (int i = 0; i < 8; i++)
        value[i] = v[i] ^ v[8 + i];
}

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

/* Trees. */

static size_t count_of(size_t length, size_t unit)
{
    return length == 0 ? 1 : length / unit + (length % unit != 0);
}

/* Units in the left part of a subtree of at least two: the largest power of two below. */
static size_t left_of(size_t units)
{
    size_t left = 1;
    while (left < units - left)
        left *= 2;
    return left;
}

/* Chunks of up to BATCH_CHUNKS into columns; tells how many. */
static size_t hash_batch(const struct instruction_set *set, const uint8_t *data, size_t length, uint64_t counter,
                         bool is_root, uint32_t *words)
{
    if (length <= CHUNK_BYTES) {
        hash_chunk(data, length, counter, is_root, words);
        return 1;
    }
    size_t whole = length / CHUNK_BYTES, done = 0;
    for (; set != NULL; set = set->narrower)
        for (; whole - done >= set->lanes; done += set->lanes)
            set->hash_chunks(data + done * CHUNK_BYTES, counter + done, words + done);
    if (length % CHUNK_BYTES != 0)
        hash_chunk(data + whole * CHUNK_BYTES, length % CHUNK_BYTES, counter + whole, false, words + whole);
    return count_of(length, CHUNK_BYTES);
}

/* One level of parents, in place; a value without a partner moves up as it is. */
static size_t hash_level(const struct instruction_set *set, uint32_t *words, size_t count)
{
    size_t parents = count / 2, done = 0;
    for (; set != NULL; set = set->narrower)
        for (; parents - done >= set->lanes; done += set->lanes)
            set->hash_parents(words + 2 * done, words + done);
    if (count % 2 != 0)
        for (int i = 0; i < 8; i++)
            words[i * STRIDE + parents] = words[i * STRIDE + count - 1];
    return parents + count % 2;
}

/* Values of the leaves of a subtree, each 2^levels chunks; `is_root` only where there is just one. */
static void hash_leaves(const struct instruction_set *set, const uint8_t *data, size_t length, uint64_t counter,
                        bool is_root, int levels, uint8_t *values)
{
    uint32_t words[8 * STRIDE];
    do {
        size_t taken = length < BATCH_CHUNKS * CHUNK_BYTES ? length : BATCH_CHUNKS * CHUNK_BYTES;
        size_t count = hash_batch(set, data, taken, counter, is_root, words);
        for (int level = 0; level < levels && count > 1; level++) {
            if (is_root && count == 2) {
                hash_parent(words, true, words);
                count = 1;
            } else {
                count = hash_level(set, words, count);
            }
        }
        for (size_t i = 0; i < count; i++, values += VALUE_BYTES)
            for (int word = 0; word < 8; word++)
                store_word(values + 4 * word, words[word * STRIDE + i]);
        data += taken;
        length -= taken;
        counter += BATCH_CHUNKS;
    } while (length > 0);
}

/* Pairs in pre-order over the values of at least one leaf, and the value of the whole. */
static void hash_pairs(const uint8_t *values, size_t leaves, bool is_root, uint8_t *pairs, uint8_t *value)
{
    if (leaves == 1) {
        memcpy(value, values, VALUE_BYTES);
        return;
    }
    size_t left = left_of(leaves);
    hash_pairs(values, left, false, pairs + PAIR_BYTES, pairs);
    hash_pairs(values + left * VALUE_BYTES, leaves - left, false, pairs + left * PAIR_BYTES, pairs + VALUE_BYTES);
    hash_pair(pairs, is_root, value);
}

/* Pairs and value of a subtree down to leaves of 2^levels chunks. False: no memory. */
static bool hash_tree(const struct instruction_set *set, const uint8_t *data, size_t length, uint64_t counter,
                      bool is_root, int levels, uint8_t *pairs, uint8_t *value)
{
    size_t leaves = count_of(length, (size_t)CHUNK_BYTES << levels);
    if (leaves == 1) {
        hash_leaves(set, data, length, counter, is_root, levels, value);
        return true;
    }
    uint8_t *values = malloc(leaves * VALUE_BYTES); /* cannot overflow: at most a 32nd of length, plus one */
    if (values == NULL)
        return false;
    hash_leaves(set, data, length, counter, false, levels, values);
    hash_pairs(values, leaves, is_root, pairs, value);
    free(values);
    return true;
}

/* Runs of the wire: pairs and groups of a complete subtree, in pre-order. */

struct run {
    uint8_t *wire, *data, *pairs;
    size_t left; /* bytes of data to come */
};

static void copy_run(struct run *run, size_t groups, bool to_wire)
{
    if (groups == 1) {
        size_t taken = run->left < GROUP_BYTES ? run->left : GROUP_BYTES;
        if (taken > 0)
            memcpy(to_wire ? run->wire : run->data, to_wire ? run->data : run->wire, taken);
        run->wire += taken;
        run->data += taken;
        run->left -= taken;
        return;
    }
    size_t left = left_of(groups);
    memcpy(to_wire ? run->wire : run->pairs, to_wire ? run->pairs : run->wire, PAIR_BYTES);
    run->wire += PAIR_BYTES;
    run->pairs += PAIR_BYTES;
    copy_run(run, left, to_wire);
    copy_run(run, groups - left, to_wire);
}

/* 1: data and pairs are what the value stands for; 0: they are not; -1: no memory. */
static int verify_run(const struct instruction_set *set, const uint8_t *expected, struct run run, uint64_t counter,
                      bool is_root)
{
    size_t length = run.left, groups = count_of(length, GROUP_BYTES), pairs_bytes = (groups - 1) * PAIR_BYTES;
    uint8_t value[VALUE_BYTES], *data = run.data, *pairs = run.pairs, *right = NULL;
    if (groups > 1 && (right = malloc(pairs_bytes)) == NULL)
        return -1;
    copy_run(&run, groups, false); /* first, so that what is verified can no longer be changed by anyone */
    int result = -1;
    if (hash_tree(set, data, length, counter, is_root, GROUP_LEVELS, right, value))
        result = memcmp(value, expected, VALUE_BYTES) == 0 &&
                 (groups == 1 || memcmp(pairs, right, pairs_bytes) == 0);
    free(right);
    return result;
}

/* The face to Python. */

#define WORTH_RELEASING GROUP_BYTES /* below, taking the GIL again may cost more than the hashing */

static int parse_u64(PyObject *number, void *to)
{
    unsigned long long value = PyLong_AsUnsignedLongLong(number);
    if (value == (unsigned long long)-1 && PyErr_Occurred())
        return 0;
    *(uint64_t *)to = value;
    return 1;
}

static bool is_inside(uint64_t first_chunk, uint64_t length)
{
    if (first_chunk < MAX_CHUNKS && length / CHUNK_BYTES < MAX_CHUNKS - first_chunk)
        return true;
    PyErr_SetString(PyExc_ValueError, "no blob has so many chunks");
    return false;
}

static PyObject *two_bytes(PyObject *first, PyObject *second)
{
    PyObject *both = first != NULL && second != NULL ? PyTuple_Pack(2, first, second) : NULL;
    Py_XDECREF(first);
    Py_XDECREF(second);
    return both;
}

static PyObject *kernel_tree(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer data;
    uint64_t first_chunk;
    int is_root, leaf_chunks;
    if (!PyArg_ParseTuple(arguments, "y*O&pi", &data, parse_u64, &first_chunk, &is_root, &leaf_chunks))
        return NULL;
    PyObject *value = NULL, *pairs = NULL;
    size_t length = (size_t)data.len;
    if (leaf_chunks != 1 && leaf_chunks != 1 << GROUP_LEVELS) {
        PyErr_SetString(PyExc_ValueError, "a leaf is a chunk or a group: 1 or 16 chunks");
        goto done;
    }
    if (!is_inside(first_chunk, length))
        goto done;
    size_t leaves = count_of(length, (size_t)CHUNK_BYTES * leaf_chunks);
    value = PyBytes_FromStringAndSize(NULL, VALUE_BYTES);
    pairs = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)((leaves - 1) * PAIR_BYTES));
    if (value == NULL || pairs == NULL)
        goto done;
    uint8_t *value_bytes = (uint8_t *)PyBytes_AsString(value), *pairs_bytes = (uint8_t *)PyBytes_AsString(pairs);
    const struct instruction_set *set = chosen;
    PyThreadState *thread = length > WORTH_RELEASING ? PyEval_SaveThread() : NULL;
    bool has_memory = hash_tree(set, data.buf, length, first_chunk, is_root, leaf_chunks == 1 ? 0 : GROUP_LEVELS,
                                pairs_bytes, value_bytes);
    if (thread != NULL)
        PyEval_RestoreThread(thread);
    if (!has_memory) {
        Py_CLEAR(pairs);
        PyErr_NoMemory();
    }
done:
    PyBuffer_Release(&data);
    return two_bytes(value, pairs);
}

static PyObject *kernel_verify(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer expected, wire;
    uint64_t first_chunk, length;
    int is_root;
    if (!PyArg_ParseTuple(arguments, "y*y*O&O&p", &expected, &wire, parse_u64, &first_chunk, parse_u64, &length,
                          &is_root))
        return NULL;
    PyObject *data = NULL, *pairs = NULL;
    bool is_wrong = false;
    if (expected.len != VALUE_BYTES) {
        PyErr_SetString(PyExc_ValueError, "a chaining value has 32 bytes");
        goto done;
    }
    if (!is_inside(first_chunk, length))
        goto done;
    /* In this order nothing overflows: the length is first known to be at most that of a buffer. */
    if (length > (uint64_t)wire.len ||
        (uint64_t)wire.len - length != (uint64_t)(count_of((size_t)length, GROUP_BYTES) - 1) * PAIR_BYTES) {
        PyErr_SetString(PyExc_ValueError, "a run has its data and a pair less than it has groups");
        goto done;
    }
    data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)length);
    pairs = PyBytes_FromStringAndSize(NULL, wire.len - (Py_ssize_t)length);
    if (data == NULL || pairs == NULL)
        goto done;
    struct run run = {wire.buf, (uint8_t *)PyBytes_AsString(data), (uint8_t *)PyBytes_AsString(pairs), (size_t)length};
    uint8_t value[VALUE_BYTES];
    memcpy(value, expected.buf, VALUE_BYTES);
    const struct instruction_set *set = chosen;
    PyThreadState *thread = length > WORTH_RELEASING ? PyEval_SaveThread() : NULL;
    int result = verify_run(set, value, run, first_chunk, is_root);
    if (thread != NULL)
        PyEval_RestoreThread(thread);
    is_wrong = result == 0;
    if (result < 0) {
        Py_CLEAR(data);
        PyErr_NoMemory();
    }
done:
    PyBuffer_Release(&expected);
    PyBuffer_Release(&wire);
    if (is_wrong) {
        Py_DECREF(data);
        Py_DECREF(pairs);
        Py_RETURN_NONE;
    }
    return two_bytes(data, pairs);
}

static PyObject *kernel_interleave(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer lead, data, pairs;
    if (!PyArg_ParseTuple(arguments, "y*y*y*", &lead, &data, &pairs))
        return NULL;
    PyObject *wire = NULL;
    size_t groups = count_of((size_t)data.len, GROUP_BYTES);
    if ((size_t)pairs.len != (groups - 1) * PAIR_BYTES)
        PyErr_SetString(PyExc_ValueError, "a run has a pair less than it has groups");
    else if (lead.len > PY_SSIZE_T_MAX - data.len || lead.len + data.len > PY_SSIZE_T_MAX - pairs.len)
        PyErr_NoMemory();
    else
        wire = PyBytes_FromStringAndSize(NULL, lead.len + data.len + pairs.len);
    if (wire != NULL) {
        uint8_t *to = (uint8_t *)PyBytes_AsString(wire);
        struct run run = {to + lead.len, data.buf, pairs.buf, (size_t)data.len};
        PyThreadState *thread = run.left > WORTH_RELEASING ? PyEval_SaveThread() : NULL;
        memcpy(to, lead.buf, (size_t)lead.len);
        copy_run(&run, groups, true);
        if (thread != NULL)
            PyEval_RestoreThread(thread);
    }
    PyBuffer_Release(&lead);
    PyBuffer_Release(&data);
    PyBuffer_Release(&pairs);
    return wire;
}

static PyObject *kernel_parent(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer pair;
    int is_root;
    if (!PyArg_ParseTuple(arguments, "y*p", &pair, &is_root))
        return NULL;
    PyObject *value = NULL;
    if (pair.len != PAIR_BYTES) {
        PyErr_SetString(PyExc_ValueError, "a pair has 64 bytes");
    } else {
        uint8_t bytes[VALUE_BYTES];
        hash_pair(pair.buf, is_root, bytes);
        value = PyBytes_FromStringAndSize((const char *)bytes, VALUE_BYTES);
    }
    PyBuffer_Release(&pair);
    return value;
}

static PyObject *kernel_instruction_sets(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    PyObject *names = PyTuple_New((Py_ssize_t)runnable_count);
    for (size_t i = 0; names != NULL && i < runnable_count; i++) {
        PyObject *name = PyUnicode_FromString(runnable[i]->name);
        if (name == NULL || PyTuple_SetItem(names, (Py_ssize_t)i, name) < 0)
            Py_CLEAR(names);
    }
    return names;
}

static PyObject *kernel_choose(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *name;
    if (!PyArg_ParseTuple(arguments, "s", &name))
        return NULL;
    for (size_t i = 0; i < runnable_count; i++)
        if (strcmp(runnable[i]->name, name) == 0) {
            chosen = runnable[i];
            Py_RETURN_NONE;
        }
    PyErr_SetString(PyExc_ValueError, "no such instruction set runs here");
    return NULL;
}

static PyObject *kernel_chosen(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    return PyUnicode_FromString(chosen->name);
}

static PyMethodDef METHODS[] = {
    {"tree", kernel_tree, METH_VARARGS, NULL},
    {"verify", kernel_verify, METH_VARARGS, NULL},
    {"interleave", kernel_interleave, METH_VARARGS, NULL},
    {"parent", kernel_parent, METH_VARARGS, NULL},
    {"instruction_sets", kernel_instruction_sets, METH_NOARGS, NULL},
    {"choose", kernel_choose, METH_VARARGS, NULL},
    {"chosen", kernel_chosen, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot SLOTS[] = {{0, NULL}};

static struct PyModuleDef MODULE = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_kernel",
    .m_methods = METHODS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC PyInit__kernel(void)
{
    if (runnable_count == 0)
        find_runnable();
    return PyModuleDef_Init(&MODULE);
}
