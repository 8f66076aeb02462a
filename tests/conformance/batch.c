/* SPDX-License-Identifier: MIT */
/* Shows push_batch and pop_batch: min, max, buffers that fill up, time running out, parts, the end of the stream. */
#include "conformance/payload.h"
#include "conformance/peers.h"

#define NODES 16
#define BLOCK 64

static unsigned char in[40][BLOCK + 1], out[40 * BLOCK];
static struct iovec iov[40];
static struct mqshm_message m[40];

static void prepare(void)
{
	for (uint64_t i = 0; i < 40; i++) {
		iov[i] = (struct iovec){ in[i], payload_size(i, BLOCK) };
		payload_fill(in[i], iov[i].iov_len, i);
	}
}

static void check_messages(int from, int count)
{
	size_t at = 0;

	for (int i = 0; i < count; i++) {
		size_t size = iov[from + i].iov_len;

		CHECK_EQ(m[i].sequence, from + i);
		CHECK_EQ(m[i].size, size);
		CHECK(m[i].data == out + at);
		CHECK_EQ((uintptr_t)m[i].data % 8, (uintptr_t)out % 8);
		CHECK(payload_good(m[i].data, size, (uint64_t)(from + i)));
		at += (size + 7) & ~7ul;
	}
}

TEST(a_batch_has_one_timestamp_and_keeps_order)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("batch");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);

	prepare();
	EXPECT(mqshm_producer_push_batch(p, NULL, 0, 0), 0);
	EXPECT(mqshm_producer_push_batch(p, iov, 10, 0), 10);
	memset(m, 0xa5, sizeof m);
	EXPECT(mqshm_consumer_pop_batch(c, m, 1, 40, out, sizeof out, 0), 10);
	check_messages(0, 10);
	for (int i = 1; i < 10; i++)
		CHECK_EQ(m[i].timestamp_ns, m[0].timestamp_ns);
	CHECK(m[0].timestamp_ns != 0);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}

TEST(more_than_fits_is_pushed_in_part)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("part");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);

	prepare();
	EXPECT(mqshm_producer_push_batch(p, iov, 40, 0), NODES);
	EXPECT(mqshm_producer_push_batch(p, iov + NODES, 40 - NODES, 0), -EAGAIN);
	EXPECT(mqshm_producer_push_batch(p, iov + NODES, 40 - NODES, 20), -ETIMEDOUT);
	EXPECT(mqshm_consumer_pop_batch(c, m, 1, 3, out, sizeof out, 0), 3);
	check_messages(0, 3);
	EXPECT(mqshm_producer_push_batch(p, iov + NODES, 40 - NODES, 20), 3);
	EXPECT(mqshm_consumer_pop_batch(c, m, NODES, 40, out, sizeof out, 0), NODES);
	check_messages(3, NODES);
	/* A bad one in the middle ends the batch before it. */
	iov[25].iov_len = BLOCK + 1;
	EXPECT(mqshm_producer_push_batch(p, iov + 19, 10, 0), 6);
	EXPECT(mqshm_producer_push_batch(p, iov + 25, 1, 0), -EMSGSIZE);
	EXPECT(mqshm_consumer_pop_batch(c, m, 1, 40, out, sizeof out, 0), 6);
	check_messages(19, 6);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}

TEST(min_is_waited_for_and_what_there_is_taken)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("min");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);

	prepare();
	EXPECT(mqshm_consumer_pop_batch(c, m, 0, 4, out, sizeof out, 0), -EINVAL);
	EXPECT(mqshm_consumer_pop_batch(c, m, 5, 4, out, sizeof out, 0), -EINVAL);
	EXPECT(mqshm_consumer_pop_batch(c, m, NODES + 1, 40, out, sizeof out, 0), -EINVAL);
	EXPECT(mqshm_consumer_pop_batch(c, m, 1, 0, out, sizeof out, 0), -EINVAL);
	EXPECT(mqshm_consumer_pop_batch(c, NULL, 1, 1, out, sizeof out, 0), -EINVAL);
	EXPECT(mqshm_consumer_pop_batch(c, m, 1, 1, NULL, sizeof out, 0), -EINVAL);
	EXPECT(mqshm_consumer_peek(c, NULL, 1, 0), -EINVAL);
	EXPECT(mqshm_consumer_peek(c, m, 0, 0), -EINVAL);
	EXPECT(mqshm_consumer_pop_batch(c, m, 4, 8, out, sizeof out, 0), -EAGAIN);
	EXPECT(mqshm_consumer_pop_batch(c, m, 4, 8, out, sizeof out, 20), -ETIMEDOUT);
	EXPECT(mqshm_producer_push_batch(p, iov, 3, 0), 3);
	EXPECT(mqshm_consumer_pop_batch(c, m, 4, 8, out, sizeof out, 0), 3);
	check_messages(0, 3);
	EXPECT(mqshm_producer_push_batch(p, iov + 3, 3, 0), 3);
	EXPECT(mqshm_consumer_pop_batch(c, m, 4, 8, out, sizeof out, 20), 3);
	check_messages(3, 3);
	/* The buffer fills up before min is reached: what fits, and the rest stays. */
	for (int i = 6; i < 12; i++)
		iov[i].iov_len = BLOCK;
	for (uint64_t i = 6; i < 12; i++)
		payload_fill(in[i], BLOCK, i);
	EXPECT(mqshm_producer_push_batch(p, iov + 6, 6, 0), 6);
	EXPECT(mqshm_consumer_pop_batch(c, m, 6, 6, out, 2 * BLOCK + 5, 0), 2);
	check_messages(6, 2);
	/* The stream ends: what there is, then the end. */
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_pop_batch(c, m, 5, 16, out, sizeof out, -1), 4);
	check_messages(8, 4);
	EXPECT(mqshm_consumer_pop_batch(c, m, 5, 16, out, sizeof out, -1), -ESHUTDOWN);
	EXPECT(mqshm_consumer_pop_batch(c, m, 1, 16, out, sizeof out, 0), -ESHUTDOWN);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}

struct slow {
	const char *name;
	uint32_t popped_one, go;
};

static void pop_slowly(void *arg)
{
	struct slow *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	uint64_t expect = 0;

	SET(s->go, 1);
	while (expect < 40) {
		int n = CALL(mqshm_consumer_pop_batch(c, m, 5, 5, out, sizeof out, stall_ms()));

		REQUIRE_EQ(n, 5);
		for (int i = 0; i < n; i++, expect++) {
			CHECK_EQ(m[i].sequence, expect);
			CHECK(payload_good(m[i].data, m[i].size, expect));
		}
	}
	EXPECT(mqshm_consumer_close(c), 0);
}

TEST(a_batch_larger_than_the_ring_goes_through)
{
	struct mqshm_queue_options q = geometry(6, BLOCK, 0);
	struct slow *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	pid_t reader;

	prepare();
	s->name = test_queue("large");
	p = open_producer(s->name, &q);
	reader = spawn(pop_slowly, s);
	UNTIL(GET(s->go));
	EXPECT(mqshm_producer_push_batch(p, iov, 40, stall_ms()), 40);
	EXPECT(mqshm_producer_wait_drained(p, stall_ms()), 0);
	join(reader);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(s->name);
}
