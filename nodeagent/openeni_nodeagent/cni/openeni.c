/*
 * openeni, the CNI executable: run by the container runtime for every pod, on the host.
 *
 * It contains no networking. It sends the CNI environment and its standard input to the node agent
 * over a unix socket (framing: cni/frame.py), copies the answer to its standard output and exits
 * with the agent's exit code. It is static C because a host may have neither Python nor the right
 * libraries, and because it runs for every pod: about 1 ms.
 *
 * When the agent does not answer:
 *   ADD      retries until the deadline, which is shorter than the runtime's, then "try again"
 *   DEL      is written to a queue, which the agent works off before it listens again: success
 *   CHECK    fails with "try again"
 *   GC       fails with "try again" and is not queued: run later, its list would free living pods
 *
 * VERSION and STATUS are answered without it. STATUS fails until this node could serve a pod since
 * it booted, then it succeeds whatever the agent does: containerd turns a failure into a NotReady
 * node, whose pods are evicted after five minutes though every one of them has its network.
 *
 * `openeni live`, `openeni ready` and `openeni phases` ask the agent of this node, for kubelet's
 * probes and for people.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x4f454e49u /* "OENI" */
#define FRAME_VERSION 1u
#define RUN_FOLDER "/run/openeni"
#define MAX_LENGTH (1u << 22)
#define QUERY "OPENENI_QUERY" /* cni/server.py */

enum { TRY_AGAIN = 11, IO_FAILURE = 5, NOT_AVAILABLE = 50 };
enum outcome { ANSWERED, SILENT, ABSENT };

struct buffer {
	char *data;
	size_t length, room;
};

static int64_t deadline; /* milliseconds of CLOCK_MONOTONIC */

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

static int fail(int code, const char *message)
{
	printf("{\"cniVersion\":\"1.0.0\",\"code\":%d,\"msg\":\"openeni: %s\"}\n", code, message);
	return 1;
}

static void append(struct buffer *buffer, const void *data, size_t length)
{
	if (buffer->length + length > buffer->room) {
		buffer->room = 2 * (buffer->length + length) + 4096;
		buffer->data = realloc(buffer->data, buffer->room);
		if (!buffer->data)
			exit(fail(IO_FAILURE, "out of memory"));
	}
	if (length)
		memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
}

static const char *run_folder(void)
{
	const char *folder = getenv("OPENENI_RUN");
	return folder && *folder ? folder : RUN_FOLDER;
}

/* The command's time limit in milliseconds. */
static int64_t time_limit(const char *command)
{
	const char *asked = getenv("OPENENI_DEADLINE"); /* seconds, for ADD */
	if (!strcmp(command, "ADD"))
		return asked && atoi(asked) > 0 ? atoi(asked) * 1000 : 100000;
	return !strcmp(command, "DEL") || !strcmp(command, "CHECK") ? 20000
	     : !strcmp(command, "GC") ? 60000 : 3000;
}

/* Read the variables with this prefix and stdin; exchange() sets the head's deadline. */
static struct buffer read_request(const char *prefix, int with_stdin)
{
	struct buffer request = {0};
	uint32_t head[5] = {htonl(MAGIC), htonl(FRAME_VERSION), 0, 0, 0};
	char chunk[65536];
	ssize_t got;

	append(&request, head, sizeof head);
	for (char **entry = environ; *entry; entry++)
		if (!strncmp(*entry, prefix, strlen(prefix)))
			append(&request, *entry, strlen(*entry) + 1);
	head[3] = htonl(request.length - sizeof head);
	size_t before = request.length;
	while (with_stdin && request.length < MAX_LENGTH &&
	       (got = read(STDIN_FILENO, chunk, sizeof chunk)) > 0)
		append(&request, chunk, got);
	head[4] = htonl(request.length - before);
	memcpy(request.data, head, sizeof head);
	return request;
}

/* Wait until the socket is ready for `events`; return 0 at the deadline. */
static int ready(int fd, short events)
{
	struct pollfd one = {.fd = fd, .events = events};
	int found;
	while ((found = poll(&one, 1, (int)remaining())) < 0 && errno == EINTR)
		;
	return found > 0;
}

static int transfer(int fd, char *data, size_t length, int sending)
{
	while (length) {
		if (!ready(fd, sending ? POLLOUT : POLLIN))
			return 0;
		ssize_t n = sending ? send(fd, data, length, MSG_NOSIGNAL) : recv(fd, data, length, 0);
		if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
			return 0;
		data += n > 0 ? n : 0;
		length -= n > 0 ? n : 0;
	}
	return 1;
}

static enum outcome exchange(int fd, struct buffer *request, int *code)
{
	uint32_t head[4], left = htonl((uint32_t)remaining());

	memcpy(request->data + 8, &left, sizeof left);
	if (!transfer(fd, request->data, request->length, 1) ||
	    !transfer(fd, (char *)head, sizeof head, 0))
		return SILENT;
	size_t length = ntohl(head[3]);
	if (ntohl(head[0]) != MAGIC || length > MAX_LENGTH)
		return SILENT;
	char *body = malloc(length + 1);
	if (!body || !transfer(fd, body, length, 0))
		return SILENT; /* an incomplete answer counts as none */
	fwrite(body, 1, length, stdout);
	*code = (int)ntohl(head[2]);
	return ANSWERED;
}

static enum outcome ask(struct buffer *request, int *code)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	enum outcome outcome = SILENT;

	snprintf(name.sun_path, sizeof name.sun_path, "%s/cni.sock", run_folder());
	if (fd < 0)
		return SILENT;
	if (!connect(fd, (struct sockaddr *)&name, sizeof name))
		outcome = exchange(fd, request, code);
	else if (errno != EAGAIN) /* EAGAIN: the agent listens, but its backlog is full */
		outcome = ABSENT;
	close(fd);
	return outcome;
}

/* Retry until there is an answer or the deadline; only ADD waits for an agent to start. */
static enum outcome ask_until_answered(const char *command, struct buffer *request, int *code)
{
	struct timespec pause = {.tv_nsec = 20000000};
	int waits = !strcmp(command, "ADD");
	for (;;) {
		enum outcome outcome = ask(request, code);
		if (outcome == ANSWERED || (outcome == ABSENT && !waits) || !remaining())
			return outcome;
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 200000000)
			pause.tv_nsec *= 2;
	}
}

/* The file's name has the time of the DEL: the agent keeps a grant that is younger. */
static int enqueue(const struct buffer *request)
{
	char folder[4096], temporary[4352], final[4352];
	int64_t now = clock_ms(CLOCK_BOOTTIME);
	int pid = (int)getpid();

	mkdir(run_folder(), 0700);
	snprintf(folder, sizeof folder, "%s/queue", run_folder());
	mkdir(folder, 0700);
	snprintf(temporary, sizeof temporary, "%s/.%020lld-%d", folder, (long long)now, pid);
	snprintf(final, sizeof final, "%s/%020lld-%d.del", folder, (long long)now, pid);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0) {
		int complete = write(fd, request->data, request->length) == (ssize_t)request->length;
		close(fd);
		if (complete && !rename(temporary, final))
			return 0;
		unlink(temporary);
	}
	return fail(IO_FAILURE, "the node agent does not answer and the DEL queue cannot be written");
}

/* The agent writes the marker, in a folder that does not outlive a boot. */
static int status(void)
{
	char file[4096];

	snprintf(file, sizeof file, "%s/served", run_folder());
	if (!access(file, F_OK))
		return 0;
	return fail(NOT_AVAILABLE, "no ENI of this node has carried pods since it booted; see "
				   "`kubectl get enipool,eni` and the pod openeni-agent on this node");
}

static int query(const char *what)
{
	int code = 1;

	deadline = clock_ms(CLOCK_MONOTONIC) + time_limit(what);
	setenv(QUERY, what, 1);
	struct buffer request = read_request(QUERY "=", 0);
	if (ask_until_answered(what, &request, &code) != ANSWERED)
		fputs("openeni: no agent answers on this node\n", stderr);
	return code;
}

int main(int count, char **arguments)
{
	const char *command = getenv("CNI_COMMAND");
	int code = 1;

	if (!command && count == 2)
		return query(arguments[1]);
	if (!command) {
		fprintf(stderr, "openeni %s, a CNI plugin (protocol %u); run by the container runtime\n",
			OPENENI_VERSION, FRAME_VERSION);
		return 0;
	}
	deadline = clock_ms(CLOCK_MONOTONIC) + time_limit(command);
	struct buffer request = read_request("CNI_", 1);
	if (!strcmp(command, "VERSION")) {
		puts("{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.4.0\",\"1.0.0\",\"1.1.0\"]}");
		return 0;
	}
	if (!strcmp(command, "STATUS"))
		return status();
	if (ask_until_answered(command, &request, &code) == ANSWERED)
		return code;
	if (!strcmp(command, "DEL"))
		return enqueue(&request);
	return fail(TRY_AGAIN, "the node agent does not answer; see the pod openeni-agent on this node");
}
