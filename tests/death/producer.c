/* SPDX-License-Identifier: MIT */
/*
 * Shows that the death of an exclusive producer at any moment costs nothing but its half-written message: consumers
 * drain what was pushed, are told -EOWNERDEAD, and the next producer goes on with the sequence, without a gap.
 */
#define TEST_SECONDS 120
#include "death/recovery.h"

#define CONSUMERS 3
#define NODES 32
#define BLOCK 300

struct shared {
	const char *name;
	uint32_t in_op, ready, stop;
	uint64_t attached; /* producers so far */
	uint64_t pushed;   /* messages that a producer knows to be pushed */
	uint64_t seen[CONSUMERS], deaths[CONSUMERS];
};

struct consumer {
	struct shared *s;
	int number;
};

static void push_until_killed(void *arg)
{
	struct shared *s = arg;
	unsigned char in[4][BLOCK];
	struct mqshm_producer *p;
	uint64_t next;
	void *data;

	p = IN_OP(s->in_op, open_producer(s->name, NULL));
	next = STAT(s->name, total_pushed);
	REQUIRE(next >= GET(s->pushed));
	ADD(s->attached, 1);
	for (;;) {
		struct iovec iov[4];
		int rc, n = 1;

		for (uint64_t i = 0; i < 4; i++) {
			iov[i] = (struct iovec){ in[i], payload_size(next + i, BLOCK) };
			payload_fill(in[i], iov[i].iov_len, next + i);
		}
		switch (next % 4) {
		case 0:
			rc = IN_OP(s->in_op, mqshm_producer_push(p, in[0], iov[0].iov_len, -1));
			break;
		case 1:
			n = rc = IN_OP(s->in_op, mqshm_producer_push_batch(p, iov, 4, -1));
			rc = rc > 0 ? 0 : rc;
			break;
		case 2:
			rc = IN_OP(s->in_op, mqshm_producer_reserve(p, BLOCK, &data, -1));
			if (!rc) {
				SET(s->in_op, 1);
				memset(data, 0xee, BLOCK);
				memcpy(data, in[0], iov[0].iov_len);
				rc = IN_OP(s->in_op, mqshm_producer_commit(p, iov[0].iov_len));
			}
			break;
		default:
			rc = IN_OP(s->in_op, mqshm_producer_pushv(p, iov, 1, -1));
		}
		REQUIRE_EQ(rc, 0);
		next += (uint64_t)n;
		SET(s->pushed, next);
	}
}

static void consume(void *arg)
{
	struct consumer *me = arg;
	struct shared *s = me->s;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	unsigned char out[BLOCK];
	uint64_t next = 0, told_at = UINT64_MAX, first_quiet = 0;
	struct mqshm_message m;

	ADD(s->ready, 1);
	while (!GET(s->stop) || next < GET(s->pushed)) {
		ssize_t n;

		memset(&m, 0xa5, sizeof m);
		n = CALL(mqshm_consumer_pop(c, out, sizeof out, &m, 100));
		if (n == -ETIMEDOUT || n == -EOWNERDEAD) {
			if (n == -EOWNERDEAD && told_at != GET(s->attached)) {
				told_at = GET(s->attached);
				SET(s->deaths[me->number], told_at);
			}
			first_quiet = first_quiet ? first_quiet : test_now_ns();
			REQUIRE(test_now_ns() - first_quiet < stall_ns());
			if (n == -EOWNERDEAD)
				nap();
			continue;
		}
		first_quiet = 0;
		REQUIRE_EQ(n, payload_size(next, BLOCK));
		REQUIRE_EQ(m.sequence, next);
		REQUIRE(payload_good(out, (size_t)n, next));
		SET(s->seen[me->number], ++next);
	}
	EXPECT(mqshm_consumer_close(c), 0);
}

TEST(killed_200_times_under_load)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct recovery recovery = { .what = "producer" };
	struct consumer consumers[CONSUMERS];
	pid_t readers[CONSUMERS];
	uint64_t random = test_seed();

	s->name = test_queue("producer");
	MUST(mqshm_queue_create(s->name, &q), 0);
	for (int i = 0; i < CONSUMERS; i++) {
		consumers[i] = (struct consumer){ s, i };
		readers[i] = spawn(consume, &consumers[i]);
	}
	UNTIL(GET(s->ready) == CONSUMERS);
	for (uint64_t kill_number = 1; kill_number <= (uint64_t)kills(); kill_number++) {
		pid_t victim = spawn(push_until_killed, s);
		uint64_t start;

		UNTIL(GET(s->attached) == kill_number);
		random_moment(&random, &s->pushed, 400);
		start = recovery_kill(&recovery, victim, &s->in_op);
		for (int i = 0; i < CONSUMERS; i++)
			UNTIL(GET(s->deaths[i]) == kill_number);
		recovery_add(&recovery, start);
		for (int i = 0; i < CONSUMERS; i++) {
			CHECK(GET(s->seen[i]) >= GET(s->pushed)); /* what was pushed is read, what was not may be */
			CHECK_EQ(GET(s->seen[i]), GET(s->seen[0]));
		}
	}
	SET(s->stop, 1);
	for (int i = 0; i < CONSUMERS; i++)
		join(readers[i]);
	printf("# %" PRIu64 " messages\n", GET(s->pushed));
	check_gone(s->name);
	recovery_print(&recovery);
}

/* The same without waiting for anybody to notice: the next producer takes over at once. */
TEST(taken_over_200_times_at_once)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct recovery recovery = { .what = "take-over" };
	struct consumer consumers[CONSUMERS];
	pid_t readers[CONSUMERS];
	uint64_t random = test_seed();

	s->name = test_queue("takeover");
	MUST(mqshm_queue_create(s->name, &q), 0);
	for (int i = 0; i < CONSUMERS; i++) {
		consumers[i] = (struct consumer){ s, i };
		readers[i] = spawn(consume, &consumers[i]);
	}
	UNTIL(GET(s->ready) == CONSUMERS);
	for (uint64_t kill_number = 1; kill_number <= (uint64_t)kills(); kill_number++) {
		pid_t victim = spawn(push_until_killed, s);
		uint64_t start = test_now_ns();

		UNTIL(GET(s->attached) == kill_number);
		recovery_add(&recovery, start);
		random_moment(&random, &s->pushed, 400);
		recovery_kill(&recovery, victim, &s->in_op);
	}
	SET(s->stop, 1);
	for (int i = 0; i < CONSUMERS; i++)
		join(readers[i]);
	check_gone(s->name);
	recovery_print(&recovery);
}
