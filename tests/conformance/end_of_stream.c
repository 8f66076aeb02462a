/* SPDX-License-Identifier: MIT */
/*
 * Shows how streams end: after a close consumers drain and get -ESHUTDOWN, after a crash -EOWNERDEAD, each again until a
 * new producer comes, which goes on with the sequence. A queue that has had no producer yet has not ended.
 */
#include "conformance/payload.h"
#include "conformance/peers.h"

#define NODES 64

static unsigned char out[8];

static void push(struct mqshm_producer *p, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		MUST(mqshm_producer_push(p, &i, sizeof i, 0), 0);
}

static void pop(struct mqshm_consumer *c, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++) {
		struct mqshm_message m;
		uint64_t value = ~i;

		memset(&m, 0xa5, sizeof m);
		MUST(mqshm_consumer_pop(c, &value, sizeof value, &m, stall_ms()), 8);
		REQUIRE_EQ(value, i);
		REQUIRE_EQ(m.sequence, i);
	}
}

static void expect_end(struct mqshm_consumer *c, int how)
{
	struct mqshm_message m;

	for (int again = 0; again < 3; again++) {
		EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), how);
		EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, -1), how);
		EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 1000), how);
		EXPECT(mqshm_consumer_peek(c, &m, 1, -1), how);
		EXPECT(mqshm_consumer_pop_batch(c, &m, 1, 1, out, sizeof out, -1), how);
	}
	CHECK_STR(mqshm_last_error(), how == -ESHUTDOWN ? "closed" : "died");
}

TEST(closed_is_told_until_a_new_producer_comes)
{
	for (uint32_t flags = 0; flags <= MQSHM_SHARED; flags++) {
		struct mqshm_queue_options q = geometry(NODES, 8, flags);
		const char *name = test_queue("closed");
		struct mqshm_consumer *c = open_consumer(name, &q, MQSHM_FROM_OLDEST, 0);
		struct mqshm_producer *p;

		EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), -EAGAIN);
		EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 120), -ETIMEDOUT);
		CHECK_EQ(STAT(name, producer_state), MQSHM_PRODUCER_NONE);
		for (uint64_t round = 0; round < 5; round++) {
			p = open_producer(name, NULL);
			EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), -EAGAIN);
			EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 20), -ETIMEDOUT);
			CHECK_EQ(STAT(name, producer_state), MQSHM_PRODUCER_ACTIVE);
			push(p, round * 30, round * 30 + 30);
			EXPECT(mqshm_producer_close(p), 0);
			pop(c, round * 30, round * 30 + 30);
			expect_end(c, -ESHUTDOWN);
			CHECK_EQ(STAT(name, producer_state), MQSHM_PRODUCER_CLOSED);
		}
		EXPECT(mqshm_consumer_close(c), 0);
		check_gone(name);
	}
}

struct stream {
	const char *name;
	uint64_t from, count;
	uint32_t pushed, reading, leave;
};

static void push_then_hang(void *arg)
{
	struct stream *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);

	push(p, s->from, s->from + s->count);
	SET(s->pushed, 1);
	UNTIL(GET(s->leave));
	EXPECT(mqshm_producer_close(p), 0);
}

TEST(crashed_is_told_until_a_new_producer_comes)
{
	for (uint32_t flags = 0; flags <= MQSHM_SHARED; flags++) {
		struct mqshm_queue_options q = geometry(NODES, 8, flags);
		struct stream *s = shared_memory(sizeof *s);
		struct mqshm_consumer *c, *idle;

		s->name = test_queue("crashed");
		s->count = 30;
		c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
		idle = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, MQSHM_LOSSY);
		for (; s->from < 150; s->from += 30) {
			pid_t producer = spawn(push_then_hang, s);

			UNTIL(GET(s->pushed));
			SET(s->pushed, 0);
			kill_now(producer);
			pop(c, s->from, s->from + 30); /* drained first */
			EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms()), -EOWNERDEAD);
			expect_end(c, -EOWNERDEAD);
			CHECK_EQ(STAT(s->name, producer_state), MQSHM_PRODUCER_CRASHED);
		}
		/* Calls that never wait see a death too. */
		s->count = 0;
		kill_now(spawn(push_then_hang, s));
		UNTIL(CALL(mqshm_consumer_pop(c, out, sizeof out, NULL, 0)) == -EOWNERDEAD);
		EXPECT(mqshm_consumer_close(c), 0);
		EXPECT(mqshm_consumer_close(idle), 0);
		check_gone(s->name);
	}
}

TEST(failed_is_told_as_a_crash)
{
	for (uint32_t flags = 0; flags <= MQSHM_SHARED; flags++) {
		struct mqshm_queue_options q = geometry(NODES, 8, flags);
		const char *name = test_queue("failed");
		struct mqshm_consumer *c = open_consumer(name, &q, MQSHM_FROM_OLDEST, 0);
		struct mqshm_producer *p = open_producer(name, NULL);
		void *data;

		push(p, 0, 5);
		MUST(mqshm_producer_reserve(p, 8, &data, 0), 0);
		EXPECT(mqshm_producer_fail(p), 0);
		pop(c, 0, 5);
		expect_end(c, -EOWNERDEAD);
		p = open_producer(name, NULL);
		push(p, 5, 6);
		EXPECT(mqshm_producer_close(p), 0);
		pop(c, 5, 6);
		expect_end(c, -ESHUTDOWN);
		EXPECT(mqshm_producer_fail(NULL), 0);
		EXPECT(mqshm_consumer_close(c), 0);
		check_gone(name);
	}
}

static void read_all(void *arg)
{
	struct stream *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);

	SET(s->reading, (uint32_t)getpid());
	pop(c, 0, s->count);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms()), -ESHUTDOWN);
	EXPECT(mqshm_consumer_close(c), 0);
}

TEST(a_consumer_asleep_before_any_producer_is_woken)
{
	struct mqshm_queue_options q = geometry(NODES, 8, 0);
	struct stream *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	pid_t reader;

	s->name = test_queue("first");
	s->count = 10;
	MUST(mqshm_queue_create(s->name, &q), 0);
	reader = spawn(read_all, s);
	UNTIL(GET(s->reading) && asleep(reader));
	p = open_producer(s->name, NULL);
	UNTIL(asleep(reader));
	push(p, 0, 10);
	EXPECT(mqshm_producer_close(p), 0);
	join(reader);
	check_gone(s->name);
}

TEST(shared_streams_end_with_the_last_producer)
{
	struct mqshm_queue_options q = geometry(NODES, 8, MQSHM_SHARED);
	struct stream *s = shared_memory(sizeof *s);
	struct mqshm_producer *a, *b;
	struct mqshm_consumer *c;
	pid_t dies;

	s->name = test_queue("last");
	s->count = 3;
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	a = open_producer(s->name, NULL);
	b = open_producer(s->name, NULL);
	EXPECT(mqshm_producer_close(a), 0);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 20), -ETIMEDOUT);
	/* One that dies while another lives is no crash of the stream. */
	dies = spawn(push_then_hang, s);
	UNTIL(GET(s->pushed));
	kill_now(dies);
	pop(c, 0, 3);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 300), -ETIMEDOUT);
	push(b, 3, 5);
	EXPECT(mqshm_producer_close(b), 0);
	pop(c, 3, 5);
	/* One of the two was a crash; the last to end says how. */
	CHECK(CALL(mqshm_consumer_pop(c, out, sizeof out, NULL, -1)) == -ESHUTDOWN ||
	      STAT(s->name, producer_state) == MQSHM_PRODUCER_CRASHED);
	/* The last one dies. */
	s->from = 5;
	SET(s->pushed, 0);
	dies = spawn(push_then_hang, s);
	UNTIL(GET(s->pushed));
	kill_now(dies);
	pop(c, 5, 8);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms()), -EOWNERDEAD);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
}

TEST(an_exclusive_queue_has_one_producer)
{
	struct mqshm_queue_options q = geometry(NODES, 8, 0);
	struct mqshm_producer *p, *second = (void *)1;
	const char *name = test_queue("one");
	char pid[20];

	p = open_producer(name, &q);
	EXPECT(mqshm_producer_open(&second, name, NULL, NULL), -EBUSY);
	CHECK(second == NULL);
	snprintf(pid, sizeof pid, "pid %d (", (int)getpid());
	CHECK_STR(mqshm_last_error(), "has a live producer");
	CHECK_STR(mqshm_last_error(), pid);
	push(p, 0, 3);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

/* Who has seen the end may become the next producer at once, while the one before is still on its way out of close. */
TEST(the_end_means_that_the_role_is_free)
{
	struct mqshm_queue_options q = geometry(NODES, 8, 0);
	struct stream *s = shared_memory(sizeof *s);
	struct mqshm_consumer *c;

	s->name = test_queue("relay");
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	for (uint64_t round = 0; round < 200; round++) {
		struct mqshm_producer *p;
		pid_t before;

		SET(s->pushed, 0);
		SET(s->leave, 0);
		s->count = 1;
		s->from = 2 * round;
		before = spawn(push_then_hang, s);
		UNTIL(GET(s->pushed));
		pop(c, s->from, s->from + 1);
		SET(s->leave, 1);
		EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms()), -ESHUTDOWN);
		p = open_producer(s->name, NULL);
		push(p, s->from + 1, s->from + 2);
		pop(c, s->from + 1, s->from + 2);
		EXPECT(mqshm_producer_close(p), 0);
		join(before);
	}
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
}
