/* Included before openeni.c: read() and write() that are interrupted, do little at a time, or end
 * the process at the write that FLAKY_KILL counts. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static int flaky_calls, flaky_writes;

static size_t flaky_size(size_t size)
{
	return size > 7 ? 7 : size;
}

static ssize_t flaky_read(int fd, void *data, size_t size)
{
	if (flaky_calls++ % 2) {
		errno = EINTR;
		return -1;
	}
	return read(fd, data, flaky_size(size));
}

static ssize_t flaky_write(int fd, const void *data, size_t size)
{
	const char *last = getenv("FLAKY_KILL");
	if (last && ++flaky_writes == atoi(last))
		raise(SIGKILL);
	if (flaky_calls++ % 2) {
		errno = EINTR;
		return -1;
	}
	return write(fd, data, flaky_size(size));
}

#define read flaky_read
#define write flaky_write
