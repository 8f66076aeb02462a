/* SPDX-License-Identifier: MIT */
/*
 * Shows where a consumer starts: latest, oldest, beginning (and what it missed), and what hold means: everything is
 * kept for the first reliable consumer, whichever way it asks to start.
 */
#include "conformance/payload.h"
#include "conformance/peers.h"

#define NODES 16
#define BLOCK 64

static unsigned char out[BLOCK];

static void push(struct mqshm_producer *p, uint64_t from, uint64_t to)
{
	unsigned char in[BLOCK];

	for (uint64_t i = from; i < to; i++) {
		payload_fill(in, BLOCK, i);
		MUST(mqshm_producer_push(p, in, BLOCK, 0), 0);
	}
}

static void expect_messages(struct mqshm_consumer *c, uint64_t from, uint64_t to)
{
	struct mqshm_message m;

	CHECK_EQ(CALL(mqshm_consumer_lag(c)), to - from);
	for (uint64_t i = from; i < to; i++) {
		memset(&m, 0xa5, sizeof m);
		MUST(mqshm_consumer_pop(c, out, sizeof out, &m, 0), BLOCK);
		REQUIRE_EQ(m.sequence, i);
		CHECK(payload_good(out, BLOCK, i));
	}
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, &m, 0), -EAGAIN);
}

TEST(each_mode_before_and_after_the_ring_has_lapped)
{
	static const int pushed[] = { 0, 1, NODES - 1, NODES, NODES + 1, 3 * NODES, 1000 };

	for (size_t i = 0; i < sizeof pushed / sizeof *pushed; i++) {
		struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
		const char *name = test_queue("modes");
		struct mqshm_producer *p = open_producer(name, &q);
		struct mqshm_consumer *latest, *oldest, *beginning, *lossy;
		uint64_t n = (uint64_t)pushed[i], kept;

		push(p, 0, n);
		kept = STAT(name, kept);
		CHECK(kept <= NODES && kept >= (n < NODES ? n : NODES * 7 / 8));
		latest = open_consumer(name, NULL, MQSHM_FROM_LATEST, 0);
		oldest = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
		beginning = open_consumer(name, NULL, MQSHM_FROM_BEGINNING, 0);
		lossy = open_consumer(name, NULL, MQSHM_FROM_BEGINNING, MQSHM_LOSSY);
		CHECK_EQ(CALL(mqshm_consumer_missed(latest)), 0);
		CHECK_EQ(CALL(mqshm_consumer_missed(oldest)), 0);
		CHECK_EQ(CALL(mqshm_consumer_missed(beginning)), n - kept);
		CHECK_EQ(CALL(mqshm_consumer_missed(lossy)), n - kept);
		expect_messages(latest, n, n);
		expect_messages(oldest, n - kept, n);
		expect_messages(beginning, n - kept, n);
		expect_messages(lossy, n - kept, n);
		push(p, n, n + 2);
		expect_messages(latest, n, n + 2);
		expect_messages(beginning, n, n + 2);
		CHECK_EQ(STAT(name, overwrite_count), 0); /* missed before they were attached: not overwritten */
		EXPECT(mqshm_consumer_close(latest), 0);
		EXPECT(mqshm_consumer_close(oldest), 0);
		EXPECT(mqshm_consumer_close(beginning), 0);
		EXPECT(mqshm_consumer_close(lossy), 0);
		EXPECT(mqshm_producer_close(p), 0);
		check_gone(name);
	}
}

TEST(arguments_are_checked)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("arguments");
	struct mqshm_consumer_options o = { .size = sizeof o, .start = 3 };
	struct mqshm_consumer *c = (void *)1;

	EXPECT(mqshm_consumer_open(&c, name, &q, &o), -EINVAL);
	CHECK(c == NULL);
	o.start = -1;
	EXPECT(mqshm_consumer_open(&c, name, &q, &o), -EINVAL);
	o.start = 0;
	o.flags = 0x100;
	EXPECT(mqshm_consumer_open(&c, name, &q, &o), -EINVAL);
	o.flags = 0;
	o.size = 1;
	EXPECT(mqshm_consumer_open(&c, name, &q, &o), -EINVAL);
	check_gone(name);
	c = (void *)1;
	EXPECT(mqshm_consumer_open(&c, name, NULL, NULL), -ENOENT);
	CHECK(c == NULL);
	CHECK_STR(mqshm_last_error(), name);
}

TEST(hold_keeps_everything_for_the_first_reliable_consumer)
{
	for (int start = MQSHM_FROM_LATEST; start <= MQSHM_FROM_BEGINNING; start++) {
		struct mqshm_queue_options q = geometry(NODES, BLOCK, MQSHM_HOLD);
		const char *name = test_queue("hold");
		struct mqshm_producer *p = open_producer(name, &q);
		struct mqshm_consumer *lossy, *first, *second;

		push(p, 0, NODES);
		EXPECT(mqshm_producer_push(p, out, BLOCK, 0), -EAGAIN);
		EXPECT(mqshm_producer_push(p, out, BLOCK, 20), -ETIMEDOUT);
		/* A lossy one does not end the hold. */
		lossy = open_consumer(name, NULL, MQSHM_FROM_OLDEST, MQSHM_LOSSY);
		expect_messages(lossy, 0, NODES);
		EXPECT(mqshm_producer_push(p, out, BLOCK, 0), -EAGAIN);
		first = open_consumer(name, NULL, start, 0);
		second = open_consumer(name, NULL, MQSHM_FROM_LATEST, 0);
		expect_messages(second, NODES, NODES);
		EXPECT(mqshm_producer_push(p, out, BLOCK, 0), -EAGAIN);
		expect_messages(first, 0, NODES);
		CHECK_EQ(CALL(mqshm_consumer_missed(first)), 0);
		push(p, NODES, 2 * NODES);
		expect_messages(first, NODES, 2 * NODES);
		/* Without reliable consumers there is no hold any more. */
		EXPECT(mqshm_consumer_close(first), 0);
		EXPECT(mqshm_consumer_close(second), 0);
		push(p, 2 * NODES, 5 * NODES);
		EXPECT(mqshm_consumer_close(lossy), 0);
		EXPECT(mqshm_producer_close(p), 0);
		check_gone(name);
	}
}

TEST(hold_outlives_producers)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, MQSHM_HOLD | MQSHM_PERSISTENT);
	const char *name = test_queue("hold");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c;

	push(p, 0, 5);
	EXPECT(mqshm_producer_close(p), 0);
	p = open_producer(name, NULL);
	push(p, 5, NODES);
	EXPECT(mqshm_producer_push(p, out, BLOCK, 0), -EAGAIN);
	EXPECT(mqshm_producer_close(p), 0);
	c = open_consumer(name, NULL, MQSHM_FROM_LATEST, 0);
	for (uint64_t i = 0; i < NODES; i++) {
		MUST(mqshm_consumer_pop(c, out, BLOCK, NULL, 0), BLOCK);
		REQUIRE(payload_good(out, BLOCK, i));
	}
	EXPECT(mqshm_consumer_pop(c, out, BLOCK, NULL, -1), -ESHUTDOWN);
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_queue_remove(name, 0), 0);
	check_gone(name);
}

struct pushing {
	const char *name;
	uint32_t stop;
	uint64_t pushed;
};

static void push_on(void *arg)
{
	struct pushing *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);
	unsigned char in[BLOCK];

	for (uint64_t i = 0; !GET(s->stop); i++) {
		payload_fill(in, BLOCK, i);
		MUST(mqshm_producer_push(p, in, BLOCK, stall_ms()), 0);
		SET(s->pushed, i + 1);
	}
	EXPECT(mqshm_producer_close(p), 0);
}

/* Joining while the producer is running away: every message from the first one on, whole and in order. */
static void join_under_load(uint32_t nodes)
{
	struct mqshm_queue_options q = geometry(nodes, BLOCK, MQSHM_TIMESTAMP_OFF);
	struct pushing *s = shared_memory(sizeof *s);
	pid_t producer;

	s->name = test_queue("join");
	MUST(mqshm_queue_create(s->name, &q), 0);
	producer = spawn(push_on, s);
	UNTIL(GET(s->pushed) > 3 * nodes);
	for (int i = 0; i < 300; i++) {
		int start = i % 3;
		struct mqshm_consumer *c = open_consumer(s->name, NULL, start, i % 7 == 0 ? MQSHM_LOSSY : 0);
		uint64_t missed = (uint64_t)CALL(mqshm_consumer_missed(c)), expect = 0;
		struct mqshm_message m;

		for (int j = 0; j < 20; j++) {
			MUST(mqshm_consumer_pop(c, out, sizeof out, &m, stall_ms()), BLOCK);
			REQUIRE(payload_good(out, BLOCK, m.sequence));
			if (j == 0 && start == MQSHM_FROM_BEGINNING && i % 7)
				CHECK_EQ(m.sequence, missed);
			if (j && i % 7)
				REQUIRE_EQ(m.sequence, expect);
			expect = m.sequence + 1;
		}
		EXPECT(mqshm_consumer_close(c), 0);
	}
	SET(s->stop, 1);
	join(producer);
	check_gone(s->name);
}

TEST(join_a_running_stream_of_1_node)
{
	join_under_load(1);
}

TEST(join_a_running_stream_of_3_nodes)
{
	join_under_load(3);
}

TEST(join_a_running_stream_of_100_nodes)
{
	join_under_load(100);
}

/*
 * The same with the producer stopped at any instruction while the consumer joins: between looking at cursors and raising
 * head, too, where nothing else would ever meet it.
 */
static void join_a_stopped_producer(uint32_t nodes)
{
	struct mqshm_queue_options q = geometry(nodes, BLOCK, MQSHM_TIMESTAMP_OFF);
	struct pushing *s = shared_memory(sizeof *s);
	pid_t producer;

	s->name = test_queue("stopped");
	MUST(mqshm_queue_create(s->name, &q), 0);
	producer = spawn(push_on, s);
	for (int i = 0; i < 400; i++) {
		struct mqshm_consumer *c[2];
		struct mqshm_message m;
		uint64_t before = GET(s->pushed), expect[2] = { 0 };
		int status = 0;

		UNTIL(GET(s->pushed) > before + 3 * nodes);
		REQUIRE_EQ(kill(producer, SIGSTOP), 0);
		REQUIRE_EQ(waitpid(producer, &status, WUNTRACED), producer);
		REQUIRE(WIFSTOPPED(status));
		for (int j = 0; j < 2; j++)
			c[j] = open_consumer(s->name, NULL, j ? MQSHM_FROM_OLDEST : MQSHM_FROM_LATEST, 0);
		REQUIRE_EQ(kill(producer, SIGCONT), 0);
		for (int j = 0; j < 10; j++)
			for (int k = 1; k >= 0; k--) { /* who started behind first, else it keeps the ring full */
				MUST(mqshm_consumer_pop(c[k], out, sizeof out, &m, stall_ms()), BLOCK);
				REQUIRE(payload_good(out, BLOCK, m.sequence));
				REQUIRE(j == 0 || m.sequence == expect[k]);
				expect[k] = m.sequence + 1;
			}
		EXPECT(mqshm_consumer_close(c[0]), 0);
		EXPECT(mqshm_consumer_close(c[1]), 0);
	}
	SET(s->stop, 1);
	join(producer);
	check_gone(s->name);
}

TEST(join_a_producer_stopped_anywhere)
{
	join_a_stopped_producer(1);
	join_a_stopped_producer(2);
	join_a_stopped_producer(20);
}
