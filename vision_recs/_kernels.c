/* What is done to every vector that is read: from float16 to a unit vector in float32, and the product of two vectors.
 *
 * Where there was no compiler when visrec was installed, NumPy does the same (vectors.py), several times slower. Sums
 * are computed in the same order on every processor: hence -ffp-contract=off, and no -ffast-math.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && __GNUC__ >= 12 && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define INLINE static inline
#define PREFETCH(address) ((void)0)
#endif

enum { LANES = 16, LINE = 64, AHEAD = 6, LONG = 1 << 15 };
static const double STEPS = 16777216.0; /* of a score from 0 to 1: see vectors.py */

/* Return the float16 number with these bits: exact, also where it is subnormal, infinite or NaN. It has no branch, so
 * that the compiler can vectorize it. */
INLINE float widen(uint32_t half) {
    const uint32_t exponent = half & 0x7c00u, is_endless = -(uint32_t)(exponent == 0x7c00u), is_small = -(uint32_t)!exponent;
    const uint32_t bits = ((half & 0x7fffu) << 13) + (112u << 23) + (is_endless & (112u << 23)) + (is_small & (1u << 23));
    const uint32_t excess_bits = is_small & (113u << 23); /* 2^-14, which makes a subnormal number a normal one for a while */
    float number, excess;
    uint32_t signed_bits;
    memcpy(&number, &bits, 4);
    memcpy(&excess, &excess_bits, 4);
    number -= excess;
    memcpy(&signed_bits, &number, 4);
    signed_bits |= (half & 0x8000u) << 16;
    memcpy(&number, &signed_bits, 4);
    return number;
}

INLINE double total(const double *sums) {
    double halves[LANES];
    memcpy(halves, sums, sizeof halves);
    for (int width = LANES / 2; width; width /= 2)
        for (int lane = 0; lane < width; lane++) halves[lane] += halves[lane + width];
    return halves[0];
}

/* Return the sum of the products of the numbers of *one* and *other*, added up in the same order on every processor. */
INLINE double product(const float *one, const float *other, Py_ssize_t dim) {
    double sums[LANES] = {0};
    Py_ssize_t start = 0;
    for (; start + LANES <= dim; start += LANES)
        for (int lane = 0; lane < LANES; lane++) sums[lane] += (double)one[start + lane] * (double)other[start + lane];
    for (int lane = 0; start + lane < dim; lane++) sums[lane] += (double)one[start + lane] * (double)other[start + lane];
    return total(sums);
}

/* Write the vector *half* to *unit*, scaled to length 1; return whether it has a direction. */
FOR_EACH_PROCESSOR
static char scale(const uint16_t *restrict half, float *restrict unit, Py_ssize_t dim) {
    for (Py_ssize_t column = 0; column < dim; column++) unit[column] = widen(half[column]);
    const double squares = product(unit, unit, dim);
    if (!(squares > 0 && squares < INFINITY)) {
        memset(unit, 0, dim * sizeof *unit);
        return 0;
    }
    const double factor = 1 / sqrt(squares);
    for (Py_ssize_t column = 0; column < dim; column++) unit[column] = (float)((double)unit[column] * factor);
    return 1;
}

/* Return *cosine* in steps of 2^-24, between -1 and 1. */
INLINE float quantize(double cosine) {
    double steps = rint(cosine * STEPS);
    steps = steps > STEPS ? STEPS : steps < -STEPS ? -STEPS : steps;
    return (float)(steps / STEPS) + 0.0f; /* turns -0.0 into 0.0 */
}

INLINE void prefetch(const uint16_t *row, Py_ssize_t dim) {
    if (row == NULL) return;
    for (const char *line = (const char *)row, *end = (const char *)(row + dim); line < end; line += LINE) PREFETCH(line);
}

/* Return the address of the vector at *position*, or NULL for a position that no open shard has. */
static const uint16_t *find_vector(int64_t position, const int64_t *firsts, const int64_t *ends,
                                   const int64_t *addresses, Py_ssize_t shards, Py_ssize_t dim) {
    Py_ssize_t low = 0, high = shards; /* the first shard that begins after the position */
    while (low < high) {
        const Py_ssize_t middle = (low + high) / 2;
        if (firsts[middle] <= position) low = middle + 1;
        else high = middle;
    }
    if (low == 0 || position >= ends[low - 1] || addresses[low - 1] == 0) return NULL;
    return (const uint16_t *)(uintptr_t)addresses[low - 1] + (position - firsts[low - 1]) * dim;
}

/* Get the memory of *count* arguments, writable from number *writable* on; return 0 where an argument has no memory. */
static int get_buffers(PyObject *const *arguments, Py_buffer *buffers, int count, int writable) {
    for (int number = 0; number < count; number++)
        if (PyObject_GetBuffer(arguments[number], &buffers[number], number < writable ? PyBUF_SIMPLE : PyBUF_WRITABLE)) {
            while (number--) PyBuffer_Release(&buffers[number]);
            return 0;
        }
    return 1;
}

static void release_buffers(Py_buffer *buffers, int count) {
    while (count--) PyBuffer_Release(&buffers[count]);
}

static PyObject *size_error(Py_buffer *buffers, int count) {
    release_buffers(buffers, count);
    PyErr_SetString(PyExc_ValueError, "the arrays do not fit together");
    return NULL;
}

/* Return the last argument, the number of columns, after checking that there are *expected* arguments; -1 on error. */
static Py_ssize_t get_dim(PyObject *const *arguments, Py_ssize_t given, Py_ssize_t expected) {
    Py_ssize_t dim = -1;
    if (given != expected) PyErr_Format(PyExc_TypeError, "%zd arguments are taken", expected);
    else dim = PyLong_AsSsize_t(arguments[expected - 1]);
    if (dim < 1 && !PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "a vector has no numbers");
    return PyErr_Occurred() ? -1 : dim;
}

static PyObject *scale_half(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    Py_buffer buffers[3];
    const Py_ssize_t dim = get_dim(arguments, given, 4);
    if (dim < 0 || !get_buffers(arguments, buffers, 3, 1)) return NULL;
    const uint16_t *half = buffers[0].buf;
    float *units = buffers[1].buf;
    char *alive = buffers[2].buf;
    const Py_ssize_t rows = buffers[2].len;
    if (buffers[0].len != 2 * rows * dim || buffers[1].len != 4 * rows * dim) return size_error(buffers, 3);
    PyThreadState *state = rows * dim > LONG ? PyEval_SaveThread() : NULL;
    for (Py_ssize_t row = 0; row < rows; row++) alive[row] = scale(half + row * dim, units + row * dim, dim);
    if (state) PyEval_RestoreThread(state);
    release_buffers(buffers, 3);
    Py_RETURN_NONE;
}

static PyObject *gather_half(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    Py_buffer buffers[6];
    const Py_ssize_t dim = get_dim(arguments, given, 7);
    if (dim < 0 || !get_buffers(arguments, buffers, 6, 4)) return NULL;
    const int64_t *positions = buffers[0].buf, *firsts = buffers[1].buf, *ends = buffers[2].buf;
    const int64_t *addresses = buffers[3].buf;
    float *units = buffers[4].buf;
    char *alive = buffers[5].buf;
    const Py_ssize_t rows = buffers[5].len, shards = buffers[1].len / 8;
    if (buffers[0].len != 8 * rows || buffers[2].len != 8 * shards || buffers[3].len != 8 * shards ||
        buffers[4].len != 4 * rows * dim)
        return size_error(buffers, 6);
    const uint16_t *ahead[AHEAD + 1];
    Py_ssize_t missing = -1;
    PyThreadState *state = rows * dim > LONG ? PyEval_SaveThread() : NULL;
    for (Py_ssize_t next = 0, row = -AHEAD; row < rows; next++, row++) {
        if (next < rows) {
            ahead[next % (AHEAD + 1)] = find_vector(positions[next], firsts, ends, addresses, shards, dim);
            prefetch(ahead[next % (AHEAD + 1)], dim);
        }
        if (row < 0) continue;
        if (ahead[row % (AHEAD + 1)] == NULL) {
            missing = row;
            break;
        }
        alive[row] = scale(ahead[row % (AHEAD + 1)], units + row * dim, dim);
    }
    if (state) PyEval_RestoreThread(state);
    release_buffers(buffers, 6);
    return PyLong_FromSsize_t(missing);
}

/* Write the cosine of each of *vectors* with its query: the first *each* vectors belong to the first of *count*
 * queries, and so on. */
FOR_EACH_PROCESSOR
static void compare(const float *vectors, const float *queries, float *scores, Py_ssize_t count, Py_ssize_t each,
                    Py_ssize_t dim) {
    for (; count--; queries += dim)
        for (Py_ssize_t row = 0; row < each; row++, vectors += dim)
            *scores++ = quantize(product(vectors, queries, dim));
}

static PyObject *cosines(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    Py_buffer buffers[3];
    const Py_ssize_t dim = get_dim(arguments, given, 4);
    if (dim < 0 || !get_buffers(arguments, buffers, 3, 2)) return NULL;
    const float *vectors = buffers[0].buf, *queries = buffers[1].buf;
    float *scores = buffers[2].buf;
    const Py_ssize_t rows = buffers[2].len / 4, count = buffers[1].len / 4 / dim;
    if (buffers[0].len != 4 * rows * dim || buffers[1].len != 4 * count * dim || (count ? rows % count : rows))
        return size_error(buffers, 3);
    const Py_ssize_t each = count ? rows / count : 0;
    PyThreadState *state = rows * dim > LONG ? PyEval_SaveThread() : NULL;
    compare(vectors, queries, scores, count, each, dim);
    if (state) PyEval_RestoreThread(state);
    release_buffers(buffers, 3);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"scale_half", (PyCFunction)(void (*)(void))scale_half, METH_FASTCALL, NULL},
    {"gather_half", (PyCFunction)(void (*)(void))gather_half, METH_FASTCALL, NULL},
    {"cosines", (PyCFunction)(void (*)(void))cosines, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&module); }
