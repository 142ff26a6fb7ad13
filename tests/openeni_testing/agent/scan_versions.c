/* Prints what openeni makes of each configuration on standard input: length, newline, bytes. */
#include <stdlib.h>
#include "config_version.h"

int main(void)
{
	char line[32];

	while (fgets(line, sizeof line, stdin)) {
		size_t length = strtoul(line, NULL, 10);
		char *json = malloc(length); /* exactly: the sanitizer sees every byte beyond */
		if (length && fread(json, 1, length, stdin) != length)
			return 1;
		int given = find_version(json, length);
		printf("%d %s %d\n", given, version, is_object(json, length));
		free(json);
		take_version("", 0);
	}
	return 0;
}
