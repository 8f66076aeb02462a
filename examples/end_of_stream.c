/* SPDX-License-Identifier: MIT */
/*
 * How a stream ends: a consumer can tell a producer that closed from one that crashed, and in both cases first gets
 * everything that was pushed. A new producer may then go on where the last one stopped.
 */
#include <errno.h>
#include <mqshm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

/* A process that pushes three messages and then closes the queue, or gets killed in the middle of the next one. */
static void run_producer(const char *name, int crash)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct mqshm_producer *producer;
		void *room;

		must(mqshm_producer_open(&producer, name, NULL, NULL), "open producer");
		for (int i = 0; i < 3; i++)
			must(mqshm_producer_push(producer, "data", 4, 1000), "push");
		if (crash) {
			must(mqshm_producer_reserve(producer, 64, &room, 1000), "reserve");
			memset(room, 'x', 32); /* half a message, which nobody will ever see */
			raise(SIGKILL);
		}
		mqshm_producer_close(producer);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

int main(void)
{
	struct mqshm_queue_options queue = { .size = sizeof(queue), .node_count = 16, .block_size = 64 };
	struct mqshm_consumer *consumer;
	struct mqshm_message message;
	uint64_t next = 0;
	char name[64], data[64];
	ssize_t rc;

	snprintf(name, sizeof(name), "end-of-stream-%d", (int)getpid());
	must(mqshm_consumer_open(&consumer, name, &queue, NULL), "open consumer");

	for (int round = 0; round < 4; round++) {
		int crash = round % 2;

		run_producer(name, crash);
		while ((rc = mqshm_consumer_pop(consumer, data, sizeof(data), &message, 1000)) >= 0) {
			if (rc != 4 || message.sequence != next)
				return 1;
			next++; /* goes on from one producer to the next */
		}
		printf("after message %d: %s (%s)\n", (int)next - 1, mqshm_last_error(),
		       rc == -ESHUTDOWN ? "ESHUTDOWN" : rc == -EOWNERDEAD ? "EOWNERDEAD" : strerror((int)-rc));
		if (rc != (crash ? -EOWNERDEAD : -ESHUTDOWN) || next != 3 * ((uint64_t)round + 1))
			return 1;
	}
	mqshm_consumer_close(consumer);
	return 0;
}
