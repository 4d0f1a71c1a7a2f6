/* A library to be preloaded: it counts what a process does to the files below one folder, and can fail or kill it.

   Every call of a kind (open, write, fsync, ...) on a path or descriptor below `watch` has a number, counted from 1 over
   the kinds that are armed. At the number that is armed the call fails with an errno, once or from there on, or the
   process is killed, before the call or amid a write. With a journal, what a power cut would leave of each file and folder
   is kept by the number of its inode: its bytes or names at its last fsync. No fsync is passed on to the disk. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind {
    OPEN = 1, CREATE = 2, WRITE = 4, SYNC = 8, RENAME = 16, UNLINK = 32, MKDIR = 64, TRUNCATE = 128, MMAP = 256,
    READ = 512, CLOSE = 1024, LINK = 2048, LIST = 4096, LOCK = 8192, STAT = 16384
};
enum action { COUNT, FAIL_ONCE, FAIL_ON, FILL, KILL, KILL_AMID };

#define LONGEST 4096
static char watch[LONGEST];
static size_t watch_length;
static char journal[LONGEST];
static int log_fd = -1;
static long armed_at, armed_kinds, count;
static int action, error_number;
static __thread int inside; /* calls of this file itself are let through */
static __thread long number; /* of the call in hand */

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__)) dlsym(RTLD_NEXT, name)

void fault_arm(const char *folder, long kinds, long nth, int what, int error, int log, const char *journal_folder) {
    watch_length = strlen(folder);
    memcpy(watch, folder, watch_length + 1);
    strcpy(journal, journal_folder ? journal_folder : "");
    armed_kinds = kinds;
    action = what;
    error_number = error;
    log_fd = log;
    count = 0;
    armed_at = nth;
}

/* Let through what this thread calls, until it is told otherwise. */
void fault_pause(int is_paused) { inside = is_paused; }

__attribute__((constructor)) static void arm_by_environment(void) {
    const char *folder = getenv("FAULT_WATCH"), *plan = getenv("FAULT_PLAN");
    long kinds, nth;
    int what, error;
    if (folder && plan && sscanf(plan, "%ld %ld %d %d", &kinds, &nth, &what, &error) == 4)
        fault_arm(folder, kinds, nth, what, error, -1, NULL);
}

static int is_below(const char *path) {
    return !strncmp(path, watch, watch_length) && (path[watch_length] == '/' || !path[watch_length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, LONGEST - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static int full_path(int folder, const char *name, char *path) {
    if (!name) return 0;
    if (name[0] == '/') return snprintf(path, LONGEST, "%s", name) < LONGEST;
    char base[LONGEST];
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else if (!path_of(folder, base)) return 0;
    return snprintf(path, LONGEST, "%s/%s", base, name) < LONGEST;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Count a call of this kind on this path; true if it is to fail, and then errno is set. */
static int hits(enum kind kind, const char *call, const char *path) {
    if (inside || !armed_at || !is_below(path)) return 0;
    if (!(kind & armed_kinds)) return 0;
    number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (log_fd >= 0) {
        char line[LONGEST + 64];
        int length = snprintf(line, sizeof line, "%d\t%s\t%s\n", kind, call, path + watch_length);
        inside = 1;
        if (write(log_fd, line, length) < 0) die();
        inside = 0;
    }
    if (action == COUNT || number < armed_at) return 0;
    if (number > armed_at && action != FAIL_ON && action != FILL) return 0;
    if (action == KILL || (action == KILL_AMID && kind != WRITE)) die();
    errno = error_number;
    return 1;
}

static int hits_at(enum kind kind, const char *call, int folder, const char *name) {
    char path[LONGEST];
    return !inside && armed_at && full_path(folder, name, path) && hits(kind, call, path);
}

static int hits_fd(enum kind kind, const char *call, int fd) {
    char path[LONGEST];
    return !inside && armed_at && path_of(fd, path) && hits(kind, call, path);
}

/* ---- the journal of what is on the disk ---- */

static void put(const char *name, const void *data, size_t size) {
    char made[LONGEST + 64], target[LONGEST + 64];
    snprintf(made, sizeof made, "%s/making-%d", journal, gettid());
    snprintf(target, sizeof target, "%s/%s", journal, name);
    int fd = open(made, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, data, size) != (ssize_t) size || close(fd) || rename(made, target)) die();
}

static void keep_folder(int fd, ino_t inode) {
    char path[64], name[64], entries[1 << 16];
    size_t size = 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    DIR *folder = opendir(path);
    if (!folder) die();
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        size += snprintf(entries + size, sizeof entries - size, "%lu %d %s", (unsigned long) entry->d_ino,
                         entry->d_type == DT_DIR, entry->d_name) + 1;
        if (size >= sizeof entries) die();
    }
    closedir(folder);
    snprintf(name, sizeof name, "%lu.names", (unsigned long) inode);
    put(name, entries, size);
}

static void keep_file(int fd, ino_t inode, size_t size) {
    char path[64], name[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int file = open(path, O_RDONLY);
    char *data = malloc(size + 1);
    if (file < 0 || !data || read(file, data, size) != (ssize_t) size) die();
    close(file);
    snprintf(name, sizeof name, "%lu.bytes", (unsigned long) inode);
    put(name, data, size);
    free(data);
}

static int keep(int fd) {
    struct stat status;
    inside = 1;
    if (fstat(fd, &status)) die();
    if (S_ISDIR(status.st_mode)) keep_folder(fd, status.st_ino);
    else keep_file(fd, status.st_ino, status.st_size);
    inside = 0;
    return 0;
}

/* An inode that is held open is not given to another file, so that its number stays that of one file. */
static void hold(int folder, const char *name) {
    if (!journal[0] || inside) return;
    inside = 1;
    int before = errno;
    openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    errno = before;
    inside = 0;
}

/* ---- the calls ---- */

static int is_create(int flags) { return (flags & O_CREAT) || (flags & O_ACCMODE) != O_RDONLY; }

#define OPENER(name, at, parameters, folder, arguments) \
    int name parameters { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        REAL(int, #name, at const char *, int, ...); \
        if (hits_at(is_create(flags) ? CREATE : OPEN, #name, folder, path)) return -1; \
        return real arguments; \
    }
#define NOTHING
OPENER(open, NOTHING, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPENER(open64, NOTHING, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
#define FOLDER int,
OPENER(openat, FOLDER, (int folder, const char *path, int flags, ...), folder, (folder, path, flags, mode))
OPENER(openat64, FOLDER, (int folder, const char *path, int flags, ...), folder, (folder, path, flags, mode))

static enum kind kind_of_mode(const char *mode) { return strpbrk(mode, "wa+") ? CREATE : OPEN; }

#define STREAM_OPENER(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(FILE *, #name, const char *, const char *); \
        if (hits_at(kind_of_mode(mode), #name, AT_FDCWD, path)) return NULL; \
        return real(path, mode); \
    }
STREAM_OPENER(fopen)
STREAM_OPENER(fopen64)

#define WRITER(name, parameters, types, half, arguments) \
    ssize_t name parameters { \
        REAL(ssize_t, #name, types); \
        if (hits_fd(WRITE, #name, fd)) { \
            if ((action == FILL && number == armed_at) || action == KILL_AMID) { \
                ssize_t written = real half; \
                if (action == KILL_AMID) die(); \
                return written; \
            } \
            errno = error_number; \
            return -1; \
        } \
        return real arguments; \
    }
#define TYPES(...) __VA_ARGS__
WRITER(write, (int fd, const void *data, size_t size), TYPES(int, const void *, size_t), (fd, data, size / 2), (fd, data, size))
WRITER(pwrite, (int fd, const void *data, size_t size, off_t at), TYPES(int, const void *, size_t, off_t),
       (fd, data, size / 2, at), (fd, data, size, at))
WRITER(pwrite64, (int fd, const void *data, size_t size, off64_t at), TYPES(int, const void *, size_t, off64_t),
       (fd, data, size / 2, at), (fd, data, size, at))
WRITER(writev, (int fd, const struct iovec *parts, int n), TYPES(int, const struct iovec *, int),
       (fd, parts, (n + 1) / 2), (fd, parts, n))
WRITER(sendfile64, (int fd, int from, off64_t *at, size_t size), TYPES(int, int, off64_t *, size_t), (fd, from, at, size / 2),
       (fd, from, at, size))

size_t fwrite(const void *data, size_t size, size_t n, FILE *file) {
    REAL(size_t, "fwrite", const void *, size_t, size_t, FILE *);
    if (hits_fd(WRITE, "fwrite", fileno(file))) {
        if (action != FILL && action != KILL_AMID) return 0;
        size_t written = real(data, size, n / 2, file);
        inside = 1;
        fflush(file);
        inside = 0;
        if (action == KILL_AMID) die();
        errno = error_number;
        return written;
    }
    return real(data, size, n, file);
}

int fflush(FILE *file) {
    REAL(int, "fflush", FILE *);
    if (file && hits_fd(WRITE, "fflush", fileno(file))) return EOF;
    return real(file);
}

size_t fread(void *data, size_t size, size_t n, FILE *file) {
    REAL(size_t, "fread", void *, size_t, size_t, FILE *);
    if (hits_fd(READ, "fread", fileno(file))) return 0;
    return real(data, size, n, file);
}

/* What the stream still holds is lost, as on a disk that is full. */
int fclose(FILE *file) {
    REAL(int, "fclose", FILE *);
    if (__fwritable(file) && hits_fd(__fpending(file) ? WRITE : CLOSE, "fclose", fileno(file))) {
        if (action == KILL_AMID) die();
        __fpurge(file);
        real(file);
        errno = error_number;
        return EOF;
    }
    return real(file);
}

ssize_t read(int fd, void *data, size_t size) {
    REAL(ssize_t, "read", int, void *, size_t);
    return hits_fd(READ, "read", fd) ? -1 : real(fd, data, size);
}

ssize_t pread(int fd, void *data, size_t size, off_t at) {
    REAL(ssize_t, "pread", int, void *, size_t, off_t);
    return hits_fd(READ, "pread", fd) ? -1 : real(fd, data, size, at);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
    return hits_fd(READ, "pread64", fd) ? -1 : real(fd, data, size, at);
}

static int sync_of(int fd, const char *call) {
    char path[LONGEST];
    REAL(int, "fsync", int);
    if (hits_fd(SYNC, call, fd)) return -1;
    if (inside || !armed_at || !path_of(fd, path) || !is_below(path)) return real(fd);
    return journal[0] ? keep(fd) : 0; /* a disk that takes its time would take most of a test's */
}
int fsync(int fd) { return sync_of(fd, "fsync"); }
int fdatasync(int fd) { return sync_of(fd, "fdatasync"); }

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    if (hits_at(RENAME, "rename", AT_FDCWD, to)) return -1;
    hold(AT_FDCWD, to);
    return real(from, to);
}

int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    if (hits_at(RENAME, "renameat", b, to)) return -1;
    hold(b, to);
    return real(a, from, b, to);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    if (hits_at(UNLINK, "unlink", AT_FDCWD, path)) return -1;
    hold(AT_FDCWD, path);
    return real(path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    if (hits_at(UNLINK, "unlinkat", folder, path)) return -1;
    hold(folder, path);
    return real(folder, path, flags);
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    if (hits_at(UNLINK, "rmdir", AT_FDCWD, path)) return -1;
    hold(AT_FDCWD, path);
    return real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    return hits_at(MKDIR, "mkdir", AT_FDCWD, path) ? -1 : real(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    return hits_at(MKDIR, "mkdirat", folder, path) ? -1 : real(folder, path, mode);
}

int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    return hits_fd(TRUNCATE, "ftruncate", fd) ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    return hits_fd(TRUNCATE, "ftruncate64", fd) ? -1 : real(fd, size);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t at) {
    REAL(void *, "mmap", void *, size_t, int, int, int, off_t);
    if (fd >= 0 && hits_fd(MMAP, "mmap", fd)) return MAP_FAILED;
    return real(address, size, protection, flags, fd, at);
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd, off64_t at) {
    REAL(void *, "mmap64", void *, size_t, int, int, int, off64_t);
    if (fd >= 0 && hits_fd(MMAP, "mmap64", fd)) return MAP_FAILED;
    return real(address, size, protection, flags, fd, at);
}

/* Of what was only read, nothing is lost. */
int close(int fd) {
    REAL(int, "close", int);
    if (!inside && armed_at && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY && hits_fd(CLOSE, "close", fd)) {
        real(fd);
        errno = error_number;
        return -1;
    }
    return real(fd);
}

int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *);
    return hits_at(LINK, "link", AT_FDCWD, to) ? -1 : real(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    return hits_at(LINK, "linkat", b, to) ? -1 : real(a, from, b, to, flags);
}

DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    return hits_at(LIST, "opendir", AT_FDCWD, path) ? NULL : real(path);
}

DIR *fdopendir(int fd) {
    REAL(DIR *, "fdopendir", int);
    return hits_fd(LIST, "fdopendir", fd) ? NULL : real(fd);
}

int flock(int fd, int operation) {
    REAL(int, "flock", int, int);
    if (!(operation & LOCK_UN) && hits_fd(LOCK, "flock", fd)) return -1;
    return real(fd, operation);
}

int fcntl64(int fd, int command, ...) {
    REAL(int, "fcntl64", int, int, ...);
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    int is_lock = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW;
    if (is_lock && ((struct flock *) argument)->l_type != F_UNLCK && hits_fd(LOCK, "fcntl", fd)) return -1;
    return real(fd, command, argument);
}

#define ASKER(name, buffer) \
    int name(const char *path, struct buffer *status) { \
        REAL(int, #name, const char *, struct buffer *); \
        return hits_at(STAT, #name, AT_FDCWD, path) ? -1 : real(path, status); \
    }
ASKER(stat, stat)
ASKER(stat64, stat64)
ASKER(lstat, stat)
ASKER(lstat64, stat64)

int fstatat64(int folder, const char *path, struct stat64 *status, int flags) {
    REAL(int, "fstatat64", int, const char *, struct stat64 *, int);
    return hits_at(STAT, "fstatat64", folder, path) ? -1 : real(folder, path, status, flags);
}
