/* SPDX-License-Identifier: MIT */
/* What the log says when queues are made and removed, and when participants come, leave, die, are evicted. */
#include "death/posix_window.h"
#include "log/log_test.h"

TEST(life_of_a_queue)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("life");
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	int me = (int)getpid();

	MUST(mqshm_log_set(MQSHM_LOG_INFO, note, NULL), 0);
	p = open_producer(name, &options);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	MUST(mqshm_consumer_close(c), 0);
	MUST(mqshm_producer_close(p), 0);
	TOLD(MQSHM_LOG_INFO, name, "created by pid %d: %d messages of up to %d bytes", me, NODES, BLOCK);
	TOLD(MQSHM_LOG_INFO, name, "producer 0 of pid %d (%s) attached", me, comm());
	TOLD(MQSHM_LOG_INFO, name, "consumer 0 of pid %d (%s) attached", me, comm());
	TOLD(MQSHM_LOG_INFO, name, "consumer 0 of pid %d (%s) left", me, comm());
	TOLD(MQSHM_LOG_INFO, name, "producer 0 of pid %d (%s) left", me, comm());
	TOLD(MQSHM_LOG_INFO, name, "removed with its last user");
	CHECK_EQ(line_count, 6);

	line_count = 0;
	MUST(mqshm_queue_create(name, &options), 0);
	MUST(mqshm_queue_remove(name, 0), 0);
	TOLD(MQSHM_LOG_INFO, name, "removed by pid %d", me);
	CHECK_EQ(line_count, 2);
}

TEST(push_and_pop_say_nothing)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("silent");
	struct mqshm_producer *p = open_producer(name, &options);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	char buffer[BLOCK];

	MUST(mqshm_log_set(MQSHM_LOG_DEBUG, note, NULL), 0);
	for (int i = 0; i < 10 * NODES; i++) {
		MUST(mqshm_producer_push(p, buffer, BLOCK, 0), 0);
		MUST(mqshm_consumer_pop(c, buffer, BLOCK, NULL, 0), BLOCK);
	}
	EXPECT(mqshm_consumer_pop(c, buffer, BLOCK, NULL, 60), -ETIMEDOUT);
	CHECK_EQ(line_count, 0);
	mqshm_producer_close(p);
	mqshm_consumer_close(c);
}

TEST(levels)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("levels");

	for (int level = MQSHM_LOG_OFF; level <= MQSHM_LOG_DEBUG; level++) {
		line_count = 0;
		MUST(mqshm_log_set(level, note, NULL), 0);
		MUST(mqshm_queue_create(name, &options), 0);
		MUST(mqshm_queue_remove(name, 0), 0);
		CHECK_EQ(line_count, level >= MQSHM_LOG_INFO ? 2 : 0);
	}
	EXPECT(mqshm_log_set(MQSHM_LOG_OFF - 1, note, NULL), -EINVAL);
	EXPECT(mqshm_log_set(MQSHM_LOG_DEBUG + 1, note, NULL), -EINVAL);
}

struct peer {
	const char *name;
	uint32_t ready;
};

static void hold_a_consumer(void *arg)
{
	struct peer *s = arg;

	open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	SET(s->ready, 1);
	for (;;)
		pause();
}

static struct peer *share(const char *name)
{
	struct peer *s = shared_memory(sizeof *s);

	s->name = name;
	return s;
}

TEST(a_killed_consumer)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("killed");
	struct mqshm_producer *p = open_producer(name, &options);
	struct peer *s = share(name);
	pid_t child = spawn(hold_a_consumer, s);
	char block[BLOCK] = "";

	UNTIL(GET(s->ready));
	MUST(mqshm_log_set(MQSHM_LOG_WARNING, note, NULL), 0);
	while (mqshm_producer_push(p, block, BLOCK, 0) == 0)
		;
	kill_now(child);
	MUST(mqshm_producer_push(p, block, BLOCK, 5000), 0);
	TOLD(MQSHM_LOG_WARNING, name, "ended consumer 0 of pid %d (%s): died", (int)child, comm());
	CHECK_EQ(line_count, 1);
	mqshm_producer_close(p);
}

TEST(what_the_dead_left)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("zombie");
	struct peer *s = share(name);
	pid_t child;

	MUST(mqshm_queue_create(name, &options), 0);
	child = spawn(hold_a_consumer, s);
	UNTIL(GET(s->ready));
	kill_now(child);
	MUST(mqshm_log_set(MQSHM_LOG_INFO, note, NULL), 0);
	MUST(mqshm_queue_gc(name, NULL, NULL), 1);
	TOLD(MQSHM_LOG_WARNING, name, "ended consumer 0 of pid %d (%s): died", (int)child, comm());
	TOLD(MQSHM_LOG_INFO, name, "removed: nobody who used it is left");
	CHECK_EQ(line_count, 2);
}

TEST(removed_by_force)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("force");
	struct mqshm_producer *p = open_producer(name, &options);

	MUST(mqshm_log_set(MQSHM_LOG_INFO, note, NULL), 0);
	MUST(mqshm_queue_remove(name, MQSHM_FORCE), 0);
	TOLD(MQSHM_LOG_INFO, name, "removed by pid %d", (int)getpid());
	TOLD(MQSHM_LOG_WARNING, name, "ended producer 0 of pid %d (%s): the queue was removed", (int)getpid(), comm());
	mqshm_producer_close(p);
	CHECK_EQ(line_count, 2);
}

static void slow(uint32_t policy, const char *what)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("slow");
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	char block[BLOCK] = "";

	options.slow_policy = policy;
	options.slow_ms = 60;
	p = open_producer(name, &options);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	MUST(mqshm_log_set(MQSHM_LOG_WARNING, note, NULL), 0);
	for (int i = 0; i < 2 * NODES; i++)
		MUST(mqshm_producer_push(p, block, BLOCK, 5000), 0);
	TOLD(MQSHM_LOG_WARNING, name, "%s consumer 0 of pid %d (%s): too slow", what, (int)getpid(), comm());
	CHECK_EQ(line_count, 1);
	mqshm_consumer_close(c);
	mqshm_producer_close(p);
}

TEST(too_slow_and_evicted)
{
	slow(MQSHM_SLOW_EVICT, "evicted");
}

TEST(too_slow_and_demoted)
{
	slow(MQSHM_SLOW_DEMOTE, "demoted");
}

TEST(evicted_by_hand)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("hand");
	struct mqshm_consumer *c = open_consumer(name, &options, MQSHM_FROM_OLDEST, 0);
	int me = (int)getpid();

	MUST(mqshm_log_set(MQSHM_LOG_WARNING, note, NULL), 0);
	MUST(mqshm_queue_evict(name, 0), 0);
	TOLD(MQSHM_LOG_WARNING, name, "evicted consumer 0 of pid %d (%s): by hand, by pid %d", me, comm(), me);
	CHECK_EQ(line_count, 1);
	mqshm_consumer_close(c);
}

TEST(a_lease)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	struct mqshm_consumer_options how = { .size = sizeof how, .name = "plot", .lease_ms = 60000 };
	const char *name = test_queue("lease");
	struct mqshm_producer *p = open_producer(name, &options);
	struct mqshm_consumer *c;
	int me = (int)getpid();

	MUST(mqshm_log_set(MQSHM_LOG_INFO, note, NULL), 0);
	MUST(mqshm_consumer_open(&c, name, NULL, &how), 0);
	MUST(mqshm_consumer_close(c), 0);
	TOLD(MQSHM_LOG_INFO, name, "consumer 0 of pid %d (%s) left, its lease begins", me, comm());
	MUST(mqshm_consumer_open(&c, name, NULL, &how), 0);
	TOLD(MQSHM_LOG_INFO, name, "consumer 0 of pid %d (%s) attached and goes on where a former one was", me, comm());
	MUST(mqshm_consumer_leave(c), 0);
	TOLD(MQSHM_LOG_INFO, name, "consumer 0 of pid %d (%s) left", me, comm());
	mqshm_producer_close(p);
}

static void hold_the_lock(void *arg)
{
	struct peer *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);
	void *room;

	MUST(mqshm_producer_reserve(p, BLOCK, &room, 0), 0);
	SET(s->ready, 1);
	for (;;)
		pause();
}

TEST(a_dead_holders_lock)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, MQSHM_SHARED);
	const char *name = test_queue("lock");
	struct mqshm_producer *p = open_producer(name, &options);
	struct peer *s = share(name);
	pid_t child = spawn(hold_the_lock, s);
	char block[BLOCK] = "";

	UNTIL(GET(s->ready));
	kill_now(child);
	MUST(mqshm_log_set(MQSHM_LOG_WARNING, note, NULL), 0);
	MUST(mqshm_producer_push(p, block, BLOCK, 5000), 0);
	TOLD(MQSHM_LOG_WARNING, name, "ended producer 1 of pid %d (%s): died", (int)child, comm());
	TOLD(MQSHM_LOG_WARNING, name, "took the lock of pid %d (%s), who died with it", (int)child, comm());
	MUST(mqshm_producer_push(p, block, BLOCK, 5000), 0);
	CHECK_EQ(line_count, 2);
	mqshm_producer_close(p);
}

TEST(a_damaged_queue)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("damaged");
	struct mqshm_producer *p = open_producer(name, &options);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	struct mqshm_ring ring;
	char block[BLOCK] = "";

	MUST(mqshm_producer_push(p, block, BLOCK, 0), 0);
	map_ring(name, &ring);
	*(uint64_t *)ring.nodes = ~0ull; /* the first node's word */
	MUST(mqshm_log_set(MQSHM_LOG_ERROR, note, NULL), 0);
	EXPECT(mqshm_consumer_pop(c, block, BLOCK, NULL, 0), -EBADMSG);
	TOLD(MQSHM_LOG_ERROR, name, "damaged at message 0");
	mqshm_consumer_close(c);
	mqshm_producer_close(p);
}
