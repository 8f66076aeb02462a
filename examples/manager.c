/* SPDX-License-Identifier: MIT */
/*
 * One manager for all threads of a program. Three workers ask it for the same queue by name: the first opens it, all push
 * through the one producer that an exclusive queue can have. Two readers share a consumer: each message goes to one of them.
 * At the end all is closed at once, under the readers that still wait.
 */
#include <errno.h>
#include <mqshm.h>
#include <mqshm/manager.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MESSAGES 1000 /* of each worker */

static struct mqshm_manager *manager;
static char name[64];
static struct mqshm_queue_options queue = { .size = sizeof(queue), .node_count = 64, .block_size = 64, .flags = MQSHM_HOLD };
static long sum_sent, sum_got;

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

static void *work(void *arg)
{
	struct mqshm_shared *shared;

	(void)arg;
	must(mqshm_manager_producer(manager, &shared, name, &queue, NULL), "producer");
	for (long i = 1; i <= MESSAGES; i++) {
		must(mqshm_shared_push(shared, &i, sizeof(i), -1), "push");
		__atomic_add_fetch(&sum_sent, i, __ATOMIC_RELAXED);
	}
	mqshm_shared_put(shared);
	return NULL;
}

static void *read_all(void *arg)
{
	struct mqshm_shared *shared;
	long value, n;

	(void)arg;
	must(mqshm_manager_consumer(manager, &shared, name, &queue, NULL), "consumer");
	while ((n = mqshm_shared_pop(shared, &value, sizeof(value), NULL, -1)) >= 0)
		__atomic_add_fetch(&sum_got, value, __ATOMIC_RELAXED);
	if (n != -EBADF && n != -ESHUTDOWN) /* closed by the manager: this one, or the producer first */
		must(n, "pop");
	mqshm_shared_put(shared);
	return NULL;
}

static int show(const struct mqshm_managed *managed, void *arg)
{
	(void)arg;
	printf("%s: used %ld times, another thread was in it %ld times\n",
	       managed->kind == MQSHM_MANAGED_PRODUCER ? "producer" : "consumer", (long)managed->uses,
	       (long)managed->contended);
	return 0;
}

int main(void)
{
	pthread_t worker[3], reader[2];
	struct mqshm_shared *shared;

	snprintf(name, sizeof(name), "manager-%d", (int)getpid());
	must(mqshm_manager_open(&manager), "manager");
	for (int i = 0; i < 2; i++)
		pthread_create(&reader[i], NULL, read_all, NULL);
	for (int i = 0; i < 3; i++)
		pthread_create(&worker[i], NULL, work, NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(worker[i], NULL);

	/* All that mqshm.h can do with a handle: lock it. */
	must(mqshm_manager_producer(manager, &shared, name, NULL, NULL), "producer");
	must(mqshm_shared_lock(shared, -1), "lock");
	must(mqshm_producer_wait_drained(mqshm_shared_producer(shared), -1), "wait until all is read");
	mqshm_shared_unlock(shared);
	mqshm_shared_put(shared);

	must(mqshm_manager_list(manager, show, NULL), "list");
	must(mqshm_manager_close(manager), "close");
	for (int i = 0; i < 2; i++)
		pthread_join(reader[i], NULL);
	printf("sent %ld, got %ld\n", sum_sent, sum_got);
	return sum_sent != sum_got || sum_sent != 3L * MESSAGES * (MESSAGES + 1) / 2;
}
