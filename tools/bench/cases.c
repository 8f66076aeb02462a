/* SPDX-License-Identifier: MIT */
/* The cases of mqshm bench: all there are, and which of them are in the default subset. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned sizes[] = { 8, 64, 1024, 4096, 12800 };
static const unsigned consumers[] = { 1, 2, 8, 32 };
static const char *const mode_names[] = { "copy", "batched", "zero-copy" };
static const char *const wait_names[] = { "default", "spin", "sleep" };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct list {
	struct bench_case *cases;
	size_t count, room;
};

/* The new case, or NULL; what memory there was stays in the list. */
static struct bench_case *add(struct list *list, struct bench_case c)
{
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 256;
		struct bench_case *more = realloc(list->cases, room * sizeof(*more));

		if (!more)
			return NULL;
		list->cases = more;
		list->room = room;
	}
	list->cases[list->count] = c;
	return &list->cases[list->count++];
}

static void add_limits(struct list *list)
{
	struct bench_case c = { .system = BENCH_LIMIT, .basic = true };

	c.kind = BENCH_LINE;
	snprintf(c.name, sizeof(c.name), "limit/cache-line");
	add(list, c);
	c.kind = BENCH_FUTEX;
	snprintf(c.name, sizeof(c.name), "limit/futex");
	add(list, c);
	c.kind = BENCH_CLOCK;
	snprintf(c.name, sizeof(c.name), "limit/clock_gettime");
	add(list, c);
	c.kind = BENCH_MEMCPY;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		c.size = sizes[i];
		snprintf(c.name, sizeof(c.name), "limit/memcpy/%uB", c.size);
		add(list, c);
	}
}

static void add_mutex_ring(struct list *list, unsigned size, unsigned readers, bool late)
{
	struct bench_case c = { .system = BENCH_MUTEX_RING, .size = size, .consumers = readers, .wait = BENCH_SLEEP,
				.late = late };
	const char *variant = late ? "-late" : "";

	c.kind = BENCH_THROUGHPUT;
	c.basic = size == 64 || (readers == 1 && !late);
	snprintf(c.name, sizeof(c.name), "throughput/mutex-ring%s/copy/%uB/%uc", variant, size, readers);
	add(list, c);
	c.kind = BENCH_LATENCY;
	c.basic = readers == 1 && size == 64 && !late;
	snprintf(c.name, sizeof(c.name), "latency/mutex-ring%s/copy/%uB/%uc", variant, size, readers);
	add(list, c);
}

/* One kind, size and number of consumers: all modes, ways to wait, with and without timestamps. */
static void add_mqshm(struct list *list, enum bench_kind kind, unsigned size, unsigned readers, bool timestamps)
{
	struct bench_case c = { .kind = kind, .size = size, .consumers = readers, .timestamps = timestamps };

	for (unsigned mode = 0; mode < COUNT(mode_names); mode++) {
		for (unsigned wait = 0; wait < COUNT(wait_names); wait++) {
			bool many = readers > 1, plain = !many && !timestamps;

			if (kind == BENCH_LATENCY && mode == BENCH_BATCHED)
				continue; /* one message at a time by its nature */
			c.mode = mode;
			c.wait = wait;
			if (kind == BENCH_THROUGHPUT)
				c.basic = (plain && wait == BENCH_DEFAULT) ||
					  (size == 64 && mode == BENCH_COPY && !(many && (timestamps || wait != BENCH_DEFAULT)));
			else
				c.basic = plain && mode == BENCH_COPY &&
					  (wait == BENCH_SPIN || (wait == BENCH_SLEEP && size <= 64));
			snprintf(c.name, sizeof(c.name), "%s/mqshm/%s/%s/%uB/%uc%s",
				 kind == BENCH_THROUGHPUT ? "throughput" : "latency", mode_names[mode], wait_names[wait],
				 size, readers, timestamps ? "/timestamps" : "");
			add(list, c);
		}
	}
}

static void add_push(struct list *list, unsigned size, bool timestamps)
{
	struct bench_case c = { .kind = BENCH_PUSH, .size = size, .timestamps = timestamps, .basic = size == 64 };

	snprintf(c.name, sizeof(c.name), "push/mqshm/copy/%uB%s", size, timestamps ? "/timestamps" : "");
	add(list, c);
}

struct bench_case *bench_cases_make(size_t *count)
{
	struct list list = { .count = 0 };

	add_limits(&list);
	for (size_t s = 0; s < COUNT(sizes); s++) {
		add_push(&list, sizes[s], false);
		add_push(&list, sizes[s], true);
		for (int late = 0; late <= 1; late++) {
			add_mutex_ring(&list, sizes[s], 1, late);
			add_mutex_ring(&list, sizes[s], 8, late);
		}
		for (size_t n = 0; n < COUNT(consumers); n++) {
			for (int timestamps = 0; timestamps <= 1; timestamps++) {
				add_mqshm(&list, BENCH_THROUGHPUT, sizes[s], consumers[n], timestamps);
				add_mqshm(&list, BENCH_LATENCY, sizes[s], consumers[n], timestamps);
			}
		}
	}
	*count = list.count;
	return list.cases;
}

struct bench_case *bench_cases_find(struct bench_case *cases, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(cases[i].name, name) == 0)
			return &cases[i];
	return NULL;
}

/* Its result is a latency, not a rate. */
bool bench_is_round_trip(const struct bench_case *c)
{
	return c->kind == BENCH_LATENCY || c->kind == BENCH_LINE || c->kind == BENCH_FUTEX;
}

void bench_cases_free(struct bench_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(cases[i].runs);
	free(cases);
}
