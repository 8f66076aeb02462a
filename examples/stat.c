/* SPDX-License-Identifier: MIT */
/*
 * Monitoring: look at a queue from outside, without being a user of it. Here a fast and a slow consumer are
 * attached; the numbers show who is behind.
 */
#include <errno.h>
#include <inttypes.h>
#include <mqshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

/* Called for each queue of this machine; 0 goes on to the next. */
static int count_mine(const struct mqshm_stat *stat, void *arg)
{
	const char *name = ((void **)arg)[0];
	int *found = ((void **)arg)[1];

	*found += strcmp(stat->name, name) == 0;
	return 0;
}

int main(void)
{
	struct mqshm_queue_options queue = { .size = sizeof(queue), .node_count = 10, .block_size = 64 };
	struct mqshm_consumer *fast, *slow;
	struct mqshm_producer *producer;
	struct mqshm_stat *stat;
	int value, found = 0, ok;
	char name[64];
	void *arg[] = { name, &found };

	snprintf(name, sizeof(name), "stat-%d", (int)getpid());
	must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");
	must(mqshm_consumer_open(&fast, name, NULL, NULL), "open consumer");
	must(mqshm_consumer_open(&slow, name, NULL, NULL), "open consumer");
	for (int i = 0; i < 10; i++)
		must(mqshm_producer_push(producer, &i, sizeof(i), 0), "push");
	for (int i = 0; i < 10; i++)
		must(mqshm_consumer_pop(fast, &value, sizeof(value), NULL, 0), "pop");
	for (int i = 0; i < 3; i++)
		must(mqshm_consumer_pop(slow, &value, sizeof(value), NULL, 0), "pop");

	must(mqshm_queue_stat(name, &stat), "stat");
	printf("%s: %" PRIu64 " pushed, %" PRIu64 " popped, depth %" PRIu64 "\n", stat->name, stat->total_pushed,
	       stat->total_popped, stat->depth);
	for (uint32_t i = 0; i < stat->producer_count; i++)
		printf("  producer: pid %d (%s)\n", stat->producers[i].pid, stat->producers[i].comm);
	for (uint32_t i = 0; i < stat->consumer_count; i++)
		printf("  consumer %u: pid %d (%s), lag %" PRIu64 "\n", stat->consumers[i].id, stat->consumers[i].pid,
		       stat->consumers[i].comm, stat->consumers[i].lag);
	ok = stat->total_pushed == 10 && stat->total_popped == 13 && stat->depth == 7 && stat->producer_count == 1 &&
	     stat->producers[0].pid == getpid() && stat->consumer_count == 2 && stat->consumers[0].lag == 0 &&
	     stat->consumers[1].lag == 7 && (int)stat->consumers[1].id == mqshm_consumer_id(slow) &&
	     stat->producer_state == MQSHM_PRODUCER_ACTIVE;
	mqshm_stat_free(stat);

	printf("queues on this machine: %d\n", mqshm_queue_list(count_mine, arg));
	mqshm_consumer_close(slow);
	mqshm_consumer_close(fast);
	mqshm_producer_close(producer);
	return ok && found == 1 ? 0 : 1;
}
