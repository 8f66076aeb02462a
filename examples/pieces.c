/* SPDX-License-Identifier: MIT */
/*
 * One message from several places: a header and the samples that belong to it are pushed as one message, without
 * joining them first. The consumer sees one block of bytes.
 */
#include <mqshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct header {
	uint32_t channel;
	uint32_t count;
};

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

int main(void)
{
	struct mqshm_queue_options queue = { .size = sizeof(queue), .block_size = 1024 };
	struct header header = { .channel = 7, .count = 4 };
	int16_t samples[] = { 3, 1, 4, 1 };
	struct iovec pieces[] = {
		{ .iov_base = &header, .iov_len = sizeof(header) },
		{ .iov_base = samples, .iov_len = sizeof(samples) },
	};
	struct {
		struct header header;
		int16_t samples[508];
	} got;
	struct mqshm_producer *producer;
	struct mqshm_consumer *consumer;
	char name[64];
	ssize_t size;

	snprintf(name, sizeof(name), "pieces-%d", (int)getpid());
	must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");
	must(mqshm_consumer_open(&consumer, name, NULL, NULL), "open consumer");

	must(mqshm_producer_pushv(producer, pieces, 2, 1000), "push");

	size = mqshm_consumer_pop(consumer, &got, sizeof(got), NULL, 1000);
	must(size, "pop");
	printf("%zd bytes: channel %u, %u samples\n", size, got.header.channel, got.header.count);

	mqshm_consumer_close(consumer);
	mqshm_producer_close(producer);
	return size == sizeof(header) + sizeof(samples) && got.header.channel == 7 &&
	       memcmp(got.samples, samples, sizeof(samples)) == 0 ? 0 : 1;
}
