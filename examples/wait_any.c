/* SPDX-License-Identifier: MIT */
/*
 * Waiting for any of several queues: two sensors of different speed, each in a process of its own, one reader. What
 * ended is set to NULL, else it would be told again at each call.
 */
#include <errno.h>
#include <mqshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SENSORS 2
#define MESSAGES 20 /* of the first sensor; each further one sends twice as many */

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

static int produce(const char *name, int sensor)
{
	struct mqshm_queue_options queue = { .size = sizeof(queue), .node_count = 8, .block_size = 64 };
	struct mqshm_producer *producer;

	must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");
	must(mqshm_producer_wait_consumers(producer, 1, MQSHM_EVER, 5000), "wait for the reader");
	for (int i = 0; i < MESSAGES << sensor; i++) {
		must(mqshm_producer_push(producer, &i, sizeof(i), 5000), "push");
		usleep(4000 >> sensor);
	}
	mqshm_producer_close(producer);
	return 0;
}

int main(void)
{
	struct mqshm_consumer_options options = { .size = sizeof(options), .start = MQSHM_FROM_OLDEST, .wait_ms = 5000 };
	struct mqshm_wait_item items[SENSORS] = { 0 };
	struct mqshm_consumer *consumers[SENSORS];
	int got[SENSORS] = { 0 }, left = SENSORS, value, status, bad = 0;
	char name[SENSORS][64];

	for (int i = 0; i < SENSORS; i++) {
		snprintf(name[i], sizeof(name[i]), "wait-any-%d-%d", i, (int)getpid());
		if (fork() == 0)
			return produce(name[i], i);
	}
	for (int i = 0; i < SENSORS; i++) {
		must(mqshm_consumer_open(&consumers[i], name[i], NULL, &options), "open consumer");
		items[i].consumer = consumers[i];
	}
	while (left) {
		must(mqshm_wait_any(items, SENSORS, 5000), "wait");
		for (int i = 0; i < SENSORS; i++) {
			if (items[i].result == 1) {
				must(mqshm_consumer_pop(items[i].consumer, &value, sizeof(value), NULL, 0), "pop");
				bad |= value != got[i]++;
			} else if (items[i].result < 0) {
				bad |= items[i].result != -ESHUTDOWN; /* the normal end */
				items[i].consumer = NULL;
				left--;
			}
		}
	}
	for (int i = 0; i < SENSORS; i++) {
		printf("sensor %d: %d messages\n", i, got[i]);
		bad |= got[i] != MESSAGES << i;
		mqshm_consumer_close(consumers[i]);
	}
	while (wait(&status) > 0)
		bad |= status;
	return bad != 0;
}
