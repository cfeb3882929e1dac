/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the copy programs share: a pattern that differs in every place and round, its check, and how they stop.
 *
 * Each program prints one line that begins with "PASS" when everything arrived, and nothing else on success but
 * "DEVICE", "BUFFER", "PASID" and "HOLD" lines; any difference or error is a line on standard error and exit status 1.
 */
#ifndef COMMON_H
#define COMMON_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAIL(...)                                                             \
	do {                                                                  \
		fprintf(stderr, "FAIL %s:%d: ", __FILE__, __LINE__);          \
		fprintf(stderr, __VA_ARGS__);                                 \
		fputc('\n', stderr);                                          \
		exit(1);                                                      \
	} while (0)

/* The byte at place `at` of round `round`. */
static inline uint8_t pattern(size_t at, unsigned int round)
{
	uint64_t x = (at + 1) * 0x9e3779b97f4a7c15u + round * 0xd1b54a32d192ed03u;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9u;
	return (uint8_t)(x >> 56);
}

static inline void fill(void *to, size_t size, unsigned int round)
{
	uint8_t *bytes = to;

	for (size_t at = 0; at < size; at++)
		bytes[at] = pattern(at, round);
}

/* Ends the program at the first byte that is not the pattern's. */
static inline void compare(const void *from, size_t size, unsigned int round, const char *what)
{
	const uint8_t *bytes = from;

	for (size_t at = 0; at < size; at++)
		if (bytes[at] != pattern(at, round))
			FAIL("%s: byte %zu of %zu is %#x, expected %#x", what, at, size, bytes[at],
			     pattern(at, round));
}

/* The number by which the driver and the GPU know this process, from what the driver tells of its open files. */
static inline unsigned int pasid(void)
{
	unsigned int number;
	char text[4096], *at;
	size_t length;
	FILE *file;

	for (int fd = 0; fd < 256; fd++) {
		snprintf(text, sizeof(text), "/proc/self/fdinfo/%d", fd);
		file = fopen(text, "r");
		if (!file)
			continue;
		length = fread(text, 1, sizeof(text) - 1, file);
		fclose(file);
		text[length] = 0;
		at = strstr(text, "\npasid:");
		if (at && sscanf(at + 7, "%u", &number) == 1 && number)
			return number;
	}
	FAIL("no open file has a PASID");
}

/* With the argument "hold": says so and waits for a line, while somebody looks at the page tables. */
static inline void hold(int argc, char **argv)
{
	char line[16];

	if (argc < 2 || strcmp(argv[1], "hold"))
		return;
	printf("PASID %u\nHOLD\n", pasid());
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		FAIL("nobody ended the wait");
}

#endif
