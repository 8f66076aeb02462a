/* SPDX-License-Identifier: MIT */
/*
 * What the machine can do at best, for mqshm bench: a cache line that goes to and fro, the same through a futex,
 * memcpy, clock_gettime. The probe, by which runs are discarded and classed, is the cache line too.
 */
#include "bench.h"

#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STOP UINT64_MAX	    /* on the line: the probe is over */
#define BLOCK 128	    /* rounds of the probe that are timed together */
#define BLOCKS_MAX 4096

/* Wait until the line shows want; false when it shows STOP. */
static bool line_wait(struct bench_env *env, uint64_t want)
{
	uint64_t seen;

	while ((seen = atomic_load_explicit(&env->shared->line, memory_order_acquire)) != want) {
		if (seen == STOP)
			return false;
		if (env->crowded)
			sched_yield();
	}
	return true;
}

static void line_set(struct bench_env *env, uint64_t value)
{
	atomic_store_explicit(&env->shared->line, value, memory_order_release);
}

/*
 * Rounds from `from` on. The clock is read while the other side has its turn, so that reading it costs nothing:
 * the time of a round is that from one store to the next. The latency runs of the queues do the same.
 */
static void line_rounds(struct bench_env *env, uint64_t from, uint64_t count, struct bench_histogram *times)
{
	uint64_t last = 0, now;

	for (uint64_t i = from; i < from + count; i++) {
		if (env->index == 0) {
			line_set(env, 2 * i + 1);
			if (times) {
				now = bench_now_ns();
				if (last)
					bench_histogram_add(times, now - last);
				last = now;
			}
			line_wait(env, 2 * i + 2);
		} else {
			line_wait(env, 2 * i + 1);
			line_set(env, 2 * i + 2);
		}
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Blocks of rounds until the time is over. Their median does not mind an interruption; the mean shows it. */
static void probe(struct bench_env *env)
{
	static double blocks[BLOCKS_MAX];
	uint64_t begin, last, now, i = 0, until;
	size_t count = 0;

	bench_barrier(env);
	if (env->index == 1) {
		while (line_wait(env, 2 * i + 1))
			line_set(env, 2 * ++i);
		bench_finish(env);
		return;
	}
	begin = last = bench_now_ns();
	until = begin + (uint64_t)(env->seconds * 1e9);
	do {
		for (unsigned k = 0; k < BLOCK; k++) {
			line_set(env, 2 * i + 1);
			line_wait(env, 2 * ++i);
		}
		now = bench_now_ns();
		blocks[count++] = (double)(now - last) / (2 * BLOCK);
		last = now;
	} while (now < until && count < BLOCKS_MAX);
	line_set(env, STOP);
	env->shared->probe.mean = (double)(last - begin) / (double)(2 * BLOCK * count);
	qsort(blocks, count, sizeof(*blocks), compare);
	env->shared->probe.ns = blocks[count / 2];
	bench_finish(env);
}

static void futex_wait(_Atomic uint32_t *word, uint32_t while_it_is)
{
	while (atomic_load_explicit(word, memory_order_acquire) == while_it_is)
		syscall(SYS_futex, word, FUTEX_WAIT, while_it_is, NULL, NULL, 0);
}

static void futex_set(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* The word says whose turn it is: 0 or 1. One wake and one wait in each direction. */
static void futex_rounds(struct bench_env *env, uint64_t count, struct bench_histogram *times)
{
	_Atomic uint32_t *turn = &env->shared->futex;
	uint64_t last = 0, now;

	for (uint64_t i = 0; i < count; i++) {
		if (env->index == 0) {
			futex_set(turn, 1);
			if (times) {
				now = bench_now_ns();
				if (last)
					bench_histogram_add(times, now - last);
				last = now;
			}
			futex_wait(turn, 1);
		} else {
			futex_wait(turn, 0);
			futex_set(turn, 0);
		}
	}
}

static void copies(struct bench_env *env)
{
	static _Alignas(64) unsigned char from[BENCH_SIZE_MAX], to[BENCH_SIZE_MAX];
	unsigned size = env->what->size;

	memset(from, 1, sizeof(from));
	memset(to, 2, sizeof(to));
	bench_barrier(env);
	for (uint64_t i = 0; i < env->count; i++) {
		memcpy(to, from, size);
		__asm__ volatile("" : : "r"(to), "r"(from) : "memory"); /* each copy is made */
	}
	bench_finish(env);
}

static void clocks(struct bench_env *env)
{
	struct timespec t;

	bench_barrier(env);
	for (uint64_t i = 0; i < env->count; i++)
		clock_gettime(CLOCK_REALTIME, &t);
	bench_finish(env);
}

void bench_limits_body(struct bench_env *env)
{
	struct bench_histogram *times = &env->shared->histogram;

	switch (env->what->kind) {
	case BENCH_PROBE:
		probe(env);
		break;
	case BENCH_LINE:
		line_rounds(env, 0, env->warm, NULL);
		bench_barrier(env);
		line_rounds(env, env->warm, env->count, times);
		bench_finish(env);
		break;
	case BENCH_FUTEX:
		futex_rounds(env, env->warm, NULL);
		bench_barrier(env);
		futex_rounds(env, env->count, times);
		bench_finish(env);
		break;
	case BENCH_MEMCPY:
		copies(env);
		break;
	default:
		clocks(env);
	}
}
