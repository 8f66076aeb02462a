/* SPDX-License-Identifier: MIT */
/*
 * Shows how much a queue holds: exactly node_count messages, whatever their size, from every alignment of the wrap; one
 * read makes room for one; and without a reliable consumer at least 7/8 of it is kept as history.
 */
#include "conformance/payload.h"
#include "conformance/peers.h"

static unsigned char in[2048], out[2048];

static void push_one(struct mqshm_producer *p, size_t size, uint64_t sequence)
{
	payload_fill(in, size, sequence);
	MUST(mqshm_producer_push(p, in, size, 0), 0);
}

static void pop_one(struct mqshm_consumer *c, size_t size, uint64_t sequence)
{
	struct mqshm_message m;

	memset(&m, 0xa5, sizeof m);
	MUST(mqshm_consumer_pop(c, out, sizeof out, &m, 0), size);
	REQUIRE_EQ(m.sequence, sequence);
	REQUIRE(payload_good(out, size, sequence));
}

/* Move the ring by one small message of every size in turn; from each place it must take exactly nodes large ones. */
static void every_alignment(uint32_t nodes, uint32_t block, uint32_t flags)
{
	struct mqshm_queue_options q = geometry(nodes, block, flags);
	const char *name = test_queue("wrap");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	uint64_t sequence = 0;

	for (uint32_t shift = 0; shift <= block; shift++) {
		uint64_t first;

		push_one(p, shift, sequence);
		pop_one(c, shift, sequence++);
		first = sequence;
		for (uint32_t i = 0; i < nodes; i++)
			push_one(p, block, sequence++);
		EXPECT(mqshm_producer_push(p, in, 0, 0), -EAGAIN);
		EXPECT(mqshm_producer_push(p, in, block, 0), -EAGAIN);
		CHECK_EQ(CALL(mqshm_consumer_lag(c)), nodes);
		for (uint32_t i = 0; i < nodes; i++) { /* one out, one in */
			pop_one(c, block, first++);
			push_one(p, block, sequence++);
			EXPECT(mqshm_producer_push(p, in, block, 0), -EAGAIN);
		}
		while (first < sequence)
			pop_one(c, block, first++);
		EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), -EAGAIN);
	}
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}

TEST(rings_of_few_nodes_take_exactly_that_many)
{
	static const uint32_t blocks[] = { 1, 7, 8, 9, 100, 1000 };

	for (uint32_t nodes = 1; nodes <= 5; nodes++)
		for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
			every_alignment(nodes, blocks[i], i & 1 ? MQSHM_SHARED : 0);
}

TEST(larger_rings_take_exactly_node_count)
{
	every_alignment(64, 200, 0);
	every_alignment(33, 129, MQSHM_SHARED);
}

TEST(random_sizes_never_get_less_than_node_count)
{
	for (uint32_t nodes = 1; nodes <= 40; nodes = nodes * 2 + 1) {
		struct mqshm_queue_options q = geometry(nodes, 150, 0);
		const char *name = test_queue("sizes");
		struct mqshm_producer *p = open_producer(name, &q);
		struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
		uint64_t read = 0, pushed = 0, random = 88172645463325252u;

		for (int round = 0; round < 500; round++) {
			uint64_t take = test_random(&random) % (nodes + 1);

			while (pushed - read < nodes) {
				push_one(p, payload_size(pushed, 150), pushed);
				pushed++;
			}
			EXPECT(mqshm_producer_push(p, in, 0, 0), -EAGAIN);
			for (; take; take--, read++)
				pop_one(c, payload_size(read, 150), read);
		}
		EXPECT(mqshm_producer_close(p), 0);
		EXPECT(mqshm_consumer_close(c), 0);
		check_gone(name);
	}
}

TEST(small_messages_in_large_blocks_are_still_counted)
{
	struct mqshm_queue_options q = geometry(50, 2048, 0);
	const char *name = test_queue("small");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	uint64_t pushed = 0, read = 0;

	for (int lap = 0; lap < 300; lap++) {
		while (pushed - read < 50) {
			push_one(p, pushed % 3, pushed);
			pushed++;
		}
		EXPECT(mqshm_producer_push(p, in, 0, 0), -EAGAIN);
		for (int i = 0; i < 1 + lap % 50; i++, read++)
			pop_one(c, read % 3, read);
	}
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}

TEST(seven_eighths_of_history_are_kept)
{
	static const uint32_t counts[] = { 1, 2, 3, 7, 8, 16, 100, 1024 };

	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		for (int kind = 0; kind < 6; kind++) {
			uint32_t nodes = counts[i], least = nodes - nodes / 8;
			uint64_t every = (nodes > 100 ? 37 : 1) * (1 + 10 / test_scaled(100)); /* a look is an attach */
			struct mqshm_queue_options q = geometry(nodes, 96, kind & 1 ? MQSHM_OVERWRITE : 0);
			const char *name = test_queue("history");
			struct mqshm_producer *p = open_producer(name, &q);
			struct mqshm_consumer *c;
			struct mqshm_message m;

			for (uint64_t n = 0; n < 4 * nodes + 50; n++) {
				size_t size = kind < 2 ? 96 : kind < 4 ? 0 : payload_size(n, 96);
				uint64_t kept;

				push_one(p, size, n);
				if (n % every)
					continue;
				kept = STAT(name, kept);
				if (kept > nodes || kept < (n + 1 < least ? n + 1 : least))
					TEST_FAIL("%u nodes, %d: after %d pushes %d are kept", nodes, kind, (int)n + 1,
						  (int)kept);
				c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
				memset(&m, 0xa5, sizeof m);
				EXPECT(mqshm_consumer_peek(c, &m, 1, 0), 1);
				CHECK_EQ(m.sequence, n + 1 - kept);
				CHECK(payload_good(m.data, m.size, m.sequence));
				EXPECT(mqshm_consumer_close(c), 0);
			}
			EXPECT(mqshm_producer_close(p), 0);
			check_gone(name);
		}
	}
}
