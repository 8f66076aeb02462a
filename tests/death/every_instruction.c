/* SPDX-License-Identifier: MIT */
/*
 * Shows that a death at any instruction of a push or a pop leaves a queue that works, and that a consumer may join while
 * a producer stands still at any instruction of a push. The victim is led by ptrace: one or a few instructions further
 * each round, until the call is over.
 */
#define TEST_SECONDS 200
#include "death/recovery.h"
#include "death/step.h"

#define NODES 3
#define BLOCK 40

struct shared {
	const char *name;
	uint32_t done, stop, warm;
	uint64_t pushed;
};

static void push_within(struct mqshm_producer *p, struct shared *s, int timeout_ms)
{
	unsigned char in[BLOCK];
	size_t size = payload_size(s->pushed, BLOCK);

	payload_fill(in, size, s->pushed);
	REQUIRE_EQ(mqshm_producer_push(p, in, size, timeout_ms), 0);
	SET(s->pushed, s->pushed + 1);
}

static void push_next(struct mqshm_producer *p, struct shared *s)
{
	push_within(p, s, 0);
}

static void pop_next(struct mqshm_consumer *c, uint64_t *next)
{
	unsigned char out[BLOCK];
	struct mqshm_message m;

	MUST(mqshm_consumer_pop(c, out, sizeof out, &m, stall_ms()), payload_size(*next, BLOCK));
	REQUIRE_EQ(m.sequence, *next);
	REQUIRE(payload_good(out, m.size, *next));
	++*next;
}

static void stop_here(struct shared *s)
{
	SET(s->done, 0);
	be_led();
}

static void push_traced(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);

	s->pushed = STAT(s->name, total_pushed);
	if (s->warm)
		push_next(p, s);
	stop_here(s);
	push_within(p, s, s->warm ? 5000 : 0); /* who has joined meanwhile may be in the way */
	SET(s->done, 1);
	while (!GET(s->stop))
		;
	for (int i = 0; i < 5 * NODES; i++)
		push_within(p, s, stall_ms());
	EXPECT(mqshm_producer_wait_drained(p, stall_ms()), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

static void pop_traced(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	unsigned char out[BLOCK];

	stop_here(s);
	REQUIRE(mqshm_consumer_pop(c, out, sizeof out, NULL, 0) >= 0);
	SET(s->done, 1);
	for (;;)
		;
}

/* Every instruction, or every so many of them where that would take too long. */
static int stride(int usual)
{
	return usual * (int)(1000 / test_scaled(1000));
}

/* The producer dies in its first push, in a ring full of read messages, so that head is raised; the next takes over. */
static void producer_dies(uint32_t flags, int by)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, flags);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *keep = NULL;
	struct mqshm_consumer *c;
	uint64_t next = 0;
	int k, kills = 0, published = 0;

	s->name = test_queue("push");
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	if (flags & MQSHM_SHARED)
		keep = open_producer(s->name, NULL);
	for (k = (int)(test_seed() % (unsigned)by); !GET(s->done); k += by, kills++) {
		pid_t victim = lead(push_traced, s, k);
		uint64_t pushed;

		kill_now(victim);
		if (keep) /* the lock, if it had it, is taken over now */
			UNTIL(CALL(mqshm_producer_push(keep, "", 0, 0)) == 0);
		pushed = STAT(s->name, total_pushed) - !!keep;
		REQUIRE(pushed >= GET(s->pushed) && pushed <= GET(s->pushed) + 1);
		published += pushed > GET(s->pushed);
		while (next < pushed)
			pop_next(c, &next);
		if (keep) {
			unsigned char out[BLOCK];

			MUST(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 0);
			next++;
		}
	}
	printf("# killed at %d of %d instructions, %d between publishing and knowing it\n", kills, k, published);
	CHECK(k > 50 && (published > 0 || stride(1) > 1));
	EXPECT(mqshm_producer_close(keep), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	CHECK(CALL(mqshm_queue_gc(s->name, NULL, NULL)) != 0);
	check_gone(s->name);
}

TEST(of_a_push)
{
	producer_dies(0, stride(1));
}

TEST(of_a_push_to_a_shared_queue)
{
	producer_dies(MQSHM_SHARED, stride(4));
}

TEST(of_a_pop)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_producer *p;
	int k;

	s->name = test_queue("pop");
	q.max_consumers = 1;
	p = open_producer(s->name, &q);
	for (int i = 0; i < NODES; i++)
		push_next(p, s);
	for (k = 0; !GET(s->done); k += stride(1)) {
		pid_t victim = lead(pop_traced, s, k);

		kill_now(victim);
		EXPECT(mqshm_queue_gc(s->name, NULL, NULL), 0);
		CHECK_EQ(STAT(s->name, consumer_count), 0);
		for (int i = 0; i < NODES + 1; i++)
			push_next(p, s); /* never waits */
	}
	printf("# killed within %d instructions\n", k);
	CHECK(k > 50);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(s->name);
}

TEST(of_a_push_during_which_a_consumer_joins)
{
	for (int start = MQSHM_FROM_LATEST; start <= MQSHM_FROM_OLDEST; start++) {
		struct shared *s = shared_memory(sizeof *s);
		int k;

		s->name = test_queue("join");
		for (k = 0; !GET(s->done); k += stride(start == MQSHM_FROM_LATEST ? 4 : 1)) {
			struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
			struct mqshm_producer *p = open_producer(s->name, &q);
			struct mqshm_consumer *lossy = open_consumer(s->name, NULL, MQSHM_FROM_LATEST, MQSHM_LOSSY), *c;
			unsigned char out[BLOCK];
			struct mqshm_message m;
			uint64_t next;
			uint32_t done;
			pid_t victim;

			s->pushed = 0;
			s->warm = 1;
			SET(s->stop, 0);
			for (int i = 0; i < 2 * NODES; i++)
				push_next(p, s);
			EXPECT(mqshm_producer_close(p), 0);
			victim = lead(push_traced, s, k);
			done = GET(s->done);
			c = open_consumer(s->name, NULL, start, 0);
			EXPECT(mqshm_consumer_close(lossy), 0);
			SET(s->stop, 1);
			REQUIRE_EQ(ptrace(PTRACE_DETACH, victim, NULL, NULL), 0);
			MUST(mqshm_consumer_pop(c, out, sizeof out, &m, stall_ms()), payload_size(m.sequence, BLOCK));
			REQUIRE(payload_good(out, m.size, m.sequence));
			next = m.sequence + 1;
			REQUIRE(start == MQSHM_FROM_LATEST ? next >= 2 * NODES + 2 : next <= 2 * NODES + 2);
			while (next < 2 * NODES + 2 + 5 * NODES)
				pop_next(c, &next);
			join(victim);
			EXPECT(mqshm_consumer_close(c), 0);
			check_gone(s->name);
			SET(s->done, done);
		}
		printf("# joined within %d instructions\n", k);
		CHECK(k > 50);
	}
}

static void pop_all_traced(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	unsigned char out[BLOCK];
	ssize_t n;

	stop_here(s);
	n = mqshm_consumer_pop(c, out, sizeof out, NULL, 0);
	SET(s->done, 1);
	while (n == -EAGAIN)
		n = mqshm_consumer_pop(c, out, sizeof out, NULL, 0);
	CHECK_EQ(n, payload_size(0, BLOCK)); /* the end is never told before what was pushed */
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms()), -ESHUTDOWN);
	EXPECT(mqshm_consumer_close(c), 0);
}

TEST(of_a_pop_during_which_the_stream_ends)
{
	struct shared *s = shared_memory(sizeof *s);
	int k;

	s->name = test_queue("ends");
	for (k = 0; !GET(s->done); k += stride(1)) {
		struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
		struct mqshm_producer *p = open_producer(s->name, &q);
		uint32_t done;
		pid_t victim;

		s->pushed = 0;
		victim = lead(pop_all_traced, s, k);
		done = GET(s->done);
		push_next(p, s);
		EXPECT(mqshm_producer_close(p), 0);
		REQUIRE_EQ(ptrace(PTRACE_DETACH, victim, NULL, NULL), 0);
		join(victim);
		check_gone(s->name);
		SET(s->done, done);
	}
	printf("# ended within %d instructions\n", k);
	CHECK(k > 50);
}
