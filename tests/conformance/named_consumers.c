/* SPDX-License-Identifier: MIT */
/*
 * Shows that a named consumer's cursor outlives its process for lease_ms: its successor goes on exactly there, at most
 * once with pop, at least once with peek and release; and that a lease is bounded.
 */
#include "conformance/peers.h"

#define LONG_MS 60000

static struct mqshm_consumer *open_named(const char *queue, const char *name, uint32_t lease_ms, uint32_t flags, int wanted)
{
	struct mqshm_consumer_options options = { .size = sizeof options, .start = MQSHM_FROM_OLDEST, .flags = flags,
						  .name = name, .lease_ms = lease_ms };
	struct mqshm_consumer *c = NULL;

	MUST(mqshm_consumer_open(&c, queue, NULL, &options), wanted);
	return c;
}

static void push_numbers(struct mqshm_producer *p, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		MUST(mqshm_producer_push(p, &i, sizeof i, stall_ms()), 0);
}

static void pop_numbers(struct mqshm_consumer *c, uint64_t from, uint64_t to)
{
	uint64_t value;

	for (uint64_t i = from; i < to; i++) {
		MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), 8);
		REQUIRE_EQ(value, i);
	}
}

TEST(close_keeps_the_cursor_and_leave_does_not)
{
	struct mqshm_queue_options q = geometry(8, 8, 0);
	const char *name = test_queue("keep");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_named(name, "plot", LONG_MS, 0, 0);
	uint64_t value = 8;

	EXPECT(mqshm_consumer_resumed(c), 0);
	push_numbers(p, 0, 8);
	pop_numbers(c, 0, 3);
	EXPECT(mqshm_consumer_close(c), 0);
	CHECK_EQ(STAT(name, consumer_count), 1);
	CHECK_EQ(STAT(name, consumers[0].leased), 1);
	CHECK_EQ(STAT(name, consumers[0].lag), 5);
	CHECK(STAT(name, consumers[0].lease_ms) <= LONG_MS && STAT(name, consumers[0].lease_ms) > 0);
	CHECK_EQ(STAT(name, consumers[0].name[3]), 't');
	push_numbers(p, 8, 11);
	EXPECT(mqshm_producer_push(p, &value, sizeof value, 0), -EAGAIN); /* it holds the producer back */
	EXPECT(mqshm_queue_remove(name, 0), -EBUSY);
	c = open_named(name, "plot", LONG_MS, 0, 0);
	EXPECT(mqshm_consumer_resumed(c), 1);
	EXPECT(mqshm_consumer_lag(c), 8);
	pop_numbers(c, 3, 11);
	CHECK_EQ(STAT(name, consumers[0].leased), 0);
	CHECK_EQ(STAT(name, consumers[0].popped), 11);
	EXPECT(mqshm_consumer_leave(c), 0);
	CHECK_EQ(STAT(name, consumer_count), 0);
	push_numbers(p, 11, 30); /* nobody holds it back */
	c = open_named(name, "plot", LONG_MS, 0, 0);
	EXPECT(mqshm_consumer_resumed(c), 0);
	EXPECT(mqshm_consumer_leave(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

TEST(two_of_one_name_can_not_be)
{
	struct mqshm_queue_options q = geometry(8, 8, 0);
	const char *name = test_queue("two");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *a = open_named(name, "a", LONG_MS, 0, 0), *b = open_named(name, "b", LONG_MS, 0, 0);

	CHECK(!open_named(name, "a", LONG_MS, 0, -EBUSY));
	CHECK_STR(mqshm_last_error(), "live consumer 'a'");
	push_numbers(p, 0, 4);
	pop_numbers(a, 0, 1);
	pop_numbers(b, 0, 2);
	EXPECT(mqshm_consumer_close(a), 0);
	EXPECT(mqshm_consumer_close(b), 0);
	CHECK(!open_named(name, "b", LONG_MS, MQSHM_LOSSY, -EBUSY));
	CHECK_STR(mqshm_last_error(), "reliable");
	b = open_named(name, "b", LONG_MS, 0, 0);
	a = open_named(name, "a", LONG_MS, 0, 0);
	pop_numbers(b, 2, 4);
	pop_numbers(a, 1, 4);
	EXPECT(mqshm_consumer_leave(a), 0);
	EXPECT(mqshm_consumer_leave(b), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

TEST(names_and_leases_are_checked)
{
	struct mqshm_queue_options q = geometry(8, 8, 0);
	const char *name = test_queue("check");
	struct mqshm_producer *p = open_producer(name, &q);

	open_named(name, NULL, 5, 0, -EINVAL);
	open_named(name, "", 5, 0, -EINVAL);
	open_named(name, "a b", 5, 0, -EINVAL);
	open_named(name, "12345678901234567890123456789012", 5, 0, -EINVAL);
	open_named(name, "a", 0, 0, -EINVAL);
	open_named(name, "a", MQSHM_LEASE_MS_MAX + 1, 0, -EINVAL);
	CHECK_EQ(STAT(name, consumer_count), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

struct shared {
	const char *name;
	uint32_t lease_ms, lossy, batch;
	uint64_t done, begun; /* messages processed, and begun to be */
	uint32_t ready;
};

static void read_and_die(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_named(s->name, "worker", s->lease_ms, s->lossy ? MQSHM_LOSSY : 0, 0);
	uint64_t value;

	SET(s->ready, 1);
	for (;;) {
		if (s->batch) {
			struct mqshm_message m[4];
			int n = CALL(mqshm_consumer_peek(c, m, 4, stall_ms()));

			REQUIRE(n > 0);
			for (int i = 0; i < n; i++) {
				REQUIRE(m[i].sequence <= GET(s->done)); /* repeats are told by their sequence, gaps there are none */
				SET(s->begun, m[i].sequence + 1);
				if (m[i].sequence == GET(s->done))
					SET(s->done, m[i].sequence + 1);
			}
			MUST(mqshm_consumer_release(c, (size_t)n), 0);
		} else {
			MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), 8);
			REQUIRE(value >= GET(s->begun)); /* never again */
			SET(s->begun, value + 1);
			SET(s->done, GET(s->done) + 1);
		}
	}
}

static void kill_workers(bool peek)
{
	struct mqshm_queue_options q = geometry(16, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	uint64_t seed = test_seed(), next = 0;
	struct mqshm_producer *p;

	s->name = test_queue(peek ? "least" : "most");
	s->lease_ms = LONG_MS;
	s->batch = peek;
	p = open_producer(s->name, &q);
	for (int kills = 0; kills < 40; kills++) {
		uint64_t most = next + test_random(&seed) % 60;
		pid_t pid;

		SET(s->ready, 0);
		pid = spawn(read_and_die, s);
		UNTIL(GET(s->ready) == 1);
		while (next < most || next == 0) {
			if (CALL(mqshm_producer_push(p, &next, sizeof next, stall_ms())) != 0)
				TEST_FAIL("push: %s", mqshm_last_error());
			next++;
		}
		kill_now(pid);
	}
	s->ready = 0;
	{ /* the last one reads to the end */
		struct mqshm_consumer *c = open_named(s->name, "worker", LONG_MS, 0, 0);
		struct mqshm_message m;
		uint64_t value, last = 0;
		ssize_t n;

		EXPECT(mqshm_consumer_resumed(c), 1);
		EXPECT(mqshm_producer_close(p), 0);
		while ((n = CALL(mqshm_consumer_pop(c, &value, sizeof value, &m, stall_ms()))) == 8) {
			CHECK_EQ(value, m.sequence);
			if (peek)
				REQUIRE(m.sequence <= s->done);
			else
				REQUIRE(m.sequence >= s->begun);
			if (m.sequence >= s->done)
				s->done = m.sequence + 1;
			last = m.sequence + 1;
		}
		CHECK_EQ(n, -ESHUTDOWN);
		if (last)
			CHECK_EQ(last, next);
		if (peek)
			CHECK_EQ(s->done, next); /* every one at least once */
		EXPECT(mqshm_consumer_leave(c), 0);
	}
	check_gone(s->name);
}

TEST(at_most_once_with_pop_under_kill)
{
	kill_workers(false);
}

TEST(at_least_once_with_peek_and_release_under_kill)
{
	kill_workers(true);
}

TEST(a_lease_ends)
{
	struct mqshm_queue_options q = geometry(8, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	uint64_t begin;
	pid_t pid;

	s->name = test_queue("ends");
	s->lease_ms = 150;
	p = open_producer(s->name, &q);
	pid = spawn(read_and_die, s);
	UNTIL(GET(s->ready) == 1);
	push_numbers(p, 0, 8);
	UNTIL(GET(s->done) == 8);
	begin = test_now_ns();
	kill_now(pid);
	push_numbers(p, 8, 17); /* waits for the lease */
	CHECK(test_now_ns() - begin >= 150 * 1000000ull);
	CHECK_EQ(STAT(s->name, consumer_count), 0);
	c = open_named(s->name, "worker", 1, 0, 0);
	EXPECT(mqshm_consumer_resumed(c), 0);
	EXPECT(mqshm_consumer_close(c), 0); /* for 1 ms */
	nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
	EXPECT(mqshm_queue_gc(s->name, NULL, NULL), 0);
	CHECK_EQ(STAT(s->name, consumer_count), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(s->name);
}

/* The last user leaves a lease behind: the queue stays for it, and no longer. */
TEST(a_lease_keeps_the_queue)
{
	struct mqshm_queue_options q = geometry(8, 8, 0);
	const char *name = test_queue("stays");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_named(name, "late", 300, 0, 0);
	int rc;

	push_numbers(p, 0, 5);
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
	c = open_named(name, "late", 100, 0, 0);
	pop_numbers(c, 0, 5);
	{
		uint64_t value;

		EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -ESHUTDOWN);
	}
	EXPECT(mqshm_consumer_close(c), 0);
	nanosleep(&(struct timespec){ 0, 130000000 }, NULL);
	rc = CALL(mqshm_queue_gc(name, NULL, NULL)); /* where nobody has done so before */
	CHECK(rc == 1 || rc == -ENOENT);
	check_gone(name);
}

TEST(a_lossy_one_counts_what_it_missed_while_away)
{
	struct mqshm_queue_options q = geometry(8, 8, 0);
	const char *name = test_queue("lossy");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_named(name, "meter", LONG_MS, MQSHM_LOSSY, 0);
	uint64_t value = 0;

	push_numbers(p, 0, 4);
	pop_numbers(c, 0, 2);
	EXPECT(mqshm_consumer_close(c), 0);
	push_numbers(p, 4, 40);
	c = open_named(name, "meter", LONG_MS, MQSHM_LOSSY, 0);
	EXPECT(mqshm_consumer_resumed(c), 1);
	MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), 8);
	CHECK(value >= 32);
	EXPECT(mqshm_consumer_missed(c), value - 2);
	EXPECT(mqshm_consumer_leave(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

/* On an overwrite queue all are lossy; that does not make a successor one that was demoted. */
TEST(a_successor_on_an_overwrite_queue)
{
	struct mqshm_queue_options q = geometry(8, 8, MQSHM_OVERWRITE);
	const char *name = test_queue("over");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_named(name, "meter", LONG_MS, 0, 0);

	push_numbers(p, 0, 4);
	pop_numbers(c, 0, 2);
	EXPECT(mqshm_consumer_close(c), 0);
	c = open_named(name, "meter", LONG_MS, 0, 0);
	EXPECT(mqshm_consumer_resumed(c), 1);
	EXPECT(mqshm_consumer_demoted(c), 0);
	CHECK_EQ(STAT(name, consumers[0].demoted), 0);
	pop_numbers(c, 2, 4);
	EXPECT(mqshm_consumer_leave(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

TEST(evicted_by_hand_while_leased)
{
	struct mqshm_queue_options q = geometry(8, 8, 0);
	const char *name = test_queue("hand");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_named(name, "x", LONG_MS, 0, 0);
	uint64_t value = 8;

	push_numbers(p, 0, 8);
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_push(p, &value, sizeof value, 0), -EAGAIN);
	EXPECT(mqshm_queue_evict(name, 0), 0);
	EXPECT(mqshm_producer_push(p, &value, sizeof value, 0), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}
