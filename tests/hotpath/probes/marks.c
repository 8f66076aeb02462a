/* SPDX-License-Identifier: MIT */
/*
 * For strace: does each kind of hot call many times between two marks, writes to a descriptor that is not there. What
 * stands between the marks in strace's output is what the calls did. marks QUEUE
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hot.h"

#define CALLS 3000
#define NOWHERE 1000 /* a descriptor */

static void mark(const char *what, const char *mode, const char *kind)
{
	char line[128];
	int length = snprintf(line, sizeof line, "%s %s %s", what, mode, kind);

	if (write(NOWHERE, line, (size_t)length) >= 0)
		_exit(2);
}

static void run(const char *queue, const char *mode, uint32_t flags)
{
	hot_open(queue, flags, 64);
	for (const struct hot_kind *kind = hot_kinds; kind->name; kind++) {
		mark("begin", mode, kind->name);
		for (int i = 0; i < CALLS; i++) {
			kind->call();
#ifdef PLANT_SYSCALL
			(void)getppid();
#endif
			hot_back(kind);
		}
		mark("end", mode, kind->name);
	}
	hot_close();
}

int main(int argc, char **argv)
{
	struct timespec now;

	if (argc != 2)
		return 2;
	/* Is the clock read without a system call on this machine? */
	mark("begin", "clock", "clock_gettime");
	for (int i = 0; i < 100; i++) {
		clock_gettime(CLOCK_REALTIME, &now);
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
		clock_gettime(CLOCK_MONOTONIC, &now);
	}
	mark("end", "clock", "clock_gettime");
	run(argv[1], "exclusive", MQSHM_TIMESTAMP_OFF);
	run(argv[1], "exclusive,timestamps", 0);
	run(argv[1], "shared", MQSHM_SHARED | MQSHM_TIMESTAMP_OFF);
	run(argv[1], "shared,timestamps", MQSHM_SHARED);
	run(argv[1], "overwrite", MQSHM_OVERWRITE | MQSHM_TIMESTAMP_OFF);
	return 0;
}
