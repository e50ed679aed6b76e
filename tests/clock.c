/* Preloaded into a process, it shows it and its children a time that is CLOCK_SHIFT_S seconds later: `make test-dates`.
   With CLOCK_SHIFT_FILE the shift is the number in that file, eight bytes, and may change at any moment:
   `make chaos`. Only the time of day is shifted. libfaketime 0.9.10, of Debian, breaks Python's sleep() and its locks with a timeout,
   which wait by the monotonic clock. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t own_shift;
static volatile int64_t *shift = &own_shift;

__attribute__((constructor)) static void read_shift(void) {
    const char *given = getenv("CLOCK_SHIFT_S"), *path = getenv("CLOCK_SHIFT_FILE");
    own_shift = given ? atoll(given) : 0;
    if (!path) return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) shift = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    if (!failed) *now = (struct timeval){precise.tv_sec, precise.tv_nsec / 1000};
    return failed;
}

time_t time(time_t *kept) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (kept) *kept = now.tv_sec;
    return now.tv_sec;
}
