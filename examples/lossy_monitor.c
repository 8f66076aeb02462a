/* SPDX-License-Identifier: MIT */
/*
 * A display beside a recorder. The recorder is reliable: it gets every message, and the producer waits for it.
 * The monitor is lossy: it is far too slow, never holds anybody back, and knows how much it missed.
 */
#include <errno.h>
#include <mqshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGES 20000

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

static int consume(const char *name, int monitor)
{
	struct mqshm_consumer_options options = {
		.size = sizeof(options),
		.flags = monitor ? MQSHM_LOSSY : 0,
		.wait_ms = 1000,
	};
	struct mqshm_consumer *consumer;
	struct mqshm_message message;
	long read = 0, missed, gaps = 0;
	uint64_t next = 0;
	int value;
	ssize_t rc;

	must(mqshm_consumer_open(&consumer, name, NULL, &options), "open consumer");
	while ((rc = mqshm_consumer_pop(consumer, &value, sizeof(value), &message, 1000)) >= 0) {
		gaps += (long)(message.sequence - next); /* a gap in the sequence is what was missed */
		next = message.sequence + 1;
		read++;
		if (monitor)
			usleep(1000); /* drawing takes its time */
	}
	missed = (long)mqshm_consumer_missed(consumer);
	mqshm_consumer_close(consumer);

	printf("%s: %ld read, %ld missed\n", monitor ? "monitor" : "recorder", read, missed);
	if (rc != -ESHUTDOWN || read + missed != MESSAGES || gaps != missed)
		return 1;
	return monitor ? missed == 0 : missed != 0;
}

int main(void)
{
	struct mqshm_queue_options queue = { .size = sizeof(queue), .node_count = 64, .block_size = 64 };
	struct mqshm_producer *producer;
	char name[64];
	int status, bad = 0;

	snprintf(name, sizeof(name), "lossy-monitor-%d", (int)getpid());
	for (int i = 0; i < 2; i++)
		if (fork() == 0)
			return consume(name, i);

	must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");
	must(mqshm_producer_wait_consumers(producer, 2, 0, 1000), "wait for consumers");
	for (int i = 0; i < MESSAGES; i++)
		must(mqshm_producer_push(producer, &i, sizeof(i), 1000), "push");
	mqshm_producer_close(producer);

	while (wait(&status) > 0)
		bad |= status;
	return bad != 0;
}
