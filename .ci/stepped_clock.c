/* For LD_PRELOAD: the clock of one process and its children, turned by the seconds in the file $STEPPED_CLOCK (an int64).
 * What measures how long something takes (CLOCK_MONOTONIC) is left as it is, as when a machine's clock is set. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead;

__attribute__((constructor)) static void find(void) {
    const char *name = getenv("STEPPED_CLOCK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *seen = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (seen != MAP_FAILED) ahead = seen;
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, id, now);
    if (!failed && ahead && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec one;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &one)) return -1;
    now->tv_sec = one.tv_sec;
    now->tv_usec = one.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec one;
    if (clock_gettime(CLOCK_REALTIME, &one)) return -1;
    if (now) *now = one.tv_sec;
    return one.tv_sec;
}
