/* SPDX-License-Identifier: MIT */
/*
 * Start in any order: a consumer waits for a queue that its producer has not made yet, and is there within
 * milliseconds when it appears.
 */
#include <errno.h>
#include <mqshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int produce_late(const char *name)
{
	struct mqshm_queue_options queue = { .size = sizeof(queue), .block_size = 64 };
	struct mqshm_producer *producer;
	double started;

	usleep(200 * 1000);
	started = now_ms();
	must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");
	must(mqshm_producer_wait_consumers(producer, 1, MQSHM_EVER, 1000), "wait for a consumer");
	must(mqshm_producer_push(producer, &started, sizeof(started), 1000), "push");
	mqshm_producer_close(producer);
	return 0;
}

int main(void)
{
	struct mqshm_consumer_options options = { .size = sizeof(options) };
	struct mqshm_consumer *consumer;
	double started, attached;
	char name[64];
	int rc, status;

	snprintf(name, sizeof(name), "wait-for-queue-%d", (int)getpid());

	rc = mqshm_consumer_open(&consumer, name, NULL, &options); /* wait_ms is 0: fail at once */
	printf("without waiting: %s\n", mqshm_last_error());
	if (rc != -ENOENT)
		return 1;

	options.wait_ms = 20;
	rc = mqshm_consumer_open(&consumer, name, NULL, &options);
	printf("after 20 ms: %s\n", mqshm_last_error());
	if (rc != -ENOENT)
		return 1;

	fflush(stdout); /* or the child would print it again */
	if (fork() == 0)
		return produce_late(name);
	options.wait_ms = -1; /* as long as it takes */
	must(mqshm_consumer_open(&consumer, name, NULL, &options), "open consumer");
	attached = now_ms();
	must(mqshm_consumer_pop(consumer, &started, sizeof(started), NULL, 1000), "pop");
	mqshm_consumer_close(consumer);
	wait(&status);

	printf("attached %.1f ms after the producer began\n", attached - started);
	return status != 0;
}
