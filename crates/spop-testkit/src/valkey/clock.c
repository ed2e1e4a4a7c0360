/*
 * A wall clock that can be stepped while a process runs: preloaded into that process, it
 * adds an offset to what the system's clock says. The offset, in microseconds as a signed
 * 64-bit number, is the content of the file that CLOCK_OFFSET names, shared in memory.
 * Monotonic clocks stay as they are.
 *
 * The system is called directly, so that nothing here allocates: an allocator may read
 * the clock before anything else is ready.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *offset;

__attribute__((constructor)) static void share_offset(void)
{
	const char *path = getenv("CLOCK_OFFSET");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (file < 0)
		return;
	void *shared = mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, file, 0);
	if (shared != MAP_FAILED)
		offset = shared;
	close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = (int)syscall(SYS_clock_gettime, clock, now);

	if (result == 0 && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
		int64_t micros = now->tv_sec * INT64_C(1000000) + now->tv_nsec / 1000 + *offset;
		long below = now->tv_nsec % 1000;

		now->tv_sec = micros / 1000000;
		now->tv_nsec = micros % 1000000 * 1000 + below;
	}
	return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &precise) != 0)
		return -1;
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *seconds)
{
	struct timespec precise = {0};

	clock_gettime(CLOCK_REALTIME, &precise);
	if (seconds)
		*seconds = precise.tv_sec;
	return precise.tv_sec;
}
