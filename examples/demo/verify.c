/* SPDX-License-Identifier: MIT */
/*
 * What must hold at the end: each line is one promise, checked. Called by demo.c when all processes have ended.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo.h"

#define CHUNK (1u << 20)

static int failed;

static void __attribute__((format(printf, 2, 3))) check(bool holds, const char *format, ...)
{
	va_list args;

	printf("  %-7s", holds ? "ok" : "FAILED");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	failed += !holds;
}

static bool read_all(int fd, unsigned char *data, size_t size, uint64_t at)
{
	while (size) {
		ssize_t got = pread(fd, data, size, (off_t)at);

		if (got <= 0)
			return false;
		data += got;
		at += (uint64_t)got;
		size -= (size_t)got;
	}
	return true;
}

/* Both files from the start, in chunks. Returns how many bytes are the same before the first that is not. */
static uint64_t compare(struct demo *demo, uint64_t bytes, uint32_t *sum)
{
	static unsigned char input[CHUNK], copy[CHUNK];
	uint64_t at = 0;

	*sum = 0;
	while (at < bytes && !crew_watch(demo, 0)) {
		size_t size = bytes - at < CHUNK ? (size_t)(bytes - at) : CHUNK;

		if (!read_all(demo->input.fd, input, size, at) || !read_all(demo->copy, copy, size, at))
			break;
		*sum = cksum_add(*sum, input, size);
		if (memcmp(input, copy, size)) {
			size_t same = 0;

			while (input[same] == copy[same])
				same++;
			return at + same;
		}
		at += size;
	}
	*sum = cksum_end(*sum, at);
	return at;
}

static void check_producer(const struct demo *demo)
{
	const struct shared *shared = demo->shared;
	const struct report *producer = &shared->report[PRODUCER];

	check(producer->ended && (shared->cut_by_time || (producer->messages == demo->input.blocks &&
							  producer->bytes == demo->input.bytes)),
	      "the producer pushed %s%s", counted(producer->messages, "block").text,
	      shared->cut_by_time ? ", cut there as this machine is too slow" : ": all");
}

static bool saw_all(const struct report *report, const struct report *producer)
{
	return report->ended && report->first == 0 && report->messages == producer->messages &&
	       report->bytes == producer->bytes && !report->out_of_order && !report->missed;
}

static void check_consumers(const struct shared *shared)
{
	const struct report *report = shared->report, *late = &report[LATECOMER];
	const struct report *producer = &report[PRODUCER];

	check(saw_all(&report[METER], producer) && saw_all(&report[WRITER], producer) &&
	      saw_all(&report[CHECKSUM], producer),
	      "meter, writer and checksum saw each message once, in order; missed: %s",
	      exact(report[METER].missed + report[WRITER].missed + report[CHECKSUM].missed).text);
	check(late->ended && late->messages && late->first + late->messages == producer->messages &&
	      late->bytes == producer->bytes - late->first * BLOCK && !late->out_of_order && !late->missed,
	      "the latecomer saw the rest: from number %s on, %s", exact(late->first).text,
	      counted(late->messages, "message").text);
}

static void check_victim(const struct demo *demo)
{
	const struct shared *shared = demo->shared;
	const struct report *victim = &shared->report[VICTIM];
	int status = demo->status[VICTIM];

	check(demo->pid[VICTIM] && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !victim->ended &&
	      !victim->first && !victim->out_of_order && victim->messages <= demo->pushed_at_kill + 1 &&
	      shared->report[PRODUCER].messages > demo->pushed_at_kill,
	      "the victim died by SIGKILL after %s; the stream went on",
	      counted(demo->pushed_at_kill, "message").text);
	check(shared->victim_gone, "its place in the queue was freed");
	check(shared->dead_stall_ns < STALL_NS,
	      "it held nobody up: the producer never waited longer than %.2f ms",
	      (double)shared->longest_wait_ns / 1e6);
}

static void check_fast(const struct shared *shared)
{
	const struct report *report = shared->report;
	bool all = report[FAST_PRODUCER].ended;

	for (enum role role = FAST_READER; role < ROLES; role++)
		all &= saw_all(&report[role], &report[FAST_PRODUCER]);
	check(all, "unpaced too, all %d consumers saw each message once, in order", FAST_READERS);
}

static bool queue_is_gone(const char *name)
{
	struct mqshm_stat *stat;
	int rc = mqshm_queue_stat(name, &stat);

	if (rc >= 0)
		mqshm_stat_free(stat);
	return rc == -ENOENT;
}

static void check_copy(struct demo *demo)
{
	uint64_t bytes = atomic_load(&demo->shared->report[PRODUCER].bytes), same;
	uint32_t sum;
	struct stat st;

	same = compare(demo, bytes, &sum);
	check(sum == demo->shared->checksum, "the checksum is that of the input, as of cksum(1): %u",
	      demo->shared->checksum);
	if (same == bytes && !fstat(demo->copy, &st) && (uint64_t)st.st_size == bytes)
		check(true, "written file and input are identical byte for byte (%s)", counted(bytes, "byte").text);
	else
		check(false, "written file and input are the same for %s of %s bytes only", exact(same).text,
		      exact(bytes).text);
}

int verify(struct demo *demo)
{
	printf("\nWhat was promised:\n");
	check_producer(demo);
	check_consumers(demo->shared);
	check_victim(demo);
	check_fast(demo->shared);
	check(queue_is_gone(demo->queue) && queue_is_gone(demo->fast_queue),
	      "nothing is left in /dev/shm; the written file had no name");
	check_copy(demo);
	return failed;
}
