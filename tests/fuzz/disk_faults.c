/* Lets one call that changes files fail, for LD_PRELOAD: the n-th write, fsync, close, renaming, creation below a folder.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHORT -1 /* in place of a code: a write takes the first half only, as a disk that fills up or a signal has it */

static char below[4096], said[1 << 20];
static size_t written = 0;
static long left = -1, seen = 0;
static int number = 0, lasting = 0;

/* Fail the `at`-th call from now on (and all after it, if `stays`) with `code`; with `at` 0 only count. */
void arm(const char *folder, long at, int code, int stays) {
    strncpy(below, folder, sizeof below - 1);
    left = at, seen = 0, number = code, lasting = stays, written = 0, said[0] = 0;
}

/* The calls so far, one a line with its path. */
const char *calls(void) { return said; }

static int fails(const char *call, const char *path) {
    size_t length = strlen(below);
    if (!length || strncmp(path, below, length) != 0) return 0;
    long now = __sync_add_and_fetch(&seen, 1);
    size_t room = strlen(call) + strlen(path) + 3, from = __sync_fetch_and_add(&written, room - 1);
    if (from + room < sizeof said) snprintf(said + from, room, "%s %s\n", call, path);
    if (left <= 0 || now < left || (now > left && !lasting)) return 0;
    /* A full disk still removes files. */
    if (number == ENOSPC && (!strcmp(call, "unlink") || !strcmp(call, "rmdir"))) return 0;
    if (number == SHORT) return strstr(call, "write") != NULL;
    errno = number;
    return 1;
}

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    if (!below[0] || fd < 3) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int fails_open(const char *call, int fd) {
    char path[4096];
    return path_of(fd, path, sizeof path) && fails(call, path);
}

static int fails_at(const char *call, int folder, const char *name) {
    char path[8192];
    if (!below[0]) return 0;
    if (name[0] == '/') return fails(call, name);
    if (folder == AT_FDCWD ? !getcwd(path, 4096) : !path_of(folder, path, 4096)) return 0;
    strcat(path, "/");
    strncat(path, name, 4000);
    return fails(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t count) {
    if (!fails_open("write", fd)) return REAL(write)(fd, data, count);
    return number == SHORT ? REAL(write)(fd, data, count > 1 ? count / 2 : count) : -1;
}

#define PWRITE(name)                                                                        \
    ssize_t name(int fd, const void *data, size_t count, off64_t at) {       \
        if (!fails_open("pwrite", fd)) return REAL(name)(fd, data, count, at);              \
        return number == SHORT ? REAL(name)(fd, data, count > 1 ? count / 2 : count, at) : -1; \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!fails_open("writev", fd)) return REAL(writev)(fd, parts, count);
    return number == SHORT ? REAL(writev)(fd, parts, count > 1 ? count / 2 : count) : -1;
}

#define ON_FILE(name) \
    int name(int fd) { return fails_open(#name, fd) ? -1 : REAL(name)(fd); }
ON_FILE(fsync)
ON_FILE(fdatasync)

/* The file is closed all the same, as Linux does it. Only of files that were open for writing. */
int close(int fd) {
    int flags = below[0] && fd > 2 ? fcntl(fd, F_GETFL) : -1;
    int bad = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && fails_open("close", fd), code = errno;
    int result = REAL(close)(fd);
    if (!bad) return result;
    errno = code;
    return -1;
}

int ftruncate(int fd, off_t size) { return fails_open("ftruncate", fd) ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { return fails_open("ftruncate", fd) ? -1 : REAL(ftruncate64)(fd, size); }
ssize_t sendfile(int to, int from, off_t *at, size_t count) {
    return fails_open("sendfile", to) ? -1 : REAL(sendfile)(to, from, at, count);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t count) {
    return fails_open("sendfile", to) ? -1 : REAL(sendfile64)(to, from, at, count);
}
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t count, unsigned flags) {
    return fails_open("copy_file_range", to) ? -1 : REAL(copy_file_range)(from, at, to, there, count, flags);
}

int rename(const char *from, const char *to) {
    return fails_at("rename", AT_FDCWD, to) ? -1 : REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    return fails_at("rename", b, to) ? -1 : REAL(renameat)(a, from, b, to);
}
int link(const char *from, const char *to) { return fails_at("link", AT_FDCWD, to) ? -1 : REAL(link)(from, to); }
int symlink(const char *from, const char *to) {
    return fails_at("symlink", AT_FDCWD, to) ? -1 : REAL(symlink)(from, to);
}
int mkdir(const char *path, mode_t mode) { return fails_at("mkdir", AT_FDCWD, path) ? -1 : REAL(mkdir)(path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) {
    return fails_at("mkdir", folder, path) ? -1 : REAL(mkdirat)(folder, path, mode);
}
int unlink(const char *path) { return fails_at("unlink", AT_FDCWD, path) ? -1 : REAL(unlink)(path); }
int unlinkat(int folder, const char *path, int flags) {
    return fails_at("unlink", folder, path) ? -1 : REAL(unlinkat)(folder, path, flags);
}
int rmdir(const char *path) { return fails_at("rmdir", AT_FDCWD, path) ? -1 : REAL(rmdir)(path); }

#define OPEN(name)                                                                                          \
    int name(const char *path, int flags, ...) {                                                            \
        va_list rest;                                                                                       \
        va_start(rest, flags);                                                                              \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                           \
        va_end(rest);                                                                                       \
        return flags & O_CREAT && fails_at("open", AT_FDCWD, path) ? -1 : REAL(name)(path, flags, mode);    \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                        \
    int name(int folder, const char *path, int flags, ...) {                                                \
        va_list rest;                                                                                       \
        va_start(rest, flags);                                                                              \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                           \
        va_end(rest);                                                                                       \
        return flags & O_CREAT && fails_at("open", folder, path) ? -1 : REAL(name)(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                                                         \
    FILE *name(const char *path, const char *mode) {                                                        \
        return mode[0] != 'r' && fails_at("open", AT_FDCWD, path) ? NULL : REAL(name)(path, mode);          \
    }
FOPEN(fopen)
FOPEN(fopen64)
