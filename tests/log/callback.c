/* SPDX-License-Identifier: MIT */
/*
 * What a log callback may rely on: it can use the library on the very queue it is told of, it is never called again once
 * another is set, errno and the caller's sentence stay, forks are survived.
 */
#include <pthread.h>

#include "log/log_test.h"

#define NODES 16
#define BLOCK 64

static unsigned calls;

/* Use the queue it is about in all ways that need its life cycle, its repair bytes, and, if it is shared, its lock. */
static void use_it(int level, const char *queue, const char *text, void *arg)
{
	struct mqshm_consumer *c = NULL;
	struct mqshm_producer *p = NULL;
	char block[BLOCK] = "";
	int rc;

	(void)level;
	(void)text;
	(void)arg;
	ADD(calls, 1);
	rc = mqshm_consumer_open(&c, queue, NULL, NULL);
	if (rc != 0 && rc != -ENOENT)
		TEST_FAIL("open consumer when told '%s': %d %s", text, rc, mqshm_last_error());
	rc = mqshm_producer_open(&p, queue, NULL, NULL);
	if (rc != 0 && rc != -ENOENT && rc != -EBUSY)
		TEST_FAIL("open producer when told '%s': %d %s", text, rc, mqshm_last_error());
	rc = p ? mqshm_producer_push(p, block, BLOCK, 1000) : 0;
	if (rc)
		TEST_FAIL("push when told '%s': %d %s", text, rc, mqshm_last_error());
	mqshm_queue_gc(queue, NULL, NULL);
	mqshm_consumer_close(c);
	mqshm_producer_close(p);
	errno = 5;
}

TEST(it_may_use_the_queue)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, MQSHM_SHARED | MQSHM_PERSISTENT);
	const char *name = test_queue("use");
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	uint64_t start = test_now_ns();

	MUST(mqshm_log_set(MQSHM_LOG_DEBUG, use_it, NULL), 0);
	p = open_producer(name, &options);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	MUST(mqshm_queue_evict(name, (uint32_t)mqshm_consumer_id(c)), 0);
	MUST(mqshm_consumer_close(c), 0);
	MUST(mqshm_producer_close(p), 0);
	MUST(mqshm_queue_remove(name, 0), 0);
	CHECK_EQ(calls, 6);
	CHECK(test_now_ns() - start < 5000000000u); /* waiting for a life cycle that we hold ourselves takes 5 s */
}

struct shared {
	const char *name;
	uint32_t ready;
};

static void hold_the_lock(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);
	void *room;

	MUST(mqshm_producer_reserve(p, BLOCK, &room, 0), 0);
	SET(s->ready, 1);
	for (;;)
		pause();
}

static void use_what_was_taken(int level, const char *queue, const char *text, void *arg)
{
	if (!strncmp(text, "took the lock", 13))
		use_it(level, queue, text, arg);
}

/* It is told of a taken-over lock when that is free again, so its own push finds it so. */
TEST(it_may_push_when_a_lock_was_taken_over)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, MQSHM_SHARED);
	const char *name = test_queue("lock");
	struct mqshm_producer *p = open_producer(name, &options);
	struct shared *s = shared_memory(sizeof *s);
	char block[BLOCK] = "";
	pid_t child;

	s->name = name;
	child = spawn(hold_the_lock, s);
	UNTIL(GET(s->ready));
	kill_now(child);
	MUST(mqshm_log_set(MQSHM_LOG_WARNING, use_what_was_taken, NULL), 0);
	MUST(mqshm_producer_push(p, block, BLOCK, 5000), 0);
	CHECK_EQ(calls, 1);
	CHECK_EQ(STAT(name, total_pushed), 2);
	mqshm_producer_close(p);
}

static void fail(int level, const char *queue, const char *text, void *arg)
{
	struct mqshm_stat *stat;

	(void)level;
	(void)queue;
	(void)text;
	(void)arg;
	CHECK_EQ(mqshm_queue_stat("t-no-such-queue", &stat), -ENOENT);
	ADD(calls, 1);
	errno = 5;
}

TEST(errno_and_the_sentence_stay)
{
	const char *name = test_queue("sentence");
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	struct mqshm_producer *p, *second = NULL;

	MUST(mqshm_log_set(MQSHM_LOG_DEBUG, fail, NULL), 0);
	p = open_producer(name, &options);
	EXPECT(mqshm_producer_open(&second, name, NULL, NULL), -EBUSY);
	CHECK_STR(mqshm_last_error(), "has a live producer");
	MUST(mqshm_consumer_close(open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0)), 0);
	CHECK_STR(mqshm_last_error(), "has a live producer");
	MUST(mqshm_producer_close(p), 0);
	CHECK_EQ(calls, 6);
}

static void replace(int level, const char *queue, const char *text, void *arg)
{
	(void)level;
	(void)queue;
	(void)text;
	*(int *)arg = mqshm_log_set(MQSHM_LOG_OFF, NULL, NULL);
}

TEST(it_cannot_replace_itself)
{
	const char *name = test_queue("replace");
	int rc = 0;

	MUST(mqshm_log_set(MQSHM_LOG_INFO, replace, &rc), 0);
	MUST(mqshm_queue_create(name, NULL), 0);
	CHECK_EQ(rc, -EDEADLK);
	MUST(mqshm_log_set(MQSHM_LOG_OFF, NULL, NULL), 0);
	MUST(mqshm_queue_remove(name, 0), 0);
}

/* ---- several threads ---- */

struct recipient {
	uint32_t alive, told;
};
static uint32_t stop, too_late;
static const char *busy_queue;

static void tell_recipient(int level, const char *queue, const char *text, void *arg)
{
	struct recipient *r = arg;

	(void)level;
	(void)queue;
	(void)text;
	for (int i = 0; i < 20; i++) { /* stay for a while, so that it is replaced meanwhile */
		if (!GET(r->alive))
			ADD(too_late, 1);
		sched_yield();
	}
	ADD(r->told, 1);
}

static void *make_and_remove(void *arg)
{
	char name[64];

	snprintf(name, sizeof name, "%s-%d", busy_queue, (int)(intptr_t)arg);
	while (!GET(stop)) {
		struct mqshm_queue_options options = geometry(1, 8, 0);

		mqshm_queue_create(name, &options);
		mqshm_queue_remove(name, 0);
	}
	return NULL;
}

TEST(never_called_again_once_replaced)
{
	static struct recipient recipients[300];
	pthread_t threads[3];
	uint32_t told = 0;

	busy_queue = test_queue("swap");
	for (intptr_t i = 0; i < 3; i++)
		REQUIRE_EQ(pthread_create(&threads[i], NULL, make_and_remove, (void *)i), 0);
	for (int i = 0; i < 300; i++) {
		recipients[i].alive = 1;
		MUST(mqshm_log_set(MQSHM_LOG_INFO, tell_recipient, &recipients[i]), 0);
		if (i)
			SET(recipients[i - 1].alive, 0); /* as good as freed */
		UNTIL(GET(recipients[i].told) > 1);
	}
	MUST(mqshm_log_set(MQSHM_LOG_OFF, NULL, NULL), 0);
	SET(recipients[299].alive, 0);
	SET(stop, 1);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 300; i++)
		told += recipients[i].told;
	printf("# %u lines\n", told);
	CHECK_EQ(too_late, 0);
}

/* ---- fork ---- */

static uint32_t inside, go_on;

static void stay(int level, const char *queue, const char *text, void *arg)
{
	(void)level;
	(void)queue;
	(void)text;
	(void)arg;
	SET(inside, 1);
	UNTIL(GET(go_on));
}

static void *log_once(void *arg)
{
	mqshm_queue_create(arg, NULL);
	return NULL;
}

static void log_in_a_child(void *arg)
{
	/* The thread that was in the callback is not in this process: nothing to wait for. */
	MUST(mqshm_log_set(MQSHM_LOG_INFO, note, NULL), 0);
	MUST(mqshm_queue_remove(arg, 0), 0);
	CHECK_EQ(line_count, 1);
}

TEST(a_fork_while_another_thread_is_in_it)
{
	const char *name = test_queue("fork");
	pthread_t thread;

	MUST(mqshm_log_set(MQSHM_LOG_INFO, stay, NULL), 0);
	REQUIRE_EQ(pthread_create(&thread, NULL, log_once, (void *)name), 0);
	UNTIL(GET(inside));
	join(spawn(log_in_a_child, (void *)name));
	SET(go_on, 1);
	pthread_join(thread, NULL);
}

static pid_t forked;

static void fork_in_it(int level, const char *queue, const char *text, void *arg)
{
	(void)level;
	(void)text;
	(void)arg;
	(void)fflush(stdout);
	forked = fork();
	if (forked == 0) { /* here we are inside: nothing is logged, and it can't be replaced */
		EXPECT(mqshm_log_set(MQSHM_LOG_OFF, NULL, NULL), -EDEADLK);
		MUST(mqshm_queue_remove(queue, 0), 0);
		_exit(test_failures != 0);
	}
}

TEST(a_fork_in_it)
{
	const char *name = test_queue("forks");

	MUST(mqshm_log_set(MQSHM_LOG_INFO, fork_in_it, NULL), 0);
	MUST(mqshm_queue_create(name, NULL), 0);
	REQUIRE(forked > 0);
	join(forked);
	check_gone(name);
	MUST(mqshm_log_set(MQSHM_LOG_OFF, NULL, NULL), 0);
}
