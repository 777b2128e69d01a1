/* Makes chosen file operations below one folder fail, fall short, or kill the process.
 *
 * Preloaded by `benchmarks/faults.py` (Linux). Nothing happens until `fault_arm` is called; counting
 * starts there, and `fault_count` tells how many operations have come by since.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, FAIL, FAIL_ON, SHORT, KILL_BEFORE, KILL_AFTER };
static char root[PATH_MAX];
static size_t root_length;
static atomic_long count;
static long chosen = -1;
static int action = NOTHING, error_number, log_file = -1;
static __thread int inside;

void fault_arm(const char *folder, long when, int what, int number, int log_descriptor) {
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root);
    chosen = when;
    action = what;
    error_number = number;
    log_file = log_descriptor;
    atomic_store(&count, 0);
}

long fault_count(void) { return atomic_load(&count); }

#define REAL(type, name, ...) \
    static type (*real_##name)(__VA_ARGS__); \
    if (!real_##name) real_##name = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static int below(int folder, const char *path) {
    char whole[2 * PATH_MAX], link[64];
    if (!root_length || inside || !path) return 0;
    if (path[0] == '/') return !strncmp(path, root, root_length);
    ssize_t size;
    inside = 1;
    if (folder == AT_FDCWD) size = readlink("/proc/self/cwd", whole, PATH_MAX);
    else { snprintf(link, sizeof link, "/proc/self/fd/%d", folder); size = readlink(link, whole, PATH_MAX); }
    inside = 0;
    if (size <= 0) return 0;
    whole[size] = '/';
    whole[size + 1] = 0;
    return !strncmp(whole, root, root_length);
}

static int below_open(int descriptor) {
    char link[64], whole[PATH_MAX + 1];
    if (!root_length || inside || descriptor == log_file) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    inside = 1;
    ssize_t size = readlink(link, whole, PATH_MAX);
    inside = 0;
    if (size <= 0) return 0;
    whole[size] = 0;
    return !strncmp(whole, root, root_length);
}

/* What is to be done with the operation that comes by now. */
static int next(const char *name) {
    long number = atomic_fetch_add(&count, 1);
    if (log_file >= 0 && action == NOTHING) dprintf(log_file, "%s\n", name);
    if (action == FAIL_ON && number >= chosen) return FAIL;
    if (number != chosen) return NOTHING;
    if (action == KILL_BEFORE) raise(SIGKILL);
    return action;
}

#define GUARDED(name, is_below, call) \
    if (!(is_below)) return call; \
    int todo = next(name); \
    if (todo == FAIL || todo == SHORT) { errno = error_number; return -1; } \
    __typeof__(call) result = call; \
    if (todo == KILL_AFTER) raise(SIGKILL); \
    return result

#define WRITING(flags) (((flags) & (O_WRONLY | O_RDWR | O_CREAT)) != 0)
#define OPEN(NAME) \
    int NAME(const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest); \
        REAL(int, NAME, const char *, int, ...); \
        GUARDED(WRITING(flags) ? "open for writing" : "open", below(AT_FDCWD, path), real_##NAME(path, flags, mode)); }
OPEN(open)
OPEN(open64)
#define OPENAT(NAME) \
    int NAME(int folder, const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, int); va_end(rest); \
        REAL(int, NAME, int, const char *, int, ...); \
        GUARDED(WRITING(flags) ? "open for writing" : "open", below(folder, path), real_##NAME(folder, path, flags, mode)); }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (!below_open(descriptor)) return real_write(descriptor, data, size);
    int todo = next("write");
    if (todo == FAIL) { errno = error_number; return -1; }
    if (todo == SHORT) size = size / 2;
    ssize_t result = real_write(descriptor, data, size);
    if (todo == KILL_AFTER) raise(SIGKILL);
    return result;
}

#define READ(NAME, TYPES, NAMES, ...) \
    ssize_t NAME TYPES { static ssize_t (*real) TYPES; if (!real) real = (ssize_t (*) TYPES)dlsym(RTLD_NEXT, #NAME); \
        GUARDED("read", below_open(descriptor), real NAMES); }
READ(read, (int descriptor, void *data, size_t size), (descriptor, data, size))
READ(pread, (int descriptor, void *data, size_t size, off_t at), (descriptor, data, size, at))
READ(pread64, (int descriptor, void *data, size_t size, off64_t at), (descriptor, data, size, at))

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    REAL(size_t, fwrite, const void *, size_t, size_t, FILE *);
    if (!below_open(fileno(file))) return real_fwrite(data, size, count, file);
    int todo = next("write");
    if (todo == FAIL) { errno = error_number; return 0; }
    if (todo == SHORT) { errno = error_number; return real_fwrite(data, size, count / 2, file); }
    size_t result = real_fwrite(data, size, count, file);
    if (todo == KILL_AFTER) raise(SIGKILL);
    return result;
}

#define OPEN_STREAM(NAME) \
    FILE *NAME(const char *path, const char *mode) { \
        REAL(FILE *, NAME, const char *, const char *); \
        if (!below(AT_FDCWD, path)) return real_##NAME(path, mode); \
        int todo = next(mode[0] == 'r' && !strchr(mode, '+') ? "open" : "open for writing"); \
        if (todo == FAIL || todo == SHORT) { errno = error_number; return NULL; } \
        FILE *result = real_##NAME(path, mode); \
        if (todo == KILL_AFTER) raise(SIGKILL); \
        return result; }
OPEN_STREAM(fopen)
OPEN_STREAM(fopen64)

DIR *opendir(const char *path) {
    REAL(DIR *, opendir, const char *);
    if (!below(AT_FDCWD, path)) return real_opendir(path);
    int todo = next("list");
    if (todo == FAIL || todo == SHORT) { errno = error_number; return NULL; }
    return real_opendir(path);
}

#define ONE(NAME, TITLE, IS_BELOW, TYPES, NAMES) \
    int NAME TYPES { static int (*real) TYPES; if (!real) real = (int (*) TYPES)dlsym(RTLD_NEXT, #NAME); \
        GUARDED(TITLE, IS_BELOW, real NAMES); }
ONE(rename, "rename", below(AT_FDCWD, from) || below(AT_FDCWD, to), (const char *from, const char *to), (from, to))
ONE(renameat, "rename", below(a, from) || below(b, to), (int a, const char *from, int b, const char *to), (a, from, b, to))
ONE(renameat2, "rename", below(a, from) || below(b, to), (int a, const char *from, int b, const char *to, unsigned int f), (a, from, b, to, f))
ONE(mkdir, "mkdir", below(AT_FDCWD, path), (const char *path, mode_t mode), (path, mode))
ONE(mkdirat, "mkdir", below(folder, path), (int folder, const char *path, mode_t mode), (folder, path, mode))
ONE(unlink, "unlink", below(AT_FDCWD, path), (const char *path), (path))
ONE(unlinkat, "unlink", below(folder, path), (int folder, const char *path, int flags), (folder, path, flags))
ONE(rmdir, "rmdir", below(AT_FDCWD, path), (const char *path), (path))
ONE(link, "link", below(AT_FDCWD, to), (const char *from, const char *to), (from, to))
ONE(symlink, "link", below(AT_FDCWD, to), (const char *from, const char *to), (from, to))
ONE(stat, "stat", below(AT_FDCWD, path), (const char *path, struct stat *about), (path, about))
ONE(lstat, "stat", below(AT_FDCWD, path), (const char *path, struct stat *about), (path, about))
ONE(stat64, "stat", below(AT_FDCWD, path), (const char *path, struct stat64 *about), (path, about))
ONE(lstat64, "stat", below(AT_FDCWD, path), (const char *path, struct stat64 *about), (path, about))
ONE(fstatat64, "stat", below(folder, path), (int folder, const char *path, struct stat64 *about, int flags), (folder, path, about, flags))
ONE(fstatat, "stat", below(folder, path), (int folder, const char *path, struct stat *about, int flags), (folder, path, about, flags))
ONE(fsync, "fsync", below_open(descriptor), (int descriptor), (descriptor))
ONE(fdatasync, "fsync", below_open(descriptor), (int descriptor), (descriptor))
ONE(ftruncate, "truncate", below_open(descriptor), (int descriptor, off_t length), (descriptor, length))
ONE(ftruncate64, "truncate", below_open(descriptor), (int descriptor, off64_t length), (descriptor, length))
ONE(truncate, "truncate", below(AT_FDCWD, path), (const char *path, off_t length), (path, length))
ONE(truncate64, "truncate", below(AT_FDCWD, path), (const char *path, off64_t length), (path, length))

/* These give the error's number instead of setting errno. */
#define RESERVE(NAME, TYPE) \
    int NAME(int descriptor, TYPE offset, TYPE length) { \
        static int (*real)(int, TYPE, TYPE); if (!real) real = (int (*)(int, TYPE, TYPE))dlsym(RTLD_NEXT, #NAME); \
        if (!below_open(descriptor)) return real(descriptor, offset, length); \
        int todo = next("reserve"); \
        if (todo == FAIL || todo == SHORT) return error_number; \
        int result = real(descriptor, offset, length); \
        if (todo == KILL_AFTER) raise(SIGKILL); \
        return result; }
RESERVE(posix_fallocate, off_t)
RESERVE(posix_fallocate64, off64_t)
