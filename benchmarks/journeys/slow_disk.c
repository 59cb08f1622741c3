/* A disk whose every flush takes longer: LD_PRELOAD this, SLOW_DISK_US says by how many microseconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void wait_for_disk(void)
{
    static long us = -1;
    struct timespec left;

    if (us < 0) {
        const char *said = getenv("SLOW_DISK_US");
        us = said ? atol(said) : 3600;
    }
    left.tv_sec = us / 1000000;
    left.tv_nsec = (us % 1000000) * 1000;
    while (nanosleep(&left, &left) != 0)
        ;
}

int fsync(int fd)
{
    static int (*real)(int);
    int told;

    if (!real)
        real = (int (*)(int)) dlsym(RTLD_NEXT, "fsync");
    told = real(fd);
    wait_for_disk();
    return told;
}

int fdatasync(int fd)
{
    static int (*real)(int);
    int told;

    if (!real)
        real = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    told = real(fd);
    wait_for_disk();
    return told;
}
