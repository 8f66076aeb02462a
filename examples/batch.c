/* SPDX-License-Identifier: MIT */
/*
 * Many small messages at a time: a batch costs one publication and one timestamp for all of it, and the consumer
 * takes as many as are there with one call.
 */
#include <errno.h>
#include <mqshm.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 64
#define BATCHES 100

struct reading {
	uint32_t sensor;
	float value;
};

static int consume(const char *name)
{
	struct mqshm_consumer_options options = { .size = sizeof(options), .wait_ms = 1000 };
	struct mqshm_message messages[BATCH];
	struct reading readings[BATCH];
	struct mqshm_consumer *consumer;
	unsigned next = 0, calls = 0, wrong = 0;
	int n;

	if (mqshm_consumer_open(&consumer, name, NULL, &options) < 0) {
		fprintf(stderr, "consumer: %s\n", mqshm_last_error());
		return 1;
	}
	/* Wait until 16 messages are there and take up to 64. At the end of the stream we get what is left. */
	while ((n = mqshm_consumer_pop_batch(consumer, messages, 16, BATCH, readings, sizeof(readings), 1000)) > 0) {
		calls++;
		for (int i = 0; i < n; i++, next++) {
			const struct reading *r = messages[i].data;

			wrong += messages[i].sequence != next || messages[i].size != sizeof(*r) ||
				 r->sensor != next % BATCH || r->value != (float)next;
		}
	}
	mqshm_consumer_close(consumer);
	printf("%u messages in %u calls\n", next, calls);
	return n == -ESHUTDOWN && next == BATCH * BATCHES && wrong == 0 ? 0 : 1;
}

static int produce(const char *name)
{
	struct mqshm_queue_options queue = { .size = sizeof(queue), .block_size = sizeof(struct reading) };
	struct reading readings[BATCH];
	struct iovec batch[BATCH];
	struct mqshm_producer *producer;

	if (mqshm_producer_open(&producer, name, &queue, NULL) < 0 ||
	    mqshm_producer_wait_consumers(producer, 1, MQSHM_EVER, 1000) < 0)
		goto failed;
	for (unsigned b = 0; b < BATCHES; b++) {
		for (unsigned i = 0; i < BATCH; i++) {
			readings[i] = (struct reading){ .sensor = i, .value = (float)(b * BATCH + i) };
			batch[i] = (struct iovec){ .iov_base = &readings[i], .iov_len = sizeof(readings[i]) };
		}
		/* Returns how many it could push before the time ran out. */
		if (mqshm_producer_push_batch(producer, batch, BATCH, 1000) != BATCH)
			goto failed;
	}
	mqshm_producer_close(producer);
	return 0;
failed:
	fprintf(stderr, "producer: %s\n", mqshm_last_error());
	mqshm_producer_close(producer);
	return 1;
}

int main(void)
{
	char name[64];
	int status, result;

	snprintf(name, sizeof(name), "batch-%d", (int)getpid());
	if (fork() == 0)
		return consume(name);
	result = produce(name);
	wait(&status);
	return result || status;
}
