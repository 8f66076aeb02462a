/* SPDX-License-Identifier: MIT */
/*
 * Shows that a death in the middle of opening, creating or closing leaves nothing behind: the others can open at once,
 * and when all are gone, so is the queue, at the latest after gc.
 */
#define TEST_SECONDS 120
#include "death/recovery.h"

struct shared {
	const char *name;
	uint32_t in_op;
	uint64_t rounds;
	uint32_t flags;
};

static const struct mqshm_queue_options *options(uint32_t flags)
{
	static struct mqshm_queue_options q;

	q = geometry(4, 64, flags);
	return &q;
}

static void come_and_go(void *arg)
{
	struct shared *s = arg;

	for (uint64_t i = 0;; i++) {
		struct mqshm_consumer *c = NULL;
		struct mqshm_producer *p = NULL;

		SET(s->in_op, 1);
		switch (i % 4) {
		case 0:
			MUST(mqshm_producer_open(&p, s->name, options(s->flags), NULL), 0);
			break;
		case 1:
			MUST(mqshm_consumer_open(&c, s->name, options(s->flags), NULL), 0);
			break;
		default:
			MUST(mqshm_consumer_open(&c, s->name, options(s->flags), NULL), 0);
			MUST(mqshm_producer_open(&p, s->name, NULL, NULL), 0);
			MUST(mqshm_producer_push(p, &i, sizeof i, 1000), 0);
			break;
		}
		if (i % 4 == 3) {
			MUST(mqshm_consumer_close(c), 0);
			MUST(mqshm_producer_close(p), 0);
		} else {
			MUST(mqshm_producer_close(p), 0);
			MUST(mqshm_consumer_close(c), 0);
		}
		SET(s->in_op, 0);
		ADD(s->rounds, 1);
	}
}

static void come_and_go_200_times(uint32_t flags)
{
	struct shared *s = shared_memory(sizeof *s);
	struct recovery recovery = { .what = "attach and detach" };
	uint64_t random = test_seed();
	int left = 0;

	s->name = test_queue("come-and-go");
	s->flags = flags;
	for (int i = 0; i < kills(); i++) {
		uint64_t start, rounds = GET(s->rounds);
		struct mqshm_stat *stat = NULL;
		struct mqshm_producer *p;
		pid_t victim = spawn(come_and_go, s);

		UNTIL(GET(s->rounds) > rounds);
		random_moment(&random, &s->rounds, 8);
		for (volatile uint64_t spin = test_random(&random) % 300000; spin; spin--)
			;
		start = recovery_kill(&recovery, victim, &s->in_op);
		if (i % 2) { /* the next one comes at once */
			p = open_producer(s->name, options(flags));
			recovery_add(&recovery, start);
			EXPECT(mqshm_producer_push(p, &i, sizeof i, 1000), 0);
			EXPECT(mqshm_producer_close(p), 0);
		} else {
			if (CALL(mqshm_queue_stat(s->name, &stat)) == 0) {
				left++;
				mqshm_stat_free(stat);
				MUST(mqshm_queue_gc(s->name, NULL, NULL), 1);
			}
			recovery_add(&recovery, start);
		}
		check_gone(s->name);
	}
	printf("# %d of %d left a queue for gc\n", left, kills() / 2);
	recovery_print(&recovery);
}

TEST(of_an_exclusive_queue)
{
	come_and_go_200_times(0);
}

TEST(of_a_shared_queue)
{
	come_and_go_200_times(MQSHM_SHARED);
}

/* Beside others who stay: they are neither disturbed nor held up. */
TEST(beside_those_who_stay)
{
	struct shared *s = shared_memory(sizeof *s);
	struct recovery recovery = { .what = "attach and detach beside others" };
	uint64_t random = test_seed(), next = 0, value;
	struct mqshm_producer *keep;
	struct mqshm_consumer *c;

	s->name = test_queue("beside");
	s->flags = MQSHM_SHARED;
	keep = open_producer(s->name, options(s->flags));
	c = open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, MQSHM_LOSSY);
	for (int i = 0; i < kills(); i++) {
		uint64_t start, rounds = GET(s->rounds);
		pid_t victim = spawn(come_and_go, s);
		struct mqshm_message m;

		UNTIL(GET(s->rounds) > rounds);
		random_moment(&random, &s->rounds, 8);
		for (volatile uint64_t spin = test_random(&random) % 300000; spin; spin--)
			;
		start = recovery_kill(&recovery, victim, &s->in_op);
		for (int j = 0; j < 20; j++)
			MUST(mqshm_producer_push(keep, &j, sizeof j, stall_ms()), 0);
		recovery_add(&recovery, start);
		while (CALL(mqshm_consumer_pop(c, &value, sizeof value, &m, 0)) > 0) {
			REQUIRE(m.sequence >= next);
			next = m.sequence + 1;
		}
	}
	EXPECT(mqshm_producer_close(keep), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
	recovery_print(&recovery);
}
