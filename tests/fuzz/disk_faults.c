/* Lets one call that changes files fail, for LD_PRELOAD: the n-th write, fsync, rename or creation below a folder. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char below[4096];
static long left = -1, seen = 0;
static int number = 0, lasting = 0;

/* Fail the `at`-th call from now on (and all after it, if `stays`) with `code`; with `at` 0 only count. */
void arm(const char *folder, long at, int code, int stays) {
    strncpy(below, folder, sizeof below - 1);
    left = at, seen = 0, number = code, lasting = stays;
}

long calls(void) { return seen; }

static int fails(const char *path) {
    size_t length = strlen(below);
    if (!length || strncmp(path, below, length) != 0) return 0;
    seen++;
    if (left <= 0 || seen < left || (seen > left && !lasting)) return 0;
    errno = number;
    return 1;
}

static int fails_open(int fd) {
    char link[64], path[4096];
    if (!below[0] || fd < 3) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t count) { return fails_open(fd) ? -1 : REAL(write)(fd, data, count); }
int fsync(int fd) { return fails_open(fd) ? -1 : REAL(fsync)(fd); }
int rename(const char *from, const char *to) { return fails(to) ? -1 : REAL(rename)(from, to); }
int mkdir(const char *path, mode_t mode) { return fails(path) ? -1 : REAL(mkdir)(path, mode); }

#define OPEN(name)                                                                \
    int name(const char *path, int flags, ...) {                                  \
        va_list rest;                                                             \
        va_start(rest, flags);                                                    \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                 \
        va_end(rest);                                                             \
        return flags & O_CREAT && fails(path) ? -1 : REAL(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
