/* SPDX-License-Identifier: MIT */
/*
 * Shows that the death of a consumer at any moment costs nobody anything: the producer, full because of it, goes on, the
 * other consumers lose nothing, and its slot is free for the next one.
 */
#define TEST_SECONDS 120
#include "death/recovery.h"

#define NODES 32
#define BLOCK 200

struct shared {
	const char *name;
	uint32_t in_op, stop, ready;
	uint64_t popped; /* by the victim */
	uint64_t pushed, survived;
};

static void push_on(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);
	unsigned char in[BLOCK];

	EXPECT(mqshm_producer_wait_consumers(p, 1, 0, stall_ms()), 0);
	for (uint64_t i = 0; !GET(s->stop); i++) {
		size_t size = payload_size(i, BLOCK);

		payload_fill(in, size, i);
		MUST(mqshm_producer_push(p, in, size, stall_ms()), 0);
		SET(s->pushed, i + 1);
	}
	EXPECT(mqshm_producer_wait_drained(p, stall_ms()), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

static void survive(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	unsigned char out[BLOCK];
	struct mqshm_message m;
	ssize_t n;

	ADD(s->ready, 1);
	for (uint64_t next = 0;; next++) {
		memset(&m, 0xa5, sizeof m);
		n = CALL(mqshm_consumer_pop(c, out, sizeof out, &m, stall_ms()));
		if (n == -ESHUTDOWN)
			break;
		REQUIRE_EQ(n, payload_size(next, BLOCK));
		REQUIRE_EQ(m.sequence, next);
		REQUIRE(payload_good(out, (size_t)n, next));
		SET(s->survived, next + 1);
	}
	EXPECT(mqshm_consumer_close(c), 0);
}

static void read_until_killed(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c;
	unsigned char out[8 * BLOCK];
	struct mqshm_message m[8];
	uint64_t next = 0;

	c = IN_OP(s->in_op, open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0));
	for (uint64_t round = 0;; round++) {
		int n;

		memset(m, 0xa5, sizeof m);
		if (round % 3 == 0) {
			REQUIRE(IN_OP(s->in_op, mqshm_consumer_pop(c, out, BLOCK, m, stall_ms())) >= 0);
			m[0].data = out;
			n = 1;
		} else if (round % 3 == 1) {
			n = IN_OP(s->in_op, mqshm_consumer_pop_batch(c, m, 3, 8, out, sizeof out, stall_ms()));
		} else {
			n = IN_OP(s->in_op, mqshm_consumer_peek(c, m, 8, stall_ms()));
		}
		REQUIRE(n > 0);
		for (int i = 0; i < n; i++) {
			REQUIRE(next == 0 || m[i].sequence == next);
			next = m[i].sequence + 1;
			REQUIRE_EQ(m[i].size, payload_size(m[i].sequence, BLOCK));
			REQUIRE(payload_good(m[i].data, m[i].size, m[i].sequence));
		}
		if (round % 3 == 2)
			REQUIRE_EQ(IN_OP(s->in_op, mqshm_consumer_release(c, (size_t)n)), 0);
		ADD(s->popped, 1);
	}
}

TEST(killed_200_times_under_load)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct recovery recovery = { .what = "consumer" };
	pid_t producer, survivor;
	uint64_t random = test_seed();

	s->name = test_queue("consumer");
	q.max_consumers = 2; /* so each victim must get the slot of the one before */
	MUST(mqshm_queue_create(s->name, &q), 0);
	survivor = spawn(survive, s);
	UNTIL(GET(s->ready) == 1);
	producer = spawn(push_on, s);
	for (int i = 0; i < kills(); i++) {
		uint64_t start, popped = GET(s->popped), pushed, survived;
		pid_t victim = spawn(read_until_killed, s);

		UNTIL(GET(s->popped) > popped);
		random_moment(&random, &s->popped, 200);
		start = recovery_kill(&recovery, victim, &s->in_op);
		pushed = GET(s->pushed);
		survived = GET(s->survived);
		/* Further than what a dead cursor would allow. */
		UNTIL(GET(s->pushed) > pushed + 2 * NODES && GET(s->survived) > survived + 2 * NODES);
		recovery_add(&recovery, start);
	}
	SET(s->stop, 1);
	join(producer);
	join(survivor);
	CHECK_EQ(GET(s->survived), GET(s->pushed));
	printf("# %" PRIu64 " messages\n", GET(s->pushed));
	check_gone(s->name);
	recovery_print(&recovery);
}

/* Many at once, so that the slots of all of them must be found free again. */
TEST(all_slots_are_free_again_after_a_massacre)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_consumer *c = (void *)1;
	struct mqshm_producer *p;
	pid_t victims[16];

	s->name = test_queue("slots");
	q.max_consumers = 16;
	p = open_producer(s->name, &q);
	for (int round = 0; round < 5; round++) {
		uint64_t ever = STAT(s->name, consumers_ever);

		for (int i = 0; i < 16; i++)
			victims[i] = spawn(read_until_killed, s);
		EXPECT(mqshm_producer_wait_consumers(p, (unsigned)ever + 16, MQSHM_EVER, stall_ms()), 0);
		EXPECT(mqshm_consumer_open(&c, s->name, NULL, NULL), -EBUSY);
		CHECK(c == NULL);
		CHECK_STR(mqshm_last_error(), "16 consumers");
		for (int i = 0; i < 16; i++)
			kill_now(victims[i]);
		MUST(mqshm_producer_wait_consumers(p, 1, 0, 0), -EAGAIN); /* the dead don't count */
		MUST(mqshm_producer_wait_drained(p, stall_ms()), 0);
	}
	CHECK_EQ(STAT(s->name, consumers_ever), 80);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(s->name);
}

/* A producer that never waits sees the death too. */
TEST(calls_that_never_wait_see_it)
{
	for (uint32_t flags = 0; flags <= MQSHM_SHARED; flags++) {
		struct mqshm_queue_options q = geometry(4, BLOCK, flags);
		struct shared *s = shared_memory(sizeof *s);
		struct mqshm_producer *p;
		unsigned char in[BLOCK];
		pid_t victim;

		s->name = test_queue("try");
		p = open_producer(s->name, &q);
		victim = spawn(read_until_killed, s);
		EXPECT(mqshm_producer_wait_consumers(p, 1, 0, stall_ms()), 0);
		REQUIRE_EQ(kill(victim, SIGSTOP), 0);
		for (uint64_t i = 0; i < 100; i++) {
			payload_fill(in, payload_size(i, BLOCK), i);
			if (CALL(mqshm_producer_push(p, in, payload_size(i, BLOCK), 0)) == -EAGAIN)
				break;
		}
		EXPECT(mqshm_producer_push(p, in, 0, 0), -EAGAIN); /* stopped is not dead */
		EXPECT(mqshm_producer_push(p, in, 0, 200), -ETIMEDOUT);
		kill_now(victim);
		UNTIL(CALL(mqshm_producer_push(p, in, 0, 0)) == 0);
		EXPECT(mqshm_producer_close(p), 0);
		check_gone(s->name);
	}
}
