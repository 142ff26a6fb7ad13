/*
 * Find the specification's version in a network configuration: answers repeat it.
 *
 * This is no JSON parser. It follows strings and brackets, so that a key inside another value is not
 * taken for it, and takes nothing over that would have to be escaped to be printed again. Whatever
 * the bytes are, it reads no further than they go and ends.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define NEWEST "1.1.0"

static char version[32] = NEWEST; /* the configuration's, or NEWEST where that cannot be repeated */

/* Return the index of the quote that ends the string which begins at `start`, or `length`. */
static size_t string_end(const char *json, size_t length, size_t start)
{
	size_t i = start + 1;
	while (i < length && json[i] != '"')
		i += json[i] == '\\' ? 2 : 1;
	return i < length ? i : length;
}

static size_t skip_space(const char *json, size_t length, size_t i)
{
	while (i < length && memchr(" \t\r\n", json[i], 4))
		i++;
	return i;
}

/* Take the version over if it can be printed as it is; otherwise NEWEST, and return 0. */
static int take_version(const char *text, size_t length)
{
	int plain = length > 0 && length < sizeof version;
	for (size_t i = 0; plain && i < length; i++)
		plain = isalnum((unsigned char)text[i]) || memchr(".+-", text[i], 3);
	snprintf(version, sizeof version, "%.*s", plain ? (int)length : 31, plain ? text : NEWEST);
	return plain;
}

/* Return 1 if the brackets and strings are those of one object; the rest of it is not looked at. */
static int is_object(const char *json, size_t length)
{
	int depth = 0;
	size_t start = skip_space(json, length, 0);

	if (start >= length || json[start] != '{')
		return 0;
	for (size_t i = start; i < length; i++) {
		if (json[i] == '"')
			i = string_end(json, length, i);
		else
			depth += (json[i] == '{' || json[i] == '[') - (json[i] == '}' || json[i] == ']');
		if (!depth)
			return json[i] == '}' && skip_space(json, length, i + 1) == length;
	}
	return 0;
}

/* Find "cniVersion" of the outermost object, the last if there are several; return 0 if none. */
static int find_version(const char *json, size_t length)
{
	int depth = 0, found = 0;

	for (size_t i = 0; i < length; i++) {
		depth += (json[i] == '{' || json[i] == '[') - (json[i] == '}' || json[i] == ']');
		if (json[i] != '"')
			continue;
		size_t key = i + 1, end = string_end(json, length, i);
		size_t colon = skip_space(json, length, end + 1);
		i = end;
		if (depth != 1 || colon >= length || json[colon] != ':' ||
		    end - key != strlen("cniVersion") || memcmp(json + key, "cniVersion", end - key))
			continue;
		size_t value = skip_space(json, length, colon + 1);
		i = colon; /* a value that is no string is passed over like any other */
		found = take_version("", 0);
		if (value < length && json[value] == '"') {
			i = string_end(json, length, value);
			found = take_version(json + value + 1, i - value - 1);
		}
	}
	return found;
}
