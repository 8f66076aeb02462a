/* SPDX-License-Identifier: MIT */
/* Shows zero copy on both sides: reserve, commit (also of less), abort; peek, release (also of some); and -EDEADLK. */
#include "conformance/payload.h"
#include "conformance/peers.h"

#define NODES 8
#define BLOCK 100

static void run(uint32_t flags)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, flags);
	const char *name = test_queue("zero");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	struct mqshm_message m[NODES + 1];
	struct iovec piece = { m, 1 };
	unsigned char out[BLOCK];
	void *data = NULL;
	uint64_t next = 0;

	EXPECT(mqshm_producer_commit(p, 0), -EINVAL);
	EXPECT(mqshm_producer_abort(p), -EINVAL);
	EXPECT(mqshm_consumer_release(c, 0), 0);
	EXPECT(mqshm_consumer_release(c, 1), -EINVAL);

	MUST(mqshm_producer_reserve(p, 60, &data, 0), 0);
	REQUIRE(data != NULL);
	CHECK_EQ((uintptr_t)data % 8, 0);
	payload_fill(data, 60, 1000);
	EXPECT(mqshm_producer_push(p, "x", 1, 0), -EDEADLK);
	CHECK_STR(mqshm_last_error(), "reservation");
	EXPECT(mqshm_producer_pushv(p, &piece, 1, 0), -EDEADLK);
	EXPECT(mqshm_producer_push_batch(p, &piece, 1, 0), -EDEADLK);
	data = &data;
	EXPECT(mqshm_producer_reserve(p, 1, &data, -1), -EDEADLK);
	CHECK(data == NULL);
	EXPECT(mqshm_producer_wait_drained(p, -1), -EDEADLK);
	EXPECT(mqshm_producer_wait_consumers(p, 9, 0, -1), -EDEADLK);
	EXPECT(mqshm_producer_commit(p, 61), -EINVAL);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), -EAGAIN);
	MUST(mqshm_producer_commit(p, 50), 0);
	EXPECT(mqshm_producer_commit(p, 0), -EINVAL);
	MUST(mqshm_consumer_pop(c, out, sizeof out, m, 0), 50);
	CHECK_EQ(m[0].sequence, next++);
	CHECK(payload_good(out, 50, 1000)); /* a part of the 60 bytes */

	/* Aborted: not a trace of it. */
	MUST(mqshm_producer_reserve(p, BLOCK, &data, 0), 0);
	memset(data, 0xee, BLOCK);
	MUST(mqshm_producer_abort(p), 0);
	EXPECT(mqshm_producer_abort(p), -EINVAL);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), -EAGAIN);

	/* Every offset of the wrap, with commits that are shorter than the room. */
	for (int i = 0; i < 500; i++) {
		size_t used = payload_size((uint64_t)i, BLOCK), n = 0;

		if (i % 3 == 0) {
			MUST(mqshm_producer_reserve(p, BLOCK, &data, 0), 0);
			memset(data, 0xee, BLOCK);
			MUST(mqshm_producer_abort(p), 0);
		}
		MUST(mqshm_producer_reserve(p, BLOCK, &data, 0), 0);
		payload_fill(data, used, next);
		MUST(mqshm_producer_commit(p, used), 0);
		memset(m, 0xa5, sizeof m);
		MUST(mqshm_consumer_peek(c, m, NODES + 1, 0), 1);
		CHECK_EQ(m[n].sequence, next);
		CHECK_EQ(m[n].size, used);
		REQUIRE(payload_good(m[n].data, used, next));
		MUST(mqshm_consumer_release(c, 1), 0);
		next++;
	}

	/* Many at once; looking again gives the same; some, then the rest. */
	for (uint64_t i = 0; i < NODES; i++) {
		MUST(mqshm_producer_reserve(p, BLOCK, &data, 0), 0);
		payload_fill(data, BLOCK, next + i);
		MUST(mqshm_producer_commit(p, BLOCK), 0);
	}
	EXPECT(mqshm_producer_reserve(p, 0, &data, 0), -EAGAIN);
	for (int again = 0; again < 2; again++) {
		memset(m, 0xa5, sizeof m);
		MUST(mqshm_consumer_peek(c, m, NODES + 1, 0), NODES);
		for (uint64_t i = 0; i < NODES; i++) {
			CHECK_EQ(m[i].sequence, next + i);
			CHECK(payload_good(m[i].data, BLOCK, next + i));
		}
		CHECK_EQ(CALL(mqshm_consumer_lag(c)), NODES);
	}
	EXPECT(mqshm_consumer_release(c, NODES + 1), -EINVAL);
	EXPECT(mqshm_consumer_release(c, 3), 0);
	CHECK_EQ(CALL(mqshm_consumer_lag(c)), NODES - 3);
	EXPECT(mqshm_consumer_release(c, NODES - 2), -EINVAL);
	EXPECT(mqshm_consumer_release(c, 1), 0); /* and more of the same look */
	CHECK_EQ(CALL(mqshm_consumer_lag(c)), NODES - 4);
	next++;
	MUST(mqshm_producer_push(p, "y", 1, 0), 0); /* what was released is room */
	MUST(mqshm_consumer_peek(c, m, 2, 0), 2);
	CHECK_EQ(m[0].sequence, next + 3);
	MUST(mqshm_consumer_pop(c, out, sizeof out, m, 0), BLOCK); /* a pop ends the look */
	CHECK_EQ(m[0].sequence, next + 3);
	EXPECT(mqshm_consumer_release(c, 1), -EINVAL);
	MUST(mqshm_consumer_peek(c, m, NODES, 0), NODES - 4);
	EXPECT(mqshm_consumer_release(c, NODES - 4), 0);
	EXPECT(mqshm_consumer_peek(c, m, 1, 0), -EAGAIN);

	/* Closing with a reservation open drops it. */
	MUST(mqshm_producer_reserve(p, 1, &data, 0), 0);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_peek(c, m, 1, -1), -ESHUTDOWN);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}

TEST(exclusive)
{
	run(0);
}

TEST(shared)
{
	run(MQSHM_SHARED);
}

TEST(payloads_are_aligned_as_asked)
{
	for (uint32_t align = 8; align <= 64; align *= 2) {
		struct mqshm_queue_options q = geometry(4, 50, 0);
		const char *name = test_queue("align");
		struct mqshm_producer *p;
		struct mqshm_consumer *c;
		struct mqshm_message m;
		void *data;

		q.align = align;
		p = open_producer(name, &q);
		c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
		for (uint64_t i = 0; i < 200; i++) {
			size_t size = payload_size(i, 50);

			MUST(mqshm_producer_reserve(p, size, &data, 0), 0);
			CHECK_EQ((uintptr_t)data % align, 0);
			payload_fill(data, size, i);
			MUST(mqshm_producer_commit(p, size), 0);
			MUST(mqshm_consumer_peek(c, &m, 1, 0), 1);
			CHECK_EQ((uintptr_t)m.data % align, 0);
			CHECK(payload_good(m.data, size, i));
			MUST(mqshm_consumer_release(c, 1), 0);
		}
		EXPECT(mqshm_producer_close(p), 0);
		EXPECT(mqshm_consumer_close(c), 0);
	}
}
