/* The tree kernel: BLAKE3 chaining values of subtrees, their pairs, and runs of the wire.
 *
 * Pure: bytes in, bytes out. It keeps nothing between calls but the chosen instruction set, releases the GIL
 * where it works longer than that costs, and uses the stable ABI only. Its reference is a slow twin in plain
 * Python in the tests.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>

#include "kernel_hashing.h"

#define GROUP_BYTES 16384
#define GROUP_LEVELS 4 /* of parents between a chunk and its group */
#define MAX_CHUNKS (UINT64_C(1) << 54) /* of a blob of 2^64 bytes */

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
