/* SPDX-License-Identifier: MIT */
/*
 * Without copies: the producer writes each message where it will lie in the queue, the consumer reads it there.
 *
 * Here both are in one process, with a handle each; between two processes it is the same.
 */
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

int main(void)
{
	struct mqshm_queue_options queue = { .size = sizeof(queue), .block_size = 4096, .align = 64 };
	struct mqshm_message messages[8];
	struct mqshm_producer *producer;
	struct mqshm_consumer *consumer;
	void *room;
	char name[64];
	int n, wrong = 0;

	snprintf(name, sizeof(name), "zero-copy-%d", (int)getpid());
	must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");
	must(mqshm_consumer_open(&consumer, name, NULL, NULL), "open consumer");

	for (int i = 0; i < 5; i++) {
		/* Ask for the most we may need ... */
		must(mqshm_producer_reserve(producer, 4096, &room, 1000), "reserve");
		memset(room, 'a' + i, 100 + (size_t)i);
		/* ... and publish what we used. Nobody sees anything of it before this. */
		must(mqshm_producer_commit(producer, 100 + (size_t)i), "commit");
	}

	/* Changed our mind: no message, and no gap in the sequence. */
	must(mqshm_producer_reserve(producer, 4096, &room, 1000), "reserve");
	must(mqshm_producer_abort(producer), "abort");

	/* Look at all that is there, up to 8 messages. They stay where they are until they are released. */
	n = mqshm_consumer_peek(consumer, messages, 8, 1000);
	must(n, "peek");
	for (int i = 0; i < n; i++) {
		const char *data = messages[i].data;

		printf("message %d: %zu bytes of '%c' at a multiple of 64: %s\n", (int)messages[i].sequence,
		       messages[i].size, data[0], (uintptr_t)data % 64 ? "no" : "yes");
		wrong += messages[i].sequence != (uint64_t)i || messages[i].size != 100 + (size_t)i ||
			 data[messages[i].size - 1] != 'a' + i || (uintptr_t)data % 64;
	}
	/* Done with the first three: the producer may use their room again. The others stay ours. */
	must(mqshm_consumer_release(consumer, 3), "release");
	wrong += n != 5 || mqshm_consumer_lag(consumer) != 2;

	mqshm_consumer_close(consumer);
	mqshm_producer_close(producer);
	return wrong ? 1 : 0;
}
