/* SPDX-License-Identifier: MIT */
/* Shows the three kinds of timestamps: the clock's, the caller's own, none. */
#include "conformance/peers.h"

static uint64_t realtime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void run(uint32_t flags)
{
	struct mqshm_queue_options q = geometry(64, 8, flags);
	const char *name = test_queue("time");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	uint64_t own[] = { 0, 1, 1700000000000000000u, UINT64_MAX }, last = 0;
	struct iovec iov[2] = { { own, 1 }, { own, 2 } };
	struct mqshm_message m[2];
	char out[16];
	void *data;

	EXPECT(mqshm_producer_set_timestamp(p, 5), flags & MQSHM_TIMESTAMP_OWN ? 0 : -EINVAL);
	for (int i = 0; i < 4; i++) {
		uint64_t before = realtime(), wanted = flags & MQSHM_TIMESTAMP_OWN ? own[i] : 0;

		if (flags & MQSHM_TIMESTAMP_OWN)
			MUST(mqshm_producer_set_timestamp(p, own[i]), 0);
		MUST(mqshm_producer_push(p, "x", 1, 0), 0);
		MUST(mqshm_producer_pushv(p, iov, 2, 0), 0);
		MUST(mqshm_producer_push_batch(p, iov, 2, 0), 2);
		MUST(mqshm_producer_reserve(p, 8, &data, 0), 0);
		MUST(mqshm_producer_commit(p, 3), 0);
		for (int j = 0; j < 5; j++) {
			memset(m, 0xa5, sizeof m);
			if (j % 2) {
				MUST(mqshm_consumer_pop(c, out, sizeof out, m, 0), m[0].size);
			} else {
				MUST(mqshm_consumer_pop_batch(c, m, 1, 1, out, sizeof out, 0), 1);
			}
			if (flags) {
				CHECK_EQ(m[0].timestamp_ns, wanted);
			} else {
				CHECK(m[0].timestamp_ns >= before && m[0].timestamp_ns <= realtime());
				CHECK(m[0].timestamp_ns >= last);
				last = m[0].timestamp_ns;
			}
		}
	}
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}

TEST(of_the_clock)
{
	run(0);
}

TEST(of_the_caller)
{
	run(MQSHM_TIMESTAMP_OWN);
	run(MQSHM_TIMESTAMP_OWN | MQSHM_SHARED);
}

TEST(off)
{
	run(MQSHM_TIMESTAMP_OFF);
}
