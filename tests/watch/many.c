/* SPDX-License-Identifier: MIT */
/*
 * A watch under churn: consumers attach, leave and are killed at random on three queues, and at the end each one that ever
 * attached has been told or counted, and each has ended. And a watch of 1,000 idle queues: what it costs.
 *
 * alone: it measures.
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "watch/watch_test.h"

#define SLOTS 8
#define CHILDREN 6
#define ROUNDS 300

struct churn {
	const char *names[3];
	uint64_t seed;
	uint32_t attaches;
};

static void come_and_go(void *arg)
{
	struct churn *s = arg;
	uint64_t random = s->seed ^ (uint64_t)getpid();

	for (;;) {
		struct mqshm_consumer_options how = { .size = sizeof how };
		struct mqshm_consumer *c;

		if (mqshm_consumer_open(&c, s->names[test_random(&random) % 3], NULL, &how))
			continue;
		ADD(s->attaches, 1);
		if (test_random(&random) % 4 == 0)
			nanosleep(&(struct timespec){ 0, (long)(test_random(&random) % 30000000) }, NULL);
		mqshm_consumer_close(c);
	}
}

struct ledger {
	const char *const *names;
	uint64_t told[3], missed[3];
	int kinds[16], live[3][SLOTS];
	int events;
};

static void enter(struct ledger *l, const struct mqshm_watch_event *e)
{
	int q = 0;

	l->events++;
	l->kinds[e->type]++;
	if (!l->names)
		return;
	while (strcmp(e->queue, l->names[q]))
		q++;
	REQUIRE(e->role == CONSUMER && e->id < SLOTS);
	l->told[q] += e->type == MQSHM_WATCH_ATTACHED;
	l->missed[q] += e->type == MQSHM_WATCH_MISSED ? e->count : 0;
	if (e->type == MQSHM_WATCH_ATTACHED)
		CHECK_EQ(l->live[q][e->id]++, 0);
	else if (e->type != MQSHM_WATCH_MISSED)
		CHECK_EQ(l->live[q][e->id]--, 1);
}

static void hear_all(struct mqshm_watch *w, struct ledger *l, int timeout_ms)
{
	struct mqshm_watch_event event;
	int most = 10000; /* some come and go as fast as we look */

	while (most-- && mqshm_watch_next(w, &event, timeout_ms) == 0)
		enter(l, &event);
}

TEST(each_is_told_or_counted)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, MQSHM_PERSISTENT);
	struct churn *s = shared_memory(sizeof *s);
	struct ledger l = { .names = s->names };
	struct mqshm_watch *w = NULL;
	pid_t children[CHILDREN];
	uint64_t random = test_seed();

	s->seed = random;
	options.max_consumers = SLOTS;
	for (int i = 0; i < 3; i++) {
		s->names[i] = test_queue((const char *[]){ "x", "y", "z" }[i]);
		MUST(mqshm_queue_create(s->names[i], &options), 0);
	}
	MUST(mqshm_watch_open(&w, s->names, 3, MQSHM_WATCH_NEW), 0);
	for (int i = 0; i < CHILDREN; i++)
		children[i] = spawn(come_and_go, s);
	for (int i = 0; i < ROUNDS; i++) {
		int victim = (int)(test_random(&random) % CHILDREN);

		for (int k = 0; k < 20; k++)
			hear_all(w, &l, 0);
		nap();
		if (i % 4 == 0) {
			kill_now(children[victim]);
			children[victim] = spawn(come_and_go, s);
		}
	}
	for (int i = 0; i < CHILDREN; i++)
		kill_now(children[i]);
	for (int i = 0; i < 3; i++)
		MUST(mqshm_queue_gc(s->names[i], NULL, NULL), 0);
	hear_all(w, &l, 500);
	for (int q = 0; q < 3; q++) {
		uint64_t ever = STAT(s->names[q], consumers_ever);

		printf("# %s: %d attached, %d of them told, %d counted\n", s->names[q], (int)ever, (int)l.told[q],
		       (int)l.missed[q]);
		/* One killed before it counted itself in consumers_ever has a generation all the same. */
		CHECK(l.told[q] + l.missed[q] >= ever);
		CHECK(l.told[q] + l.missed[q] <= ever + ROUNDS / 4 + CHILDREN);
		for (int i = 0; i < SLOTS; i++)
			CHECK_EQ(l.live[q][i], 0);
		MUST(mqshm_queue_remove(s->names[q], 0), 0);
	}
	printf("# %d left, %d died\n", l.kinds[MQSHM_WATCH_LEFT], l.kinds[MQSHM_WATCH_DIED]);
	CHECK(l.kinds[MQSHM_WATCH_DIED] > 0 && l.kinds[MQSHM_WATCH_LEFT] > 0 && l.kinds[MQSHM_WATCH_MISSED] > 0);
	MUST(mqshm_watch_close(w), 0);
}

#define QUEUES 1000

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Processor time, which does not depend on what else runs; the limit is several times what was measured. */
TEST(idle_cost_of_1000_queues)
{
	struct mqshm_queue_options options = geometry(1, 8, 0);
	struct rlimit limit;
	static struct mqshm_producer *p[QUEUES];
	static struct mqshm_consumer *c[QUEUES];
	static char names[QUEUES][64];
	static const char *name[QUEUES];
	struct ledger l = { 0 };
	struct mqshm_watch *w = NULL;
	uint64_t cpu, real;

	/* inotify tells of others' files too: not of those of other tests. */
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=100m"))
		SKIP("needs root, for a /dev/shm of its own");
	REQUIRE_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	REQUIRE_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < 3 * QUEUES + 100)
		SKIP("no 3,100 descriptors");
	for (int i = 0; i < QUEUES; i++) {
		snprintf(names[i], sizeof names[i], "%s-%d", test_queue("idle"), i);
		name[i] = names[i];
		p[i] = open_producer(names[i], &options);
		c[i] = open_consumer(names[i], NULL, MQSHM_FROM_OLDEST, 0);
	}
	MUST(mqshm_watch_open(&w, name, QUEUES, 0), 0);
	hear_all(w, &l, 500);
	CHECK_EQ(l.events, 3 * QUEUES);
	hear_all(w, &l, 1500); /* none is warm any more */
	cpu = cpu_ns();
	real = test_now_ns();
	take_event(w, 4000, -ETIMEDOUT);
	cpu = cpu_ns() - cpu;
	real = test_now_ns() - real;
	printf("# 1,000 queues with a producer and a consumer each: %.2f %% of a processor\n", 100.0 * (double)cpu / (double)real);
	CHECK(cpu < real / 20);
	for (int i = 0; i < QUEUES; i++) {
		mqshm_producer_close(p[i]);
		mqshm_consumer_close(c[i]);
	}
	l.events = 0;
	hear_all(w, &l, 500);
	CHECK_EQ(l.events, 4 * QUEUES); /* two left, closed, removed */
	MUST(mqshm_watch_close(w), 0);
}
