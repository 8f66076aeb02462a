/* SPDX-License-Identifier: MIT */
/*
 * The C side of `make bench-python`: what bench.py does, by the library. Two processes, each on its processor; the one that
 * receives takes the time from its first message to its last.
 *
 *	c_side single|batch|zero-copy|zero-copy-plain NAME SIZE COUNT BATCH CPU CPU	prints messages/s
 *	c_side probe CPU CPU						prints ns for a cache line there and back
 */
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mqshm.h"

#define NODES 1024
#define BATCH_MOST 256
#define PROBES 20000

static uint32_t size, batch;
static unsigned long count;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set)) {
		perror("sched_setaffinity");
		exit(1);
	}
}

static void must(long rc)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "c_side: %s (%s)\n", mqshm_last_error(), strerror((int)-rc));
	exit(1);
}

typedef float lanes __attribute__((vector_size(16), aligned(4), may_alias));

/* As a plain loop says it: one addition after the other. */
static float sum_plain(const float *data, size_t n)
{
	float all = 0;

	for (size_t i = 0; i < n; i++)
		all += data[i];
	return all;
}

/* 16 sums side by side, as numpy has them too: the compiler may not reorder additions of floats by itself. */
static float sum(const float *data, size_t n)
{
	lanes sums[4] = { { 0 } }, all;
	size_t i, k;
	float rest = 0;

	for (i = 0; i + 16 <= n; i += 16)
		for (k = 0; k < 4; k++)
			sums[k] += *(const lanes *)(data + i + 4 * k);
	for (; i < n; i++)
		rest += data[i];
	all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
	return (all[0] + all[1]) + (all[2] + all[3]) + rest;
}

static void fill(float *data, size_t n, float value)
{
	lanes many = { value, value, value, value };
	size_t i;

	for (i = 0; i + 4 <= n; i += 4)
		*(lanes *)(data + i) = many;
	for (; i < n; i++)
		data[i] = value;
}

static void produce(struct mqshm_producer *p, const char *how)
{
	static unsigned char data[1 << 20];
	struct iovec pieces[BATCH_MOST];
	unsigned long done = 0;

	for (uint32_t i = 0; i < batch; i++)
		pieces[i] = (struct iovec){ data, size };
	must(mqshm_producer_wait_consumers(p, 1, 0, -1));
	while (done < count) {
		if (!strcmp(how, "single")) {
			must(mqshm_producer_push(p, data, size, -1));
			done++;
		} else if (!strcmp(how, "batch")) {
			int n = mqshm_producer_push_batch(p, pieces, count - done < batch ? count - done : batch, -1);

			must(n);
			done += (unsigned long)n;
		} else {
			float value = (float)(done % 256);
			void *room;

			must(mqshm_producer_reserve(p, size, &room, -1));
			fill(room, size / 4, value);
			must(mqshm_producer_commit(p, size));
			done++;
		}
	}
	must(mqshm_producer_wait_drained(p, -1));
}

static double consume(struct mqshm_consumer *c, const char *how)
{
	static unsigned char buffer[16 << 20];
	struct mqshm_message messages[BATCH_MOST];
	float (*add)(const float *, size_t) = !strcmp(how, "zero-copy-plain") ? sum_plain : sum;
	unsigned long done = 0;
	double began = 0;

	while (done < count) {
		if (!strcmp(how, "single")) {
			must(mqshm_consumer_pop(c, buffer, sizeof buffer, messages, -1));
			done++;
		} else if (!strcmp(how, "batch")) {
			int n = mqshm_consumer_pop_batch(c, messages, 1, batch, buffer, sizeof buffer, -1);

			must(n);
			done += (unsigned long)n;
		} else {
			must(mqshm_consumer_peek(c, messages, 1, -1));
			if (add(messages->data, messages->size / 4) != (float)(done % 256) * (float)(size / 4)) {
				fprintf(stderr, "c_side: a wrong sum\n");
				exit(1);
			}
			must(mqshm_consumer_release(c, 1));
			done++;
		}
		if (began == 0)
			began = now();
	}
	return (double)count / (now() - began);
}

static double probe(int a, int b)
{
	_Atomic uint32_t *line = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double began;
	pid_t child;

	if (line == MAP_FAILED)
		exit(1);
	child = fork();
	if (child == 0) {
		pin(b);
		for (uint32_t i = 0; i < PROBES; i++) {
			while (atomic_load(line) != 2 * i + 1)
				;
			atomic_store(line, 2 * i + 2);
		}
		_exit(0);
	}
	pin(a);
	began = 0;
	for (uint32_t i = 0; i < PROBES; i++) {
		if (i == PROBES / 10)
			began = now();
		atomic_store(line, 2 * i + 1);
		while (atomic_load(line) != 2 * i + 2)
			;
	}
	began = (now() - began) / (PROBES - PROBES / 10) * 1e9;
	waitpid(child, NULL, 0);
	return began;
}

int main(int argc, char **argv)
{
	struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = NODES };
	int status;
	pid_t child;

	if (argc == 4 && !strcmp(argv[1], "probe")) {
		printf("%.1f\n", probe(atoi(argv[2]), atoi(argv[3])));
		return 0;
	}
	if (argc != 8)
		return 2;
	size = (uint32_t)atoi(argv[3]);
	count = strtoul(argv[4], NULL, 10);
	batch = (uint32_t)atoi(argv[5]);
	if (size < 4 || size > 1 << 14 || batch < 1 || batch > BATCH_MOST)
		return 2;
	queue.block_size = size;
	child = fork();
	if (child == 0) {
		struct mqshm_producer *p;

		pin(atoi(argv[6]));
		must(mqshm_producer_open(&p, argv[2], &queue, NULL));
		produce(p, argv[1]);
		must(mqshm_producer_close(p));
		_exit(0);
	} else {
		struct mqshm_consumer_options options = { .size = sizeof options, .start = MQSHM_FROM_OLDEST };
		struct mqshm_consumer *c;
		double rate;

		pin(atoi(argv[7]));
		must(mqshm_consumer_open(&c, argv[2], &queue, &options));
		rate = consume(c, argv[1]);
		must(mqshm_consumer_close(c));
		waitpid(child, &status, 0);
		printf("%.0f\n", rate);
		return status != 0;
	}
}
