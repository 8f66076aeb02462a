/* SPDX-License-Identifier: MIT */
/*
 * Shows the waits besides push and pop: for consumers, until all is read, for a queue that does not exist yet; and that
 * sleepers on both sides are woken by what they wait for. By the order of events, not by the clock.
 */
#include "conformance/peers.h"

struct shared {
	const char *name, *other;
	uint32_t step, go, count;
};

static void attach_when_told(void *arg)
{
	struct shared *s = arg;

	for (uint32_t i = 1; i <= 3; i++) {
		struct mqshm_consumer *c;

		UNTIL(GET(s->go) == i);
		c = open_consumer(s->name, NULL, MQSHM_FROM_LATEST, i == 2 ? MQSHM_LOSSY : 0);
		SET(s->step, i);
		if (i < 3)
			EXPECT(mqshm_consumer_close(c), 0);
		else
			UNTIL(GET(s->go) == 4); /* and ends without closing */
	}
}

TEST(for_consumers_attached_or_ever)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	pid_t consumer;

	s->name = test_queue("consumers");
	p = open_producer(s->name, &q);
	EXPECT(mqshm_producer_wait_consumers(p, 0, 0, 0), 0);
	EXPECT(mqshm_producer_wait_consumers(p, 0, MQSHM_EVER, 0), 0);
	EXPECT(mqshm_producer_wait_consumers(p, 1, 0, 0), -EAGAIN);
	EXPECT(mqshm_producer_wait_consumers(p, 1, MQSHM_EVER, 0), -EAGAIN);
	consumer = spawn(attach_when_told, s);
	SET(s->go, 1);
	EXPECT(mqshm_producer_wait_consumers(p, 1, MQSHM_EVER, stall_ms()), 0);
	UNTIL(STAT(s->name, consumer_count) == 0);
	EXPECT(mqshm_producer_wait_consumers(p, 1, 0, 0), -EAGAIN); /* it has left ... */
	EXPECT(mqshm_producer_wait_consumers(p, 1, MQSHM_EVER, 0), 0); /* ... but was there */
	EXPECT(mqshm_producer_wait_consumers(p, 2, MQSHM_EVER, 0), -EAGAIN);
	SET(s->go, 2);
	EXPECT(mqshm_producer_wait_consumers(p, 2, MQSHM_EVER, stall_ms()), 0);
	UNTIL(GET(s->step) == 2 && STAT(s->name, consumer_count) == 0);
	SET(s->go, 3);
	EXPECT(mqshm_producer_wait_consumers(p, 1, 0, stall_ms()), 0);
	EXPECT(mqshm_producer_wait_consumers(p, 3, MQSHM_EVER, 0), 0);
	SET(s->go, 4);
	join(consumer);
	EXPECT(mqshm_producer_wait_consumers(p, 1, 0, 0), -EAGAIN); /* the dead don't count */
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(s->name);
}

static void read_when_told(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, GET(s->count) ? MQSHM_LOSSY : 0);
	uint64_t value;

	SET(s->step, 1);
	UNTIL(GET(s->go) == 1);
	for (uint64_t i = 0; i < 3; i++) {
		MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), 8);
		SET(s->step, 2 + (uint32_t)i);
	}
	UNTIL(GET(s->go) == 2);
	if (GET(s->count) < 2)
		EXPECT(mqshm_consumer_close(c), 0);
}

TEST(until_all_is_read_by_all)
{
	for (uint32_t kind = 0; kind < 3; kind++) { /* 0: reliable, 1: lossy; 2: dies instead of closing */
		struct mqshm_queue_options q = geometry(4, 8, 0);
		struct shared *s = shared_memory(sizeof *s);
		struct mqshm_producer *p;
		pid_t consumer;

		s->name = test_queue("drained");
		s->count = kind;
		p = open_producer(s->name, &q);
		EXPECT(mqshm_producer_wait_drained(p, 0), 0);
		consumer = spawn(read_when_told, s);
		UNTIL(GET(s->step) == 1);
		for (uint64_t i = 0; i < 3; i++)
			MUST(mqshm_producer_push(p, &i, sizeof i, 0), 0);
		EXPECT(mqshm_producer_wait_drained(p, 0), -EAGAIN);
		SET(s->go, 1);
		EXPECT(mqshm_producer_wait_drained(p, stall_ms()), 0);
		UNTIL(GET(s->step) == 4);
		MUST(mqshm_producer_push(p, s, 8, 0), 0);
		EXPECT(mqshm_producer_wait_drained(p, 20), -ETIMEDOUT);
		SET(s->go, 2); /* one who leaves, or dies, does not count */
		EXPECT(mqshm_producer_wait_drained(p, stall_ms()), 0);
		join(consumer);
		EXPECT(mqshm_producer_close(p), 0);
		check_gone(s->name);
	}
}

static void wait_for_it(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer_options o = { .size = sizeof o, .start = MQSHM_FROM_OLDEST, .wait_ms = -1 };
	struct mqshm_consumer *c = NULL;
	char out[8];

	SET(s->step, 1);
	MUST(mqshm_consumer_open(&c, s->name, NULL, &o), 0);
	SET(s->step, 2);
	CHECK_EQ(CALL(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms())), 5);
	CHECK_EQ(CALL(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms())), -ESHUTDOWN);
	EXPECT(mqshm_consumer_close(c), 0);
}

TEST(for_a_queue_that_does_not_exist_yet)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_consumer_options o = { .size = sizeof o, .wait_ms = 50 };
	struct mqshm_consumer *c = (void *)1;
	pid_t consumers[3];

	s->name = test_queue("missing");
	s->other = test_queue("other");
	EXPECT(mqshm_consumer_open(&c, s->name, NULL, &o), -ENOENT);
	CHECK(c == NULL);
	for (int round = 0; round < 10; round++) {
		struct mqshm_producer *p, *other;

		SET(s->step, 0);
		for (int i = 0; i < 3; i++) {
			consumers[i] = spawn(wait_for_it, s);
			UNTIL(GET(s->step) == 1 && asleep(consumers[i]));
			SET(s->step, 0);
		}
		other = open_producer(s->other, &q); /* another one's coming is not it */
		for (int i = 0; i < 3; i++)
			UNTIL(asleep(consumers[i]));
		CHECK_EQ(GET(s->step), 0);
		p = open_producer(s->name, &q);
		EXPECT(mqshm_producer_wait_consumers(p, 3, 0, stall_ms()), 0);
		MUST(mqshm_producer_push(p, "hello", 5, 0), 0);
		EXPECT(mqshm_producer_wait_drained(p, stall_ms()), 0);
		EXPECT(mqshm_producer_close(p), 0);
		EXPECT(mqshm_producer_close(other), 0);
		for (int i = 0; i < 3; i++)
			join(consumers[i]);
		check_gone(s->name);
	}
}

#define ROUNDS 20000

static void answer(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	struct mqshm_producer *p = open_producer(s->other, NULL);
	uint64_t value = 0;

	for (uint64_t i = 0; i < ROUNDS; i++) {
		MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, -1), 8);
		REQUIRE_EQ(value, i);
		value = ~value;
		MUST(mqshm_producer_push(p, &value, sizeof value, -1), 0);
	}
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
}

/*
 * Sleepers are woken, not found after their nap: 20,000 rounds in which each side sleeps at once would take 1,000 s and
 * more if they were not.
 */
TEST(every_message_wakes_its_sleeper)
{
	struct mqshm_queue_options q = geometry(1, 8, 0);
	struct mqshm_producer_options never_spin = { .size = sizeof never_spin, .spin_us = MQSHM_SPIN_NEVER };
	struct mqshm_consumer_options consumer = { .size = sizeof consumer, .spin_us = MQSHM_SPIN_NEVER };
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p = NULL;
	struct mqshm_consumer *c = NULL;
	uint64_t value = 0;
	pid_t peer;

	s->name = test_queue("ping");
	s->other = test_queue("pong");
	MUST(mqshm_queue_create(s->name, &q), 0);
	MUST(mqshm_consumer_open(&c, s->other, &q, &consumer), 0);
	MUST(mqshm_producer_open(&p, s->name, NULL, &never_spin), 0);
	peer = spawn(answer, s);
	MUST(mqshm_producer_wait_consumers(p, 1, 0, stall_ms()), 0);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		MUST(mqshm_producer_push(p, &i, sizeof i, -1), 0);
		MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, -1), 8);
		REQUIRE_EQ(value, ~i);
	}
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	join(peer);
	check_gone(s->name);
	check_gone(s->other);
}

static void wait_for_one(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	struct mqshm_producer *p = open_producer(s->other, NULL);
	uint64_t value = 0;

	SET(s->step, 1);
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 300), -ETIMEDOUT);
	SET(s->step, 2);
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, -1), 8);
	SET(s->step, 3);
	for (int i = 0; i < 2; i++) /* one fits */
		EXPECT(mqshm_producer_push(p, &value, sizeof value, -1), 0);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
}

static void stop_and_continue(pid_t pid)
{
	int status;

	REQUIRE_EQ(kill(pid, SIGSTOP), 0);
	REQUIRE_EQ(waitpid(pid, &status, WUNTRACED), pid);
	REQUIRE(WIFSTOPPED(status));
	REQUIRE_EQ(kill(pid, SIGCONT), 0);
}

/* Ctrl-Z and fg, or a debugger, are no signal to a wait: it goes on, with what is left of its time. */
TEST(who_is_stopped_waits_on)
{
	struct mqshm_queue_options q = geometry(1, 8, MQSHM_PERSISTENT);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p = NULL;
	struct mqshm_consumer *c = NULL;
	uint64_t value = 7;
	pid_t peer;

	s->name = test_queue("stopped");
	s->other = test_queue("full");
	MUST(mqshm_queue_create(s->name, &q), 0);
	p = open_producer(s->name, NULL);
	c = open_consumer(s->other, &q, MQSHM_FROM_OLDEST, 0);
	peer = spawn(wait_for_one, s);
	UNTIL(GET(s->step) == 1);
	while (GET(s->step) == 1) {
		nap();
		stop_and_continue(peer);
	}
	for (int i = 0; i < 20; i++) {
		nap();
		stop_and_continue(peer);
	}
	MUST(mqshm_producer_push(p, &value, sizeof value, -1), 0);
	UNTIL(GET(s->step) == 3);
	for (int i = 0; i < 20; i++) {
		nap();
		stop_and_continue(peer);
	}
	for (int i = 0; i < 2; i++)
		MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, -1), 8);
	join(peer);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_queue_remove(s->name, 0), 0);
	EXPECT(mqshm_queue_remove(s->other, 0), 0);
}
