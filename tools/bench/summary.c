/* SPDX-License-Identifier: MIT */
/* Medians and quartiles over the runs of a case that count, within one class; for the table, targets and JSON. */
#include "bench.h"

#include <stdlib.h>

#define RUNS_MOST 1024

static double value_of(const struct bench_run *run, enum bench_value value)
{
	switch (value) {
	case BENCH_RATE:
		return (double)run->count / run->seconds;
	case BENCH_NS:
		return run->seconds * 1e9 / (double)run->count;
	case BENCH_P50:
		return run->p50;
	case BENCH_P99:
		return run->p99;
	case BENCH_P999:
		return run->p999;
	default:
		return run->max;
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Between the two nearest where the place is not a whole number. */
static double at(const double *sorted, unsigned count, double fraction)
{
	double place = fraction * (count - 1);
	unsigned below = (unsigned)place, above = below + 1 < count ? below + 1 : below;

	return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

struct bench_summary bench_summarize(const struct bench_case *c, enum bench_class class, enum bench_value value)
{
	struct bench_summary s = { .runs = 0 };
	double values[RUNS_MOST];

	for (size_t i = 0; i < c->run_count && s.runs < RUNS_MOST; i++)
		if (!c->runs[i].discarded && c->runs[i].class == class)
			values[s.runs++] = value_of(&c->runs[i], value);
	if (!s.runs)
		return s;
	qsort(values, s.runs, sizeof(*values), compare);
	s.min = values[0];
	s.q1 = at(values, s.runs, 0.25);
	s.median = at(values, s.runs, 0.5);
	s.q3 = at(values, s.runs, 0.75);
	s.max = values[s.runs - 1];
	return s;
}
