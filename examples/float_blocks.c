/* SPDX-License-Identifier: MIT */
/*
 * Data acquisition: one process samples a signal in blocks of 3,200 float32 values (12,800 bytes), two others get
 * every block: a level meter and a recorder that checks each sample. Neither can lose a block, for the producer
 * waits when the slower one is a whole queue behind.
 */
#include <errno.h>
#include <mqshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAMPLES 3200
#define BLOCKS 500

/* Sample n of the signal: a saw tooth from -1 to 1. */
static float sample(unsigned long n)
{
	return (float)(n % 201) / 100 - 1;
}

static void acquire(const char *name)
{
	struct mqshm_queue_options queue = {
		.size = sizeof(queue),
		.node_count = 32,
		.block_size = SAMPLES * sizeof(float),
		.metadata = "float32 48000 Hz", /* whoever opens the queue can read this */
		.metadata_size = strlen("float32 48000 Hz"),
	};
	struct mqshm_producer *producer;
	float block[SAMPLES];

	if (mqshm_producer_open(&producer, name, &queue, NULL) < 0 ||
	    mqshm_producer_wait_consumers(producer, 2, MQSHM_EVER, 1000) < 0)
		goto failed;
	for (unsigned long n = 0; n < BLOCKS; n++) {
		for (unsigned long i = 0; i < SAMPLES; i++)
			block[i] = sample(n * SAMPLES + i);
		if (mqshm_producer_push(producer, block, sizeof(block), 1000) < 0)
			goto failed;
	}
	mqshm_producer_close(producer);
	exit(0);
failed:
	fprintf(stderr, "acquisition: %s\n", mqshm_last_error());
	mqshm_producer_close(producer);
	exit(1);
}

static void consume(const char *name, int meter)
{
	struct mqshm_consumer_options options = { .size = sizeof(options), .wait_ms = 1000 };
	struct mqshm_consumer *consumer;
	unsigned long blocks = 0, wrong = 0;
	float block[SAMPLES], peak = 0;
	ssize_t size;

	if (mqshm_consumer_open(&consumer, name, NULL, &options) < 0) {
		fprintf(stderr, "consumer: %s\n", mqshm_last_error());
		exit(1);
	}
	while ((size = mqshm_consumer_pop(consumer, block, sizeof(block), NULL, 1000)) == sizeof(block)) {
		for (unsigned long i = 0; i < SAMPLES; i++) {
			peak = block[i] > peak ? block[i] : peak;
			wrong += block[i] != sample(blocks * SAMPLES + i);
		}
		blocks++;
	}
	mqshm_consumer_close(consumer);
	if (meter)
		printf("meter: %lu blocks, peak %.2f\n", blocks, (double)peak);
	else
		printf("recorder: %lu blocks, %lu wrong samples\n", blocks, wrong);
	exit(size == -ESHUTDOWN && blocks == BLOCKS && wrong == 0 && peak == 1.0f ? 0 : 1);
}

int main(void)
{
	char name[64];
	int status, bad = 0;

	snprintf(name, sizeof(name), "float-blocks-%d", (int)getpid());
	for (int i = 0; i < 3; i++)
		if (fork() == 0)
			i < 2 ? consume(name, i) : acquire(name);
	while (wait(&status) > 0)
		bad |= status;
	return bad != 0;
}
