/* SPDX-License-Identifier: MIT */
/*
 * Shows that one who dies asleep leaves nothing behind that others wait for: killed in pop on an empty queue, killed in
 * push on a full one. The others sleep and wake as before.
 */
#define TEST_SECONDS 120
#include "death/recovery.h"

#define NODES 8

struct shared {
	const char *name;
	uint32_t in_op, ready;
	uint64_t popped, pushed;
};

static void sleep_in_pop(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_LATEST, 0);
	uint64_t value;

	IN_OP(s->in_op, mqshm_consumer_pop(c, &value, sizeof value, NULL, -1));
	CHECK(!"reached");
}

static void sleep_in_push(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);

	for (uint64_t i = GET(s->pushed);; i++) {
		REQUIRE_EQ(IN_OP(s->in_op, mqshm_producer_push(p, &i, sizeof i, -1)), 0);
		SET(s->pushed, i + 1);
	}
}

static void read_all(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	uint64_t value, next = 0;
	ssize_t n;

	ADD(s->ready, 1);
	while ((n = CALL(mqshm_consumer_pop(c, &value, sizeof value, NULL, -1))) == 8) {
		REQUIRE_EQ(value, next);
		SET(s->popped, ++next);
	}
	REQUIRE_EQ(n, -ESHUTDOWN);
	EXPECT(mqshm_consumer_close(c), 0);
}

/* One reader dies asleep, another sleeps on beside it; then more is pushed than a dead cursor would let through. */
TEST(in_pop_100_times)
{
	struct mqshm_queue_options q = geometry(NODES, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct recovery recovery = { .what = "sleeper in pop" };
	struct mqshm_producer *p;
	uint64_t next = 0;
	pid_t reader;

	s->name = test_queue("pop");
	p = open_producer(s->name, &q);
	reader = spawn(read_all, s);
	UNTIL(GET(s->ready) == 1);
	for (int i = 0; i < kills() / 2; i++) {
		pid_t victim = spawn(sleep_in_pop, s);
		uint64_t start;

		UNTIL(GET(s->in_op) && asleep(victim) && asleep(reader));
		start = recovery_kill(&recovery, victim, &s->in_op);
		for (int j = 0; j < 2 * NODES; j++, next++)
			MUST(mqshm_producer_push(p, &next, sizeof next, stall_ms()), 0);
		UNTIL(GET(s->popped) == next);
		recovery_add(&recovery, start);
	}
	EXPECT(mqshm_producer_close(p), 0);
	join(reader);
	check_gone(s->name);
	recovery_print(&recovery);
}

TEST(in_push_100_times)
{
	struct mqshm_queue_options q = geometry(NODES, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct recovery recovery = { .what = "sleeper in push" };
	struct mqshm_consumer *c;
	uint64_t next = 0, value;

	s->name = test_queue("push");
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	for (int i = 0; i < kills() / 2; i++) {
		pid_t victim = spawn(sleep_in_push, s);
		uint64_t start;
		ssize_t n;

		UNTIL(GET(s->pushed) == next + NODES && GET(s->in_op) && asleep(victim));
		start = recovery_kill(&recovery, victim, &s->in_op);
		for (int j = 0; j < NODES; j++, next++) {
			MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), 8);
			REQUIRE_EQ(value, next);
		}
		n = CALL(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()));
		REQUIRE_EQ(n, -EOWNERDEAD);
		recovery_add(&recovery, start);
	}
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
	recovery_print(&recovery);
}

static void sleep_in_shared_push(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);
	uint64_t dead = UINT64_MAX;

	IN_OP(s->in_op, mqshm_producer_push(p, &dead, sizeof dead, -1));
	CHECK(!"reached");
}

/* The one who sleeps for room is the one that consumers were asked to wake: another must not be forgotten. */
TEST(in_push_of_a_shared_queue_beside_others)
{
	struct mqshm_queue_options q = geometry(NODES, 8, MQSHM_SHARED);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *keep;
	struct mqshm_consumer *c;
	uint64_t value, expect = 0;
	pid_t writer;

	s->name = test_queue("beside");
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	keep = open_producer(s->name, NULL);
	writer = spawn(sleep_in_push, s);
	for (int i = 0; i < 30; i++) {
		pid_t victim;

		UNTIL(GET(s->pushed) >= expect + NODES);
		SET(s->in_op, 0);
		victim = spawn(sleep_in_shared_push, s);
		UNTIL(GET(s->in_op) && asleep(victim) && asleep(writer));
		kill_now(victim);
		for (int j = 0; j < 3 * NODES; j++, expect++) {
			MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), 8);
			REQUIRE_EQ(value, expect);
		}
	}
	kill_now(writer);
	EXPECT(mqshm_producer_close(keep), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
}
