/* SPDX-License-Identifier: MIT */
/*
 * The producer: reads the input block by block straight into the queue, at an even pace. It begins when the consumers
 * are there, and keeps the last block back until the latecomer is there too. Meanwhile it takes note of how long it had
 * to wait for room, and for whom.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "demo.h"

#define PATIENCE_MS 10000  /* for consumers to come, or to read what is there */

static int give_up(struct report *report)
{
	return fail(report, "%s", mqshm_last_error());
}

/* Sleeps until then, in slices, as a signal may come just before a sleep. */
static void sleep_until(uint64_t then)
{
	uint64_t now;

	while (!told_to_stop() && (now = now_ns()) < then) {
		uint64_t left = then - now < SLICE_MS * 1000000ull ? then - now : SLICE_MS * 1000000ull;
		struct timespec sleep = { 0, (long)left };

		nanosleep(&sleep, NULL);
	}
}

static int wait_for_consumers(struct mqshm_producer *producer, unsigned count, struct report *report)
{
	uint64_t deadline = now_ns() + PATIENCE_MS * 1000000ull;
	int rc;

	do {
		if (told_to_stop())
			return fail(report, "told to stop");
		rc = mqshm_producer_wait_consumers(producer, count, MQSHM_EVER, SLICE_MS);
	} while (rc == -EINTR || (rc == -ETIMEDOUT && now_ns() < deadline));
	return rc < 0 ? give_up(report) : 0;
}

/* Is a process among the consumers; with blocker set: is it the one that the producer waits for? */
static bool attached(const struct demo *demo, pid_t pid, bool blocker)
{
	struct mqshm_stat *stat;
	bool found = false;

	if (mqshm_queue_stat(demo->queue, &stat) < 0)
		return true; /* cannot be told: let the check fail */
	for (uint32_t i = 0; i < stat->consumer_count; i++)
		found |= stat->consumers[i].pid == pid && (!blocker || (int)stat->consumers[i].id == stat->blocked_by);
	mqshm_stat_free(stat);
	return found;
}

/* Room for one block, however long it takes. */
static int reserve(struct demo *demo, struct mqshm_producer *producer, size_t size, void **room, struct report *report)
{
	uint64_t begun = now_ns(), waited;
	int rc;

	while ((rc = mqshm_producer_reserve(producer, size, room, SLICE_MS)) == -ETIMEDOUT || rc == -EINTR) {
		if (told_to_stop())
			return fail(report, "told to stop");
		if (rc == -ETIMEDOUT && atomic_load(&demo->shared->killed_ns) &&
		    attached(demo, demo->pid[VICTIM], true))
			demo->shared->dead_stall_ns += SLICE_MS * 1000000ull;
	}
	if (rc < 0)
		return give_up(report);
	waited = now_ns() - begun;
	if (waited > demo->shared->longest_wait_ns)
		demo->shared->longest_wait_ns = waited;
	return 0;
}

static int push_block(struct demo *demo, struct mqshm_producer *producer, uint64_t number, struct report *report)
{
	uint64_t at = number * BLOCK;
	size_t size = demo->input.bytes - at < BLOCK ? (size_t)(demo->input.bytes - at) : BLOCK;
	ssize_t got;
	void *room;

	if (reserve(demo, producer, size, &room, report))
		return -1;
	got = pread(demo->input.fd, room, size, (off_t)at);
	if (got != (ssize_t)size) {
		mqshm_producer_abort(producer);
		return fail(report, "cannot read the input: %s", got < 0 ? strerror(errno) : "it became shorter");
	}
	if (mqshm_producer_commit(producer, size) < 0)
		return give_up(report);
	report->ended_ns = now_ns();
	atomic_fetch_add(&report->bytes, size);
	atomic_fetch_add(&report->messages, 1);
	return 0;
}

static int stream(struct demo *demo, struct mqshm_producer *producer, struct report *report)
{
	uint64_t blocks = demo->input.blocks, begun = now_ns();
	double step = demo->seconds * 1e9 / (double)blocks;

	atomic_store(&report->begun_ns, begun);
	for (uint64_t i = 0; i < blocks; i++) {
		sleep_until(begun + (uint64_t)(step * (double)(i + 1)));
		if (told_to_stop())
			return fail(report, "told to stop");
		if (i + 1 < blocks && (double)(now_ns() - begun) > (demo->seconds + LATE_SECONDS) * 1e9) {
			demo->shared->cut_by_time = true;
			blocks = i + 1;
		}
		if (i + 1 == blocks && wait_for_consumers(producer, AT_START + 1, report))
			return -1;
		if (push_block(demo, producer, i, report))
			return -1;
	}
	return 0;
}

static int run(struct demo *demo, struct mqshm_producer *producer, struct report *report)
{
	int rc;

	if (wait_for_consumers(producer, AT_START, report) || stream(demo, producer, report))
		return -1;
	rc = mqshm_producer_wait_drained(producer, PATIENCE_MS);
	if (rc == -ETIMEDOUT)
		return fail(report, "a consumer has not read everything after %d s", PATIENCE_MS / 1000);
	if (rc < 0)
		return give_up(report);
	demo->shared->victim_gone = !attached(demo, demo->pid[VICTIM], false);
	report->ended = true;
	return 0;
}

int producer_run(struct demo *demo, struct report *report)
{
	struct mqshm_queue_options queue = {
		.size = sizeof(queue),
		.node_count = NODES,
		.block_size = BLOCK,
		.flags = MQSHM_CREATE_ONLY,
	};
	struct mqshm_producer *producer;
	int rc;

	if (mqshm_producer_open(&producer, demo->queue, &queue, NULL) < 0)
		return give_up(report);
	rc = run(demo, producer, report);
	mqshm_producer_close(producer);
	return rc;
}
