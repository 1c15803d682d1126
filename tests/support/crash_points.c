/* Preloaded into a program, ends it by SIGKILL at its Nth call that changes a file: N is SLUICE_CRASH_AT, from 1 on,
 * and only files below the folder SLUICE_CRASH_UNDER count. A write is done by half before that, anything else not at
 * all. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long calls;

static void die(void) {
    kill(getpid(), SIGKILL);
    pause();
}

static int is_below(const char* path) {
    const char* under = getenv("SLUICE_CRASH_UNDER");
    return under != NULL && path != NULL && strncmp(path, under, strlen(under)) == 0;
}

static int is_ours(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

/* Whether this call, which counts, is the one. */
static int is_the_one(void) {
    const char* at = getenv("SLUICE_CRASH_AT");
    return at != NULL && __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) == atol(at);
}

static int is_changing(int flags) {
    return (flags & (O_CREAT | O_TRUNC)) != 0 || (flags & O_ACCMODE) != O_RDONLY;
}

#define OPEN(name)                                                       \
    int name(const char* path, int flags, ...) {                         \
        va_list rest;                                                    \
        va_start(rest, flags);                                           \
        const mode_t mode = va_arg(rest, mode_t);                        \
        va_end(rest);                                                    \
        if (is_changing(flags) && is_below(path) && is_the_one()) die(); \
        return NEXT(name)(path, flags, mode);                            \
    }
OPEN(open)
OPEN(open64)

#define PWRITE(name, offset_type)                                                       \
    ssize_t name(int descriptor, const void* bytes, size_t count, offset_type offset) { \
        if (is_ours(descriptor) && is_the_one()) {                                      \
            if (NEXT(name)(descriptor, bytes, count / 2, offset) >= 0) die();           \
            die();                                                                      \
        }                                                                               \
        return NEXT(name)(descriptor, bytes, count, offset);                            \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int descriptor, const void* bytes, size_t count) {
    if (is_ours(descriptor) && is_the_one()) {
        if (NEXT(write)(descriptor, bytes, count / 2) >= 0) die();
        die();
    }
    return NEXT(write)(descriptor, bytes, count);
}

ssize_t sendfile(int out, int in, off_t* offset, size_t count);
ssize_t sendfile(int out, int in, off_t* offset, size_t count) {
    if (is_ours(out) && is_the_one()) die();
    return NEXT(sendfile)(out, in, offset, count);
}

#define ON_DESCRIPTOR(name)                             \
    int name(int descriptor) {                          \
        if (is_ours(descriptor) && is_the_one()) die(); \
        return NEXT(name)(descriptor);                  \
    }
ON_DESCRIPTOR(fsync)
ON_DESCRIPTOR(fdatasync)

#define TRUNCATE(name, size_type)                       \
    int name(int descriptor, size_type size) {          \
        if (is_ours(descriptor) && is_the_one()) die(); \
        return NEXT(name)(descriptor, size);            \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int rename(const char* from, const char* to) {
    if (is_below(to) && is_the_one()) die();
    return NEXT(rename)(from, to);
}

int link(const char* from, const char* to) {
    if (is_below(to) && is_the_one()) die();
    return NEXT(link)(from, to);
}

int mkdir(const char* path, mode_t mode) {
    if (is_below(path) && is_the_one()) die();
    return NEXT(mkdir)(path, mode);
}

#define ON_PATH(name)                              \
    int name(const char* path) {                   \
        if (is_below(path) && is_the_one()) die(); \
        return NEXT(name)(path);                   \
    }
ON_PATH(unlink)
ON_PATH(rmdir)
ON_PATH(remove)
