/* SPDX-License-Identifier: MIT */
/*
 * 1,000 queues of the kernel module served from one io_uring: a command for each waits in the kernel until there is a message,
 * and one system call submits and waits for any number of them. A child process is the producer of all queues. It wants
 * liburing, and the module: where it is not loaded this says so and ends with status 77.
 *
 *	cc -o uring_many uring_many.c -lmqshm -luring
 */
#include <errno.h>
#include <mqshm.h>
#include <mqshm_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUEUES 1000
#define MESSAGES 3 /* of each queue */
#define FILES (4 * QUEUES + 100) /* a handle has a descriptor of its device, and while it opens some more */

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
	snprintf(name, 64, "uring-%d-%d", i, (int)pid);
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

/* There is something of consumer i: take it. 1: its stream has ended as it should. */
static int take(struct mqshm_consumer *consumer, int i, int *got)
{
	int value;
	ssize_t rc;

	while ((rc = mqshm_consumer_pop(consumer, &value, sizeof(value), NULL, 0)) >= 0)
		if (value != i * MESSAGES + (*got)++) {
			fprintf(stderr, "queue %d: %d came as message %d\n", i, value, *got - 1);
			exit(1);
		}
	if (rc == -EAGAIN)
		return 0;
	if (rc != -ESHUTDOWN || *got != MESSAGES)
		must(-1, "the end of the stream");
	return 1;
}

/* Have consumer i's next message told. The ring has an entry for each queue, and no queue has two of them. */
static void await_next(struct io_uring *ring, struct mqshm_consumer *consumer, int i)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		exit(1);
	mqshm_prep_wait(sqe, mqshm_consumer_device_fd(consumer), 1);
	io_uring_sqe_set_data(sqe, (void *)(intptr_t)i);
}

static int serve(struct mqshm_consumer **consumers, int count)
{
	int *got = calloc((size_t)count, sizeof(*got)), left = count;
	struct io_uring ring;
	long calls = 0;

	errno = -io_uring_queue_init(QUEUES, &ring, 0);
	if (errno) {
		perror("io_uring");
		return 1;
	}
	for (int i = 0; i < count; i++)
		await_next(&ring, consumers[i], i);
	while (left) {
		struct io_uring_cqe *cqe;
		unsigned head, seen = 0;

		must(io_uring_submit_and_wait(&ring, 1), "io_uring_submit_and_wait");
		calls++;
		io_uring_for_each_cqe(&ring, head, cqe) {
			int i = (int)(intptr_t)io_uring_cqe_get_data(cqe);

			seen++;
			if (cqe->res < 0) {
				fprintf(stderr, "waiting for queue %d: %s\n", i, strerror(-cqe->res));
				return 1;
			}
			if (!take(consumers[i], i, &got[i])) {
				await_next(&ring, consumers[i], i);
				continue;
			}
			mqshm_consumer_close(consumers[i]);
			left--;
		}
		io_uring_cq_advance(&ring, seen);
	}
	printf("%d queues: %d messages each, then the end of each stream; %ld system calls to wait\n", count, MESSAGES, calls);
	io_uring_queue_exit(&ring);
	free(got);
	return 0;
}

int main(void)
{
	struct mqshm_consumer_options options = { .size = sizeof(options), .start = MQSHM_FROM_OLDEST, .wait_ms = 20000 };
	int count = how_many_queues(), status;
	struct mqshm_consumer **consumers = calloc((size_t)count, sizeof(*consumers));
	pid_t self = getpid();
	char name[64];

	if (access("/dev/mqshm/control", F_OK)) {
		fprintf(stderr, "the mqshm module is not loaded\n");
		return 77;
	}
	if (fork() == 0)
		return produce(self, count);
	for (int i = 0; i < count; i++) {
		queue_name(name, self, i);
		must(mqshm_consumer_open(&consumers[i], name, NULL, &options), "open consumer");
	}
	if (serve(consumers, count))
		return 1;
	free(consumers);
	wait(&status);
	return status != 0;
}
