/* SPDX-License-Identifier: MIT */
/* A callback that notes what it is told, for the tests of the log. */
#ifndef MQSHM_TEST_LOG_H
#define MQSHM_TEST_LOG_H

#include "conformance/peers.h"

#define LINES 256

static struct {
	int level;
	char queue[64], text[256];
} lines[LINES];
static unsigned line_count;

static inline void note(int level, const char *queue, const char *text, void *arg)
{
	unsigned i = __atomic_fetch_add(&line_count, 1, __ATOMIC_ACQ_REL);

	(void)arg;
	if (i >= LINES)
		return;
	lines[i].level = level;
	snprintf(lines[i].queue, sizeof lines[i].queue, "%s", queue);
	snprintf(lines[i].text, sizeof lines[i].text, "%s", text);
}

/* How many lines of that level on the queue are exactly this. */
static inline int count_lines(int level, const char *queue, const char *text)
{
	unsigned count = GET(line_count) < LINES ? line_count : LINES;
	int n = 0;

	for (unsigned i = 0; i < count; i++)
		n += lines[i].level == level && !strcmp(lines[i].queue, queue) && !strcmp(lines[i].text, text);
	return n;
}

static inline void show_lines(void)
{
	for (unsigned i = 0; i < line_count && i < LINES; i++)
		printf("# line %u: %d '%s' %s\n", i, lines[i].level, lines[i].queue, lines[i].text);
}

/* Exactly one line says exactly this. */
#define TOLD(level, queue, ...)                                                          \
	do {                                                                             \
		char wanted_[256];                                                       \
		snprintf(wanted_, sizeof wanted_, __VA_ARGS__);                          \
		if (count_lines(level, queue, wanted_) != 1) {                           \
			TEST_FAIL("%d lines say: %d '%s' %s", count_lines(level, queue, wanted_), level, queue, wanted_); \
			show_lines();                                                    \
		}                                                                        \
	} while (0)

/* The program's name, as the kernel cuts it. */
static inline const char *comm(void)
{
	static char text[16];

	prctl(PR_GET_NAME, text);
	return text;
}

#endif
