/* SPDX-License-Identifier: MIT */
/*
 * One epoll loop over 1,000 queues. Each consumer has a descriptor that is readable while there is something to be had:
 * for any event loop (libuv, GLib, ...), beside sockets and timers. A child process is the producer of all queues.
 */
#include <errno.h>
#include <mqshm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUEUES 1000
#define MESSAGES 3 /* of each queue */
#define FILES (4 * QUEUES + 100) /* a handle has a descriptor for its lock, one to poll and, while it opens, one more */

static void must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, mqshm_last_error());
		exit(1);
	}
}

/* The soft limit is often 1024; up to the hard one a process may raise it itself. */
static int how_many_queues(void)
{
	struct rlimit limit;
	int count = QUEUES;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < FILES) {
		limit.rlim_cur = limit.rlim_max < FILES ? limit.rlim_max : FILES;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur < FILES)
		count = limit.rlim_cur < 200 ? 25 : (int)(limit.rlim_cur - 100) / 4;
	return count;
}

static void queue_name(char name[64], pid_t pid, int i)
{
	snprintf(name, 64, "epoll-%d-%d", i, (int)pid);
}

static int produce(pid_t parent, int count)
{
	struct mqshm_queue_options queue = {
		.size = sizeof(queue),
		.node_count = 4,
		.block_size = 64,
		.max_consumers = 1,
	};
	struct mqshm_producer **producers = calloc((size_t)count, sizeof(*producers));
	char name[64];

	for (int i = 0; i < count; i++) {
		queue_name(name, parent, i);
		must(mqshm_producer_open(&producers[i], name, &queue, NULL), "open producer");
	}
	for (int i = 0; i < count; i++)
		must(mqshm_producer_wait_consumers(producers[i], 1, MQSHM_EVER, 20000), "wait for the reader");
	for (int m = 0; m < MESSAGES; m++)
		for (int i = 0; i < count; i++) {
			int value = i * MESSAGES + m;

			must(mqshm_producer_push(producers[i], &value, sizeof(value), 20000), "push");
		}
	for (int i = 0; i < count; i++)
		mqshm_producer_close(producers[i]);
	free(producers);
	return 0;
}

/* The descriptor of consumer i is readable: take what there is. 1: its stream has ended as it should. */
static int take(struct mqshm_consumer *consumer, int i, int *got)
{
	int value;
	ssize_t rc;

	while ((rc = mqshm_consumer_pop(consumer, &value, sizeof(value), NULL, 0)) >= 0)
		if (value != i * MESSAGES + (*got)++)
			exit(1);
	if (rc == -EAGAIN) /* now it is not readable any more, until there is news */
		return 0;
	if (rc != -ESHUTDOWN || *got != MESSAGES)
		must(-1, "the end of the stream");
	return 1;
}

int main(void)
{
	struct mqshm_consumer_options options = { .size = sizeof(options), .start = MQSHM_FROM_OLDEST, .wait_ms = 20000 };
	int count = how_many_queues(), loop = epoll_create1(EPOLL_CLOEXEC), left = count, status;
	struct mqshm_consumer **consumers = calloc((size_t)count, sizeof(*consumers));
	int *got = calloc((size_t)count, sizeof(*got));
	pid_t self = getpid();
	char name[64];

	if (fork() == 0)
		return produce(self, count);
	for (int i = 0; i < count; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.u32 = (uint32_t)i };
		int fd;

		queue_name(name, self, i);
		must(mqshm_consumer_open(&consumers[i], name, NULL, &options), "open consumer");
		fd = mqshm_consumer_fd(consumers[i]);
		must(fd, "descriptor");
		if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) < 0)
			return 1;
	}
	while (left) {
		struct epoll_event events[64];
		int ready = epoll_wait(loop, events, 64, 20000);

		if (ready <= 0)
			return 1;
		for (int e = 0; e < ready; e++) {
			uint32_t i = events[e].data.u32;

			if (!take(consumers[i], (int)i, &got[i]))
				continue;
			mqshm_consumer_close(consumers[i]); /* its descriptor leaves the epoll set with it */
			left--;
		}
	}
	printf("%d queues: %d messages each, then the end of each stream\n", count, MESSAGES);
	free(consumers);
	free(got);
	close(loop);
	wait(&status);
	return status != 0;
}
