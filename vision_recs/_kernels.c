/* What is done to every vector that is read, from float16 to a unit vector in float32, and the product of two vectors;
 * and the walk over a graph, which finds the vectors that are to be read.
 *
 * Where there was no compiler when visrec was installed, NumPy does the same (vectors.py), several times slower, and
 * FAISS walks. Sums are computed in the same order on every processor: hence -ffp-contract=off, and no -ffast-math.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
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

/* Write the cosine of each of *count* queries with *each* vectors, as `scale_half` and `compare` would find it, without
 * keeping the vectors. A position below 0 has the score -2. Return the index of the first position without a vector or a
 * direction, or -1. */
static Py_ssize_t compare_at(const int64_t *positions, const int64_t *firsts, const int64_t *ends, const int64_t *addresses,
                             Py_ssize_t shards, const float *queries, float *scores, float *unit, Py_ssize_t count,
                             Py_ssize_t each, Py_ssize_t dim) {
    const uint16_t *ahead[AHEAD + 1];
    const Py_ssize_t rows = count * each;
    for (Py_ssize_t next = 0, row = -AHEAD; row < rows; next++, row++) {
        if (next < rows) {
            ahead[next % (AHEAD + 1)] = find_vector(positions[next], firsts, ends, addresses, shards, dim);
            prefetch(ahead[next % (AHEAD + 1)], dim);
        }
        if (row < 0) continue;
        scores[row] = -2;
        if (positions[row] < 0) continue;
        if (ahead[row % (AHEAD + 1)] == NULL || !scale(ahead[row % (AHEAD + 1)], unit, dim)) return row;
        compare(unit, queries + row / each * dim, scores + row, 1, 1, dim);
    }
    return -1;
}

static PyObject *cosines_at(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    Py_buffer buffers[6];
    const Py_ssize_t dim = get_dim(arguments, given, 7);
    if (dim < 0 || !get_buffers(arguments, buffers, 6, 5)) return NULL;
    const Py_ssize_t rows = buffers[0].len / 8, shards = buffers[1].len / 8, count = buffers[4].len / 4 / dim;
    if (buffers[0].len != 8 * rows || buffers[1].len != 8 * shards || buffers[2].len != 8 * shards ||
        buffers[3].len != 8 * shards || buffers[4].len != 4 * count * dim || buffers[5].len != 4 * rows ||
        (count ? rows % count : rows))
        return size_error(buffers, 6);
    float *unit = PyMem_RawMalloc((size_t)dim * sizeof *unit);
    if (unit == NULL) {
        release_buffers(buffers, 6);
        return PyErr_NoMemory();
    }
    PyThreadState *state = rows * dim > LONG ? PyEval_SaveThread() : NULL;
    const Py_ssize_t missing = compare_at(buffers[0].buf, buffers[1].buf, buffers[2].buf, buffers[3].buf, shards,
                                          buffers[4].buf, buffers[5].buf, unit, count, count ? rows / count : 0, dim);
    if (state) PyEval_RestoreThread(state);
    PyMem_RawFree(unit);
    release_buffers(buffers, 6);
    return PyLong_FromSsize_t(missing);
}

/* A walk over a graph (HNSW): the codes of its vectors are numbers of one byte, 128 more than what they stand for. */
typedef struct {
    const uint8_t *codes;     /* (count, size) */
    const int32_t *links;     /* of each vector, one level after the other; -1 ends those of a level */
    const int64_t *offsets;   /* where in links those of each vector begin (count + 1) */
    const int32_t *firsts;    /* where among the links of a vector those of each level begin */
    const uint8_t *marks;     /* a bit for each vector that may be found, or NULL for all of them */
    Py_ssize_t count, size, linked;
    int64_t entry, top;       /* where a walk begins, and its highest level */
} Graph;

/* Vectors by distance, the nearest first: 32 bits of the distance, 31 of the vector, and whether the walk was there. */
typedef struct {
    uint64_t *entries;
    Py_ssize_t size, most;
} Nearest;

/* The vectors that a walk has met: a table of their numbers plus 1, at least half of it free. */
typedef struct {
    uint32_t *slots;
    Py_ssize_t used;
    int bits;
} Met;

enum { MOST_LINKS = 256, MOST_NUMBERS = INT32_MAX / (255 * 255), LEAST_BITS = 10, LAST_LINE = 16 };

INLINE uint64_t entry_of(uint32_t distance, int64_t vector) { return (uint64_t)distance << 32 | (uint64_t)vector << 1; }
INLINE int64_t vector_of(uint64_t entry) { return (int64_t)((entry & 0xffffffffu) >> 1); }

/* Return the squared distance of a code and a *query*, whose numbers are 128 more than what they stand for, too. */
FOR_EACH_PROCESSOR
static void distances_of(const uint8_t *codes, const int16_t *query, Py_ssize_t size, const int32_t *vectors,
                         Py_ssize_t count, uint32_t *distances) {
    for (Py_ssize_t number = 0; number < count; number++) {
        const uint8_t *code = codes + vectors[number] * size;
        int32_t sum = 0;
        for (Py_ssize_t column = 0; column < size; column++) {
            const int16_t difference = (int16_t)(code[column] - query[column]);
            sum += (int32_t)difference * difference;
        }
        distances[number] = (uint32_t)sum;
    }
}

/* Put *entry* into *nearest* unless that is full of nearer ones; return its place, or -1. */
INLINE Py_ssize_t put(Nearest *nearest, uint64_t entry) {
    uint64_t *entries = nearest->entries;
    if (nearest->size == nearest->most) {
        if (entry >= entries[nearest->size - 1]) return -1;
        nearest->size--;
    }
    Py_ssize_t low = 0, high = nearest->size;
    while (low < high) {
        const Py_ssize_t middle = (low + high) / 2;
        if (entries[middle] < entry) low = middle + 1;
        else high = middle;
    }
    memmove(entries + low + 1, entries + low, (size_t)(nearest->size++ - low) * sizeof *entries);
    entries[low] = entry;
    return low;
}

INLINE uint32_t *slot_of(const Met *met, uint32_t key) {
    const uint32_t mask = ((uint32_t)1 << met->bits) - 1;
    uint32_t slot = key * 2654435761u >> (32 - met->bits);
    while (met->slots[slot] && met->slots[slot] != key) slot = (slot + 1) & mask;
    return met->slots + slot;
}

/* Make the table of *met* twice as large; return 0 without memory. */
static int grow(Met *met) {
    const Met before = *met;
    met->bits++;
    met->slots = calloc((size_t)1 << met->bits, sizeof *met->slots);
    if (met->slots == NULL) {
        *met = before;
        return 0;
    }
    for (Py_ssize_t slot = 0; slot < (Py_ssize_t)1 << before.bits; slot++)
        if (before.slots[slot]) *slot_of(met, before.slots[slot]) = before.slots[slot];
    free(before.slots);
    return 1;
}

/* Return the links of *vector* on *level*, and their number in *count*: none where they would not be in memory. */
INLINE const int32_t *links_of(const Graph *graph, int64_t vector, int64_t level, Py_ssize_t *count) {
    const int64_t offset = graph->offsets[vector], first = graph->firsts[level], end = graph->firsts[level + 1];
    const int is_there = offset >= 0 && offset <= graph->linked - end;
    *count = is_there ? end - first : 0;
    return graph->links + (is_there ? offset + first : 0);
}

/* Return the vector nearest to *query* that is met by going to the nearest neighbor on each level but the lowest. */
static int64_t descend(const Graph *graph, const int16_t *query) {
    int32_t nearest = (int32_t)graph->entry, near[MOST_LINKS];
    uint32_t least, distances[MOST_LINKS];
    distances_of(graph->codes, query, graph->size, &nearest, 1, &least);
    for (int64_t level = graph->top; level > 0; level--)
        for (int is_nearer = 1; is_nearer;) {
            Py_ssize_t linked, count = 0;
            const int32_t *links = links_of(graph, nearest, level, &linked);
            for (; count < linked && links[count] >= 0 && links[count] < graph->count; count++) near[count] = links[count];
            distances_of(graph->codes, query, graph->size, near, count, distances);
            is_nearer = 0;
            for (Py_ssize_t number = 0; number < count; number++)
                if (distances[number] < least) {
                    least = distances[number];
                    nearest = near[number];
                    is_nearer = 1;
                }
        }
    return nearest;
}

/* Find the vectors around *query*, and visit the nearest *effort* of them: *front* has the nearest of all that were met,
 * *found* of those that are marked, where *graph* has marks. Return 0 without memory. */
static int walk(const Graph *graph, const int16_t *query, Py_ssize_t effort, Nearest *front, Nearest *found, Met *met) {
    int32_t near[MOST_LINKS];
    uint32_t distances[MOST_LINKS];
    Py_ssize_t next = 0, count = 1;
    memset(met->slots, 0, sizeof *met->slots << met->bits);
    met->used = 1;
    front->size = found->size = 0;
    near[0] = (int32_t)descend(graph, query);
    *slot_of(met, (uint32_t)near[0] + 1) = (uint32_t)near[0] + 1;
    while (1) {
        distances_of(graph->codes, query, graph->size, near, count, distances);
        for (Py_ssize_t number = 0; number < count; number++) {
            const uint64_t entry = entry_of(distances[number], near[number]);
            const Py_ssize_t place = put(front, entry);
            if (place >= 0 && place < next) next = place;
            if (place >= 0) PREFETCH(graph->offsets + near[number]);
            if (graph->marks && graph->marks[near[number] >> 3] >> (near[number] & 7) & 1) put(found, entry);
        }
        while (next < front->size && front->entries[next] & 1) next++;
        if (next >= effort || next == front->size) return 1;
        front->entries[next] |= 1;
        Py_ssize_t linked;
        const int32_t *links = links_of(graph, vector_of(front->entries[next]), 0, &linked);
        if (next + 1 < front->size) {
            const int32_t *following = graph->links + graph->offsets[vector_of(front->entries[next + 1])];
            PREFETCH(following);
            PREFETCH(following + LAST_LINE);
        }
        count = 0;
        for (Py_ssize_t number = 0; number < linked; number++) {
            const int32_t vector = links[number];
            if (vector < 0 || vector >= graph->count) break;
            uint32_t *slot = slot_of(met, (uint32_t)vector + 1);
            if (*slot) continue;
            *slot = (uint32_t)vector + 1;
            near[count++] = vector;
            const uint8_t *code = graph->codes + vector * graph->size;
            for (Py_ssize_t byte = 0; byte < graph->size; byte += LINE) PREFETCH(code + byte);
        }
        met->used += count;
        if (2 * (met->used + MOST_LINKS) > (Py_ssize_t)1 << met->bits && !grow(met)) return 0;
    }
}

INLINE Py_ssize_t smaller(Py_ssize_t one, Py_ssize_t other) { return one < other ? one : other; }

/* Write the *each* nearest vectors of *graph* to each of *count* *queries*; return 0 without memory. */
static int walk_to_each(const Graph *graph, const float *queries, float *distances, int64_t *ordinals, Py_ssize_t count,
                        Py_ssize_t each, Py_ssize_t effort) {
    const Py_ssize_t kept = smaller(each, graph->count), most = smaller(effort > each ? effort : each, graph->count);
    Nearest front = {malloc((size_t)(most + 1) * 8), 0, most}, found = {malloc((size_t)(kept + 1) * 8), 0, kept};
    Met met = {NULL, 0, LEAST_BITS};
    while ((Py_ssize_t)1 << met.bits < 32 * most && met.bits < 20) met.bits++;
    met.slots = malloc(sizeof *met.slots << met.bits);
    int16_t *query = malloc((size_t)graph->size * sizeof *query);
    int is_done = front.entries && found.entries && met.slots && query;
    for (Py_ssize_t number = 0; number < count && is_done; number++, queries += graph->size) {
        for (Py_ssize_t column = 0; column < graph->size; column++) query[column] = (int16_t)(fminf(fmaxf(queries[column], -128), 127) + 128);
        if (graph->count) is_done = walk(graph, query, effort, &front, &found, &met);
        const Nearest *best = graph->marks ? &found : &front;
        for (Py_ssize_t place = 0; place < each; place++, distances++, ordinals++) {
            const int is_there = place < best->size;
            *distances = is_there ? (float)(best->entries[place] >> 32) : INFINITY;
            *ordinals = is_there ? vector_of(best->entries[place]) : -1;
        }
    }
    free(front.entries);
    free(found.entries);
    free(met.slots);
    free(query);
    return is_done;
}

/* Return whether *levels* levels have at most MOST_LINKS links each, which begin at *firsts*. */
static int are_levels(const int32_t *firsts, Py_ssize_t levels) {
    if (levels < 0 || firsts[0] < 0) return 0;
    for (Py_ssize_t level = 0; level < levels; level++)
        if (firsts[level + 1] < firsts[level] || firsts[level + 1] - firsts[level] > MOST_LINKS) return 0;
    return 1;
}

static PyObject *walk_graph(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    Py_buffer buffers[9];
    if (given != 12) return PyErr_Format(PyExc_TypeError, "12 arguments are taken");
    const Py_ssize_t number = PyLong_AsSsize_t(arguments[9]), effort = PyLong_AsSsize_t(arguments[10]);
    const Py_ssize_t size = get_dim(arguments, given, 12);
    if (size < 0 || PyErr_Occurred() || !get_buffers(arguments, buffers, 9, 7)) return NULL;
    const int64_t *entry = buffers[5].buf;
    const Py_ssize_t count = buffers[3].len / 8 - 1, queries = buffers[0].len / 4 / size, levels = buffers[4].len / 4 - 1;
    const int fits = number > 0 && effort > 0 && size <= MOST_NUMBERS && are_levels(buffers[4].buf, levels) && count >= 0 && count <= INT32_MAX && buffers[0].len == 4 * queries * size &&
                     buffers[1].len == count * size && buffers[5].len == 16 &&
                     (!buffers[6].len || buffers[6].len >= (count + 7) / 8) && buffers[7].len == 4 * queries * number &&
                     buffers[8].len == 8 * queries * number;
    if (!fits || (count && (entry[0] < 0 || entry[0] >= count || entry[1] < 0 || entry[1] >= levels)))
        return size_error(buffers, 9);
    const Graph graph = {
        buffers[1].buf, buffers[2].buf, buffers[3].buf, buffers[4].buf, buffers[6].len ? buffers[6].buf : NULL,
        count, size, buffers[2].len / 4, entry[0], entry[1]};
    PyThreadState *state = PyEval_SaveThread();
    const int is_done = walk_to_each(&graph, buffers[0].buf, buffers[7].buf, buffers[8].buf, queries, number, effort);
    PyEval_RestoreThread(state);
    release_buffers(buffers, 9);
    if (!is_done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"scale_half", (PyCFunction)(void (*)(void))scale_half, METH_FASTCALL, NULL},
    {"gather_half", (PyCFunction)(void (*)(void))gather_half, METH_FASTCALL, NULL},
    {"cosines", (PyCFunction)(void (*)(void))cosines, METH_FASTCALL, NULL},
    {"cosines_at", (PyCFunction)(void (*)(void))cosines_at, METH_FASTCALL, NULL},
    {"walk_graph", (PyCFunction)(void (*)(void))walk_graph, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&module); }
