/* Makes the n-th operation on the files of one folder fail, kills the process before it, or records all operations.
 *
 * Loaded before the C library (LD_PRELOAD), so that SQLite's and Python's calls pass through it. Only Linux with glibc. `tools.crash_points`
 * compiles it, and chooses with faults_arm() what happens; a process that has not called it is not disturbed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum mode { OFF, RECORD, KILL, FAIL, FULL, NO_MEMORY };
enum operation { CREATE = 'c', WRITE = 'w', TRUNCATE = 't', SYNC = 's', SYNC_FOLDER = 'f', UNLINK = 'u', RENAME = 'r', LINK = 'l', MKDIR = 'd' };

static char root[1024];
static size_t root_length;
static enum mode mode;
static long left;           /* operations until the one that is chosen */
static long counted;        /* operations since faults_arm() */
static int log_file = -1;
static uintptr_t sqlite_from, sqlite_to; /* the code of SQLite, whose allocations are counted */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void faults_arm(const char *folder, int chosen, long at, const char *log, uintptr_t from, uintptr_t to) {
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    left = at;
    counted = 0;
    sqlite_from = from;
    sqlite_to = to;
    if (log) log_file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    mode = chosen;
}

long faults_counted(void) { return counted; }

static int is_ours(const char *path) {
    return mode != OFF && mode != NO_MEMORY && path && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_ours(path) && !strstr(path, " (deleted)");
}

/* Whether this operation fails; kills the process if its time has come. */
static int strikes(int grows) {
    counted++;
    if (mode == KILL && left-- == 0) kill(getpid(), SIGKILL);
    if (mode == FAIL && left-- == 0) { errno = EIO; return 1; }
    if (mode == FULL && (left > 0 ? left-- : 0) == 0 && grows) { errno = ENOSPC; return 1; }
    return 0;
}

static void record(char operation, const char *path, const char *other, uint64_t offset, const void *data, uint64_t size) {
    if (mode != RECORD) return;
    int saved = errno;
    struct { char operation; uint32_t path, other; uint64_t offset, size; } __attribute__((packed)) head = {
        operation, (uint32_t)strlen(path), other ? (uint32_t)strlen(other) : 0, offset, data ? size : 0};
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = dlsym(RTLD_NEXT, "write");
    next(log_file, &head, sizeof head);
    next(log_file, path, head.path);
    if (other) next(log_file, other, head.other);
    if (data) next(log_file, data, size);
    errno = saved;
}

#define NEXT(result, name, ...) \
    static result (*next)(__VA_ARGS__); \
    if (!next) next = dlsym(RTLD_NEXT, #name)

/* ── files ──────────────────────────────────────────────────────────────────────────────────────────────────────────── */

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        NEXT(int, name, const char *, int, ...); \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t rights = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0; \
        va_end(arguments); \
        if (!is_ours(path)) return next(path, flags, rights); \
        pthread_mutex_lock(&lock); \
        struct stat found; \
        int is_new = (flags & O_CREAT) && stat(path, &found) != 0; \
        int result = strikes(is_new) ? -1 : next(path, flags, rights); \
        if (result >= 0 && is_new) record(CREATE, path, 0, 0, 0, 0); \
        if (result >= 0 && !is_new && (flags & O_TRUNC)) record(TRUNCATE, path, 0, 0, 0, 0); \
        pthread_mutex_unlock(&lock); \
        return result; \
    }
OPEN(open)
OPEN(open64)

static ssize_t written(int fd, const void *data, size_t size, int64_t offset, ssize_t (*next)(int, const void *, size_t, off64_t)) {
    char path[1200];
    if (!path_of(fd, path, sizeof path)) return -2;
    pthread_mutex_lock(&lock);
    struct stat found;
    fstat(fd, &found);
    if (offset < 0) offset = (fcntl(fd, F_GETFL) & O_APPEND) ? found.st_size : lseek64(fd, 0, SEEK_CUR);
    if (mode == KILL && left == 0) next(fd, data, size / 2, offset); /* a half of it */
    ssize_t result = strikes(offset + (int64_t)size > found.st_size) ? -1 : next(fd, data, size, offset);
    if (result > 0) record(WRITE, path, 0, (uint64_t)offset, data, (uint64_t)result);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *data, size_t size) {
    NEXT(ssize_t, write, int, const void *, size_t);
    static ssize_t (*at)(int, const void *, size_t, off64_t);
    if (!at) at = dlsym(RTLD_NEXT, "pwrite64");
    if (mode == OFF || mode == NO_MEMORY) return next(fd, data, size);
    ssize_t result = written(fd, data, size, -1, at);
    if (result == -2) return next(fd, data, size);
    if (result > 0 && !(fcntl(fd, F_GETFL) & O_APPEND)) lseek64(fd, result, SEEK_CUR);
    return result;
}

#define PWRITE(name) \
    ssize_t name(int fd, const void *data, size_t size, off64_t offset) { \
        NEXT(ssize_t, name, int, const void *, size_t, off64_t); \
        ssize_t result = mode == OFF || mode == NO_MEMORY ? -2 : written(fd, data, size, offset, next); \
        return result == -2 ? next(fd, data, size, offset) : result; \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define PREAD(name) \
    ssize_t name(int fd, void *data, size_t size, off64_t offset) { \
        NEXT(ssize_t, name, int, void *, size_t, off64_t); \
        char path[1200]; \
        if (mode != FAIL || !path_of(fd, path, sizeof path)) return next(fd, data, size, offset); \
        return strikes(0) ? -1 : next(fd, data, size, offset); \
    }
PREAD(pread)
PREAD(pread64)

#define FTRUNCATE(name) \
    int name(int fd, off64_t size) { \
        NEXT(int, name, int, off64_t); \
        char path[1200]; \
        if (!path_of(fd, path, sizeof path)) return next(fd, size); \
        pthread_mutex_lock(&lock); \
        int result = strikes(0) ? -1 : next(fd, size); \
        if (!result) record(TRUNCATE, path, 0, (uint64_t)size, 0, 0); \
        pthread_mutex_unlock(&lock); \
        return result; \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

#define FSYNC(name) \
    int name(int fd) { \
        NEXT(int, name, int); \
        char path[1200]; \
        if (!path_of(fd, path, sizeof path)) return next(fd); \
        pthread_mutex_lock(&lock); \
        struct stat found; \
        fstat(fd, &found); \
        int result = strikes(0) ? -1 : next(fd); \
        if (!result) record(S_ISDIR(found.st_mode) ? SYNC_FOLDER : SYNC, path, 0, 0, 0, 0); \
        pthread_mutex_unlock(&lock); \
        return result; \
    }
FSYNC(fsync)
FSYNC(fdatasync)

/* ── folders ────────────────────────────────────────────────────────────────────────────────────────────────────────── */

int unlink(const char *path) {
    NEXT(int, unlink, const char *);
    if (!is_ours(path)) return next(path);
    pthread_mutex_lock(&lock);
    int result = strikes(0) ? -1 : next(path);
    if (!result) record(UNLINK, path, 0, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

#define TWO_NAMES(name, operation) \
    int name(const char *from, const char *to) { \
        NEXT(int, name, const char *, const char *); \
        if (!is_ours(from)) return next(from, to); \
        pthread_mutex_lock(&lock); \
        int result = strikes(0) ? -1 : next(from, to); \
        if (!result) record(operation, from, to, 0, 0, 0); \
        pthread_mutex_unlock(&lock); \
        return result; \
    }
TWO_NAMES(rename, RENAME)
TWO_NAMES(link, LINK)

int mkdir(const char *path, mode_t rights) {
    NEXT(int, mkdir, const char *, mode_t);
    if (!is_ours(path)) return next(path, rights);
    pthread_mutex_lock(&lock);
    int result = strikes(1) ? -1 : next(path, rights);
    if (!result) record(MKDIR, path, 0, 0, 0, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

/* ── memory ─────────────────────────────────────────────────────────────────────────────────────────────────────────── */

extern void *__libc_malloc(size_t);
extern void *__libc_realloc(void *, size_t);

static int starves(void *caller) {
    if (mode != NO_MEMORY || (uintptr_t)caller < sqlite_from || (uintptr_t)caller >= sqlite_to) return 0;
    counted++;
    return left-- == 0;
}

void *malloc(size_t size) { return starves(__builtin_return_address(0)) ? 0 : __libc_malloc(size); }

void *realloc(void *data, size_t size) { return starves(__builtin_return_address(0)) ? 0 : __libc_realloc(data, size); }
