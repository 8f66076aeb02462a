/* SPDX-License-Identifier: MIT */
/*
 * What the demo says: who is who at the start, what happens meanwhile, the table at the end.
 */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo.h"

/* A file name is not necessarily fit for a terminal. */
static const char *printable(const char *path)
{
	static char text[PATH_MAX];
	size_t i;

	for (i = 0; path[i] && i + 1 < sizeof(text); i++)
		text[i] = iscntrl((unsigned char)path[i]) ? '?' : path[i];
	text[i] = '\0';
	return text;
}

static void say_input(const struct input *input)
{
	printf("Input:     %s\n", printable(input->path));
	printf("           %s, %s\n", in_bytes((double)input->size).text, input->why);
	if (input->bytes < input->size)
		printf("           cut: only its first %s are streamed\n", in_bytes((double)input->bytes).text);
}

static void say_role(const struct demo *demo, enum role role, const char *what)
{
	printf("%-10s %7d  %s\n", role_name[role], (int)demo->pid[role], what);
}

void report_start(const struct demo *demo)
{
	char pushes[128], writes[PATH_MAX + 64];

	snprintf(pushes, sizeof(pushes), "pushes the input as %s, in about %g s",
		 counted(demo->input.blocks, "message").text, demo->seconds);
	snprintf(writes, sizeof(writes), "writes it to an unnamed file in %s", demo->copy_dir);
	printf("One process streams a file to others through a queue in shared memory.\n\n");
	say_input(&demo->input);
	printf("Queue:     /dev/shm/mqshm.%s, room for %s messages of %s bytes\n\n", demo->queue, exact(NODES).text,
	       exact(BLOCK).text);
	printf("process        pid  what it does\n");
	say_role(demo, PRODUCER, pushes);
	say_role(demo, METER, demo->input.int16 ? "shows the level, below: # average, | peak, 0 dB loudest" :
						  "shows the level of the bytes, below: # average, | peak");
	say_role(demo, WRITER, writes);
	say_role(demo, CHECKSUM, "adds up a checksum");
	say_role(demo, VICTIM, "reads along until it is killed");
	printf("latecomer        -  joins when three quarters have gone by\n\n");
	fflush(stdout);
}

void report_event(const struct demo *demo, const char *format, ...)
{
	uint64_t begun = atomic_load(&demo->shared->report[PRODUCER].begun_ns);
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	printf("%s%5.1f s  %s\n", demo->terminal ? "\r\033[K" : "", begun ? (double)(now_ns() - begun) / 1e9 : 0, text);
	fflush(stdout);
}

static const char *remark(const struct demo *demo, enum role role)
{
	if (role == VICTIM && WIFSIGNALED(demo->status[VICTIM]))
		return "  killed";
	return role == LATECOMER ? "  came late" : "";
}

static void say_row(const struct demo *demo, enum role role)
{
	const struct report *report = &demo->shared->report[role];
	uint64_t begun = atomic_load(&report->begun_ns), messages = atomic_load(&report->messages);
	double bytes = (double)atomic_load(&report->bytes);
	char rate[80] = "-", first[64] = "-", missed[64] = "-";

	if (messages > 1 && report->ended_ns > begun)
		snprintf(rate, sizeof(rate), "%s/s", in_bytes(bytes * 1e9 / (double)(report->ended_ns - begun)).text);
	if (role != PRODUCER && messages)
		snprintf(first, sizeof(first), "%s", exact(report->first).text);
	if (role != PRODUCER && role != VICTIM)
		snprintf(missed, sizeof(missed), "%s", exact(report->missed).text);
	printf("%-10s %9s %13s %8s %7s %13s%s\n", role_name[role], exact(messages).text,
	       exact(atomic_load(&report->bytes)).text, first, missed, rate, remark(demo, role));
}

void report_table(const struct demo *demo)
{
	printf("\n%-10s %9s %13s %8s %7s %13s\n", "process", "messages", "bytes", "first", "missed", "rate");
	for (enum role role = PRODUCER; role <= LATECOMER; role++)
		say_row(demo, role);
	printf("first: number of the first message it saw; missed: gone before it could read it\n");
}

void report_throughput(const struct demo *demo)
{
	const struct report *producer = &demo->shared->report[FAST_PRODUCER];
	uint64_t begun = atomic_load(&producer->begun_ns), ended = producer->ended_ns;
	double seconds, bytes = (double)atomic_load(&producer->bytes);

	for (enum role role = FAST_READER; role < ROLES; role++)
		if (demo->shared->report[role].ended_ns > ended)
			ended = demo->shared->report[role].ended_ns;
	seconds = (double)(ended - begun) / 1e9;
	printf("\nThroughput: %.1f s without a pace, on a fresh queue and %s. One\n", seconds,
	       counted((uint64_t)sysconf(_SC_NPROCESSORS_ONLN), "processor").text);
	printf("producer copies the blocks in, %d consumers copy each of them out:\n", FAST_READERS);
	printf("  %s messages/s, %s/s in, ", exact((uint64_t)((double)atomic_load(&producer->messages) / seconds)).text,
	       in_bytes(bytes / seconds).text);
	printf("%s/s out\n", in_bytes(bytes * FAST_READERS / seconds).text);
}
