/* SPDX-License-Identifier: MIT */
/*
 * A manager used by many threads at once: opened once, shared in turn, closed under those who wait. tsan.sh runs this with
 * ThreadSanitizer too.
 */
#include <pthread.h>

#include "conformance/peers.h"
#include "mqshm/manager.h"

#define THREADS 6

static struct mqshm_manager *manager;
static const char *name, *other;
static uint64_t messages; /* MQSHM_TEST_SCALE percent of the usual */
static uint32_t ready;

static struct thread {
	pthread_t thread;
	pid_t tid;
	int index;
	int64_t result;
	uint64_t count;
	uint8_t *got;
	struct mqshm_shared *shared;
	struct mqshm_manager *manager;
} threads[THREADS];

static uint64_t scaled(uint64_t count)
{
	const char *percent = getenv("MQSHM_TEST_SCALE");

	return percent ? count * strtoull(percent, NULL, 10) / 100 + 1 : count;
}

static void start(struct thread *t, void *(*run)(void *))
{
	t->index = (int)(t - threads);
	REQUIRE_EQ(pthread_create(&t->thread, NULL, run, t), 0);
}

static void finish(struct thread *t)
{
	REQUIRE_EQ(pthread_join(t->thread, NULL), 0);
}

static void begin(void)
{
	MUST(mqshm_manager_open(&manager), 0);
	name = test_queue("threads");
	other = test_queue("other");
	printf("# queues %s, %s\n", name, other);
	(void)fflush(stdout);
	messages = scaled(20000);
}

/* All at the same time, as far as that can be. */
static void meet(int count)
{
	ADD(ready, 1);
	while (GET(ready) < (uint32_t)count)
		sched_yield();
}

static struct mqshm_queue_options small(void)
{
	return geometry(8, 64, MQSHM_HOLD);
}

static void *ask(void *arg)
{
	struct mqshm_queue_options q = small();
	struct thread *t = arg;

	meet(THREADS);
	t->result = t->index % 2 ? mqshm_manager_producer(manager, &t->shared, name, &q, NULL)
				 : mqshm_manager_consumer(manager, &t->shared, name, &q, NULL);
	return NULL;
}

/* The queue has room for one producer: a second open would be refused. */
TEST(opened_once)
{
	for (int round = 0; round < 30; round++) {
		begin();
		ready = 0;
		for (int i = 0; i < THREADS; i++)
			start(&threads[i], ask);
		for (int i = 0; i < THREADS; i++) {
			finish(&threads[i]);
			REQUIRE_EQ(threads[i].result, 0);
			CHECK(threads[i].shared == threads[i % 2].shared);
		}
		CHECK_EQ(STAT(name, producer_count), 1);
		CHECK_EQ(STAT(name, consumer_count), 1);
		for (int i = 0; i < THREADS; i++)
			mqshm_shared_put(threads[i].shared);
		EXPECT(mqshm_manager_close(manager), 0);
		check_gone(name);
	}
}

static void *push(void *arg)
{
	struct mqshm_queue_options q = small();
	struct thread *t = arg;

	MUST(mqshm_manager_producer(manager, &t->shared, name, &q, NULL), 0);
	meet(THREADS);
	for (uint64_t i = 0; i < messages; i++) {
		uint64_t message = (uint64_t)t->index << 32 | i;

		MUST(mqshm_shared_push(t->shared, &message, sizeof message, -1), 0);
	}
	mqshm_shared_put(t->shared);
	return NULL;
}

static void *pop(void *arg)
{
	struct mqshm_queue_options q = small();
	uint64_t message, last[THREADS] = { 0 };
	struct thread *t = arg;

	MUST(mqshm_manager_consumer(manager, &t->shared, name, &q, NULL), 0);
	meet(THREADS);
	while ((t->result = mqshm_shared_pop(t->shared, &message, sizeof message, NULL, -1)) >= 0) {
		uint64_t from = message >> 32, number = message & 0xffffffff;

		REQUIRE(t->result == 8 && from < THREADS / 2 && number < messages);
		REQUIRE(number + 1 > last[from]); /* each one's order is kept */
		last[from] = number + 1;
		t->got[from * messages + number]++;
		t->count++;
	}
	mqshm_shared_put(t->shared);
	return NULL;
}

/* Each message goes to one of those that share the consumer. */
TEST(shared_in_turn)
{
	uint64_t total = 0;

	begin();
	for (int i = THREADS / 2; i < THREADS; i++) {
		threads[i].got = calloc(THREADS / 2, messages);
		start(&threads[i], pop);
	}
	for (int i = 0; i < THREADS / 2; i++)
		start(&threads[i], push);
	for (int i = 0; i < THREADS / 2; i++)
		finish(&threads[i]);
	EXPECT(mqshm_manager_producer(manager, &threads[0].shared, name, NULL, NULL), 0);
	EXPECT(mqshm_manager_close_handle(manager, threads[0].shared), 0);
	mqshm_shared_put(threads[0].shared);
	for (int i = THREADS / 2; i < THREADS; i++) {
		finish(&threads[i]);
		CHECK_EQ(threads[i].result, -ESHUTDOWN);
		total += threads[i].count;
	}
	CHECK_EQ(total, THREADS / 2 * messages);
	for (uint64_t i = 0; i < THREADS / 2 * messages; i++) {
		int times = 0;

		for (int k = THREADS / 2; k < THREADS; k++)
			times += threads[k].got[i];
		REQUIRE_EQ(times, 1);
	}
	EXPECT(mqshm_manager_close(manager), 0);
	check_gone(name);
}

enum what { POP, PUSH, MERGE, OPEN_CONSUMER, LOCKED, WHATS };

static enum what what;

/* Waits in it until it is closed. */
static void *wait_in_it(void *arg)
{
	struct mqshm_consumer_options patient = { .size = sizeof patient, .wait_ms = -1 };
	struct thread *t = arg;
	char buffer[64];

	SET(t->tid, gettid());
	switch (what) {
	case PUSH:
		t->result = mqshm_shared_push(t->shared, "x", 1, -1);
		break;
	case OPEN_CONSUMER:
		t->result = mqshm_manager_consumer(t->manager, &t->shared, other, NULL, &patient);
		CHECK(t->shared == NULL);
		break;
	case LOCKED:
		t->result = mqshm_shared_lock(t->shared, -1);
		if (t->result)
			break;
		t->result = mqshm_consumer_pop(mqshm_shared_consumer(t->shared), buffer, sizeof buffer, NULL, -1);
		CHECK_EQ(t->result, -ECANCELED);
		t->result = mqshm_consumer_pop(mqshm_shared_consumer(t->shared), buffer, sizeof buffer, NULL, -1);
		CHECK_EQ(t->result, -ECANCELED); /* one that does not obey is told again */
		t->result = -EBADF;
		mqshm_shared_unlock(t->shared);
		break;
	default:
		t->result = mqshm_shared_pop(t->shared, buffer, sizeof buffer, NULL, -1);
		break;
	}
	if (t->shared)
		mqshm_shared_put(t->shared);
	return NULL;
}

static struct mqshm_shared *shared_to_wait_in(const struct mqshm_queue_options *q)
{
	struct mqshm_shared *s = NULL, *p;

	switch (what) {
	case POP:
	case LOCKED:
		MUST(mqshm_manager_consumer(manager, &s, name, q, NULL), 0);
		break;
	case PUSH:
		MUST(mqshm_manager_producer(manager, &s, name, q, NULL), 0);
		for (int i = 0; i < 8; i++) /* the queue holds: it is full */
			MUST(mqshm_shared_push(s, "x", 1, 0), 0);
		break;
	case MERGE:
		MUST(mqshm_manager_producer(manager, &p, name, q, NULL), 0);
		mqshm_shared_put(p);
		MUST(mqshm_manager_merge(manager, &s, &name, 1, -1, NULL), 0);
		break;
	default:
		break;
	}
	return s;
}

static void close_under(int (*close)(struct mqshm_shared *s))
{
	for (what = POP; what < WHATS; what++) {
		struct mqshm_queue_options q = small();
		struct mqshm_shared *s;

		begin();
		s = shared_to_wait_in(&q);
		for (int i = 0; i < 3; i++) {
			threads[i] = (struct thread){ .shared = s, .manager = manager };
			if (s)
				mqshm_shared_get(s);
			start(&threads[i], wait_in_it);
		}
		for (int i = 0; i < 3; i++)
			UNTIL(GET(threads[i].tid) && asleep(GET(threads[i].tid)));
		EXPECT(close(s), 0);
		for (int i = 0; i < 3; i++) {
			finish(&threads[i]);
			CHECK_EQ(threads[i].result, -EBADF);
		}
		mqshm_shared_put(s);
		if (manager)
			EXPECT(mqshm_manager_close(manager), 0);
		check_gone(name);
	}
}

static int by_handle(struct mqshm_shared *s)
{
	return s ? mqshm_manager_close_handle(manager, s) : mqshm_manager_close_queue(manager, other);
}

static int with_all(struct mqshm_shared *s)
{
	(void)s;
	return mqshm_manager_close_all(manager);
}

static int with_the_manager(struct mqshm_shared *s)
{
	struct mqshm_manager *m = manager;

	(void)s;
	manager = NULL;
	return mqshm_manager_close(m);
}

TEST(closed_under_those_who_wait)
{
	close_under(by_handle);
}

TEST(all_closed_under_those_who_wait)
{
	close_under(with_all);
}

TEST(manager_closed_under_those_who_wait)
{
	close_under(with_the_manager);
}

static void *close_it(void *arg)
{
	struct thread *t = arg;

	SET(t->tid, gettid());
	t->result = t->index % 2 ? mqshm_manager_close_handle(manager, t->shared) : mqshm_manager_close_all(manager);
	ADD(ready, 1);
	return NULL;
}

/* Each close returns when it is closed, and not before; the one who has the lock can't be made to wait for itself. */
TEST(closed_by_several)
{
	struct mqshm_queue_options q = small();
	struct mqshm_shared *s, *again = (void *)1;

	begin();
	ready = 0;
	MUST(mqshm_manager_producer(manager, &s, name, &q, NULL), 0);
	MUST(mqshm_shared_lock(s, -1), 0);
	for (int i = 0; i < THREADS; i++) {
		threads[i] = (struct thread){ .shared = s };
		start(&threads[i], close_it);
	}
	for (int i = 0; i < THREADS; i++)
		UNTIL(GET(threads[i].tid) && asleep(GET(threads[i].tid)));
	CHECK_EQ(GET(ready), 0);
	CHECK_EQ(STAT(name, producer_count), 1);
	EXPECT(mqshm_manager_producer(manager, &again, name, &q, NULL), -EDEADLK);
	CHECK(again == NULL);
	EXPECT(mqshm_manager_close_all(manager), -EDEADLK);
	MUST(mqshm_producer_push(mqshm_shared_producer(s), "x", 1, 0), 0); /* it is open still */
	mqshm_shared_unlock(s);
	for (int i = 0; i < THREADS; i++) {
		finish(&threads[i]);
		CHECK_EQ(threads[i].result, 0);
	}
	MUST(mqshm_manager_producer(manager, &again, name, &q, NULL), 0);
	mqshm_shared_put(again);
	mqshm_shared_put(s);
	EXPECT(mqshm_manager_close(manager), 0);
	check_gone(name);
}

static int count_them(const struct mqshm_managed *managed, void *arg)
{
	CHECK(managed->kind >= MQSHM_MANAGED_PRODUCER && managed->kind <= MQSHM_MANAGED_MERGE);
	++*(int *)arg;
	return 0;
}

/* Everything at once; only these errors may come. */
static void *anything(void *arg)
{
	struct mqshm_queue_options q = geometry(8, 64, 0);
	struct thread *t = arg;
	uint64_t random = test_random(&(uint64_t){ (uint64_t)t->index + messages }) | 1;
	const char *names[2] = { name, other };

	for (uint64_t i = 0; i < messages; i++) {
		const char *queue = names[test_random(&random) % 2];
		struct mqshm_shared *s = NULL;
		char buffer[64];
		int64_t rc;
		int count = 0;

		switch (test_random(&random) % 40) {
		case 0:
			rc = mqshm_manager_close_queue(manager, queue);
			REQUIRE(rc == 0 || rc == -ENOENT);
			break;
		case 1:
			REQUIRE_EQ(mqshm_manager_close_all(manager), 0);
			break;
		case 2:
			rc = mqshm_manager_list(manager, count_them, &count);
			REQUIRE_EQ(rc, count);
			break;
		case 3:
			rc = mqshm_manager_merge(manager, &s, names, 2, 0, NULL);
			REQUIRE(rc == 0 || rc == -ENOENT || rc == -EBADF);
			if (rc == 0) {
				rc = mqshm_shared_pop(s, buffer, sizeof buffer, NULL, 1);
				REQUIRE(rc >= 0 || rc == -ETIMEDOUT || rc == -EBADF || rc == -ESHUTDOWN);
				REQUIRE_EQ(mqshm_manager_close_handle(manager, s), 0);
			}
			mqshm_shared_put(s);
			break;
		case 4 ... 20:
			rc = mqshm_manager_producer(manager, &s, queue, &q, NULL);
			REQUIRE(rc == 0 || rc == -EBADF);
			if (rc == 0) {
				rc = mqshm_shared_push(s, "abc", 3, (int)(test_random(&random) % 2));
				REQUIRE(rc == 0 || rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EBADF);
			}
			mqshm_shared_put(s);
			break;
		default:
			rc = mqshm_manager_consumer(manager, &s, queue, &q, NULL);
			REQUIRE(rc == 0 || rc == -EBADF);
			if (rc == 0) {
				rc = mqshm_shared_pop(s, buffer, sizeof buffer, NULL, (int)(test_random(&random) % 2));
				REQUIRE(rc == 3 || rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EBADF || rc == -ESHUTDOWN);
				t->count += rc == 3;
			}
			mqshm_shared_put(s);
			break;
		}
	}
	return NULL;
}

TEST(everything_at_once)
{
	uint64_t total = 0;

	begin();
	messages = scaled(1500);
	for (int i = 0; i < THREADS; i++)
		start(&threads[i], anything);
	for (int i = 0; i < THREADS; i++) {
		finish(&threads[i]);
		total += threads[i].count;
	}
	printf("# %" PRIu64 " messages got through\n", total);
	CHECK(total > 0);
	EXPECT(mqshm_manager_close(manager), 0);
	check_gone(name);
	check_gone(other);
}

static void *wait_for_lock(void *arg)
{
	struct thread *t = arg;

	SET(t->tid, gettid());
	EXPECT(mqshm_shared_push(t->shared, "x", 1, 0), -EAGAIN);
	EXPECT(mqshm_shared_push(t->shared, "x", 1, 10), -ETIMEDOUT);
	CHECK_STR(mqshm_last_error(), name);
	SET(ready, 1);
	t->result = mqshm_shared_push(t->shared, "x", 1, 60000);
	return NULL;
}

TEST(the_lock_has_a_timeout)
{
	struct mqshm_queue_options q = small();
	struct mqshm_shared *s;

	begin();
	ready = 0;
	MUST(mqshm_manager_producer(manager, &s, name, &q, NULL), 0);
	MUST(mqshm_shared_lock(s, -1), 0);
	threads[0] = (struct thread){ .shared = s };
	start(&threads[0], wait_for_lock);
	UNTIL(GET(ready));
	UNTIL(asleep(GET(threads[0].tid)));
	mqshm_shared_unlock(s);
	finish(&threads[0]);
	CHECK_EQ(threads[0].result, 0);
	mqshm_shared_put(s);
	EXPECT(mqshm_manager_close(manager), 0);
}
