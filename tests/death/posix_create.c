/* SPDX-License-Identifier: MIT */
/*
 * Shows that one who dies while it creates a queue leaves nothing for ever: killed the moment the name appears, when it has
 * not yet taken its role, and at random before that.
 */
#define TEST_SECONDS 120
#include "death/recovery.h"

struct shared {
	const char *name;
	uint32_t in_op, consumer;
};

static void create_by_attaching(void *arg)
{
	struct mqshm_queue_options q = geometry(4, 64, 0);
	struct shared *s = arg;

	SET(s->in_op, 1);
	if (s->consumer)
		open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	else
		open_producer(s->name, &q);
	SET(s->in_op, 2);
	for (;;)
		pause();
}

static void create_and_die(bool wait_for_name)
{
	struct shared *s = shared_memory(sizeof *s);
	uint64_t random = test_seed();
	int between = 0, left = 0;
	char path[100];

	s->name = test_queue("create");
	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", s->name);
	for (int i = 0; i < KILLS; i++) {
		uint64_t give_up = test_now_ns() + STALL_NS, spins = test_random(&random) % 200000;
		struct mqshm_queue_options q = geometry(4, 64, 0);
		struct mqshm_consumer *c;
		pid_t victim;

		SET(s->in_op, 0);
		s->consumer = i & 1;
		victim = spawn(create_by_attaching, s);
		if (wait_for_name) {
			while (access(path, F_OK) && test_now_ns() < give_up)
				;
		} else {
			UNTIL(GET(s->in_op));
			for (volatile uint64_t spin = spins; spin; spin--)
				;
		}
		kill_now(victim);
		between += GET(s->in_op) == 1;
		if (!access(path, F_OK)) {
			left++;
			if (i & 2) { /* gc removes it, or who comes next has a new one */
				EXPECT(mqshm_queue_gc(s->name, NULL, NULL), 1);
			} else {
				c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
				CHECK_EQ(STAT(s->name, consumers_ever), 1);
				EXPECT(mqshm_consumer_close(c), 0);
			}
		}
		check_gone(s->name);
	}
	printf("# %d of %d died inside open, %d left the name\n", between, KILLS, left);
	CHECK(between > 0);
}

TEST(when_the_name_appears)
{
	create_and_die(true);
}

TEST(at_random)
{
	create_and_die(false);
}
