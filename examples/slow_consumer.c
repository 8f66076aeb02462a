/* SPDX-License-Identifier: MIT */
/*
 * A consumer that lives but does not read (here: it is stopped) would hold its producer back for ever. The queue says
 * what becomes of it after a time: it is evicted, or demoted to a lossy consumer. The producer is told who it was.
 */
#include <errno.h>
#include <mqshm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGES 100
#define SLOW_MS 100

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

static int consume(const char *name, uint32_t policy)
{
	struct mqshm_consumer_options options = { .size = sizeof(options), .wait_ms = 5000 };
	struct mqshm_consumer *consumer;
	long read = 0, missed;
	int value, demoted;
	ssize_t rc;

	must(mqshm_consumer_open(&consumer, name, NULL, &options), "open consumer");
	raise(SIGSTOP); /* as with Ctrl-Z; the parent continues us when it has pushed everything */
	while ((rc = mqshm_consumer_pop(consumer, &value, sizeof(value), NULL, 5000)) >= 0)
		read++;
	missed = (long)mqshm_consumer_missed(consumer);
	demoted = mqshm_consumer_demoted(consumer);
	printf("consumer: %ld read, %ld missed; then: %s\n", read, missed, mqshm_last_error());
	mqshm_consumer_close(consumer);
	if (policy == MQSHM_SLOW_EVICT)
		return rc != -ECONNABORTED;
	return rc != -ESHUTDOWN || !demoted || !missed || read + missed != MESSAGES;
}

static void told(const struct mqshm_slow *slow, void *arg)
{
	printf("producer: %s consumer %u, pid %d (%.16s): it did not move for %d ms\n",
	       slow->policy == MQSHM_SLOW_EVICT ? "evicted" : "demoted", slow->id, slow->pid, slow->comm,
	       (int)(slow->blocked_ns / 1000000));
	++*(int *)arg;
}

static int try(uint32_t policy)
{
	struct mqshm_queue_options queue = {
		.size = sizeof(queue),
		.node_count = 8,
		.block_size = 64,
		.slow_policy = policy,
		.slow_ms = SLOW_MS,
	};
	int times_told = 0, status;
	struct mqshm_producer_options options = { .size = sizeof(options), .slow = told, .slow_arg = &times_told };
	struct mqshm_producer *producer;
	char name[64];
	pid_t child;

	snprintf(name, sizeof(name), "slow-consumer-%d", (int)getpid());
	fflush(stdout);
	child = fork();
	if (child == 0)
		exit(consume(name, policy));
	must(mqshm_producer_open(&producer, name, &queue, &options), "open producer");
	must(mqshm_producer_wait_consumers(producer, 1, 0, 5000), "wait for the consumer");
	waitpid(child, &status, WUNTRACED); /* it has stopped */
	for (int i = 0; i < MESSAGES; i++)
		must(mqshm_producer_push(producer, &i, sizeof(i), 5000), "push");
	kill(child, SIGCONT);
	mqshm_producer_close(producer);
	waitpid(child, &status, 0);
	return times_told != 1 || status;
}

int main(void)
{
	return try(MQSHM_SLOW_EVICT) || try(MQSHM_SLOW_DEMOTE);
}
