/* SPDX-License-Identifier: MIT */
/*
 * A recorder that may be killed at any moment and loses nothing: a consumer with a name keeps its cursor for lease_ms
 * without a process, and its successor goes on there. With peek and release each message is given at least once: the
 * one that was being worked on when the recorder died comes again, and its sequence tells that.
 */
#include <errno.h>
#include <mqshm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGES 20
#define DIES_AT 7 /* while it works on this one */

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

/* times: what was recorded, as a file would be: it survives the recorder. */
static int record(const char *name, int *times, int die)
{
	struct mqshm_consumer_options options = {
		.size = sizeof(options),
		.start = MQSHM_FROM_OLDEST, /* for the first of this name */
		.wait_ms = 5000,
		.name = "recorder",
		.lease_ms = 60000,
	};
	struct mqshm_consumer *consumer;
	struct mqshm_message message;
	int rc;

	must(mqshm_consumer_open(&consumer, name, NULL, &options), "open consumer");
	printf("recorder %d: %s\n", (int)getpid(), mqshm_consumer_resumed(consumer) ? "goes on" : "begins");
	fflush(stdout);
	while ((rc = mqshm_consumer_peek(consumer, &message, 1, 5000)) == 1) {
		times[message.sequence]++;
		if (die && message.sequence == DIES_AT)
			kill(getpid(), SIGKILL); /* after its work, before the release */
		must(mqshm_consumer_release(consumer, 1), "release");
	}
	/* All is done: nobody shall come after us. With close the cursor would be kept, and with it the queue. */
	mqshm_consumer_leave(consumer);
	return rc != -ESHUTDOWN;
}

int main(void)
{
	struct mqshm_queue_options queue = { .size = sizeof(queue), .node_count = 4, .block_size = 64 };
	int *times = mmap(NULL, MESSAGES * sizeof(*times), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct mqshm_producer *producer;
	int status, bad = 0;
	char name[64];

	if (times == MAP_FAILED)
		return 1;
	snprintf(name, sizeof(name), "lease-%d", (int)getpid());
	if (fork() == 0) { /* whoever looks after the recorder: systemd, a script */
		for (int start = 0; start < 2; start++) {
			if (fork() == 0)
				exit(record(name, times, start == 0));
			wait(&status);
		}
		_exit(status != 0);
	}
	must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");
	must(mqshm_producer_wait_consumers(producer, 1, MQSHM_EVER, 5000), "wait for the recorder");
	for (int i = 0; i < MESSAGES; i++) /* waits while the recorder is away and the queue is full */
		must(mqshm_producer_push(producer, &i, sizeof(i), 5000), "push");
	mqshm_producer_close(producer);
	wait(&status);
	for (int i = 0; i < MESSAGES; i++)
		bad |= times[i] != (i == DIES_AT ? 2 : 1);
	printf("%d messages, each recorded once, but for message %d: %d times\n", MESSAGES, DIES_AT, times[DIES_AT]);
	return bad || status;
}
