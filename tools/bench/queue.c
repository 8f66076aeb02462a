/* SPDX-License-Identifier: MIT */
/*
 * What the processes of an mqshm run do: the producer and the consumers of a throughput run, the two ends of a round
 * trip. Copying means from a warm source buffer into the caller's buffer; zero copy means that the producer writes
 * and the consumer reads every byte where it lies in the ring.
 */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mqshm.h"

#define OPEN_MS 10000 /* most that processes of one run are apart in starting */

struct end {
	struct mqshm_producer *producer;
	struct mqshm_consumer *consumer;
	struct bench_source source;
	unsigned char *buffer;
	size_t capacity;
};

static const int spin_us[] = { [BENCH_DEFAULT] = 0, [BENCH_SPIN] = MQSHM_SPIN_MAX, [BENCH_SLEEP] = MQSHM_SPIN_NEVER };

static void open_producer(struct bench_env *env, struct end *end, const char *name)
{
	const struct mqshm_queue_options queue = {
		.size = sizeof(queue),
		.node_count = BENCH_NODES,
		.block_size = env->what->size,
		.flags = MQSHM_CREATE_ONLY | (env->what->timestamps ? 0 : MQSHM_TIMESTAMP_OFF),
	};
	const struct mqshm_producer_options options = {
		.size = sizeof(options),
		.flags = MQSHM_PREFAULT,
		.spin_us = spin_us[env->what->wait],
	};

	if (mqshm_producer_open(&end->producer, name, &queue, &options) < 0)
		bench_fail(env, "producer: %s", mqshm_last_error());
}

static void open_consumer(struct bench_env *env, struct end *end, const char *name)
{
	const struct mqshm_consumer_options options = {
		.size = sizeof(options),
		.flags = MQSHM_PREFAULT,
		.start = MQSHM_FROM_OLDEST,
		.spin_us = spin_us[env->what->wait],
		.wait_ms = OPEN_MS,
	};

	if (mqshm_consumer_open(&end->consumer, name, NULL, &options) < 0)
		bench_fail(env, "consumer: %s", mqshm_last_error());
}

static void push_check(struct bench_env *env, int64_t result, int64_t want)
{
	if (result != want)
		bench_fail(env, "push: %s", result < 0 ? mqshm_last_error() : "less than was given");
}

static void pop_check(struct bench_env *env, int64_t result, bool good, uint64_t sequence)
{
	if (result < 0)
		bench_fail(env, "pop: %s", mqshm_last_error());
	if (!good)
		bench_fail(env, "message %llu is wrong or missing", (unsigned long long)sequence);
}

static void push_copies(struct bench_env *env, struct end *end, uint64_t count)
{
	size_t size = env->what->size;

	for (uint64_t i = 0; i < count; i++)
		push_check(env, mqshm_producer_push(end->producer, bench_source_next(&end->source), size, -1), 0);
}

static void push_batches(struct bench_env *env, struct end *end, uint64_t count)
{
	struct iovec batch[BENCH_BATCH];

	for (uint64_t i = 0; i < count; i += BENCH_BATCH) {
		for (unsigned k = 0; k < BENCH_BATCH; k++) {
			batch[k].iov_base = bench_source_next(&end->source);
			batch[k].iov_len = env->what->size;
		}
		push_check(env, mqshm_producer_push_batch(end->producer, batch, BENCH_BATCH, -1), BENCH_BATCH);
	}
}

static void push_in_place(struct bench_env *env, struct end *end, uint64_t from, uint64_t count)
{
	size_t size = env->what->size;
	void *data;

	for (uint64_t i = from; i < from + count; i++) {
		push_check(env, mqshm_producer_reserve(end->producer, size, &data, -1), 0);
		bench_payload_fill(data, size, i);
		push_check(env, mqshm_producer_commit(end->producer, size), 0);
	}
}

static void push_some(struct bench_env *env, struct end *end, uint64_t from, uint64_t count)
{
	if (env->what->mode == BENCH_COPY)
		push_copies(env, end, count);
	else if (env->what->mode == BENCH_BATCHED)
		push_batches(env, end, count);
	else
		push_in_place(env, end, from, count);
}

static void pop_copies(struct bench_env *env, struct end *end, uint64_t from, uint64_t count)
{
	ssize_t size = env->what->size, got;

	for (uint64_t i = from; i < from + count; i++) {
		got = mqshm_consumer_pop(end->consumer, end->buffer, end->capacity, NULL, -1);
		pop_check(env, got, got == size && bench_payload_check(end->buffer, (size_t)size, i), i);
	}
}

static void pop_batches(struct bench_env *env, struct end *end, uint64_t from, uint64_t count)
{
	struct mqshm_message batch[BENCH_BATCH];

	for (uint64_t i = from; i < from + count;) {
		int got = mqshm_consumer_pop_batch(end->consumer, batch, 1, BENCH_BATCH, end->buffer, end->capacity, -1);

		pop_check(env, got, got != 0, i);
		for (int k = 0; k < got; k++, i++)
			pop_check(env, 0, batch[k].size == env->what->size &&
				  bench_payload_check(batch[k].data, batch[k].size, i), i);
	}
}

static void pop_in_place(struct bench_env *env, struct end *end, uint64_t from, uint64_t count)
{
	struct mqshm_message message;

	for (uint64_t i = from; i < from + count; i++) {
		int got = mqshm_consumer_peek(end->consumer, &message, 1, -1);

		pop_check(env, got, got == 1 && message.size == env->what->size &&
			  bench_payload_check_all(message.data, message.size, i), i);
		pop_check(env, mqshm_consumer_release(end->consumer, 1), true, i);
	}
}

static void pop_some(struct bench_env *env, struct end *end, uint64_t from, uint64_t count)
{
	if (env->what->mode == BENCH_COPY)
		pop_copies(env, end, from, count);
	else if (env->what->mode == BENCH_BATCHED)
		pop_batches(env, end, from, count);
	else
		pop_in_place(env, end, from, count);
}

/* As line_rounds() of limits.c: the clock is read while the message is on its way. */
static void rounds(struct bench_env *env, struct end *end, uint64_t from, uint64_t count, struct bench_histogram *times)
{
	uint64_t last = 0, now;

	for (uint64_t i = from; i < from + count; i++) {
		if (env->index == 0) {
			push_some(env, end, i, 1);
			if (times) {
				now = bench_now_ns();
				if (last)
					bench_histogram_add(times, now - last);
				last = now;
			}
			pop_some(env, end, i, 1);
		} else {
			pop_some(env, end, i, 1);
			if (env->index == 1)
				push_some(env, end, i, 1);
		}
	}
}

/* Everybody first creates what others wait for. */
static void open_all(struct bench_env *env, struct end *end)
{
	bool round_trip = env->what->kind == BENCH_LATENCY;
	unsigned batch = env->what->mode == BENCH_BATCHED ? BENCH_BATCH : 1;
	char back[sizeof(env->queue) + 1];

	snprintf(back, sizeof(back), "%sb", env->queue);
	end->capacity = batch * (size_t)env->what->size;
	end->buffer = aligned_alloc(64, (end->capacity + 63) / 64 * 64);
	if (!end->buffer || bench_source_init(&end->source, env->what->size, batch) < 0)
		bench_fail(env, "no memory");
	memset(end->buffer, 0, end->capacity);
	if (env->index == 0)
		open_producer(env, end, env->queue);
	else if (env->index == 1 && round_trip)
		open_producer(env, end, back);
	if (env->index > 0)
		open_consumer(env, end, env->queue);
	else if (round_trip)
		open_consumer(env, end, back);
	if (env->index == 0 &&
	    mqshm_producer_wait_consumers(end->producer, env->what->consumers, 0, OPEN_MS) < 0)
		bench_fail(env, "waiting for consumers: %s", mqshm_last_error());
}

void bench_queue_body(struct bench_env *env)
{
	struct end end = { .producer = NULL };
	ssize_t last;

	open_all(env, &end);
	for (int warm = 1; warm >= 0; warm--) {
		uint64_t from = warm ? 0 : env->warm, count = warm ? env->warm : env->count;

		if (!warm)
			bench_barrier(env);
		if (env->what->kind == BENCH_LATENCY)
			rounds(env, &end, from, count, warm ? NULL : &env->shared->histogram);
		else if (env->index == 0)
			push_some(env, &end, from, count);
		else
			pop_some(env, &end, from, count);
	}
	bench_finish(env);
	mqshm_producer_close(end.producer);
	if (env->index > 0 && env->what->kind == BENCH_THROUGHPUT) {
		last = mqshm_consumer_pop(end.consumer, end.buffer, end.capacity, NULL, OPEN_MS);
		if (last != -ESHUTDOWN)
			bench_fail(env, "the stream did not end after the last message: %zd", last);
	}
	mqshm_consumer_close(end.consumer);
}
