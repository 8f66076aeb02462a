/* SPDX-License-Identifier: MIT */
/* See hot.h. One thread is producer and consumer at once, so that each call's turn is known. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hot.h"

#define NODES 128 /* head rises every 16 messages, so that this is seen too */
#define BATCH 4

static struct mqshm_producer *producer;
static struct mqshm_consumer *consumer;
static size_t size;
static unsigned char in[BATCH][4096], out[BATCH * 4096];
static struct iovec pieces[2], batch[BATCH];
static struct mqshm_message messages[BATCH];

static void must(int good)
{
	if (good)
		return;
	fprintf(stderr, "%s\n", mqshm_last_error());
	exit(2);
}

static void push(void)
{
	must(!mqshm_producer_push(producer, in, size, 1000));
}

static void pushv(void)
{
	must(!mqshm_producer_pushv(producer, pieces, 2, 1000));
}

static void push_batch(void)
{
	must(mqshm_producer_push_batch(producer, batch, BATCH, 1000) == BATCH);
}

static void reserve_commit(void)
{
	void *to;

	must(!mqshm_producer_reserve(producer, size, &to, 1000));
	*(volatile char *)to = 1;
	must(!mqshm_producer_commit(producer, size));
}

static void pop(void)
{
	must(mqshm_consumer_pop(consumer, out, sizeof out, messages, 1000) == (ssize_t)size);
}

static void pop_batch(void)
{
	must(mqshm_consumer_pop_batch(consumer, messages, 1, BATCH, out, sizeof out, 1000) == BATCH);
}

static void peek_release(void)
{
	must(mqshm_consumer_peek(consumer, messages, 1, 1000) == 1);
	must(!mqshm_consumer_release(consumer, 1));
}

static void peek_release_many(void)
{
	must(mqshm_consumer_peek(consumer, messages, BATCH, 1000) == BATCH);
	must(!mqshm_consumer_release(consumer, BATCH));
}

const struct hot_kind hot_kinds[] = {
	{ "push", push, 1, 1 },
	{ "pushv", pushv, 1, 1 },
	{ "push_batch", push_batch, BATCH, 1 },
	{ "reserve+commit", reserve_commit, 1, 1 },
	{ "pop", pop, 1, 0 },
	{ "pop_batch", pop_batch, BATCH, 0 },
	{ "peek+release", peek_release, 1, 0 },
	{ "peek+release_many", peek_release_many, BATCH, 0 },
	{ NULL, NULL, 0, 0 },
};

void hot_back(const struct hot_kind *kind)
{
	for (int i = 0; i < kind->messages; i++)
		kind->puts ? pop() : push();
}

void hot_open(const char *name, uint32_t flags, size_t bytes)
{
	struct mqshm_queue_options queue = {
		.size = sizeof queue, .node_count = NODES, .block_size = 4096, .flags = flags,
	};

	size = bytes;
	pieces[0] = (struct iovec){ in, size / 2 };
	pieces[1] = (struct iovec){ in[0] + size / 2, size - size / 2 };
	for (int i = 0; i < BATCH; i++)
		batch[i] = (struct iovec){ in[i], size };
	must(!mqshm_producer_open(&producer, name, &queue, NULL));
	must(!mqshm_consumer_open(&consumer, name, NULL, NULL));
	for (int i = 0; i < NODES / 2; i++)
		push();
	for (int i = 0; i < 3 * NODES; i++) { /* all symbols are resolved and the first lap is over */
		push();
		pop();
	}
	for (const struct hot_kind *kind = hot_kinds; kind->name; kind++) {
		kind->call();
		hot_back(kind);
	}
}

void hot_close(void)
{
	must(!mqshm_producer_close(producer));
	must(!mqshm_consumer_close(consumer));
}
