/* SPDX-License-Identifier: MIT */
/*
 * Where a consumer starts that comes late. 100 messages go through a queue of 16 while nobody reads; then three
 * consumers attach, each with another start mode, and one more message is pushed.
 */
#include <mqshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct reader {
	struct mqshm_consumer *consumer;
	long first, count; /* what it got: from which number on, how many */
};

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

static void read_all(struct reader *reader)
{
	struct mqshm_message message;
	int value;

	while (mqshm_consumer_pop(reader->consumer, &value, sizeof(value), &message, 0) >= 0)
		if (reader->count++ == 0)
			reader->first = (long)message.sequence; /* 0 was the first message ever */
}

int main(void)
{
	static const char *const mode[] = { "latest", "oldest", "beginning" };
	struct mqshm_queue_options queue = { .size = sizeof(queue), .node_count = 16, .block_size = 64 };
	struct mqshm_consumer_options options = { .size = sizeof(options) };
	struct reader reader[3] = { 0 };
	struct mqshm_producer *producer;
	long missed[3];
	char name[64];

	snprintf(name, sizeof(name), "late-joiner-%d", (int)getpid());
	must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");
	for (int i = 0; i < 100; i++) /* with no consumer, the oldest ones make room */
		must(mqshm_producer_push(producer, &i, sizeof(i), 0), "push");

	for (int i = 0; i < 3; i++) {
		options.start = i; /* MQSHM_FROM_LATEST, MQSHM_FROM_OLDEST, MQSHM_FROM_BEGINNING */
		must(mqshm_consumer_open(&reader[i].consumer, name, NULL, &options), "open consumer");
		read_all(&reader[i]);
	}
	must(mqshm_producer_push(producer, &(int){ 100 }, sizeof(int), 1000), "push");

	for (int i = 0; i < 3; i++) {
		read_all(&reader[i]);
		missed[i] = (long)mqshm_consumer_missed(reader[i].consumer);
		printf("%-9s: %2ld messages, from number %ld on; missed %ld\n", mode[i], reader[i].count,
		       reader[i].first, missed[i]);
		mqshm_consumer_close(reader[i].consumer);
	}
	mqshm_producer_close(producer);

	/* Latest: only what came after it. Oldest: what was still there, 14 to 16 messages, and the new one. */
	if (reader[0].first != 100 || reader[0].count != 1 || missed[0] != 0 || reader[1].first < 84 ||
	    reader[1].first > 86 || reader[1].count != 101 - reader[1].first || missed[1] != 0)
		return 1;
	/* Beginning: the same as oldest, and what was gone is counted. */
	return reader[2].first == reader[1].first && missed[2] == reader[2].first ? 0 : 1;
}
