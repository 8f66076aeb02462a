/* SPDX-License-Identifier: MIT */
/*
 * The consumers: all follow the stream message by message, in place, and keep count; they differ in what they do with
 * a message. The meter's part is in meter.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "demo.h"

#define AT_ONCE 16	   /* messages looked at with one call */
#define PATIENCE_MS 10000  /* for the queue to exist */

static void count(struct report *report, const struct mqshm_message *message)
{
	uint64_t messages = atomic_load_explicit(&report->messages, memory_order_relaxed);
	uint64_t bytes = atomic_load_explicit(&report->bytes, memory_order_relaxed);

	report->ended_ns = now_ns();
	if (!messages) {
		report->first = message->sequence;
		atomic_store(&report->begun_ns, report->ended_ns);
	}
	if (message->sequence != report->first + messages)
		report->out_of_order++;
	/* One writer: no need for an atomic addition. */
	atomic_store_explicit(&report->bytes, bytes + message->size, memory_order_relaxed);
	atomic_store_explicit(&report->messages, messages + 1, memory_order_relaxed);
}

/* Up to AT_ONCE messages. Returns 1 at the end of the stream. */
static int step(struct mqshm_consumer *consumer, struct report *report,
		int (*use)(void *arg, const struct mqshm_message *message), void *arg)
{
	struct mqshm_message message[AT_ONCE];
	int got = mqshm_consumer_peek(consumer, message, AT_ONCE, SLICE_MS);

	if (got == -ETIMEDOUT || got == -EINTR)
		return use(arg, NULL);
	if (got == -ESHUTDOWN) {
		report->ended = true;
		return 1;
	}
	if (got < 0)
		return fail(report, "%s", mqshm_last_error());
	for (int i = 0; i < got; i++) {
		if (use(arg, &message[i]))
			return -1;
		count(report, &message[i]);
	}
	if (mqshm_consumer_release(consumer, (size_t)got) < 0)
		return fail(report, "%s", mqshm_last_error());
	return 0;
}

int follow(const char *queue, int start, struct report *report,
	   int (*use)(void *arg, const struct mqshm_message *message), void *arg)
{
	struct mqshm_consumer_options options = {
		.size = sizeof(options),
		.start = start,
		.wait_ms = PATIENCE_MS,
	};
	struct mqshm_consumer *consumer;
	int rc = 0;

	if (mqshm_consumer_open(&consumer, queue, NULL, &options) < 0)
		return fail(report, "%s", mqshm_last_error());
	while (rc == 0)
		rc = told_to_stop() ? fail(report, "told to stop") : step(consumer, report, use, arg);
	report->missed = (uint64_t)mqshm_consumer_missed(consumer);
	mqshm_consumer_close(consumer);
	return rc < 0 ? -1 : 0;
}

static int write_out(void *arg, const struct mqshm_message *message)
{
	const struct demo *demo = arg;
	const char *data = message ? message->data : NULL;
	size_t left = message ? message->size : 0;

	while (left) {
		ssize_t written = write(demo->copy, data, left);

		if (written < 0 && errno != EINTR)
			return fail(&demo->shared->report[WRITER], "cannot write to the file in %s: %s", demo->copy_dir,
				    strerror(errno));
		if (written > 0) {
			data += written;
			left -= (size_t)written;
		}
	}
	return 0;
}

int writer_run(struct demo *demo, struct report *report)
{
	return follow(demo->queue, MQSHM_FROM_LATEST, report, write_out, demo);
}

static int add_up(void *arg, const struct mqshm_message *message)
{
	uint32_t *sum = arg;

	if (message)
		*sum = cksum_add(*sum, message->data, message->size);
	return 0;
}

int checksum_run(struct demo *demo, struct report *report)
{
	uint32_t sum = 0;

	if (follow(demo->queue, MQSHM_FROM_LATEST, report, add_up, &sum))
		return -1;
	demo->shared->checksum = cksum_end(sum, atomic_load(&report->bytes));
	return 0;
}

/* Just reads along. The victim does so until it is killed, often with messages in its hand. */
int victim_run(struct demo *demo, struct report *report)
{
	uint32_t sum = 0;

	return follow(demo->queue, MQSHM_FROM_LATEST, report, add_up, &sum);
}

int latecomer_run(struct demo *demo, struct report *report)
{
	uint32_t sum = 0;

	return follow(demo->queue, MQSHM_FROM_OLDEST, report, add_up, &sum);
}
