/* SPDX-License-Identifier: MIT */
/*
 * Shows what happens to a shared queue when the holder of its lock dies (the others take the lock over; what it pushed
 * stays, what it was writing is never seen) and when it is stopped (nobody robs it; the others' timeouts work and name
 * it).
 */
#define TEST_SECONDS 120
#include "death/recovery.h"

#define PRODUCERS 3
#define NODES 64
#define BLOCK 200

struct shared {
	const char *name;
	uint32_t in_op, holds, keep, stop, ready;
	uint32_t life;		     /* which victim it is: part of its messages */
	uint64_t victim_pushed;	     /* by all victims */
	uint64_t known[KILLS + 1];   /* messages that each victim knows to be pushed */
	uint64_t pushed[PRODUCERS];
	uint64_t seen[PRODUCERS], victim_seen[KILLS + 1];
};

/* A message says who sent it, how many it had sent before, and the rest follows from the two. */
struct head {
	uint32_t who, check;
	uint64_t count;
};

struct producer {
	struct shared *s;
	uint32_t number;
};

static uint64_t key_of(uint32_t who, uint64_t count)
{
	return (uint64_t)who << 40 ^ count;
}

static size_t fill(void *to, uint32_t who, uint64_t count)
{
	size_t size = sizeof(struct head) + payload_size(key_of(who, count), BLOCK - sizeof(struct head));

	memcpy(to, &(struct head){ who, ~who, count }, sizeof(struct head));
	payload_fill((char *)to + sizeof(struct head), size - sizeof(struct head), key_of(who, count));
	return size;
}

static void push_on(void *arg)
{
	struct producer *me = arg;
	struct shared *s = me->s;
	struct mqshm_producer *p = open_producer(s->name, NULL);
	unsigned char in[BLOCK];

	ADD(s->ready, 1);
	for (uint64_t i = 0; !GET(s->stop); i++) {
		size_t size = fill(in, me->number, i);

		MUST(mqshm_producer_push(p, in, size, stall_ms()), 0);
		SET(s->pushed[me->number], i + 1);
	}
	EXPECT(mqshm_producer_close(p), 0);
}

/* Half of its messages it writes slowly, in place, with the lock held. */
static void push_until_killed(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = IN_OP(s->in_op, open_producer(s->name, NULL));
	uint32_t life = GET(s->life);
	unsigned char in[BLOCK];
	void *data;

	for (uint64_t i = 0;; i++) {
		size_t size = fill(in, PRODUCERS + life, i);

		if (i % 2) {
			REQUIRE_EQ(IN_OP(s->in_op, mqshm_producer_push(p, in, size, stall_ms())), 0);
		} else {
			REQUIRE_EQ(IN_OP(s->in_op, mqshm_producer_reserve(p, BLOCK, &data, stall_ms())), 0);
			SET(s->holds, 1);
			SET(s->in_op, 1);
			memset(data, 0xff, BLOCK);  /* seen, it would be nobody's */
			for (volatile int spin = 0; spin < 2000 || GET(s->keep); spin++)
				SET(s->holds, GET(s->keep) ? 2 : 1);
			if (i % 8 == 0) {
				SET(s->holds, 0);
				REQUIRE_EQ(IN_OP(s->in_op, mqshm_producer_abort(p)), 0);
				REQUIRE_EQ(IN_OP(s->in_op, mqshm_producer_push(p, in, size, stall_ms())), 0);
			} else {
				memcpy(data, in, size);
				REQUIRE_EQ(IN_OP(s->in_op, mqshm_producer_commit(p, size)), 0);
				SET(s->holds, 0);
			}
		}
		SET(s->known[life], i + 1);
		ADD(s->victim_pushed, 1);
	}
}

static void consume(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	unsigned char out[BLOCK], expected[BLOCK];
	struct mqshm_message m;

	ADD(s->ready, 1);
	for (uint64_t next = 0;; next++) {
		ssize_t n = CALL(mqshm_consumer_pop(c, out, sizeof out, &m, stall_ms()));
		struct head head;
		uint64_t *seen;

		if (n == -ESHUTDOWN)
			break;
		REQUIRE(n >= (ssize_t)sizeof head);
		REQUIRE_EQ(m.sequence, next);
		memcpy(&head, out, sizeof head);
		REQUIRE(head.who < PRODUCERS + KILLS + 1 && head.who == ~head.check);
		REQUIRE_EQ(n, fill(expected, head.who, head.count));
		REQUIRE_EQ(memcmp(out, expected, (size_t)n), 0);
		seen = head.who < PRODUCERS ? &s->seen[head.who] : &s->victim_seen[head.who - PRODUCERS];
		REQUIRE_EQ(head.count, *seen);
		SET(*seen, head.count + 1);
	}
	EXPECT(mqshm_consumer_close(c), 0);
}

TEST(killed_200_times_under_load)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, MQSHM_SHARED);
	struct shared *s = shared_memory(sizeof *s);
	struct recovery recovery = { .what = "lock holder" };
	struct producer producers[PRODUCERS];
	pid_t writers[PRODUCERS], readers[2];
	uint64_t random = test_seed();
	int held = 0;

	s->name = test_queue("lock");
	MUST(mqshm_queue_create(s->name, &q), 0);
	readers[0] = spawn(consume, s);
	UNTIL(GET(s->ready) == 1);
	for (uint32_t i = 0; i < PRODUCERS; i++) {
		producers[i] = (struct producer){ s, i };
		writers[i] = spawn(push_on, &producers[i]);
	}
	UNTIL(GET(s->ready) == 1 + PRODUCERS);
	for (uint32_t life = 0; life < (uint32_t)kills(); life++) {
		uint64_t start, before[PRODUCERS];
		pid_t victim;

		SET(s->life, life);
		SET(s->holds, 0);
		victim = spawn(push_until_killed, s);
		UNTIL(GET(s->known[life]) > 0);
		random_moment(&random, &s->victim_pushed, 20);
		if (life % 2) { /* half of them for sure with the lock */
			SET(s->keep, 1);
			UNTIL(GET(s->holds) == 2);
		}
		start = recovery_kill(&recovery, victim, &s->in_op);
		SET(s->keep, 0);
		held += GET(s->holds) != 0;
		for (int i = 0; i < PRODUCERS; i++)
			before[i] = GET(s->pushed[i]);
		for (int i = 0; i < PRODUCERS; i++)
			UNTIL(GET(s->pushed[i]) > before[i] + 1); /* one push may have been under way */
		recovery_add(&recovery, start);
	}
	SET(s->stop, 1);
	for (int i = 0; i < PRODUCERS; i++)
		join(writers[i]);
	join(readers[0]);
	for (int i = 0; i < PRODUCERS; i++)
		CHECK_EQ(s->seen[i], s->pushed[i]);
	for (int i = 0; i < kills(); i++)
		CHECK(s->victim_seen[i] == s->known[i] || s->victim_seen[i] == s->known[i] + 1);
	printf("# %d kills hit the holder of the lock\n", held);
	CHECK(held >= kills() / 2);
	check_gone(s->name);
	recovery_print(&recovery);
}

static void reserve_and_hang(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);
	void *data;

	MUST(mqshm_producer_reserve(p, 8, &data, 0), 0);
	memcpy(data, "stopped", 8);
	SET(s->holds, 1);
	UNTIL(GET(s->stop));
	EXPECT(mqshm_producer_commit(p, 8), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

static void push_one(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);

	ADD(s->ready, 1);
	EXPECT(mqshm_producer_push(p, "waited", 7, -1), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

TEST(stopped_it_is_not_robbed)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, MQSHM_SHARED);
	struct shared *s = shared_memory(sizeof *s);
	unsigned char out[8];
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	pid_t stopped, waits;
	char pid[24];
	void *data = out;

	s->name = test_queue("stopped");
	p = open_producer(s->name, &q);
	c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	stopped = spawn(reserve_and_hang, s);
	UNTIL(GET(s->holds));
	REQUIRE_EQ(kill(stopped, SIGSTOP), 0);
	waits = spawn(push_one, s);
	UNTIL(GET(s->ready) == 1 && asleep(waits));

	snprintf(pid, sizeof pid, "pid %d (", (int)stopped);
	EXPECT(mqshm_producer_push(p, "x", 2, 0), -EAGAIN);
	EXPECT(mqshm_producer_push(p, "x", 2, 150), -ETIMEDOUT);
	CHECK_STR(mqshm_last_error(), "lock");
	CHECK_STR(mqshm_last_error(), pid);
	EXPECT(mqshm_producer_reserve(p, 2, &data, 150), -ETIMEDOUT);
	CHECK(data == NULL);
	CHECK_STR(mqshm_last_error(), pid);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 20), -ETIMEDOUT);

	SET(s->stop, 1);
	REQUIRE_EQ(kill(stopped, SIGCONT), 0);
	EXPECT(mqshm_producer_push(p, "after", 6, stall_ms()), 0);
	join(stopped);
	join(waits);
	MUST(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 8); /* the holder's comes first */
	CHECK_EQ(memcmp(out, "stopped", 8), 0);
	CHECK(CALL(mqshm_consumer_pop(c, out, sizeof out, NULL, 0)) > 5);
	CHECK(CALL(mqshm_consumer_pop(c, out, sizeof out, NULL, 0)) > 5);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), -EAGAIN);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
}

/* Calls that never wait get a dead holder's lock too. */
TEST(tried_for_only)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, MQSHM_SHARED);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	pid_t holder;

	s->name = test_queue("try");
	p = open_producer(s->name, &q);
	for (uint64_t i = 0; i < 5; i++) {
		SET(s->holds, 0);
		holder = spawn(reserve_and_hang, s);
		UNTIL(GET(s->holds));
		EXPECT(mqshm_producer_push(p, "x", 2, 0), -EAGAIN);
		kill_now(holder);
		UNTIL(CALL(mqshm_producer_push(p, "x", 2, 0)) == 0);
		CHECK_EQ(STAT(s->name, total_pushed), i + 1); /* what it had reserved is not there */
	}
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(s->name);
}
