/* SPDX-License-Identifier: MIT */
/*
 * Newest data wins: on a queue with MQSHM_OVERWRITE the producer never waits. A consumer that is too slow goes on
 * with the oldest message that is still there, and knows how many it missed.
 */
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
		.node_count = 16,
		.block_size = 64,
		.flags = MQSHM_OVERWRITE,
	};
	struct mqshm_producer *producer;
	struct mqshm_consumer *consumer;
	struct mqshm_stat *stat;
	long read = 0, missed;
	int value = 0, bad;
	char name[64];

	snprintf(name, sizeof(name), "overwrite-%d", (int)getpid());
	must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");
	must(mqshm_consumer_open(&consumer, name, NULL, NULL), "open consumer");

	/* Far more than the queue holds, without waiting (timeout 0), while nobody reads. */
	for (int i = 0; i < 1000; i++)
		must(mqshm_producer_push(producer, &i, sizeof(i), 0), "push");

	while (mqshm_consumer_pop(consumer, &value, sizeof(value), NULL, 0) >= 0)
		read++;
	missed = (long)mqshm_consumer_missed(consumer);
	printf("%ld read, the last one is %d; %ld missed\n", read, value, missed);

	must(mqshm_queue_stat(name, &stat), "stat");
	bad = read + missed != 1000 || read < 1 || read > 16 || value != 999 || (long)stat->overwrite_count != missed;
	mqshm_stat_free(stat);

	mqshm_consumer_close(consumer);
	mqshm_producer_close(producer);
	return bad ? 1 : 0;
}
