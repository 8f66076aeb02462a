/* SPDX-License-Identifier: MIT */
/*
 * Nothing may be lost before the first reader comes: a queue with MQSHM_HOLD keeps everything from its first
 * message on. When it is full the producer waits, although nobody has attached yet.
 */
#include <errno.h>
#include <mqshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

int main(void)
{
	struct mqshm_queue_options queue = {
		.size = sizeof(queue),
		.node_count = 8,
		.block_size = 64,
		.flags = MQSHM_HOLD,
	};
	struct mqshm_consumer_options options = { .size = sizeof(options), .start = MQSHM_FROM_LATEST };
	struct mqshm_producer *producer;
	struct mqshm_consumer *consumer;
	int value, pushed = 0, popped = 0, rc;
	char name[64];

	snprintf(name, sizeof(name), "hold-%d", (int)getpid());
	must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");

	/* timeout 0: push does not wait, but says -EAGAIN when there is no room. */
	while ((rc = mqshm_producer_push(producer, &pushed, sizeof(pushed), 0)) == 0)
		pushed++;
	printf("without a reader: %d pushed, then the queue was full\n", pushed);
	if (rc != -EAGAIN || pushed != 8)
		return 1;

	/* The first reliable consumer gets all of it, whatever its start mode says. */
	must(mqshm_consumer_open(&consumer, name, NULL, &options), "open consumer");
	while (mqshm_consumer_pop(consumer, &value, sizeof(value), NULL, 0) >= 0)
		if (value == popped)
			popped++;
	printf("the first reader got %d\n", popped);

	mqshm_consumer_close(consumer);
	mqshm_producer_close(producer);
	return popped == pushed ? 0 : 1;
}
