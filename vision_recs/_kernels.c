/* What is done to every vector that is read, from float16 to a unit vector in float32, and the product of two vectors;
 * and the walk over a graph, or a scan of it, which finds the vectors that are to be read; a search does all of it in one
 * call. Of pools, those are chosen that are unlike each other; and what was learned moves a pool.
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
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_X86 1
#else
#define HAS_X86 0
#endif

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

enum { LANES = 16, LINE = 64, AHEAD = 6, PAIRS_AHEAD = 2, FOUR = 4, LONG = 1 << 15, ROOM = sizeof(double) + sizeof(float) };
static const double STEPS = 16777216.0; /* of a score from 0 to 1: see vectors.py */
static const double ROUGHLY = 1 / 4194304.0;

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

/* Return the sum of LANES numbers: of the two halves, and so on. */
INLINE double total(const double *sums) {
    double eight[8], four[4];
    for (int lane = 0; lane < 8; lane++) eight[lane] = sums[lane] + sums[lane + 8];
    for (int lane = 0; lane < 4; lane++) four[lane] = eight[lane] + eight[lane + 4];
    return four[0] + four[2] + (four[1] + four[3]);
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

FOR_EACH_PROCESSOR
static void widen_each(const uint16_t *restrict half, float *restrict wide, Py_ssize_t dim) {
    for (Py_ssize_t column = 0; column < dim; column++) wide[column] = widen(half[column]);
}

#if HAS_X86
/* Do the same on a processor that has an instruction for it. */
__attribute__((target("avx,f16c"))) static void widen_by_f16c(const uint16_t *half, float *wide, Py_ssize_t dim) {
    Py_ssize_t column = 0;
    for (; column + 8 <= dim; column += 8)
        _mm256_storeu_ps(wide + column, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(half + column))));
    for (; column < dim; column++) wide[column] = widen(half[column]);
}
#endif

static void (*widen_row)(const uint16_t *, float *, Py_ssize_t) = widen_each;

/* Write the vector *half* to *wide*; return by which factor its length becomes 1, or 0 where it has no direction. */
INLINE double widen_and_measure(const uint16_t *half, float *wide, Py_ssize_t dim) {
    widen_row(half, wide, dim);
    const double squares = product(wide, wide, dim);
    return squares > 0 && squares < INFINITY ? 1 / sqrt(squares) : 0;
}

/* Write the vector *half* to *unit*, scaled to length 1; return whether it has a direction. */
FOR_EACH_PROCESSOR
static char scale(const uint16_t *restrict half, float *restrict unit, Py_ssize_t dim) {
    const double factor = widen_and_measure(half, unit, dim);
    if (factor == 0) memset(unit, 0, dim * sizeof *unit);
    for (Py_ssize_t column = 0; column < dim && factor; column++) unit[column] = (float)((double)unit[column] * factor);
    return factor != 0;
}

/* Return *cosine* in steps of 2^-24, between -1 and 1. */
INLINE float quantize(double cosine) {
    double steps = rint(cosine * STEPS);
    steps = steps > STEPS ? STEPS : steps < -STEPS ? -STEPS : steps;
    return (float)(steps / STEPS) + 0.0f; /* turns -0.0 into 0.0 */
}

INLINE Py_ssize_t smaller(Py_ssize_t one, Py_ssize_t other) { return one < other ? one : other; }

INLINE Py_ssize_t larger(Py_ssize_t one, Py_ssize_t other) { return one < other ? other : one; }

INLINE void prefetch(const uint16_t *row, Py_ssize_t dim) {
    if (row == NULL) return;
    for (const char *line = (const char *)row, *end = (const char *)(row + dim); line < end; line += LINE) PREFETCH(line);
}

/* The positions that shards hold, ascending, and the addresses of their vectors, 0 for a shard that is not open. */
typedef struct {
    const int64_t *firsts, *ends, *addresses;
    Py_ssize_t count;
} Shards;

/* Return the address of the vector at *position*, or NULL for a position that no open shard has. */
static const uint16_t *find_vector(int64_t position, const Shards *shards, Py_ssize_t dim) {
    Py_ssize_t low = 0, high = shards->count; /* the first shard that begins after the position */
    while (low < high) {
        const Py_ssize_t middle = (low + high) / 2;
        if (shards->firsts[middle] <= position) low = middle + 1;
        else high = middle;
    }
    if (low == 0 || position >= shards->ends[low - 1] || shards->addresses[low - 1] == 0) return NULL;
    return (const uint16_t *)(uintptr_t)shards->addresses[low - 1] + (position - shards->firsts[low - 1]) * dim;
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
    const int64_t *positions = buffers[0].buf;
    const Shards shards = {buffers[1].buf, buffers[2].buf, buffers[3].buf, buffers[1].len / 8};
    float *units = buffers[4].buf;
    char *alive = buffers[5].buf;
    const Py_ssize_t rows = buffers[5].len;
    if (buffers[0].len != 8 * rows || buffers[2].len != 8 * shards.count || buffers[3].len != 8 * shards.count ||
        buffers[4].len != 4 * rows * dim)
        return size_error(buffers, 6);
    const uint16_t *ahead[AHEAD + 1];
    Py_ssize_t missing = -1;
    PyThreadState *state = rows * dim > LONG ? PyEval_SaveThread() : NULL;
    for (Py_ssize_t next = 0, row = -AHEAD; row < rows; next++, row++) {
        if (next < rows) {
            ahead[next % (AHEAD + 1)] = find_vector(positions[next], &shards, dim);
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

/* Return whether all of *count* numbers are those of one of *rows* rows. */
static int are_rows(const int64_t *numbers, Py_ssize_t count, Py_ssize_t rows) {
    int are = 1;
    for (Py_ssize_t place = 0; place < count; place++) are &= numbers[place] >= 0 && numbers[place] < rows;
    return are;
}

/* Write the cosine of each of *count* pairs: of a row of *some* with a row of *others*. */
FOR_EACH_PROCESSOR
static void compare_pairs(const float *some, const float *others, const int64_t *rows, const int64_t *columns, float *scores,
                          Py_ssize_t count, Py_ssize_t dim) {
    for (Py_ssize_t pair = 0; pair < count; pair++) {
        if (pair + PAIRS_AHEAD < count) prefetch((const uint16_t *)(others + columns[pair + PAIRS_AHEAD] * dim), 2 * dim);
        scores[pair] = quantize(product(others + columns[pair] * dim, some + rows[pair] * dim, dim));
    }
}

static PyObject *cosines_of_pairs(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    Py_buffer buffers[5];
    const Py_ssize_t dim = get_dim(arguments, given, 6);
    if (dim < 0 || !get_buffers(arguments, buffers, 5, 4)) return NULL;
    const float *some = buffers[0].buf, *others = buffers[1].buf;
    const int64_t *rows = buffers[2].buf, *columns = buffers[3].buf;
    float *scores = buffers[4].buf;
    const Py_ssize_t count = buffers[4].len / 4;
    if (buffers[4].len != 4 * count || buffers[2].len != 8 * count || buffers[3].len != 8 * count ||
        !are_rows(rows, count, buffers[0].len / 4 / dim) || !are_rows(columns, count, buffers[1].len / 4 / dim))
        return size_error(buffers, 5);
    PyThreadState *state = count * dim > LONG ? PyEval_SaveThread() : NULL;
    compare_pairs(some, others, rows, columns, scores, count, dim);
    if (state) PyEval_RestoreThread(state);
    release_buffers(buffers, 5);
    Py_RETURN_NONE;
}

/* Write the products of the vector *one* with each of FOUR others. */
FOR_EACH_PROCESSOR
static void multiply_four_anywhere(const float *one, const float *const *others, float *products, Py_ssize_t dim) {
    for (int other = 0; other < FOUR; other++) products[other] = (float)product(one, others[other], dim);
}

#if HAS_X86
/* Do about the same, added up in float32, in a third of the time. */
__attribute__((target("avx2,fma"))) static void multiply_four_by_avx2(const float *one, const float *const *others, float *products,
                                                                      Py_ssize_t dim) {
    __m256 sums[FOUR] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    Py_ssize_t column = 0;
    for (; column + 8 <= dim; column += 8)
        for (int other = 0; other < FOUR; other++)
            sums[other] = _mm256_fmadd_ps(_mm256_loadu_ps(one + column), _mm256_loadu_ps(others[other] + column), sums[other]);
    const __m256 halves = _mm256_hadd_ps(_mm256_hadd_ps(sums[0], sums[1]), _mm256_hadd_ps(sums[2], sums[3]));
    _mm_storeu_ps(products, _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1)));
    for (; column < dim; column++)
        for (int other = 0; other < FOUR; other++) products[other] += one[column] * others[other][column];
}
#endif

static void (*multiply_four)(const float *, const float *const *, float *, Py_ssize_t) = multiply_four_anywhere;

/* A candidate that is left in a pool: the *own* part of its value, and its cosine with the *nearest* of those chosen. */
typedef struct {
    const float *vector;
    double own;
    float nearest;
    int64_t number;
} Candidate;

/* Bring the *left* candidates up to date with the one that was *chosen*. */
static void move_away_from(const float *chosen, Candidate *left, Py_ssize_t count, Py_ssize_t dim) {
    for (Py_ssize_t first = 0; first < count; first += FOUR) {
        const float *others[FOUR];
        float near[FOUR];
        for (int other = 0; other < FOUR; other++) others[other] = left[smaller(first + other, count - 1)].vector;
        multiply_four(chosen, others, near, dim);
        for (Py_ssize_t place = first; place < smaller(first + FOUR, count); place++)
            if (near[place - first] > left[place].nearest) left[place].nearest = near[place - first];
    }
}

/* Write the numbers of *most* of the *left* candidates, chosen by maximal marginal relevance; there are not fewer. */
static void choose(Candidate *left, Py_ssize_t count, int64_t *chosen, Py_ssize_t most, double diversity, Py_ssize_t dim) {
    for (Py_ssize_t step = 0; step < most; step++) {
        Py_ssize_t best = 0;
        double highest = -INFINITY;
        for (Py_ssize_t place = 0; place < count; place++) {
            const double value = left[place].own - (step ? diversity * left[place].nearest : 0);
            if (value > highest) {
                highest = value;
                best = place;
            }
        }
        chosen[step] = left[best].number;
        const float *vector = left[best].vector;
        count--;
        memmove(left + best, left + best + 1, (count - best) * sizeof *left);
        if (step + 1 < most) move_away_from(vector, left, count, dim);
    }
}

/* The candidates of some pools, one pool behind the other: the vector of each is one of the *rows* of *vectors*. */
typedef struct {
    const float *vectors;
    const int64_t *rows, *starts;
    const float *scores;
    Py_ssize_t pools, dim;
} Pools;

/* Choose up to *most* of each pool; return 0 without memory. */
static int choose_of_each(const Pools *pools, int64_t *chosen, Py_ssize_t most, double diversity) {
    Py_ssize_t widest = 1;
    for (Py_ssize_t pool = 0; pool < pools->pools; pool++)
        if (pools->starts[pool + 1] - pools->starts[pool] > widest) widest = pools->starts[pool + 1] - pools->starts[pool];
    Candidate *left = malloc(widest * sizeof *left);
    if (left == NULL) return 0;
    for (Py_ssize_t pool = 0; pool < pools->pools; pool++) {
        const int64_t first = pools->starts[pool];
        const Py_ssize_t count = pools->starts[pool + 1] - first, wanted = smaller(count, most);
        for (Py_ssize_t place = 0; place < count; place++) {
            const float *vector = pools->vectors + pools->rows[first + place] * pools->dim;
            prefetch((const uint16_t *)vector, 2 * pools->dim);
            left[place] = (Candidate){vector, (1 - diversity) * pools->scores[first + place], -INFINITY, first + place};
        }
        choose(left, count, chosen, wanted, diversity, pools->dim);
        chosen += wanted;
    }
    free(left);
    return 1;
}

/* Return whether the *pools* are *count* candidates, of which up to *most* of each are *wanted*. */
static int are_pools(const Pools *pools, Py_ssize_t count, Py_ssize_t most, Py_ssize_t wanted) {
    const int64_t *starts = pools->starts;
    if (pools->pools < 0 || starts[0] != 0 || starts[pools->pools] != count || most < 0) return 0;
    for (Py_ssize_t pool = 0; pool < pools->pools; pool++) {
        if (starts[pool] > starts[pool + 1] || starts[pool + 1] > count) return 0;
        wanted -= smaller(starts[pool + 1] - starts[pool], most);
    }
    return wanted == 0;
}

static PyObject *diversify(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    Py_buffer buffers[5]; /* vectors, rows, scores, starts, chosen */
    const Py_ssize_t dim = get_dim(arguments, given, 8);
    if (dim < 0) return NULL;
    const Py_ssize_t most = PyLong_AsSsize_t(arguments[5]);
    const double diversity = PyFloat_AsDouble(arguments[6]);
    if (PyErr_Occurred() || !get_buffers(arguments, buffers, 5, 4)) return NULL;
    const Py_ssize_t count = buffers[2].len / 4;
    const Pools pools = {buffers[0].buf, buffers[1].buf, buffers[3].buf, buffers[2].buf, buffers[3].len / 8 - 1, dim};
    if (buffers[1].len != 8 * count || buffers[2].len != 4 * count || buffers[3].len % 8 || buffers[4].len % 8 ||
        !are_rows(pools.rows, count, buffers[0].len / 4 / dim) ||
        !are_pools(&pools, count, most, buffers[4].len / 8))
        return size_error(buffers, 5);
    PyThreadState *state = PyEval_SaveThread();
    const int is_done = choose_of_each(&pools, buffers[4].buf, most, diversity);
    PyEval_RestoreThread(state);
    release_buffers(buffers, 5);
    if (!is_done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* Return the cosine of the vector *half* and *query*, whose numbers are float32 ones, as `scale` and `compare` find it;
 * -2 where the vector has no direction. *wide* has room for a vector. */
FOR_EACH_PROCESSOR
static float cosine_of(const uint16_t *half, const double *restrict query, float *restrict wide, Py_ssize_t dim) {
    const double factor = widen_and_measure(half, wide, dim);
    if (factor == 0) return -2;
    double sums[LANES] = {0};
    Py_ssize_t start = 0;
    for (; start + LANES <= dim; start += LANES)
        for (int lane = 0; lane < LANES; lane++)
            sums[lane] += (double)(float)((double)wide[start + lane] * factor) * query[start + lane];
    for (int lane = 0; start + lane < dim; lane++)
        sums[lane] += (double)(float)((double)wide[start + lane] * factor) * query[start + lane];
    return quantize(total(sums));
}

#if HAS_X86
/* Return about the same as `cosine_of`, for a query in float32, in a fifth of the time: it differs by far less than half of
 * (dim + LANES) * ROUGHLY. Without a direction it is NaN. */
__attribute__((target("avx2,fma,f16c"))) static float rough_cosine_by_avx2(const uint16_t *half, const float *query, Py_ssize_t dim) {
    __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, squares[2] = {sums[0], sums[0]};
    Py_ssize_t column = 0;
    for (; column + 16 <= dim; column += 16)
        for (int part = 0; part < 2; part++) {
            const __m256 wide = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(half + column) + part));
            sums[part] = _mm256_fmadd_ps(wide, _mm256_loadu_ps(query + column + 8 * part), sums[part]);
            squares[part] = _mm256_fmadd_ps(wide, wide, squares[part]);
        }
    float lanes[2][8], sum = 0, square = 0;
    _mm256_storeu_ps(lanes[0], _mm256_add_ps(sums[0], sums[1]));
    _mm256_storeu_ps(lanes[1], _mm256_add_ps(squares[0], squares[1]));
    for (int lane = 0; lane < 8; lane++) {
        sum += lanes[0][lane];
        square += lanes[1][lane];
    }
    for (; column < dim; column++) {
        const float wide = widen(half[column]);
        sum += wide * query[column];
        square += wide * wide;
    }
    return square > 0 && square < INFINITY ? sum / sqrtf(square) : NAN;
}
#endif

static float (*rough_cosine)(const uint16_t *, const float *, Py_ssize_t) = NULL; /* where the processor can */

/* Write the cosine of each of *count* queries with *each* vectors, as `scale_half` and `compare` would find it, without
 * keeping the vectors. A position below 0 has the score -2. Return the index of the first position without a vector or a
 * direction, or -1. *room* has dim * ROOM bytes. */
static Py_ssize_t compare_at(const int64_t *positions, const Shards *shards, const float *queries, float *scores,
                             double *room, Py_ssize_t count, Py_ssize_t each, Py_ssize_t dim) {
    float *wide = (float *)(room + dim);
    const uint16_t *ahead[AHEAD + 1];
    const Py_ssize_t rows = count * each;
    for (Py_ssize_t next = 0, row = -AHEAD; row < rows; next++, row++) {
        if (next < rows) {
            ahead[next % (AHEAD + 1)] = find_vector(positions[next], shards, dim);
            prefetch(ahead[next % (AHEAD + 1)], dim);
        }
        if (row < 0) continue;
        if (row % each == 0)
            for (Py_ssize_t column = 0; column < dim; column++) room[column] = queries[row / each * dim + column];
        scores[row] = -2;
        if (positions[row] < 0) continue;
        if (ahead[row % (AHEAD + 1)] == NULL) return row;
        scores[row] = cosine_of(ahead[row % (AHEAD + 1)], room, wide, dim);
        if (scores[row] == -2) return row;
    }
    return -1;
}

static PyObject *cosines_at(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    Py_buffer buffers[6];
    const Py_ssize_t dim = get_dim(arguments, given, 7);
    if (dim < 0 || !get_buffers(arguments, buffers, 6, 5)) return NULL;
    const Py_ssize_t rows = buffers[0].len / 8, count = buffers[4].len / 4 / dim;
    const Shards shards = {buffers[1].buf, buffers[2].buf, buffers[3].buf, buffers[1].len / 8};
    if (buffers[0].len != 8 * rows || buffers[1].len != 8 * shards.count || buffers[2].len != 8 * shards.count ||
        buffers[3].len != 8 * shards.count || buffers[4].len != 4 * count * dim || buffers[5].len != 4 * rows ||
        (count ? rows % count : rows))
        return size_error(buffers, 6);
    double *room = PyMem_RawMalloc((size_t)dim * ROOM);
    if (room == NULL) {
        release_buffers(buffers, 6);
        return PyErr_NoMemory();
    }
    PyThreadState *state = rows * dim > LONG ? PyEval_SaveThread() : NULL;
    const Py_ssize_t missing = compare_at(buffers[0].buf, &shards, buffers[4].buf, buffers[5].buf, room, count,
                                          count ? rows / count : 0, dim);
    if (state) PyEval_RestoreThread(state);
    PyMem_RawFree(room);
    release_buffers(buffers, 6);
    return PyLong_FromSsize_t(missing);
}

/* How a query comes into the space of the codes: scales * (pairs @ query) + shift, with whole numbers for a query of
 * length QUERY_STEPS. Their sums are the same on every processor. The numbers of a row of the matrix are that of the row
 * in scales times as large, its length at most ROW_STEPS, so that a sum fits. They lie in blocks of BLOCK rows: of each
 * row two numbers, then of each row the next two, and so on. */
typedef struct {
    Py_ssize_t dim;
    int16_t *pairs;
    double *scales;
    const float *shift;
} Rotation;

enum { BLOCK = 64, QUERY_STEPS = 1 << 14, ROW_STEPS = 1 << 16, MOST_COLUMNS = 1 << 20 };

/* Write to *sums* (BLOCK,) the products of a block of a rotation with a query in *steps*, of *count* pairs each. */
FOR_EACH_PROCESSOR
static void multiply_pairs_anywhere(const int16_t *pairs, const int16_t *steps, int32_t *restrict sums, Py_ssize_t count) {
    for (int lane = 0; lane < BLOCK; lane++) sums[lane] = 0;
    for (; count--; steps += 2)
        for (int lane = 0; lane < BLOCK; lane++, pairs += 2)
            sums[lane] += (int32_t)pairs[0] * steps[0] + (int32_t)pairs[1] * steps[1];
}

#if HAS_X86
__attribute__((target("avx2"))) static void multiply_pairs_by_avx2(const int16_t *pairs, const int16_t *steps,
                                                                   int32_t *sums, Py_ssize_t count) {
    enum { EACH = 8 };
    __m256i found[BLOCK / EACH];
    for (int part = 0; part < BLOCK / EACH; part++) found[part] = _mm256_setzero_si256();
    for (; count--; steps += 2, pairs += 2 * BLOCK) {
        int32_t both;
        memcpy(&both, steps, sizeof both);
        for (int part = 0; part < BLOCK / EACH; part++) {
            const __m256i some = _mm256_loadu_si256((const __m256i *)pairs + part);
            found[part] = _mm256_add_epi32(found[part], _mm256_madd_epi16(some, _mm256_set1_epi32(both)));
        }
    }
    for (int part = 0; part < BLOCK / EACH; part++) _mm256_storeu_si256((__m256i *)sums + part, found[part]);
}
#endif

static void (*multiply_pairs)(const int16_t *, const int16_t *, int32_t *, Py_ssize_t) = multiply_pairs_anywhere;

/* A walk over a graph (HNSW): the codes of its vectors are numbers of one byte, 128 more than what they stand for. */
typedef struct {
    const uint8_t *codes;     /* (count, size) */
    const int32_t *links;     /* of each vector, one level after the other; -1 ends those of a level */
    const int64_t *offsets;   /* where in links those of each vector begin (count + 1) */
    const int32_t *firsts;    /* where among the links of a vector those of each level begin */
    const int64_t *positions; /* of each vector in the store */
    Rotation rotation;
    const uint8_t *marks;     /* a bit for each vector that may be found, or NULL for all of them */
    Py_ssize_t count, size, linked;
    int64_t entry, top;       /* where a walk begins, and its highest level */
} Graph;

/* Vectors by distance, the nearest first: 32 bits of the distance, 31 of the vector, and whether the walk was there. */
typedef struct {
    uint64_t *entries;
    Py_ssize_t size, most;
} Nearest;

/* Entries in no order but that each is at most the two at twice its place. */
typedef Nearest Heap;

/* The vectors that a walk has met: a table of their numbers plus 1, at least half of it free. */
typedef struct {
    uint32_t *slots;
    Py_ssize_t used;
    int bits;
} Met;

enum { MOST_LINKS = 256, MOST_NUMBERS = INT32_MAX / (255 * 255), LEAST_BITS = 10, LAST_LINE = 16, FAR = 256 };

INLINE uint64_t entry_of(uint32_t distance, int64_t vector) { return (uint64_t)distance << 32 | (uint64_t)vector << 1; }
INLINE int64_t vector_of(uint64_t entry) { return (int64_t)((entry & 0xffffffffu) >> 1); }

/* Write the squared distances of the codes of *count* *vectors* and a *query*, whose numbers are 128 more than what they
 * stand for, too. */
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
    Py_ssize_t low = 0;
    for (Py_ssize_t left = nearest->size, half; left; left -= half) { /* of which nothing can be foreseen, either */
        half = (left + 1) / 2;
        low += entries[low + half - 1] < entry ? half : 0;
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

INLINE void prefetch_code(const Graph *graph, int64_t vector) {
    const uint8_t *code = graph->codes + vector * graph->size;
    for (Py_ssize_t byte = 0; byte < graph->size; byte += LINE) PREFETCH(code + byte);
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
            for (; count < linked && links[count] >= 0 && links[count] < graph->count; count++) {
                near[count] = links[count];
                prefetch_code(graph, near[count]);
            }
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

/* Write the vectors that *vector* is linked with on the lowest level to *near*, if they were not met before; return how
 * many these are. Whether one was met cannot be foreseen: so nothing branches. */
INLINE Py_ssize_t meet(const Graph *graph, int64_t vector, int32_t *near, Met *met) {
    Py_ssize_t linked, count = 0;
    const int32_t *links = links_of(graph, vector, 0, &linked);
    for (Py_ssize_t number = 0; number < linked; number++) {
        const int32_t other = links[number];
        if (other < 0 || other >= graph->count) break;
        uint32_t *slot = slot_of(met, (uint32_t)other + 1);
        near[count] = other;
        count += !*slot;
        *slot = (uint32_t)other + 1;
        prefetch_code(graph, other);
    }
    return count;
}

INLINE int is_marked(const Graph *graph, int64_t vector) {
    return graph->marks == NULL || (graph->marks[vector >> 3] >> (vector & 7) & 1);
}

/* Begin a walk to *query*: *front* has the vector where it begins, the only one that *met* has then. */
static void enter(const Graph *graph, const int16_t *query, Nearest *front, Nearest *found, Met *met) {
    const int32_t first = (int32_t)descend(graph, query);
    uint32_t distance;
    distances_of(graph->codes, query, graph->size, &first, 1, &distance);
    front->size = found->size = 0;
    put(front, entry_of(distance, first));
    if (graph->marks && is_marked(graph, first)) put(found, entry_of(distance, first));
    memset(met->slots, 0, sizeof *met->slots << met->bits);
    met->used = 1;
    *slot_of(met, (uint32_t)first + 1) = (uint32_t)first + 1;
}

/* Go on with a walk to *query* until the nearest *effort* vectors were visited: *front* has the nearest of all that were
 * met, *found* of those that are marked, where *graph* has marks. Return 0 without memory. */
static int walk(const Graph *graph, const int16_t *query, Py_ssize_t effort, Nearest *front, Nearest *found, Met *met) {
    int32_t near[MOST_LINKS];
    uint32_t distances[MOST_LINKS];
    Py_ssize_t next = 0;
    while (1) {
        while (next < front->size && front->entries[next] & 1) next++;
        if (next >= effort || next == front->size) return 1;
        front->entries[next] |= 1;
        if (next + 1 < front->size) {
            const int32_t *following = graph->links + graph->offsets[vector_of(front->entries[next + 1])];
            PREFETCH(following);
            PREFETCH(following + LAST_LINE);
        }
        const Py_ssize_t count = meet(graph, vector_of(front->entries[next]), near, met);
        met->used += count;
        if (2 * (met->used + MOST_LINKS) > (Py_ssize_t)1 << met->bits && !grow(met)) return 0;
        distances_of(graph->codes, query, graph->size, near, count, distances);
        for (Py_ssize_t number = 0; number < count; number++) {
            const uint64_t entry = entry_of(distances[number], near[number]);
            const Py_ssize_t place = put(front, entry);
            if (place >= 0 && place < next) next = place;
            if (place >= 0) PREFETCH(graph->offsets + near[number]);
            if (graph->marks && is_marked(graph, near[number])) put(found, entry);
        }
    }
}

/* Put *entry* among *waiting*, a heap whose first entry is the least; return 0 without memory. */
INLINE int push(Heap *waiting, uint64_t entry) {
    if (waiting->size == waiting->most) {
        uint64_t *entries = realloc(waiting->entries, (size_t)waiting->most * 2 * sizeof *entries);
        if (entries == NULL) return 0;
        waiting->entries = entries;
        waiting->most *= 2;
    }
    Py_ssize_t place = waiting->size++;
    for (; place && waiting->entries[(place - 1) / 2] > entry; place = (place - 1) / 2)
        waiting->entries[place] = waiting->entries[(place - 1) / 2];
    waiting->entries[place] = entry;
    return 1;
}

/* Return the least entry of *waiting*, which has one, without it. */
INLINE uint64_t pop(Heap *waiting) {
    uint64_t *entries = waiting->entries;
    const uint64_t least = entries[0], last = entries[--waiting->size];
    Py_ssize_t place = 0;
    for (Py_ssize_t next = 1; next < waiting->size; next = 2 * place + 1) {
        next += next + 1 < waiting->size && entries[next + 1] < entries[next];
        if (entries[next] >= last) break;
        entries[place] = entries[next];
        place = next;
    }
    entries[place] = last;
    return least;
}

/* Do what `walk` does where *effort* is great. There half of the nearest would be moved for each that is met: here *front*
 * has those alone that were visited, which come nearly in order, until the nearest of *waiting* are put beside them. */
static int walk_far(const Graph *graph, const int16_t *query, Py_ssize_t effort, Nearest *front, Nearest *found, Met *met,
                    Heap *waiting) {
    int32_t near[MOST_LINKS];
    uint32_t distances[MOST_LINKS];
    const Py_ssize_t before = front->size;
    front->size = waiting->size = 0;
    for (Py_ssize_t place = 0; place < before; place++) {
        Nearest *const all = front->entries[place] & 1 ? front : waiting;
        all->entries[all->size++] = front->entries[place]; /* in order, which is one of a heap, too */
    }
    while (waiting->size) {
        const uint64_t next = pop(waiting);
        const Py_ssize_t place = put(front, next);
        if (place < 0 || place >= effort) break;
        if (waiting->size) PREFETCH(graph->offsets + vector_of(waiting->entries[0]));
        const Py_ssize_t count = meet(graph, vector_of(next), near, met);
        met->used += count;
        if (2 * (met->used + MOST_LINKS) > (Py_ssize_t)1 << met->bits && !grow(met)) return 0;
        distances_of(graph->codes, query, graph->size, near, count, distances);
        for (Py_ssize_t number = 0; number < count; number++) {
            const uint64_t entry = entry_of(distances[number], near[number]);
            if (!push(waiting, entry)) return 0;
            if (graph->marks && is_marked(graph, near[number])) put(found, entry);
        }
    }
    for (Py_ssize_t places = graph->marks ? 0 : front->most; waiting->size && places; places--) {
        if (front->size == front->most && waiting->entries[0] >= front->entries[front->size - 1]) break;
        put(front, pop(waiting)); /* behind nearly all of the others */
    }
    return 1;
}

/* Find the vectors nearest to *query* by comparing with all that are marked, in the order in which they lie. */
static void scan(const Graph *graph, const int16_t *query, Nearest *found) {
    int32_t some[MOST_LINKS];
    uint32_t distances[MOST_LINKS];
    found->size = 0;
    for (Py_ssize_t vector = 0; vector < graph->count;) {
        Py_ssize_t count = 0;
        for (; count < MOST_LINKS && vector < graph->count; vector++) {
            if (graph->marks && !graph->marks[vector / 8]) vector += 7; /* none of eight */
            else if (is_marked(graph, vector)) {
                if (graph->marks) prefetch_code(graph, vector);
                some[count++] = (int32_t)vector;
            }
        }
        distances_of(graph->codes, query, graph->size, some, count, distances);
        for (Py_ssize_t number = 0; number < count; number++) put(found, entry_of(distances[number], some[number]));
    }
}

/* Write what the rotation of *graph* makes of *query* to *rotated*, as codes are: whole numbers that are 128 more than
 * what they stand for. *steps* has room for the query and one number more. */
FOR_EACH_PROCESSOR
static void rotate(const Graph *graph, const float *query, int16_t *rotated, int16_t *steps) {
    const Rotation *rotation = &graph->rotation;
    const Py_ssize_t dim = rotation->dim, pairs = (dim + 1) / 2;
    const double squares = product(query, query, dim), length = squares < INFINITY ? sqrt(squares) : 0;
    const float factor = length > 0 ? (float)(QUERY_STEPS / length) : 0;
    for (Py_ssize_t column = 0; column < dim; column++) steps[column] = factor > 0 ? (int16_t)rintf(query[column] * factor) : 0;
    steps[dim] = 0; /* pairs with the last number where dim is odd */
    for (Py_ssize_t start = 0; start < graph->size; start += BLOCK) {
        int32_t sums[BLOCK];
        multiply_pairs(rotation->pairs + start * pairs * 2, steps, sums, pairs);
        for (int lane = 0; lane < BLOCK && start + lane < graph->size; lane++) {
            const double found = rint(sums[lane] * rotation->scales[start + lane] * length + rotation->shift[start + lane]);
            rotated[start + lane] = (int16_t)((found > 127 ? 127 : found > -127 ? found : -127) + 128);
        }
    }
}

/* Fill *rotation*, which has memory for that, with *matrix* (size, dim): see `Rotation`. */
static void make_rotation(const float *matrix, const Rotation *rotation, Py_ssize_t size) {
    const Py_ssize_t dim = rotation->dim, pairs = (dim + 1) / 2;
    for (Py_ssize_t row = 0; row < size; row++, matrix += dim) {
        double largest = 0;
        for (Py_ssize_t column = 0; column < dim; column++) largest = fmax(largest, fabs(matrix[column]));
        const double length = sqrt(product(matrix, matrix, dim));
        const double steps = length > 0 && length < INFINITY ? fmin(INT16_MAX / largest, ROW_STEPS / length) : 0;
        int16_t *first = rotation->pairs + row / BLOCK * BLOCK * pairs * 2 + row % BLOCK * 2;
        for (Py_ssize_t column = 0; column < dim; column++)
            first[column / 2 * 2 * BLOCK + column % 2] = steps > 0 ? (int16_t)rint(matrix[column] * steps) : 0;
        rotation->scales[row] = steps > 0 ? 1 / (QUERY_STEPS * steps) : 0;
    }
}

/* How many vectors are visited, at most *most*; none in a scan. Where *around* is not 0, that is found on the way: after
 * *first* visits, so many of the nearest vectors that were met are looked at. If all that a random filter leaves of them, or
 * more, is marked, *needed* vectors are visited, and where less is, as many times as many. */
typedef struct {
    Py_ssize_t most, first, around;
    double needed, expected, sparse; /* expected of a random filter; the share of it that must be there for an answer */
} Effort;

/* What a walk needs beside the graph. */
typedef struct {
    Nearest front, found;
    Heap waiting; /* of a walk with an effort of FAR or more */
    Met met;
    int16_t *rotated, *steps; /* a query */
} Room;

static int make_room(Room *room, const Graph *graph, Py_ssize_t each, const Effort *effort) {
    const Py_ssize_t seen = larger(effort->first, effort->around); /* also where no more than these are visited */
    const Py_ssize_t kept = smaller(each, graph->count), most = smaller(larger(larger(effort->most, seen), each), graph->count);
    *room = (Room){{malloc((size_t)(most + 1) * 8), 0, most}, {malloc((size_t)(kept + 1) * 8), 0, kept}, {malloc((size_t)(most + 1) * 8), 0, most + 1}, {NULL, 0, LEAST_BITS}, NULL, NULL};
    while ((Py_ssize_t)1 << room->met.bits < 32 * most && room->met.bits < 20) room->met.bits++;
    room->met.slots = malloc(sizeof *room->met.slots << room->met.bits);
    room->rotated = malloc((size_t)graph->size * sizeof *room->rotated);
    room->steps = malloc((size_t)(graph->rotation.dim + 1) * sizeof *room->steps);
    return room->front.entries && room->found.entries && room->waiting.entries && room->met.slots && room->rotated && room->steps;
}

static void free_room(Room *room) {
    free(room->front.entries);
    free(room->found.entries);
    free(room->waiting.entries);
    free(room->met.slots);
    free(room->rotated);
    free(room->steps);
}

/* Return how many vectors are to be visited by what a walk has met, whose nearest are in *front*; 0 where too little of it is
 * marked. */
static Py_ssize_t visits_of(const Graph *graph, const Effort *effort, const Nearest *front) {
    const Py_ssize_t around = smaller(effort->around, front->size);
    Py_ssize_t marked = 0;
    for (Py_ssize_t place = 0; place < around; place++) marked += is_marked(graph, vector_of(front->entries[place]));
    const double density = marked / effort->expected;
    const double most = (double)smaller(effort->most, INT32_MAX);
    return density >= effort->sparse ? (Py_ssize_t)fmin(ceil(effort->needed / fmin(density, 1)), most) : 0;
}

/* Return the nearest vectors to *query* that a walk finds, or with no effort a scan; NULL where too little is marked around
 * it, or without memory. */
static const Nearest *find(const Graph *graph, const float *query, const Effort *effort, Room *room) {
    Nearest *front = &room->front, *found = &room->found, *best = graph->marks ? found : front;
    const int16_t *rotated = room->rotated;
    const Py_ssize_t room_in_front = front->most;
    Py_ssize_t visits = effort->most;
    rotate(graph, query, room->rotated, room->steps);
    if (visits == 0) scan(graph, rotated, best);
    if (visits == 0 || graph->count == 0) return best;
    enter(graph, rotated, front, found, &room->met);
    if (effort->around) {
        if (!walk(graph, rotated, effort->first, front, found, &room->met)) return NULL;
        visits = visits_of(graph, effort, front);
        if (visits == 0) return NULL;
        front->most = smaller(visits, front->most); /* the marked ones of those behind are in *found* */
        front->size = smaller(front->size, front->most);
    }
    const int is_done = visits < FAR ? walk(graph, rotated, visits, front, found, &room->met)
                                     : walk_far(graph, rotated, visits, front, found, &room->met, &room->waiting);
    front->most = room_in_front;
    return is_done ? best : NULL;
}

/* Write the *each* nearest vectors of *graph* to each of *count* *queries*; return 0 without memory. */
static int walk_to_each(const Graph *graph, const float *queries, float *distances, int64_t *positions, Py_ssize_t count,
                        Py_ssize_t each, const Effort *effort) {
    Room room;
    int is_done = make_room(&room, graph, each, effort);
    for (Py_ssize_t number = 0; number < count && is_done; number++) {
        const Nearest *best = find(graph, queries + number * graph->rotation.dim, effort, &room);
        is_done = best != NULL;
        for (Py_ssize_t place = 0; place < each && is_done; place++, distances++, positions++) {
            const int is_there = place < best->size;
            *distances = is_there ? (float)(best->entries[place] >> 32) : INFINITY;
            *positions = is_there ? graph->positions[vector_of(best->entries[place])] : -1;
        }
    }
    free_room(&room);
    return is_done;
}

/* Sort *count* *positions* and their *scores*, the best first; equal ones stay in their order, which is nearly this. */
static void sort_by_score(int64_t *positions, float *scores, Py_ssize_t count) {
    for (Py_ssize_t sorted = 1; sorted < count; sorted++) {
        const int64_t position = positions[sorted];
        const float score = scores[sorted];
        Py_ssize_t place = sorted;
        for (; place > 0 && scores[place - 1] < score; place--) {
            positions[place] = positions[place - 1];
            scores[place] = scores[place - 1];
        }
        positions[place] = position;
        scores[place] = score;
    }
}

/* Leave those of *count* *positions* whose vectors may be among the *most* most similar ones to *query*: about the same
 * cosines, in *scores*, say which ones can not. Return how many are left; -1 where one is not in memory, or has no
 * direction. *sorted* has room for *count* numbers. */
static Py_ssize_t sift(int64_t *positions, const Shards *shards, const float *query, float *scores, float *sorted,
                       Py_ssize_t count, Py_ssize_t most, Py_ssize_t dim) {
    for (Py_ssize_t next = 0, row = -AHEAD; row < count; next++, row++) {
        if (next < count) prefetch(find_vector(positions[next], shards, dim), dim);
        if (row < 0) continue;
        const uint16_t *half = find_vector(positions[row], shards, dim);
        scores[row] = half ? rough_cosine(half, query, dim) : NAN;
        if (isnan(scores[row])) return -1;
        Py_ssize_t place = row < most ? row : most;
        for (; place > 0 && sorted[place - 1] < scores[row]; place--)
            if (place < most) sorted[place] = sorted[place - 1];
        if (place < most) sorted[place] = scores[row];
    }
    const float least = sorted[most - 1] - (float)((dim + LANES) * ROUGHLY);
    Py_ssize_t left = 0;
    for (Py_ssize_t row = 0; row < count; row++)
        if (scores[row] >= least) positions[left++] = positions[row];
    return left;
}

/* What a search needs beside the graph, and beside what a walk needs. */
typedef struct {
    const Shards *shards;
    double *wide;  /* see `compare_at` */
    float *sorted; /* see `sift` */
} Comparing;

/* Sort *count* *positions* by how similar their vectors are to *query*, the best first, and write the cosines of the *most*
 * best to *scores*. Return how many these and those that equal the last of them are; -1 as `sift`. */
static Py_ssize_t rank(const Comparing *comparing, const float *query, int64_t *positions, float *scores, Py_ssize_t count,
                       Py_ssize_t most, Py_ssize_t dim) {
    if (rough_cosine && count > most)
        count = sift(positions, comparing->shards, query, scores, comparing->sorted, count, most, dim);
    if (count < 0 || compare_at(positions, comparing->shards, query, scores, comparing->wide, 1, count, dim) >= 0) return -1;
    sort_by_score(positions, scores, count);
    Py_ssize_t size = smaller(most, count);
    while (size && size < count && scores[size] == scores[size - 1]) size++;
    return size;
}

/* Return up to which place the *count* *nearest* vectors hold those at *size* *positions*. */
static Py_ssize_t depth_of(const Graph *graph, const Nearest *nearest, Py_ssize_t count, const int64_t *positions, Py_ssize_t size) {
    for (; count; count--) {
        const int64_t position = graph->positions[vector_of(nearest->entries[count - 1])];
        int is_there = 0;
        for (Py_ssize_t place = 0; place < size; place++) is_there |= positions[place] == position;
        if (is_there) break;
    }
    return count;
}

/* Write the *each* nearest vectors of *graph* to each of *count* *queries*, and their cosines, the best first. Write to
 * *sizes* how many of them are the *most* best or equal the last of these and, of a scan, to which place by distance they
 * reach. Return 0 where a vector is not in memory, or without memory; -1 where a walk that is to find how far it goes has no
 * memory, or found too little marked around a query. */
static int search_for_each(const Graph *graph, const Shards *shards, const float *queries, int64_t *positions,
                           float *scores, int64_t *sizes, Py_ssize_t count, Py_ssize_t each, Py_ssize_t most,
                           const Effort *effort) {
    const Py_ssize_t dim = graph->rotation.dim;
    const Comparing comparing = {shards, malloc((size_t)dim * ROOM), malloc((size_t)smaller(each, most) * sizeof(float))};
    Room room;
    int is_done = make_room(&room, graph, each, effort) && comparing.wide && comparing.sorted;
    for (Py_ssize_t number = 0; number < count && is_done > 0; number++, positions += each, scores += each, queries += dim) {
        const Nearest *best = find(graph, queries, effort, &room);
        const Py_ssize_t found = best ? smaller(each, best->size) : 0;
        for (Py_ssize_t place = 0; place < found; place++)
            positions[place] = graph->positions[vector_of(best->entries[place])];
        const Py_ssize_t size = best ? rank(&comparing, queries, positions, scores, found, most, dim) : -1;
        is_done = size >= 0 ? 1 : !best && effort->around ? -1 : 0;
        *sizes++ = size;
        *sizes++ = is_done > 0 && effort->most == 0 ? depth_of(graph, best, found, positions, size) : found;
    }
    free_room(&room);
    free(comparing.wide);
    free(comparing.sorted);
    return is_done;
}

/* Return whether *levels* levels have at most MOST_LINKS links each, which begin at *firsts*. */
static int are_levels(const int32_t *firsts, Py_ssize_t levels) {
    if (levels < 0 || firsts[0] < 0) return 0;
    for (Py_ssize_t level = 0; level < levels; level++)
        if (firsts[level + 1] < firsts[level] || firsts[level + 1] - firsts[level] > MOST_LINKS) return 0;
    return 1;
}

/* The arrays of a graph, which are held as long as the object in Python is there. Some vectors of another one, the *whole*,
 * have codes and positions only, and its rotation. */
enum { CODES, LINKS, OFFSETS, FIRSTS, ENTRY, POSITIONS, MATRIX, SHIFT, ARRAYS };
typedef struct {
    Graph graph;
    Py_buffer arrays[ARRAYS];
    PyObject *whole;
} Held;

static int is_graph(const Graph *graph, const Py_buffer *arrays) {
    const Py_ssize_t levels = arrays[FIRSTS].len / 4 - 1, count = graph->count;
    return graph->rotation.dim > 0 && graph->rotation.dim <= MOST_COLUMNS && graph->size > 0 && graph->size <= MOST_NUMBERS && count >= 0 && count <= INT32_MAX &&
           arrays[MATRIX].len == 4 * graph->size * graph->rotation.dim && are_levels(graph->firsts, levels) &&
           arrays[CODES].len == count * graph->size && arrays[POSITIONS].len == 8 * count && arrays[ENTRY].len == 16 &&
           (!count || (graph->entry >= 0 && graph->entry < count && graph->top >= 0 && graph->top < levels));
}

static void drop_graph(PyObject *capsule) {
    Held *held = PyCapsule_GetPointer(capsule, NULL);
    release_buffers(held->arrays, ARRAYS);
    if (held->whole == NULL) {
        PyMem_Free(held->graph.rotation.pairs);
        PyMem_Free(held->graph.rotation.scales);
    }
    Py_XDECREF(held->whole);
    PyMem_Free(held);
}

/* Return an object that holds a graph without anything, and that in *held*; NULL without memory. */
static PyObject *new_graph(Held **held) {
    *held = PyMem_Calloc(1, sizeof **held);
    if (*held == NULL) return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(*held, NULL, drop_graph);
    if (capsule == NULL) PyMem_Free(*held);
    return capsule;
}

static PyObject *hold_graph(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    if (given != ARRAYS) return PyErr_Format(PyExc_TypeError, "%d arguments are taken", ARRAYS);
    Held *held;
    PyObject *capsule = new_graph(&held);
    if (capsule == NULL || !get_buffers(arguments, held->arrays, ARRAYS, ARRAYS)) goto failed;
    const Py_buffer *arrays = held->arrays;
    const int64_t none[2] = {-1, -1}, *entry = arrays[ENTRY].len == 16 ? arrays[ENTRY].buf : none;
    const Py_ssize_t size = arrays[SHIFT].len / 4, dim = size ? arrays[MATRIX].len / 4 / size : 0;
    held->graph = (Graph){arrays[CODES].buf, arrays[LINKS].buf, arrays[OFFSETS].buf, arrays[FIRSTS].buf,
                          arrays[POSITIONS].buf, {dim, NULL, NULL, arrays[SHIFT].buf}, NULL,
                          arrays[OFFSETS].len / 8 - 1, size, arrays[LINKS].len / 4, entry[0], entry[1]};
    Rotation *rotation = &held->graph.rotation;
    if (!is_graph(&held->graph, arrays)) {
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit together");
        goto failed;
    }
    rotation->pairs = PyMem_Calloc((size_t)((size + BLOCK - 1) / BLOCK * BLOCK) * (size_t)((dim + 1) / 2), 2 * sizeof(int16_t));
    rotation->scales = PyMem_Calloc((size_t)size, sizeof(double));
    if (!rotation->pairs || !rotation->scales) {
        PyErr_NoMemory();
        goto failed;
    }
    make_rotation(arrays[MATRIX].buf, rotation, size);
    return capsule;
failed:
    Py_XDECREF(capsule);
    return NULL;
}

static PyObject *hold_codes(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    if (given != 3) return PyErr_Format(PyExc_TypeError, "3 arguments are taken");
    const Held *whole = PyCapsule_GetPointer(arguments[0], NULL);
    Held *held;
    PyObject *capsule = whole ? new_graph(&held) : NULL;
    if (capsule == NULL) return NULL;
    Py_buffer *codes = &held->arrays[CODES], *positions = &held->arrays[POSITIONS];
    held->whole = Py_NewRef(arguments[0]);
    if (get_buffers(arguments + 1, codes, 1, 1) && get_buffers(arguments + 2, positions, 1, 1)) {
        held->graph = (Graph){.codes = codes->buf, .positions = positions->buf, .rotation = whole->graph.rotation,
                              .count = positions->len / 8, .size = whole->graph.size};
        const Py_ssize_t count = held->graph.count;
        if (count <= INT32_MAX && positions->len == 8 * count && codes->len == count * held->graph.size) return capsule;
        PyErr_SetString(PyExc_ValueError, "the arrays do not fit together");
    }
    Py_DECREF(capsule);
    return NULL;
}

/* Set *effort* to an argument, a number or a tuple: see `Visits`. Return 0 on error. */
static int get_effort(PyObject *argument, Effort *effort) {
    *effort = (Effort){0};
    if (PyTuple_Check(argument))
        return PyArg_ParseTuple(argument, "dnnndd", &effort->needed, &effort->most, &effort->first, &effort->around,
                                &effort->expected, &effort->sparse);
    effort->most = PyLong_AsSsize_t(argument);
    return !PyErr_Occurred();
}

/* Set *graph* to the first argument, with *marks*; return 0 where these do not fit together, or it cannot be searched with
 * *effort*. */
static int get_graph(const Held *held, const Py_buffer *marks, const Effort *effort, Graph *graph) {
    *graph = held->graph;
    graph->marks = marks->len ? marks->buf : NULL;
    const int is_adaptive = marks->len && effort->needed > 0 && effort->most > 0 && effort->first > 0 && effort->around > 0 &&
                            effort->expected > 0 && effort->sparse > 0;
    const int is_fixed = effort->most >= 0 && effort->around == 0;
    return (!marks->len || marks->len >= (graph->count + 7) / 8) && (is_adaptive || is_fixed) && (effort->most == 0 || graph->offsets);
}

static PyObject *walk_graph(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    Py_buffer buffers[4]; /* queries, marks, distances, positions */
    Graph graph;
    Effort effort = {0};
    if (given != 7) return PyErr_Format(PyExc_TypeError, "7 arguments are taken");
    const Held *held = PyCapsule_GetPointer(arguments[0], NULL);
    const Py_ssize_t each = PyLong_AsSsize_t(arguments[5]);
    effort.most = PyLong_AsSsize_t(arguments[6]);
    if (PyErr_Occurred() || !get_buffers(arguments + 1, buffers, 4, 2)) return NULL;
    const Py_ssize_t count = buffers[0].len / 4 / held->graph.rotation.dim;
    if (!get_graph(held, &buffers[1], &effort, &graph) || each < 1 || buffers[0].len != 4 * count * graph.rotation.dim ||
        buffers[2].len != 4 * count * each || buffers[3].len != 8 * count * each)
        return size_error(buffers, 4);
    PyThreadState *state = PyEval_SaveThread();
    const int is_done = walk_to_each(&graph, buffers[0].buf, buffers[2].buf, buffers[3].buf, count, each, &effort);
    PyEval_RestoreThread(state);
    release_buffers(buffers, 4);
    if (!is_done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *search_graph(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    Py_buffer buffers[8]; /* queries, marks; firsts, ends, addresses; positions, scores, sizes */
    Graph graph;
    Effort effort;
    if (given != 11) return PyErr_Format(PyExc_TypeError, "11 arguments are taken");
    const Held *held = PyCapsule_GetPointer(arguments[0], NULL);
    const Py_ssize_t most = PyLong_AsSsize_t(arguments[9]);
    if (PyErr_Occurred() || !get_effort(arguments[10], &effort) || !get_buffers(arguments + 1, buffers, 8, 5)) return NULL;
    const Py_ssize_t count = buffers[7].len / 16, each = count ? buffers[6].len / 4 / count : 1;
    const Shards shards = {buffers[2].buf, buffers[3].buf, buffers[4].buf, buffers[2].len / 8};
    if (!get_graph(held, &buffers[1], &effort, &graph) || most < 1 || each < 1 ||
        buffers[0].len != 4 * count * graph.rotation.dim || buffers[3].len != 8 * shards.count || buffers[4].len != 8 * shards.count ||
        buffers[5].len != 8 * count * each || buffers[6].len != 4 * count * each || buffers[7].len != 16 * count)
        return size_error(buffers, 8);
    PyThreadState *state = PyEval_SaveThread();
    const int is_done = search_for_each(&graph, &shards, buffers[0].buf, buffers[5].buf, buffers[6].buf,
                                        buffers[7].buf, count, each, most, &effort);
    PyEval_RestoreThread(state);
    release_buffers(buffers, 8);
    if (is_done < 0) Py_RETURN_NONE;
    return PyBool_FromLong(is_done);
}

/* What is learned, of which the numbers of the features of a pair are one row each: the mean, the scale and the weight. */
typedef struct {
    const double *means, *scales, *weights, *of_items, *of_pairs;
    const int64_t *pairs; /* ascending */
    Py_ssize_t features, equal, items, paired;
    double intercept, slope, least, most, nothing;
} Model;

enum { NUMBERS = 5, OTHERS = 2 }; /* the last OTHERS numbers of items stand for the codes below 0 */

/* Return what the feature number *column* adds where it is *value*; what is not known is average. */
INLINE double effect_of(const Model *model, Py_ssize_t column, double value) {
    const double standard = (value - model->means[column]) / model->scales[column];
    return isnan(standard) ? 0 : standard * model->weights[column];
}

/* Return the logarithm of the clicks that features let expect of an item with a *row* and a *score*, to one with the row *asked*. */
static double log_by_features(const Model *model, const double *asked, const double *row, double score, double best) {
    const Py_ssize_t equal = model->equal;
    double sum = effect_of(model, 0, score) + effect_of(model, 1, best - score);
    for (Py_ssize_t column = 0; column < equal; column++)
        if (!isnan(row[column]) && !isnan(asked[column])) sum += effect_of(model, 2 + column, row[column] == asked[column]);
    for (Py_ssize_t column = equal, feature = 2 + equal; feature < model->features; column++, feature += 2) {
        const double difference = row[column] - asked[column];
        if (isnan(difference)) continue;
        sum += effect_of(model, feature, fabs(difference)) + effect_of(model, feature + 1, difference < 0 ? -difference : 0);
    }
    const double log = model->intercept + sum;
    return log < model->least ? model->least : log > model->most ? model->most : log;
}

/* Return the logarithm of the factor of the pair *key*. */
static double log_of_pair(const Model *model, int64_t key) {
    Py_ssize_t low = 0, high = model->paired;
    while (low < high) {
        const Py_ssize_t middle = (low + high) / 2;
        if (model->pairs[middle] < key) low = middle + 1;
        else high = middle;
    }
    return low < model->paired && model->pairs[low] == key ? model->of_pairs[low] : 0;
}

/* Write by how much each of *count* items of a pool is moved, at most by *most*: see `Learned.deltas_of_pool`. The rows are
 * those of the item asked for, then of the pool; pairs with it begin at *first*. Return 0 for a code that is none. */
static int move_each(const Model *model, const double *rows, const double *scores, const int64_t *codes, double *moved,
                     Py_ssize_t count, int64_t first, double most) {
    const Py_ssize_t width = model->equal + (model->features - 2 - model->equal) / 2;
    double best = -INFINITY, sum = 0;
    for (Py_ssize_t item = 0; item < count; item++) best = scores[item] > best ? scores[item] : best;
    for (Py_ssize_t item = 0; item < count; item++) {
        const int64_t code = codes[item];
        if (code < -OTHERS || code >= model->items) return 0;
        double log = log_by_features(model, rows, rows + (1 + item) * width, scores[item], best);
        log += model->of_items[code < 0 ? model->items + OTHERS + code : code];
        if (code >= 0) log += log_of_pair(model, first + code);
        moved[item] = (log < model->nothing ? model->nothing : log) / model->slope - scores[item];
        sum += moved[item];
    }
    for (Py_ssize_t item = 0; item < count; item++) {
        const double found = moved[item] - sum / count;
        moved[item] = found < -most ? -most : found > most ? most : found;
    }
    return 1;
}

static PyObject *move_pool(PyObject *self, PyObject *const *arguments, Py_ssize_t given) {
    Py_buffer buffers[9]; /* numbers, standards, items, pairs, their numbers; rows, scores, codes; moved */
    if (given != 12) return PyErr_Format(PyExc_TypeError, "12 arguments are taken");
    const Py_ssize_t equal = PyLong_AsSsize_t(arguments[9]);
    const int64_t first = PyLong_AsLongLong(arguments[10]);
    const double most = PyFloat_AsDouble(arguments[11]);
    if (PyErr_Occurred() || !get_buffers(arguments, buffers, 9, 8)) return NULL;
    const double *numbers = buffers[0].buf, *standards = buffers[1].buf;
    const Py_ssize_t count = buffers[8].len / 8, features = buffers[1].len / 24, items = buffers[2].len / 8 - OTHERS;
    const int fits = buffers[0].len == 8 * NUMBERS && buffers[1].len == 24 * features && items >= 0 && equal >= 0 &&
                     features >= 2 && equal <= features - 2 && (features - equal) % 2 == 0 && buffers[2].len % 8 == 0 &&
                     buffers[3].len % 8 == 0 && buffers[4].len == buffers[3].len && buffers[6].len == 8 * count &&
                     buffers[7].len == 8 * count && buffers[8].len == 8 * count && first >= -INT32_MAX * (int64_t)INT32_MAX &&
                     first <= INT32_MAX * (int64_t)INT32_MAX &&
                     buffers[5].len == 8 * (1 + count) * (equal + (features - 2 - equal) / 2);
    if (!fits) return size_error(buffers, 9);
    const Model model = {standards, standards + features, standards + 2 * features, buffers[2].buf, buffers[4].buf, buffers[3].buf,
                         features, equal, items, buffers[3].len / 8, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
    const int is_done = move_each(&model, buffers[5].buf, buffers[6].buf, buffers[7].buf, buffers[8].buf, count, first, most);
    if (!is_done) return size_error(buffers, 9);
    release_buffers(buffers, 9);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"scale_half", (PyCFunction)(void (*)(void))scale_half, METH_FASTCALL, NULL},
    {"gather_half", (PyCFunction)(void (*)(void))gather_half, METH_FASTCALL, NULL},
    {"cosines", (PyCFunction)(void (*)(void))cosines, METH_FASTCALL, NULL},
    {"cosines_at", (PyCFunction)(void (*)(void))cosines_at, METH_FASTCALL, NULL},
    {"cosines_of_pairs", (PyCFunction)(void (*)(void))cosines_of_pairs, METH_FASTCALL, NULL},
    {"diversify", (PyCFunction)(void (*)(void))diversify, METH_FASTCALL, NULL},
    {"hold_codes", (PyCFunction)(void (*)(void))hold_codes, METH_FASTCALL, NULL},
    {"hold_graph", (PyCFunction)(void (*)(void))hold_graph, METH_FASTCALL, NULL},
    {"move_pool", (PyCFunction)(void (*)(void))move_pool, METH_FASTCALL, NULL},
    {"search_graph", (PyCFunction)(void (*)(void))search_graph, METH_FASTCALL, NULL},
    {"walk_graph", (PyCFunction)(void (*)(void))walk_graph, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) {
#if HAS_X86
    if (__builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c")) widen_row = widen_by_f16c;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
        rough_cosine = rough_cosine_by_avx2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) multiply_four = multiply_four_by_avx2;
    if (__builtin_cpu_supports("avx2")) multiply_pairs = multiply_pairs_by_avx2;
#endif
    return PyModuleDef_Init(&module);
}
