/*
 * openeni, the CNI executable: run by the container runtime for every pod, on the host.
 *
 * It contains no networking. It sends the CNI environment and its standard input to the node agent
 * over a unix socket (framing: cni/frame.py), copies the answer to its standard output and exits
 * with the agent's exit code. It is static C because a host may have neither Python nor the right
 * libraries, and because it runs for every pod: about 1 ms.
 *
 * When the agent does not answer:
 *   ADD      retries until the deadline, which is shorter than the runtime's, then "try again"; ends
 *            once nobody reads its output: the runtime has ended, and its next process sends a DEL
 *   DEL      is written to a queue, which the agent works off before it listens again: success if the
 *            configuration's brackets and strings are those of one object, and its version is known
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
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "commands.h"
#include "config_version.h"
#include "transfer.h"

#define MAGIC 0x4f454e49u /* "OENI" */
#define FRAME_VERSION 1u
#define MAX_ENVIRONMENT (1u << 16)
#define MAX_LENGTH (1u << 22) /* of standard input, and of an answer */
#define RUN_FOLDER "/run/openeni"
#define QUERY "OPENENI_QUERY" /* cni/server.py */
#define QUERY_SECONDS 25 /* a node with too much to do answers late; a probe waits longer (agent.yaml) */

#define SUPPORTED "[\"0.4.0\",\"1.0.0\",\"" NEWEST "\"]"
#define SUPPORTED_WORDS "0.4.0, 1.0.0, " NEWEST
#define NO_JSON_OBJECT "the network configuration is invalid: no JSON object"

enum { BAD_VERSION = 1, BAD_ENVIRONMENT = 4, IO_FAILURE = 5, NO_OBJECT = 6, BAD_CONFIG = 7, TRY_AGAIN = 11,
       NOT_AVAILABLE = 50 };
enum outcome { ANSWERED, SILENT, ABSENT };

static uint32_t head[5];
static char request[sizeof head + MAX_ENVIRONMENT + MAX_LENGTH + 1], answer[MAX_LENGTH];
static size_t request_length = sizeof head, answer_length;

/* Return 1 if `version` is one that the agent speaks. */
static int is_supported(void)
{
	char quoted[sizeof version + 2];
	snprintf(quoted, sizeof quoted, "\"%s\"", version);
	return strstr(SUPPORTED, quoted) != NULL;
}

static const char *run_folder(void)
{
	const char *folder = getenv("OPENENI_RUN");
	return folder && *folder ? folder : RUN_FOLDER;
}

/* The environment is the container runtime's own. */
static void set_deadline(const struct command *command)
{
	const char *asked = getenv("OPENENI_DEADLINE"); /* seconds, for ADD */
	long seconds = asked && command == ADD ? strtol(asked, NULL, 10) : 0;

	if (seconds < 1 || seconds > 3600)
		seconds = command->seconds;
	deadline = clock_ms(CLOCK_MONOTONIC) + seconds * 1000;
}

/* Not by stdio, which has no deadline: nobody may read standard error either. */
static void complain(char *line)
{
	transfer(STDERR_FILENO, POLLOUT, line, strlen(line));
}

/* A result that is lost must not pass for a success: the runtime would keep a pod without it. */
static int print(char *text, size_t length, int code)
{
	if (transfer(STDOUT_FILENO, POLLOUT, text, length) == length)
		return code ? 1 : 0;
	needs_reader = 0; /* standard error is for people */
	complain("openeni: the result cannot be written to standard output\n");
	return 1;
}

static int fail(int code, const char *message)
{
	answer_length = snprintf(answer, sizeof answer, "{\"cniVersion\":\"%s\",\"code\":%d,"
				 "\"msg\":\"openeni: %s\"}\n", version, code, message);
	return print(answer, answer_length, 1);
}

/* Begin the request with the variables of this prefix; return 0 if they are too long. */
static int read_environment(const char *prefix)
{
	for (char **entry = environ; *entry; entry++) {
		size_t length = strlen(*entry) + 1;
		if (strncmp(*entry, prefix, strlen(prefix)))
			continue;
		if (request_length + length > sizeof head + MAX_ENVIRONMENT)
			return 0;
		memcpy(request + request_length, *entry, length);
		request_length += length;
	}
	head[0] = htonl(MAGIC);
	head[1] = htonl(FRAME_VERSION);
	head[3] = htonl((uint32_t)(request_length - sizeof head));
	return 1;
}

static enum outcome exchange(int fd, int *code)
{
	uint32_t reply[4];

	head[2] = htonl((uint32_t)remaining());
	memcpy(request, head, sizeof head);
	if (transfer(fd, POLLOUT, request, request_length) < request_length ||
	    transfer(fd, POLLIN, (char *)reply, sizeof reply) < sizeof reply)
		return SILENT;
	size_t length = ntohl(reply[3]);
	if (ntohl(reply[0]) != MAGIC || length > sizeof answer ||
	    transfer(fd, POLLIN, answer, length) < length)
		return SILENT; /* an incomplete answer counts as none */
	answer_length = length;
	*code = (int)ntohl(reply[2]);
	return ANSWERED;
}

static enum outcome ask(int *code)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	enum outcome outcome = SILENT;

	snprintf(name.sun_path, sizeof name.sun_path, "%s/cni.sock", run_folder());
	if (fd < 0)
		return SILENT;
	if (!connect(fd, (struct sockaddr *)&name, sizeof name))
		outcome = exchange(fd, code);
	else if (errno != EAGAIN) /* EAGAIN: the agent listens, but its backlog is full */
		outcome = ABSENT;
	close(fd);
	return outcome;
}

/* Retry until there is an answer or the deadline; only ADD waits for an agent to start. */
static enum outcome ask_until_answered(int waits, int *code)
{
	struct timespec pause = {.tv_nsec = 20000000};
	for (;;) {
		enum outcome outcome = ask(code);
		if (outcome == ANSWERED || (outcome == ABSENT && !waits) || !remaining() || is_abandoned())
			return outcome;
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 200000000)
			pause.tv_nsec *= 2;
	}
}

/*
 * The file's name has the time of the DEL: the agent keeps a grant that is younger. It drops what it
 * cannot decode, so that is no success here as far as brackets, strings and the version show it.
 */
static int enqueue(const char *config, size_t length, int given)
{
	char folder[4096], file[4352], unnamed[64];

	if (!is_object(config, length))
		return fail(NO_OBJECT, NO_JSON_OBJECT);
	if (!given || !is_supported())
		return fail(BAD_VERSION, "cniVersion is none of " SUPPORTED_WORDS);
	mkdir(run_folder(), 0700);
	snprintf(folder, sizeof folder, "%s/queue", run_folder());
	mkdir(folder, 0700);
	snprintf(file, sizeof file, "%s/%020lld-%d.del", folder, (long long)clock_ms(CLOCK_BOOTTIME),
		 (int)getpid());
	memcpy(request, head, sizeof head);
	/* Without a name until it is complete: who is killed here leaves nothing behind. */
	int fd = open(folder, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
	snprintf(unnamed, sizeof unnamed, "/proc/self/fd/%d", fd);
	if (fd >= 0 && transfer(fd, POLLOUT, request, request_length) == request_length &&
	    !linkat(AT_FDCWD, unnamed, AT_FDCWD, file, AT_SYMLINK_FOLLOW))
		return 0;
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

	deadline = clock_ms(CLOCK_MONOTONIC) + QUERY_SECONDS * 1000;
	setenv(QUERY, what, 1);
	if (!read_environment(QUERY "=") || ask_until_answered(0, &code) != ANSWERED)
		complain("openeni: no agent answers on this node\n");
	return print(answer, answer_length, code);
}

static int call(const struct command *command)
{
	int code = 1, complete = read_environment("CNI_");
	size_t length = transfer(STDIN_FILENO, POLLIN, request + request_length, MAX_LENGTH + 1);
	int problem = errno;
	const char *config = request + request_length, *missing = missing_variables(command);
	int given = find_version(config, length);

	if (length > MAX_LENGTH)
		return fail(BAD_CONFIG, "the network configuration is longer than 4 MiB");
	if (problem && !(command == VERSION && problem == ETIMEDOUT)) /* it needs no input */
		return fail(IO_FAILURE, "the network configuration cannot be read from standard input");
	if (!command->name)
		return fail(BAD_ENVIRONMENT, "CNI_COMMAND is none of ADD, DEL, CHECK, GC, STATUS, VERSION");
	if (command->newest_only && !is_object(config, length))
		return fail(NO_OBJECT, NO_JSON_OBJECT);
	if (command->newest_only && (!given || strcmp(version, NEWEST)))
		return fail(BAD_VERSION, "GC and STATUS need cniVersion " NEWEST);
	if (command == VERSION) {
		answer_length = sprintf(answer, "{\"cniVersion\":\"%s\",\"supportedVersions\":" SUPPORTED
					"}\n", version);
		return print(answer, answer_length, 0);
	}
	if (!strcmp(command->name, "STATUS"))
		return status();
	if (!complete)
		return fail(BAD_ENVIRONMENT, "CNI_ARGS and the other variables CNI_* are longer than "
					     "64 KiB together");
	if (missing)
		return fail(BAD_ENVIRONMENT, missing);
	head[4] = htonl((uint32_t)length);
	request_length += length;
	if (ask_until_answered(command == ADD, &code) == ANSWERED)
		return print(answer, answer_length, code);
	if (!strcmp(command->name, "DEL"))
		return enqueue(config, length, given);
	return fail(TRY_AGAIN, "the node agent does not answer; see the pod openeni-agent on this node");
}

int main(int count, char **arguments)
{
	const char *name = getenv("CNI_COMMAND");
	const struct command *command = COMMANDS;

	signal(SIGPIPE, SIG_IGN); /* a pipe that the other end has closed is an error of write() */
	while (command->name && (!name || strcmp(command->name, name)))
		command++;
	set_deadline(command);
	needs_reader = command == ADD;
	if (name)
		return call(command);
	if (count == 2)
		return query(arguments[1]);
	fprintf(stderr, "openeni %s, a CNI plugin (protocol %u); run by the container runtime\n",
		OPENENI_VERSION, FRAME_VERSION);
	return 0;
}
