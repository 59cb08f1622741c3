/* A machine whose wall clock is off: LD_PRELOAD this, CLOCK_STEP names a file with the seconds to add, read at each look.
   Only the wall clock moves: what counts from the start of the machine (CLOCK_MONOTONIC, CLOCK_BOOTTIME) does not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long off_by(void)
{
    const char *path = getenv("CLOCK_STEP");
    char said[32];
    int before = errno, fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    long n = 0;

    if (fd >= 0) {
        n = read(fd, said, sizeof said - 1);
        close(fd);
        said[n > 0 ? n : 0] = '\0';
        n = atol(said);
    }
    errno = before;
    return n;
}

int clock_gettime(clockid_t which, struct timespec *at)
{
    static int (*real)(clockid_t, struct timespec *);
    int told;

    if (!real)
        real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    told = real(which, at);
    if (told == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        at->tv_sec += off_by();
    return told;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;

    (void) zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;

    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return (time_t) -1;
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base)
{
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, at) == 0 ? base : 0;
}
