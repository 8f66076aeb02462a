/* SPDX-License-Identifier: MIT */
/*
 * For ThreadSanitizer: the library above its backends (producer.c, consumer.c, wait.c, lock.c) with a backend of our own
 * in the place of the posix one: a plain array that all handles share, since two mappings of one object would hide all
 * races. Shared producers against reliable, lossy and passing consumers, in all forms of push and pop, on a ring so
 * small that both sides sleep. tsan_library [MESSAGES a producer]
 */
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend.h"
#include "error.h"

#define NODES 16
#define BLOCK 64
#define PRODUCERS 3
#define CONSUMERS 3

static struct mqshm_info plan;
static void *object;
static pthread_mutex_t lifecycle = PTHREAD_MUTEX_INITIALIZER;
static uint64_t messages = 20000;
static int failed;

static void die(const char *what, int rc)
{
	fprintf(stderr, "tsan_library: %s: %d (%s)\n", what, rc, mqshm_last_error());
	_exit(3);
}

/* ---- the backend ---- */

static const uint32_t ours = 1;

static void wake(struct mqshm_mapping *m, uint32_t *word)
{
	(void)m;
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static int sleep_on(struct mqshm_mapping *m, uint32_t *word, uint32_t value, uint64_t ns)
{
	struct timespec timeout = { 0, (long)ns };

	(void)m;
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &timeout, NULL, 0);
	return 0;
}

static void wake_all(struct mqshm_mapping *m)
{
	__atomic_fetch_add(&m->ring.info->epoch, 1, __ATOMIC_ACQ_REL);
	smp_mb();
	mqshm_wake(m, &m->ring.info->data);
	mqshm_wake(m, &m->ring.info->room);
	mqshm_wake(m, &m->ring.info->event);
}

static int attach(const struct mqshm_attach *how, struct mqshm_mapping **out, struct mqshm_writer *writer,
		  struct mqshm_reader *reader)
{
	struct mqshm_mapping *m = calloc(1, sizeof *m);
	struct mqshm_ring *r = &m->ring;
	bool consumer = how->role == MQSHM_ROLE_CONSUMER;
	uint32_t i, *state;
	int rc = 0;

	mqshm_ring_init(r, &plan, object);
	m->backend = &mqshm_backend_posix;
	m->role = how->role;
	m->owner = &ours;
	snprintf(m->name, sizeof m->name, "%s", how->name);
	pthread_mutex_lock(&lifecycle);
	for (i = consumer ? r->max_producers : 0;; i++)
		if (MQSHM_SLOT_STATE(READ_ONCE(r->participants[i].state)) % MQSHM_SLOT_ENDED == 0)
			break; /* free or ended; the test never has more than there are */
	m->participant = i;
	state = &r->participants[i].state;
	smp_store_release(state, (MQSHM_SLOT_GENERATION(READ_ONCE(*state)) + 1) << 8 | MQSHM_SLOT_JOINING);
	m->state = (READ_ONCE(*state) & ~0xffu) | MQSHM_SLOT_LIVE;
	if (consumer) {
		reader->ring = r;
		reader->slot = i - r->max_producers;
		reader->lossy = how->flags & MQSHM_LOSSY;
		rc = reader_join(reader, how->start, false);
		__atomic_fetch_add(&r->info->consumers_ever, 1, __ATOMIC_RELAXED);
	} else {
		writer->ring = r;
		smp_store_release(state, m->state);
		__atomic_fetch_or(&r->info->producer_epoch, MQSHM_EPOCH_ACTIVE, __ATOMIC_ACQ_REL);
	}
	wake_all(m);
	pthread_mutex_unlock(&lifecycle);
	*out = m;
	return rc;
}

static int detach(struct mqshm_mapping *m, uint32_t how)
{
	uint32_t slot = m->participant - m->ring.max_producers;

	pthread_mutex_lock(&lifecycle);
	smp_store_release(&m->ring.participants[m->participant].state, (m->state & ~0xffu) | MQSHM_SLOT_ENDED);
	if (m->role == MQSHM_ROLE_CONSUMER)
		__atomic_fetch_and(&m->ring.info->reliable[slot / 64], ~(1ULL << slot % 64), __ATOMIC_ACQ_REL);
	else
		mqshm_settle_producers(&m->ring, how);
	wake_all(m);
	pthread_mutex_unlock(&lifecycle);
	free(m);
	return 0;
}

static int alive(struct mqshm_mapping *m, uint32_t i)
{
	return MQSHM_SLOT_STATE(smp_load_acquire(&m->ring.participants[i].state)) != MQSHM_SLOT_ENDED;
}

static int alive_self(struct mqshm_mapping *m)
{
	(void)m;
	return 0;
}

static bool evict(struct mqshm_mapping *m, uint32_t i, uint32_t word, uint32_t why)
{
	(void)m;
	(void)word;
	(void)why;
	die("a consumer was taken for hostile", (int)i);
	return false;
}

const struct mqshm_backend mqshm_backend_posix = {
	.name = "posix", .attach = attach, .detach = detach, .sleep = sleep_on, .wake = wake, .check = alive,
	.evict = evict, .check_self = alive_self,
};

static int no_module(bool say)
{
	(void)say;
	return -ENODEV;
}

const struct mqshm_backend mqshm_backend_kernel = { .name = "kernel", .probe = no_module };

/* ---- the load ---- */

struct block {
	uint64_t number; /* of this producer's messages */
	uint32_t producer, size;
	unsigned char rest[BLOCK - 16];
};

static size_t fill(struct block *b, uint32_t producer, uint64_t number)
{
	b->number = number;
	b->producer = producer;
	b->size = 16 + (uint32_t)(number * 7 % (BLOCK - 15));
	memset(b->rest, (int)(number % 251), sizeof b->rest);
	return b->size;
}

static void *producer(void *arg)
{
	uint32_t id = (uint32_t)(uintptr_t)arg;
	struct mqshm_producer *p;
	struct block b[4];
	struct iovec pieces[4];
	void *place;
	int rc = mqshm_producer_open(&p, "tsan", NULL, NULL);

	if (rc || (rc = mqshm_producer_wait_consumers(p, CONSUMERS, MQSHM_EVER, 20000)))
		die("producer", rc);
	for (uint64_t n = 0; n < messages;) {
		size_t size = fill(b, id, n);

		switch (n / 16 % 4) {
		case 0:
			if ((rc = mqshm_producer_push(p, b, size, 20000)))
				die("push", rc);
			n++;
			break;
		case 1:
			pieces[0] = (struct iovec){ b, 5 };
			pieces[1] = (struct iovec){ (char *)b + 5, size - 5 };
			if ((rc = mqshm_producer_pushv(p, pieces, 2, 20000)))
				die("pushv", rc);
			n++;
			break;
		case 2:
			for (size_t i = 0; i < 4; i++)
				pieces[i] = (struct iovec){ &b[i], fill(&b[i], id, n + i) };
			rc = mqshm_producer_push_batch(p, pieces, 4, 20000);
			if (rc <= 0)
				die("push_batch", rc);
			n += (uint64_t)rc;
			break;
		default:
			if ((rc = mqshm_producer_reserve(p, BLOCK, &place, 20000)))
				die("reserve", rc);
			memcpy(place, b, size);
			if ((rc = n % 5 ? mqshm_producer_commit(p, size) : mqshm_producer_abort(p)))
				die("commit", rc);
			if (n % 5 == 0 && (rc = mqshm_producer_push(p, b, size, 20000)))
				die("push after abort", rc);
			n++;
		}
	}
	if ((rc = mqshm_producer_wait_drained(p, 20000)) || (rc = mqshm_producer_close(p)))
		die("close", rc);
	return NULL;
}

static void examine(const struct mqshm_message *m, uint64_t next[PRODUCERS], bool gaps)
{
	struct block got, wanted;

	if (m->size > sizeof got)
		die("size", (int)m->size);
	memcpy(&got, m->data, m->size);
	if (got.producer >= PRODUCERS || got.number >= messages)
		die("a message is not what was pushed", (int)got.producer);
	if (m->size != fill(&wanted, got.producer, got.number) || memcmp(&got, &wanted, m->size))
		die("a message is not what was pushed", (int)got.number);
	if (got.number < next[got.producer] || (!gaps && got.number != next[got.producer]))
		die("a message is missing or twice", (int)got.number);
	next[got.producer] = got.number + 1;
}

/* 0 and 1 reliable, 2 lossy, 3 reliable and passing by. */
static void *consumer(void *arg)
{
	uint32_t id = (uint32_t)(uintptr_t)arg;
	struct mqshm_consumer_options options = { .size = sizeof options, .start = MQSHM_FROM_OLDEST,
						  .flags = id == 2 ? MQSHM_LOSSY : 0 };
	struct mqshm_consumer *c;
	struct mqshm_message m[4];
	unsigned char buffer[4 * BLOCK];
	uint64_t next[PRODUCERS] = { 0 }, count = 0;
	int rc = mqshm_consumer_open(&c, "tsan", NULL, &options);

	for (unsigned round = 0; !rc; round++) {
		ssize_t n;

		if (id == 1 && round % 2) {
			n = mqshm_consumer_peek(c, m, 4, 20000);
			for (ssize_t i = 0; i < n; i++)
				examine(&m[i], next, false);
			if (n > 0 && mqshm_consumer_release(c, (size_t)n))
				die("release", 0);
		} else if (id < 2 && round % 3 == 0) {
			n = mqshm_consumer_pop_batch(c, m, 1, 4, buffer, sizeof buffer, 20000);
			for (ssize_t i = 0; i < n; i++)
				examine(&m[i], next, false);
		} else {
			n = mqshm_consumer_pop(c, buffer, sizeof buffer, m, 20000);
			if (n >= 0)
				examine(m, next, id >= 2);
			n = n >= 0 ? 1 : n;
		}
		if (n == -ESHUTDOWN)
			break;
		if (n < 0)
			die("pop", (int)n);
		count += (uint64_t)n;
		if (id == 3 && round % 20 == 19) {
			mqshm_consumer_close(c);
			options.start = round % 40 == 19 ? MQSHM_FROM_LATEST : MQSHM_FROM_OLDEST;
			memset(next, 0, sizeof next);
			rc = mqshm_consumer_open(&c, "tsan", NULL, &options);
		}
	}
	if (rc)
		die("consumer", rc);
	if (id < 2 && count != messages * PRODUCERS)
		__atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
	printf("# consumer %u: %llu messages, %lld missed\n", id, (unsigned long long)count,
	       (long long)mqshm_consumer_missed(c));
	mqshm_consumer_close(c);
	return NULL;
}

int main(int argc, char **argv)
{
	struct mqshm_queue_options options = { .size = sizeof options, .node_count = NODES, .block_size = BLOCK,
					       .max_consumers = 4, .flags = MQSHM_SHARED };
	pthread_t threads[PRODUCERS + CONSUMERS + 1];
	uintptr_t i;

	if (argc > 1)
		messages = strtoull(argv[1], NULL, 10);
	if (mqshm_plan(&plan, "tsan", &options, MQSHM_LINE))
		die("plan", 0);
	object = aligned_alloc(4096, plan.total_bytes);
	memset(object, 0, plan.total_bytes);
	mqshm_format(object, &plan);
	for (i = 0; i <= CONSUMERS; i++)
		pthread_create(&threads[i], NULL, consumer, (void *)i);
	for (i = 0; i < PRODUCERS; i++)
		pthread_create(&threads[CONSUMERS + 1 + i], NULL, producer, (void *)i);
	for (i = 0; i < PRODUCERS + CONSUMERS + 1; i++)
		pthread_join(threads[i], NULL);
	free(object);
	return failed;
}
