/* SPDX-License-Identifier: MIT */
/*
 * Being told: a program waits until a queue gets a producer, sees it being killed, and what the library says when the
 * next one finds that. The watch is no user of the queue.
 */
#include <errno.h>
#include <mqshm/watch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

/* A producer that does nothing until it is killed. */
static pid_t start_producer(const char *name)
{
	struct mqshm_producer *producer;
	pid_t pid = fork();

	if (pid == 0) {
		struct mqshm_queue_options queue = { .size = sizeof(queue), .node_count = 10, .block_size = 64 };

		must(mqshm_producer_open(&producer, name, &queue, NULL), "open producer");
		for (;;)
			pause();
	}
	return pid;
}

static int wait_for(struct mqshm_watch *watch, uint32_t type, uint32_t role)
{
	struct mqshm_watch_event event;

	do
		must(mqshm_watch_next(watch, &event, 10000), "watch");
	while (event.type != type || event.role != role);
	return event.pid;
}

static void print_line(int level, const char *queue, const char *text, void *arg)
{
	int *lines = arg;

	(void)queue;
	if (level <= MQSHM_LOG_WARNING)
		++*lines;
	printf("log: %s\n", text);
}

int main(void)
{
	char text[64];
	const char *name = text;
	struct mqshm_watch *watch;
	int lines = 0, attached, died;
	pid_t producer;

	snprintf(text, sizeof(text), "watch-%d", (int)getpid());
	must(mqshm_watch_open(&watch, &name, 1, 0), "watch");
	producer = start_producer(name);

	attached = wait_for(watch, MQSHM_WATCH_ATTACHED, MQSHM_WATCH_PRODUCER);
	printf("%s has a producer: pid %d\n", name, attached);
	kill(producer, SIGKILL);
	died = wait_for(watch, MQSHM_WATCH_DIED, MQSHM_WATCH_PRODUCER);
	printf("%s lost its producer: pid %d\n", name, died);
	waitpid(producer, NULL, 0);

	must(mqshm_log_set(MQSHM_LOG_INFO, print_line, &lines), "log");
	must(mqshm_queue_gc(name, NULL, NULL), "gc"); /* finds the dead producer, and nobody else */
	wait_for(watch, MQSHM_WATCH_REMOVED, 0);
	mqshm_watch_close(watch);
	return attached == producer && died == producer && lines == 1 ? 0 : 1;
}
