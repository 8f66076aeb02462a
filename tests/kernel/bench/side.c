/* SPDX-License-Identifier: MIT */
/*
 * What bench.sh measures in a guest on one backend (MQSHM_BACKEND) after the other, a line "NAME VALUE UNIT" each:
 *
 *	side trip futex|queue CPU CPU	there and back between two processes that always sleep
 *	side life COUNT			COUNT queues: created, attached to, left, removed
 *	side touch [prefault]		pushes into each node of a ring for the first time, and for the second
 */
#include <linux/futex.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <mqshm.h>

#define TRIPS 5000
#define TOUCH_NODES 1000
#define TOUCH_BLOCK 12800

#define MUST(call)                                                                                   \
	({                                                                                           \
		long rc_ = (call);                                                                   \
		if (rc_ < 0) {                                                                       \
			fprintf(stderr, "%s: %ld, %s\n", #call, rc_, mqshm_last_error());            \
			exit(1);                                                                     \
		}                                                                                    \
		rc_;                                                                                 \
	})

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	MUST(sched_setaffinity(0, sizeof set, &set));
}

static long usage_of(int who, bool switches)
{
	struct rusage u;

	getrusage(who, &u);
	return switches ? u.ru_nvcsw : u.ru_minflt;
}

/* ---- there and back ---- */

static uint32_t *turn; /* 0: ours, 1: the peer's */

static void futex_trip(int side)
{
	while (__atomic_load_n(turn, __ATOMIC_ACQUIRE) != (uint32_t)side)
		syscall(SYS_futex, turn, FUTEX_WAIT, !side, NULL, NULL, 0);
	__atomic_store_n(turn, !side, __ATOMIC_RELEASE);
	syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static const char *names[2] = { "side-ping", "side-pong" };
static struct mqshm_producer *to;
static struct mqshm_consumer *from;

static void queue_open(int side)
{
	struct mqshm_queue_options q = { .size = sizeof q, .node_count = 16, .block_size = 8 };
	struct mqshm_producer_options p = { .size = sizeof p, .spin_us = MQSHM_SPIN_NEVER };
	struct mqshm_consumer_options c = { .size = sizeof c, .spin_us = MQSHM_SPIN_NEVER };

	MUST(mqshm_consumer_open(&from, names[!side], &q, &c));
	MUST(mqshm_producer_open(&to, names[side], &q, &p));
	MUST(mqshm_producer_wait_consumers(to, 1, 0, 20000));
}

static void queue_trip(int side)
{
	uint64_t value = 0;

	if (!side)
		MUST(mqshm_producer_push(to, &value, sizeof value, -1));
	MUST(mqshm_consumer_pop(from, &value, sizeof value, NULL, -1));
	if (side)
		MUST(mqshm_producer_push(to, &value, sizeof value, -1));
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void trip(bool futex, int cpu, int peer_cpu)
{
	void (*once)(int side) = futex ? futex_trip : queue_trip;
	static double times[TRIPS];
	double start, took;
	long slept;
	pid_t pid;

	turn = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid = (pid_t)MUST(fork());
	pin(pid ? cpu : peer_cpu);
	if (!futex)
		queue_open(!pid);
	for (int i = 0; i < TRIPS / 10; i++)
		once(!pid);
	slept = usage_of(RUSAGE_SELF, true);
	start = now_us();
	for (int i = 0; i < TRIPS; i++) {
		double began = now_us();

		once(!pid);
		times[i] = now_us() - began;
	}
	took = now_us() - start;
	slept = usage_of(RUSAGE_SELF, true) - slept;
	if (!futex) {
		MUST(mqshm_producer_close(to));
		mqshm_consumer_close(from);
	}
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	qsort(times, TRIPS, sizeof *times, by_value);
	printf("mean %.3f us\np50 %.3f us\np99 %.3f us\nmost %.3f us\nslept %.3f each\n", took / TRIPS, times[TRIPS / 2],
	       times[TRIPS * 99 / 100], times[TRIPS - 1], (double)slept / TRIPS);
}

/* ---- many queues ---- */

static void life(int count)
{
	struct mqshm_queue_options q = { .size = sizeof q, .node_count = 8, .block_size = 64, .flags = MQSHM_PERSISTENT };
	struct mqshm_producer **p = calloc((size_t)count, sizeof *p);
	struct mqshm_consumer **c = calloc((size_t)count, sizeof *c);
	double at = now_us();
	char name[32];

#define STEP(what, call)                                                           \
	for (int i = 0; i < count; i++) {                                          \
		snprintf(name, sizeof name, "side-%d", i);                         \
		MUST(call);                                                        \
	}                                                                          \
	printf("%s %.2f us\n", what, (now_us() - at) / count);                     \
	at = now_us()

	STEP("create", mqshm_queue_create(name, &q));
	STEP("attach_producer", mqshm_producer_open(&p[i], name, NULL, NULL));
	STEP("attach_consumer", mqshm_consumer_open(&c[i], name, NULL, NULL));
	STEP("close_consumer", mqshm_consumer_close(c[i]));
	STEP("close_producer", mqshm_producer_close(p[i]));
	STEP("remove", mqshm_queue_remove(name, 0));
	free(p);
	free(c);
}

/* ---- a new ring ---- */

static void touch(bool prefault)
{
	struct mqshm_queue_options q = { .size = sizeof q, .node_count = TOUCH_NODES, .block_size = TOUCH_BLOCK };
	struct mqshm_producer_options options = { .size = sizeof options, .flags = prefault ? MQSHM_PREFAULT : 0 };
	static char block[TOUCH_BLOCK];
	struct mqshm_producer *p;
	double start = now_us();
	long faults;

	memset(block, 1, sizeof block);
	MUST(mqshm_producer_open(&p, "side-touch", &q, &options));
	printf("open %.1f us\n", now_us() - start);
	for (int round = 1; round <= 2; round++) {
		faults = usage_of(RUSAGE_SELF, false);
		start = now_us();
		for (int i = 0; i < TOUCH_NODES; i++)
			MUST(mqshm_producer_push(p, block, sizeof block, 0));
		printf("round%d %.3f us\nfaults%d %ld all\n", round, (now_us() - start) / TOUCH_NODES, round,
		       usage_of(RUSAGE_SELF, false) - faults);
	}
	MUST(mqshm_producer_close(p));
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "trip") && argc == 5)
		trip(!strcmp(argv[2], "futex"), atoi(argv[3]), atoi(argv[4]));
	else if (!strcmp(what, "life") && argc == 3)
		life(atoi(argv[2]));
	else if (!strcmp(what, "touch"))
		touch(argc > 2);
	else
		return 2;
	return 0;
}
