/* SPDX-License-Identifier: MIT */
/*
 * One side of a queue between a 32- and a 64-bit process. Messages have all sizes 0..block_size, contents from their
 * number, and the sums of both sides are printed.
 *
 *	share push QUEUE MESSAGES CONSUMERS	share pop QUEUE
 *	share create QUEUE NODES BLOCK	prints result and sentence
 *	share open QUEUE		the same of opening as consumer
 *	share large QUEUE NODES BLOCK	streams two laps through a ring larger than 4 GiB
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mqshm.h"

#define BLOCK 300

static int say(int rc)
{
	printf("%d %s\n", rc, rc < 0 ? mqshm_last_error() : "");
	return rc < 0;
}

static uint32_t size_of(uint64_t number)
{
	return (uint32_t)(number * 37 % (BLOCK + 1));
}

static void fill(unsigned char *to, uint64_t number, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		to[i] = (unsigned char)(number * 31 + i);
}

static int push(const char *name, uint64_t messages, unsigned consumers)
{
	struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = 50, .block_size = BLOCK };
	struct mqshm_producer *p;
	unsigned char block[BLOCK];
	uint64_t sum = 0;
	int rc = mqshm_producer_open(&p, name, &queue, NULL);

	if (!rc)
		rc = mqshm_producer_wait_consumers(p, consumers, 0, 20000);
	for (uint64_t n = 0; !rc && n < messages; n++) {
		fill(block, n, size_of(n));
		rc = mqshm_producer_push(p, block, size_of(n), 20000);
		for (uint32_t i = 0; i < size_of(n); i++)
			sum = sum * 3 + block[i];
	}
	if (rc)
		return say(rc);
	printf("%" PRIu64 " %" PRIx64 "\n", messages, sum);
	return mqshm_producer_close(p) != 0;
}

static int pop(const char *name)
{
	struct mqshm_consumer_options options = { .size = sizeof options, .wait_ms = 20000,
						  .start = MQSHM_FROM_OLDEST };
	struct mqshm_consumer *c;
	struct mqshm_message m;
	unsigned char block[BLOCK], wanted[BLOCK];
	uint64_t sum = 0, count = 0;
	ssize_t rc = mqshm_consumer_open(&c, name, NULL, &options);

	if (rc)
		return say((int)rc);
	while ((rc = mqshm_consumer_pop(c, block, sizeof block, &m, 20000)) >= 0) {
		fill(wanted, count, size_of(count));
		if (m.sequence != count || (size_t)rc != size_of(count) || memcmp(block, wanted, (size_t)rc)) {
			printf("message %" PRIu64 " is not what was pushed\n", count);
			return 1;
		}
		for (ssize_t i = 0; i < rc; i++)
			sum = sum * 3 + block[i];
		count++;
	}
	if (rc != -108) /* ESHUTDOWN */
		return say((int)rc);
	printf("%" PRIu64 " %" PRIx64 "\n", count, sum);
	return mqshm_consumer_close(c) != 0;
}

/* Messages at the start, in the middle and at the end of a ring that is larger than 4 GiB. */
static int large(const char *name, uint32_t nodes, uint32_t size)
{
	struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = nodes, .block_size = size };
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	struct mqshm_message m;
	int rc = mqshm_producer_open(&p, name, &queue, NULL);

	if (!rc)
		rc = mqshm_consumer_open(&c, name, NULL, NULL);
	for (uint64_t n = 0; !rc && n < 2ull * nodes + 3; n++) {
		void *to;

		rc = mqshm_producer_reserve(p, size, &to, 0);
		if (rc)
			break;
		memcpy(to, &n, sizeof n); /* the rest stays as it is: this is about where messages lie */
		memcpy((char *)to + size - sizeof n, &n, sizeof n);
		rc = mqshm_producer_commit(p, size);
		if (n + 1 < nodes || rc)
			continue;
		if (mqshm_consumer_peek(c, &m, 1, 0) != 1 || m.size != size || m.sequence != n + 1 - nodes ||
		    memcmp(m.data, &m.sequence, 8) || memcmp((const char *)m.data + size - 8, &m.sequence, 8)) {
			printf("message %" PRIu64 " is not what was pushed\n", n + 1 - nodes);
			return 1;
		}
		rc = mqshm_consumer_release(c, 1);
	}
	return say(rc) || mqshm_producer_close(p) || mqshm_consumer_close(c);
}

int main(int argc, char **argv)
{
	struct mqshm_queue_options queue = { .size = sizeof queue };
	struct mqshm_consumer *c;

	if (argc == 5 && !strcmp(argv[1], "push"))
		return push(argv[2], strtoull(argv[3], NULL, 10), (unsigned)atoi(argv[4]));
	if (argc == 3 && !strcmp(argv[1], "pop"))
		return pop(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "open"))
		return say(mqshm_consumer_open(&c, argv[2], NULL, NULL));
	if (argc != 5)
		return 2;
	queue.node_count = (uint32_t)strtoul(argv[3], NULL, 10);
	queue.block_size = (uint32_t)strtoul(argv[4], NULL, 10);
	if (!strcmp(argv[1], "large"))
		return large(argv[2], queue.node_count, queue.block_size);
	return say(mqshm_queue_create(argv[2], &queue));
}
