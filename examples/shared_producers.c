/* SPDX-License-Identifier: MIT */
/*
 * Several producers: three processes push into one queue that was created with MQSHM_SHARED. Their messages mix,
 * but those of each one stay in order.
 */
#include <mqshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRODUCERS 3
#define EACH 2000

struct message {
	int from;
	int number;
};

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

static void produce(const char *name, int from)
{
	struct mqshm_producer *producer;

	/* NULL for the queue's options: it must exist, and we take it as it is. */
	must(mqshm_producer_open(&producer, name, NULL, NULL), "open producer");
	for (int i = 0; i < EACH; i++) {
		struct message message = { .from = from, .number = i };

		must(mqshm_producer_push(producer, &message, sizeof(message), 1000), "push");
	}
	mqshm_producer_close(producer);
	exit(0);
}

int main(void)
{
	struct mqshm_queue_options queue = {
		.size = sizeof(queue),
		.block_size = sizeof(struct message),
		.flags = MQSHM_SHARED,
	};
	struct mqshm_consumer *consumer;
	int next[PRODUCERS] = { 0 }, turns = 0, last = -1, status, bad = 0;
	char name[64];

	/* Whoever comes first may create the queue: here it is the consumer. */
	snprintf(name, sizeof(name), "shared-producers-%d", (int)getpid());
	must(mqshm_consumer_open(&consumer, name, &queue, NULL), "open consumer");
	for (int i = 0; i < PRODUCERS; i++)
		if (fork() == 0)
			produce(name, i);

	/*
	 * We count, instead of reading to the end of the stream: the stream also ends for a moment when one
	 * producer leaves before the next one has come.
	 */
	for (int n = 0; n < PRODUCERS * EACH;) {
		struct message message;
		ssize_t size = mqshm_consumer_pop(consumer, &message, sizeof(message), NULL, 1000);

		if (size < 0) {
			if (waitpid(-1, &status, WNOHANG) < 0) /* all have ended, and something is missing */
				must(size, "pop");
			usleep(1000);
			continue;
		}
		bad += message.number != next[message.from]++;
		turns += message.from != last;
		last = message.from;
		n++;
	}
	mqshm_consumer_close(consumer);
	while (wait(&status) > 0)
		bad |= status;
	for (int i = 0; i < PRODUCERS; i++)
		bad |= next[i] != EACH;
	printf("%d messages of %d producers, in %d turns, each one's in order: %s\n", PRODUCERS * EACH, PRODUCERS,
	       turns, bad ? "no" : "yes");
	return bad ? 1 : 0;
}
