/* SPDX-License-Identifier: MIT */
/*
 * Without a pace, on a queue of its own: one producer pushes the first blocks of the input round and round, which is
 * one copy, and three consumers pop each message, one copy each, and look at its sequence, size and last byte.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "demo.h"

#define SOURCE_BLOCKS 64u /* 800 KiB: the source stays in the processor's cache */
#define LOOK_AT_CLOCK 64u /* messages */
#define PATIENCE_MS 10000

/* The blocks to push, whole ones if there is one; *data is malloc'ed. Returns the bytes, 0 on failure. */
size_t fast_source(const struct demo *demo, unsigned char **data)
{
	size_t size = demo->input.bytes < SOURCE_BLOCKS * BLOCK ? (size_t)demo->input.bytes : SOURCE_BLOCKS * BLOCK;

	if (size > BLOCK)
		size -= size % BLOCK;
	*data = malloc(size);
	if (*data && pread(demo->input.fd, *data, size, 0) == (ssize_t)size)
		return size;
	free(*data);
	*data = NULL;
	return 0;
}

static size_t message_size(size_t source_size)
{
	return source_size < BLOCK ? source_size : BLOCK;
}

static int push_for_a_second(struct mqshm_producer *producer, const unsigned char *source, size_t source_size,
			     struct report *report)
{
	size_t size = message_size(source_size), at = 0;
	uint64_t end;

	if (mqshm_producer_wait_consumers(producer, FAST_READERS, MQSHM_EVER, PATIENCE_MS) < 0)
		return fail(report, "%s", mqshm_last_error());
	atomic_store(&report->begun_ns, now_ns());
	end = atomic_load(&report->begun_ns) + (uint64_t)(FAST_SECONDS * 1e9);
	for (uint64_t number = 1; number % LOOK_AT_CLOCK || now_ns() < end; number++) {
		int rc;

		while ((rc = mqshm_producer_push(producer, source + at, size, SLICE_MS)) < 0)
			if ((rc != -ETIMEDOUT && rc != -EINTR) || told_to_stop())
				return fail(report, "%s", mqshm_last_error());
		at = at + size < source_size ? at + size : 0;
		atomic_store_explicit(&report->messages, number, memory_order_relaxed);
		atomic_store_explicit(&report->bytes, number * size, memory_order_relaxed);
		if (told_to_stop())
			return fail(report, "told to stop");
	}
	report->ended_ns = now_ns();
	report->ended = true;
	return 0;
}

int fast_producer_run(struct demo *demo, struct report *report)
{
	struct mqshm_queue_options queue = {
		.size = sizeof(queue),
		.node_count = NODES,
		.block_size = BLOCK,
		.flags = MQSHM_CREATE_ONLY,
	};
	struct mqshm_producer *producer;
	unsigned char *source;
	size_t source_size = fast_source(demo, &source);
	int rc;

	if (!source_size)
		return fail(report, "cannot read the input");
	if (mqshm_producer_open(&producer, demo->fast_queue, &queue, NULL) < 0)
		return fail(report, "%s", mqshm_last_error());
	rc = push_for_a_second(producer, source, source_size, report);
	mqshm_producer_close(producer);
	free(source);
	return rc;
}

static int pop_all(struct mqshm_consumer *consumer, const unsigned char *source, size_t source_size,
		   struct report *report)
{
	static unsigned char block[BLOCK];
	size_t size = message_size(source_size), at = 0;
	struct mqshm_message message;
	uint64_t number = 0;

	for (;;) {
		ssize_t got = mqshm_consumer_pop(consumer, block, sizeof(block), &message, SLICE_MS);

		if (told_to_stop())
			return fail(report, "told to stop");
		if (got == -ETIMEDOUT || got == -EINTR)
			continue;
		if (got == -ESHUTDOWN)
			break;
		if (got < 0)
			return fail(report, "%s", mqshm_last_error());
		if (message.sequence != number || (size_t)got != size || block[size - 1] != source[at + size - 1])
			report->out_of_order++;
		number++;
		at = at + size < source_size ? at + size : 0;
	}
	atomic_store(&report->messages, number);
	atomic_store(&report->bytes, number * size);
	report->ended_ns = now_ns();
	report->ended = true;
	return 0;
}

int fast_reader_run(struct demo *demo, struct report *report)
{
	struct mqshm_consumer_options options = { .size = sizeof(options), .wait_ms = PATIENCE_MS };
	struct mqshm_consumer *consumer;
	unsigned char *source;
	size_t source_size = fast_source(demo, &source);
	int rc;

	if (!source_size)
		return fail(report, "cannot read the input");
	if (mqshm_consumer_open(&consumer, demo->fast_queue, NULL, &options) < 0)
		return fail(report, "%s", mqshm_last_error());
	rc = pop_all(consumer, source, source_size, report);
	report->missed = (uint64_t)mqshm_consumer_missed(consumer);
	mqshm_consumer_close(consumer);
	free(source);
	return rc;
}
