/* SPDX-License-Identifier: MIT */
/*
 * Shows that one process can have many queues and many handles, that threads can each use their own, and that queues
 * which are opened and left all the time by several processes neither leak descriptors nor names.
 */
#include <dirent.h>
#include <pthread.h>

#include "conformance/payload.h"
#include "conformance/peers.h"

#define QUEUES 200

static int descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	REQUIRE(directory != NULL);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

TEST(hundreds_in_one_process)
{
	static struct mqshm_producer *p[QUEUES];
	static struct mqshm_consumer *c[QUEUES];
	static char names[QUEUES][64];
	struct mqshm_queue_options q = geometry(4, 64, 0);
	unsigned char in[64], out[64];
	int before = descriptors();

	for (int i = 0; i < QUEUES; i++) {
		snprintf(names[i], sizeof names[i], "%s%d", test_queue("many"), i);
		p[i] = open_producer(names[i], &q);
		c[i] = open_consumer(names[i], NULL, MQSHM_FROM_OLDEST, 0);
	}
	for (uint64_t round = 0; round < 20; round++) {
		for (uint64_t i = 0; i < QUEUES; i++) {
			payload_fill(in, payload_size(round ^ i, 64), round * QUEUES + i);
			MUST(mqshm_producer_push(p[i], in, payload_size(round ^ i, 64), 0), 0);
		}
		for (uint64_t i = QUEUES; i-- > 0;) {
			MUST(mqshm_consumer_pop(c[i], out, sizeof out, NULL, 0), payload_size(round ^ i, 64));
			REQUIRE(payload_good(out, payload_size(round ^ i, 64), round * QUEUES + i));
		}
	}
	for (int i = 0; i < QUEUES; i++) {
		EXPECT(mqshm_producer_close(p[i]), 0);
		EXPECT(mqshm_consumer_close(c[i]), 0);
		check_gone(names[i]);
	}
	CHECK_EQ(descriptors(), before);
}

TEST(failures_leak_no_descriptor)
{
	struct mqshm_queue_options q = geometry(4, 64, 0), other = geometry(5, 64, 0);
	const char *name = test_queue("leak");
	struct mqshm_producer *p = open_producer(name, &q), *second;
	struct mqshm_consumer *c;
	int before = descriptors();

	for (int i = 0; i < 50; i++) {
		EXPECT(mqshm_producer_open(&second, name, NULL, NULL), -EBUSY);
		EXPECT(mqshm_producer_open(&second, name, &other, NULL), -EEXIST);
		CHECK_STR(mqshm_last_error(), "node_count 4, not 5");
		EXPECT(mqshm_consumer_open(&c, "no-such-queue", NULL, NULL), -ENOENT);
		EXPECT(mqshm_queue_remove(name, 0), -EBUSY);
		EXPECT(mqshm_queue_create(name, &other), -EEXIST);
		EXPECT(mqshm_queue_gc(name, NULL, NULL), 0);
	}
	CHECK_EQ(descriptors(), before);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

struct work {
	const char *name;
	int number;
	uint64_t seed;
};

/* Four threads, each with handles of its own on the same queue, two to write and two to read. */
static void *work(void *arg)
{
	struct work *w = arg;
	unsigned char buffer[64];
	uint64_t next[2] = { 0 }, value;

	if (w->number < 2) {
		struct mqshm_producer *p = open_producer(w->name, NULL);

		CALL(mqshm_producer_wait_consumers(p, 2, 0, stall_ms()));
		for (uint64_t i = 0; i < 50000; i++) {
			value = i << 1 | (uint64_t)w->number;
			MUST(mqshm_producer_push(p, &value, 8, stall_ms()), 0);
		}
		EXPECT(mqshm_producer_wait_drained(p, stall_ms()), 0);
		EXPECT(mqshm_producer_close(p), 0);
	} else {
		struct mqshm_consumer *c = open_consumer(w->name, NULL, MQSHM_FROM_OLDEST, 0);

		for (int i = 0; i < 100000; i++) {
			MUST(mqshm_consumer_pop(c, buffer, sizeof buffer, NULL, stall_ms()), 8);
			memcpy(&value, buffer, 8);
			REQUIRE_EQ(value >> 1, next[value & 1]++);
		}
		EXPECT(mqshm_consumer_pop(c, buffer, sizeof buffer, NULL, stall_ms()), -ESHUTDOWN);
		EXPECT(mqshm_consumer_close(c), 0);
	}
	return NULL;
}

TEST(threads_with_handles_of_their_own)
{
	struct mqshm_queue_options q = geometry(32, 8, MQSHM_SHARED);
	pthread_t threads[4];
	struct work works[4];
	const char *name = test_queue("threads");

	MUST(mqshm_queue_create(name, &q), 0);
	for (int i = 0; i < 4; i++) {
		works[i] = (struct work){ name, i, 0 };
		REQUIRE_EQ(pthread_create(&threads[i], NULL, work, &works[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		REQUIRE_EQ(pthread_join(threads[i], NULL), 0);
	check_gone(name);
}

/* Everybody creates, opens and leaves the same few queues at the same time. */
static void churn(void *arg)
{
	struct work *w = arg;
	uint64_t random = w->seed + (uint64_t)w->number;
	struct mqshm_queue_options q = geometry(4, 64, MQSHM_SHARED);
	int before = descriptors();

	for (int i = 0; i < 300; i++) {
		uint64_t r = test_random(&random);
		struct mqshm_producer *p;
		struct mqshm_consumer *c;
		char name[64], out[64];

		snprintf(name, sizeof name, "%s%d", w->name, (int)(r % 3));
		p = open_producer(name, &q);
		c = open_consumer(name, &q, MQSHM_FROM_LATEST, MQSHM_LOSSY); /* else all could wait for all */
		MUST(mqshm_producer_push(p, name, 5, stall_ms()), 0);
		CHECK_EQ(CALL(mqshm_consumer_pop(c, out, sizeof out, NULL, stall_ms())), 5);
		CHECK_EQ(memcmp(out, name, 5), 0);
		if (r & 256) {
			EXPECT(mqshm_producer_close(p), 0);
			EXPECT(mqshm_consumer_close(c), 0);
		} else {
			EXPECT(mqshm_consumer_close(c), 0);
			EXPECT(mqshm_producer_close(p), 0);
		}
	}
	CHECK_EQ(descriptors(), before);
}

TEST(opened_and_left_all_the_time)
{
	struct work works[6];
	const char *name = test_queue("churn");
	uint64_t seed = test_seed();
	pid_t pids[6];

	for (int i = 0; i < 6; i++) {
		works[i] = (struct work){ name, i, seed };
		pids[i] = spawn(churn, &works[i]);
	}
	for (int i = 0; i < 6; i++)
		join(pids[i]);
	for (int i = 0; i < 3; i++) {
		char each[64];

		snprintf(each, sizeof each, "%s%d", name, i);
		check_gone(each);
	}
}
