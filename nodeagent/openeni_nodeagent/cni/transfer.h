/*
 * Read and write until the deadline of the call, or until nobody is left who would read its result.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

static int64_t deadline; /* milliseconds of CLOCK_MONOTONIC */
static int needs_reader; /* of its output: without one the call is not to be carried out */

static int64_t clock_ms(clockid_t which)
{
	struct timespec now;
	clock_gettime(which, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t remaining(void)
{
	int64_t left = deadline - clock_ms(CLOCK_MONOTONIC);
	return left > 0 ? left : 0;
}

/*
 * Nothing is asked of the output, so poll() finds only what comes unasked: POLLERR of a pipe without a
 * reader, POLLHUP of a socket without a peer, POLLNVAL of what is closed. The runtime has ended, and
 * left this process behind.
 */
static int is_abandoned(void)
{
	struct pollfd out = {.fd = STDOUT_FILENO};
	return needs_reader && poll(&out, 1, 0) > 0;
}

/* Wait until the file is ready for `events`; return 0 at the deadline, and once the call is abandoned. */
static int ready(int fd, short events)
{
	struct pollfd files[] = {{.fd = fd, .events = events}, {.fd = needs_reader ? STDOUT_FILENO : -1}};
	int found;
	while ((found = poll(files, 2, (int)remaining())) < 0 && errno == EINTR)
		;
	return found > 0 && !files[1].revents;
}

/*
 * Read (POLLIN) or write (POLLOUT) up to `length`; where less is done, errno is 0 at the end. The
 * output may block: a pipe that is ready has room for PIPE_BUF, and a longer write waits for a reader.
 */
static size_t transfer(int fd, short events, char *data, size_t length)
{
	size_t done = 0;
	while (done < length) {
		if (!ready(fd, events)) {
			errno = ETIMEDOUT;
			break;
		}
		size_t left = length - done;
		ssize_t n = events == POLLOUT ? write(fd, data + done, left < PIPE_BUF ? left : PIPE_BUF)
					      : read(fd, data + done, left);
		if (n == 0)
			errno = 0;
		if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
			break;
		done += n > 0 ? n : 0;
	}
	return done;
}
