/* SPDX-License-Identifier: MIT */
/*
 * Three sensors, each with a queue of its own and a rate of its own, read as one stream in order of time. The third falls
 * silent in the middle: it is waited for, 50 ms, and then the others go on without it.
 *
 * Here all is in one process; the sensors could as well be three.
 */
#include <errno.h>
#include <mqshm.h>
#include <mqshm/merge.h>
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
	/* Times of our own, in ns; without this flag a message has the time of its push. */
	struct mqshm_queue_options queue = { .size = sizeof(queue), .block_size = 64, .flags = MQSHM_TIMESTAMP_OWN };
	static const uint64_t period[3] = { 30, 70, 100 };
	struct mqshm_producer *producer[3];
	struct mqshm_consumer *consumer[3], *source;
	struct mqshm_message message;
	struct mqshm_merge_stats stats;
	struct mqshm_merge *merge;
	uint64_t last = 0;
	char name[64], text[64];
	long n;
	int count = 0, wrong = 0;

	must(mqshm_merge_open(&merge, 50), "open merge");
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "merge-%d-%d", i, (int)getpid());
		must(mqshm_producer_open(&producer[i], name, &queue, NULL), "open producer");
		must(mqshm_consumer_open(&consumer[i], name, NULL, NULL), "open consumer");
		must(mqshm_merge_add(merge, consumer[i]), "add");
	}

	for (int i = 0; i < 3; i++) {
		for (uint64_t t = period[i]; t <= (i == 2 ? 200 : 400); t += period[i]) {
			n = snprintf(text, sizeof(text), "sensor %d", i);
			must(mqshm_producer_set_timestamp(producer[i], t), "timestamp");
			must(mqshm_producer_push(producer[i], text, (size_t)n, 1000), "push");
		}
		if (i != 2)
			mqshm_producer_close(producer[i]); /* an ended stream is not waited for */
	}

	while ((n = mqshm_merge_next(merge, text, sizeof(text), &message, &source, 1000)) >= 0) {
		printf("%3d  %.*s\n", (int)message.timestamp_ns, (int)n, text);
		wrong += message.timestamp_ns < last;
		last = message.timestamp_ns;
		count++;
	}
	printf("%s\n", mqshm_last_error()); /* timed out: the third is still there */
	mqshm_merge_stats(merge, &stats);
	printf("%d messages, %d times waited in vain, %d went back\n", (int)stats.merged, (int)stats.timeouts,
	       (int)stats.backward);

	mqshm_merge_close(merge);
	for (int i = 0; i < 3; i++)
		mqshm_consumer_close(consumer[i]);
	mqshm_producer_close(producer[2]);
	return wrong || count != 13 + 5 + 2 || stats.timeouts != 1 || n != -ETIMEDOUT;
}
