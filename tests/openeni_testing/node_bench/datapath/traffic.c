/*
 * traffic: requests and responses, connections and streams between two namespaces, timed inside.
 *
 *   traffic serve PORT                      answer all tests, until killed
 *   traffic TEST ADDRESS PORT SECONDS MOST WAIT
 *                                           print how many were done, and in how many nanoseconds of
 *                                           the processor, at both ends together
 *
 * TEST is tcp_rr (one byte there and back on one connection), tcp_crr (the same on a connection of
 * its own, with connect and close), udp_rr, or tcp_stream (counts bytes). A test ends after SECONDS
 * or MOST transactions. WAIT is for how many seconds udp_rr pauses after its first transaction: after
 * two of them conntrack takes the flow for more than a question and its answer. netperf's tests of these names are the model; its licence keeps it out of
 * Debian, and what is in Debian (iperf3, qperf, sockperf) has no test of connections.
 *
 * The kernel handles a packet in the system call that sends it, up to the other end's queue, so the
 * processor time of both processes is that of the whole path. Other load hardly changes it. (Not so
 * with CONFIG_IRQ_TIME_ACCOUNTING, which takes softirqs off a process's time.)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (128 * 1024)
#define CONNECTIONS 64
#define LOST_SECONDS 2 /* without an answer: the path is broken, not slow */

static char buffer[CHUNK];
static struct sockaddr_in peer = {.sin_family = AF_INET};
static int64_t begun, spent, ending;
static int control; /* a connection by which the server tells its own processor time */

static void die(const char *what)
{
	fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now(clockid_t clock)
{
	struct timespec at;
	clock_gettime(clock, &at);
	return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static int open_socket(int kind)
{
	int one = 1, fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = LOST_SECONDS};
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (kind == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static int connected(int kind)
{
	int fd = open_socket(kind);
	if (connect(fd, (struct sockaddr *)&peer, sizeof peer))
		die("connect");
	return fd;
}

/* Send one byte and wait for one. */
static void exchange(int fd, char test)
{
	if (write(fd, &test, 1) != 1)
		die("write");
	if (read(fd, &test, 1) != 1)
		die("no answer");
}

/* Return the processor time of both ends. */
static int64_t processor_time(void)
{
	int64_t server;
	if (write(control, "T", 1) != 1 ||
	    recv(control, &server, sizeof server, MSG_WAITALL) != sizeof server)
		die("the server does not tell its time");
	return server + now(CLOCK_PROCESS_CPUTIME_ID);
}

static void start(double seconds)
{
	begun = processor_time();
	ending = now(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
}

static int64_t finished(int64_t done)
{
	spent = processor_time() - begun;
	return done;
}

static int64_t count_transactions(int kind, char test, double seconds, int64_t most, int wait)
{
	int64_t done = 0;
	int fd = connected(kind);
	exchange(fd, test); /* neighbours and routes are known after it */
	if (wait) {
		sleep(wait);
		for (int again = 0; again < 3; again++)
			exchange(fd, test);
	}
	for (start(seconds); done < most && now(CLOCK_MONOTONIC) < ending; done++)
		exchange(fd, test);
	return finished(done);
}

static int64_t count_connections(double seconds, int64_t most)
{
	int64_t done = 0;
	for (start(seconds); done < most && now(CLOCK_MONOTONIC) < ending; done++) {
		int fd = connected(SOCK_STREAM);
		exchange(fd, 'C');
		/* The server closes first: else this end runs out of ports that are in TIME_WAIT. */
		if (read(fd, buffer, 1) != 0)
			die("the server does not close");
		close(fd);
	}
	return finished(done);
}

static int64_t count_bytes(double seconds)
{
	int64_t done = 0;
	int fd = connected(SOCK_STREAM);
	if (write(fd, "S", 1) != 1)
		die("write");
	for (start(seconds); now(CLOCK_MONOTONIC) < ending;) {
		ssize_t sent = write(fd, buffer, sizeof buffer);
		if (sent < 0)
			die("write");
		done += sent;
	}
	shutdown(fd, SHUT_WR);
	if (read(fd, buffer, 1) != 1) /* all has arrived */
		die("the stream is cut off");
	return finished(done);
}

/* Answer what a connection has sent, by its first byte; return 0 if that was all. */
static int answer(int fd, char *test)
{
	int64_t spent_here = now(CLOCK_PROCESS_CPUTIME_ID);
	ssize_t size = read(fd, buffer, *test == 'S' ? sizeof buffer : 1);

	if (!*test)
		*test = buffer[0];
	if (size <= 0)
		return *test == 'S' && write(fd, test, 1) && 0; /* all of the stream has arrived */
	if (*test == 'S')
		return 1;
	if (*test == 'T')
		return write(fd, &spent_here, sizeof spent_here) > 0;
	return write(fd, test, 1) == 1 && *test != 'C';
}

static void answer_datagram(int fd)
{
	struct sockaddr_in from;
	socklen_t length = sizeof from;
	ssize_t size = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &length);
	if (size > 0)
		sendto(fd, buffer, size, 0, (struct sockaddr *)&from, length);
}

static void serve(void)
{
	struct pollfd ready[CONNECTIONS + 2] = {
		{.fd = open_socket(SOCK_DGRAM), .events = POLLIN},
		{.fd = open_socket(SOCK_STREAM), .events = POLLIN},
	};
	char tests[CONNECTIONS + 2];
	int count = 2, one = 1;

	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 2; i++)
		if (bind(ready[i].fd, (struct sockaddr *)&peer, sizeof peer))
			die("bind");
	if (listen(ready[1].fd, CONNECTIONS))
		die("listen");
	for (;;) {
		if (poll(ready, count, -1) < 0)
			continue;
		for (int i = count - 1; i > 1; i--)
			if (ready[i].revents && !answer(ready[i].fd, &tests[i])) {
				close(ready[i].fd);
				ready[i] = ready[--count];
				tests[i] = tests[count];
			}
		if (ready[0].revents)
			answer_datagram(ready[0].fd);
		if (ready[1].revents && count < CONNECTIONS + 2) {
			int fd = accept4(ready[1].fd, NULL, NULL, SOCK_CLOEXEC);
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
			ready[count] = (struct pollfd){.fd = fd, .events = POLLIN};
			tests[count++] = 0;
		}
	}
}

int main(int count, char **arguments)
{
	if (count == 3 && !strcmp(arguments[1], "serve")) {
		peer.sin_port = htons(atoi(arguments[2]));
		serve();
	}
	if (count != 7 || inet_pton(AF_INET, arguments[2], &peer.sin_addr) != 1) {
		fputs("traffic serve PORT | TEST ADDRESS PORT SECONDS MOST WAIT\n", stderr);
		return 2;
	}
	peer.sin_port = htons(atoi(arguments[3]));
	double seconds = atof(arguments[4]);
	int64_t most = atoll(arguments[5]), done = 0;
	control = connected(SOCK_STREAM);
	if (!strcmp(arguments[1], "tcp_rr"))
		done = count_transactions(SOCK_STREAM, 'R', seconds, most, 0);
	else if (!strcmp(arguments[1], "udp_rr"))
		done = count_transactions(SOCK_DGRAM, 'R', seconds, most, atoi(arguments[6]));
	else if (!strcmp(arguments[1], "tcp_crr"))
		done = count_connections(seconds, most);
	else if (!strcmp(arguments[1], "tcp_stream"))
		done = count_bytes(seconds);
	else
		return 2;
	printf("%lld %lld\n", (long long)done, (long long)spent);
	return 0;
}
