/* SPDX-License-Identifier: MIT */
/*
 * The timestamp that each message carries: the time of the push (default), one of your own, or none.
 */
#include <mqshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Push one message through a queue with these flags; the timestamp that comes out. */
static uint64_t timestamp_of(uint32_t flags, uint64_t own)
{
	struct mqshm_queue_options queue = { .size = sizeof(queue), .block_size = 64, .flags = flags };
	struct mqshm_producer *producer;
	struct mqshm_consumer *consumer;
	struct mqshm_message message;
	char name[64], data[64];

	snprintf(name, sizeof(name), "timestamps-%d", (int)getpid());
	must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");
	must(mqshm_consumer_open(&consumer, name, NULL, NULL), "open consumer");
	if (flags & MQSHM_TIMESTAMP_OWN) /* holds for all messages from now on, until it is set again */
		must(mqshm_producer_set_timestamp(producer, own), "set timestamp");
	must(mqshm_producer_push(producer, "tick", 4, 1000), "push");
	must(mqshm_consumer_pop(consumer, data, sizeof(data), &message, 1000), "pop");
	mqshm_consumer_close(consumer);
	mqshm_producer_close(producer);
	return message.timestamp_ns;
}

int main(void)
{
	uint64_t before = now_ns(), by_default, own, off;

	by_default = timestamp_of(0, 0);			 /* CLOCK_REALTIME when it was pushed */
	own = timestamp_of(MQSHM_TIMESTAMP_OWN, 1234567890);	 /* say, when the hardware took the sample */
	off = timestamp_of(MQSHM_TIMESTAMP_OFF, 0);		 /* saves reading the clock */

	printf("by default: %.3f ms after this program began\n", (double)(by_default - before) / 1e6);
	printf("own:        %llu\n", (unsigned long long)own);
	printf("off:        %llu\n", (unsigned long long)off);
	return by_default >= before && by_default <= now_ns() && own == 1234567890 && off == 0 ? 0 : 1;
}
