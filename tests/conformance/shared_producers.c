/* SPDX-License-Identifier: MIT */
/*
 * Shows that several producers of a shared queue keep each one's order, lose nothing and never mix messages, whatever
 * way they push, to any number of consumers, who all see the same.
 */
#include "conformance/payload.h"
#include "conformance/peers.h"

#define PRODUCERS 4
#define CONSUMERS_MOST 32
#define BLOCK 128

struct shared {
	const char *name;
	uint64_t each, seed, order[CONSUMERS_MOST];
	uint32_t open, consumers;
};

struct worker {
	struct shared *s;
	uint32_t number;
};

struct head {
	uint32_t who, check;
	uint64_t count;
};

static uint64_t key_of(uint32_t who, uint64_t count)
{
	return (uint64_t)(who + 1) << 48 ^ count;
}

static size_t size_of(uint32_t who, uint64_t count)
{
	return sizeof(struct head) + payload_size(key_of(who, count), BLOCK - sizeof(struct head));
}

static size_t fill(void *to, uint32_t who, uint64_t count)
{
	size_t size = size_of(who, count);

	memcpy(to, &(struct head){ who, ~who, count }, sizeof(struct head));
	payload_fill((char *)to + sizeof(struct head), size - sizeof(struct head), key_of(who, count));
	return size;
}

static void push_all(void *arg)
{
	struct worker *me = arg;
	struct shared *s = me->s;
	struct mqshm_producer *p = open_producer(s->name, NULL);
	uint64_t random = s->seed + me->number;
	unsigned char in[4][BLOCK];
	struct iovec iov[4];
	void *data;

	MUST(mqshm_producer_wait_consumers(p, s->consumers, 0, 10000), 0);
	ADD(s->open, 1);
	UNTIL(GET(s->open) == PRODUCERS);
	for (uint64_t i = 0; i < s->each;) {
		uint64_t r = test_random(&random), n = 1;
		int rc;

		if (r % 8 == 0) {
			REQUIRE_EQ(mqshm_producer_reserve(p, BLOCK, &data, 10000), 0);
			memset(data, 0xee, BLOCK);
			if (r % 16 == 0) {
				REQUIRE_EQ(mqshm_producer_abort(p), 0);
				continue;
			}
			REQUIRE_EQ(mqshm_producer_commit(p, fill(data, me->number, i)), 0);
		} else if (r % 8 == 1) {
			for (n = 0; n < 4 && i + n < s->each; n++)
				iov[n] = (struct iovec){ in[n], fill(in[n], me->number, i + n) };
			/* Others may get between its parts, but never into its order. */
			REQUIRE_EQ(mqshm_producer_push_batch(p, iov, n, 10000), n);
		} else if (r % 8 == 2) {
			size_t size = fill(in[0], me->number, i);

			while ((rc = mqshm_producer_push(p, in[0], size, 0)) == -EAGAIN)
				sched_yield();
			REQUIRE_EQ(rc, 0);
		} else {
			REQUIRE_EQ(mqshm_producer_push(p, in[0], fill(in[0], me->number, i), 10000), 0);
		}
		i += n;
	}
	MUST(mqshm_producer_close(p), 0);
}

static void read_all(void *arg)
{
	struct worker *me = arg;
	struct shared *s = me->s;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	uint64_t next[PRODUCERS] = { 0 }, sequence = 0, order = 0;
	unsigned char out[BLOCK];
	struct mqshm_message m;

	for (;; sequence++) {
		ssize_t n = mqshm_consumer_pop(c, out, sizeof out, &m, 10000);
		struct head head;

		if (n == -ESHUTDOWN)
			break;
		REQUIRE(n >= (ssize_t)sizeof head);
		memcpy(&head, out, sizeof head);
		REQUIRE_EQ(m.sequence, sequence);
		REQUIRE(head.who < PRODUCERS && head.check == ~head.who);
		REQUIRE_EQ(head.count, next[head.who]);
		REQUIRE_EQ(n, size_of(head.who, head.count));
		REQUIRE(payload_good(out + sizeof head, (size_t)n - sizeof head, key_of(head.who, head.count)));
		next[head.who]++;
		order = payload_mix(order ^ head.who);
	}
	for (int i = 0; i < PRODUCERS; i++)
		CHECK_EQ(next[i], s->each);
	CHECK_EQ(sequence, PRODUCERS * s->each);
	SET(s->order[me->number], order);
	MUST(mqshm_consumer_close(c), 0);
}

static void run(uint32_t nodes, uint32_t consumers, uint64_t each)
{
	struct mqshm_queue_options q = geometry(nodes, BLOCK, MQSHM_SHARED);
	struct shared *s = shared_memory(sizeof *s);
	struct worker workers[PRODUCERS + CONSUMERS_MOST];
	pid_t pids[PRODUCERS + CONSUMERS_MOST];
	uint64_t start = test_now_ns();

	s->name = test_queue("shared");
	s->seed = test_seed();
	s->each = each;
	s->consumers = consumers;
	MUST(mqshm_queue_create(s->name, &q), 0);
	for (uint32_t i = 0; i < PRODUCERS + consumers; i++) {
		workers[i] = (struct worker){ s, i < PRODUCERS ? i : i - PRODUCERS };
		pids[i] = spawn(i < PRODUCERS ? push_all : read_all, &workers[i]);
	}
	for (uint32_t i = 0; i < PRODUCERS + consumers; i++)
		join(pids[i]);
	for (uint32_t i = 0; i < consumers; i++)
		CHECK_EQ(s->order[i], s->order[0]); /* all have seen the same order */
	check_gone(s->name);
	printf("# 4 producers, %u consumers, %u nodes: %.1f s\n", consumers, nodes, (double)(test_now_ns() - start) / 1e9);
}

TEST(to_1_consumer)
{
	run(1024, 1, 200000);
	run(1, 1, 1000);
	run(2, 1, 1000);
	run(3, 1, 1000);
}

TEST(to_2_consumers)
{
	run(64, 2, 50000);
}

TEST(to_8_consumers)
{
	run(256, 8, 20000);
}

TEST(to_32_consumers)
{
	run(1024, 32, 20000);
}

TEST(no_more_producers_than_there_are_places)
{
	struct mqshm_queue_options q = geometry(4, 8, MQSHM_SHARED);
	const char *name = test_queue("places");
	struct mqshm_producer *p[64], *more = (void *)1;

	for (int i = 0; i < 64; i++)
		p[i] = open_producer(name, &q);
	EXPECT(mqshm_producer_open(&more, name, NULL, NULL), -EBUSY);
	CHECK(more == NULL);
	CHECK_STR(mqshm_last_error(), "64 producers");
	CHECK_EQ(STAT(name, producer_count), 64);
	for (int i = 0; i < 64; i++)
		MUST(mqshm_producer_push(p[i], "x", 1, 0), 0);
	EXPECT(mqshm_producer_close(p[33]), 0);
	p[33] = open_producer(name, NULL);
	for (int i = 0; i < 64; i++)
		EXPECT(mqshm_producer_close(p[i]), 0);
	check_gone(name);
}
