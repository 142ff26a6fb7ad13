/*
 * The commands of the CNI specification, and what each of them needs.
 */
#include <stdio.h>
#include <stdlib.h>

static const struct command {
	const char *name;
	int seconds; /* to wait for the agent */
	int newest_only; /* older versions of the specification do not have it */
	int variables; /* how many of REQUIRED it cannot do without */
} COMMANDS[] = {
	{"ADD", 100, 0, 3}, {"DEL", 20, 0, 2}, {"CHECK", 20, 0, 3}, {"GC", 60, 1, 0},
	{"STATUS", 20, 1, 0}, {"VERSION", 3, 0, 0}, {NULL, 3, 0, 0},
}, *const ADD = COMMANDS, *const VERSION = COMMANDS + 5;

static const char *const REQUIRED[] = {"CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"};

/* Return a sentence that names all variables that are missing (also cni/parsing.py), NULL if none. */
static const char *missing_variables(const struct command *command)
{
	static char text[96]; /* longer than the sentence with all of them */
	size_t length = 0;

	for (int i = 0; i < command->variables; i++) {
		const char *value = getenv(REQUIRED[i]);
		if (!value || !*value)
			length += snprintf(text + length, sizeof text - length, "%s%s",
					   length ? ", " : "the container runtime has not set ",
					   REQUIRED[i]);
	}
	return length ? text : NULL;
}
