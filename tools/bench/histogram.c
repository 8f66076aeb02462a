/* SPDX-License-Identifier: MIT */
/* Histograms of nanoseconds for mqshm bench: 128 linear steps an octave, fixed memory, no sorting. */
#include "bench.h"

#define STEP_BITS 7
#define STEPS (1u << STEP_BITS)
#define TICK_MOST 20.0 /* ns: no clock that is of use here ticks more slowly */

static unsigned bucket_of(uint64_t ns)
{
	unsigned shift;

	if (ns < STEPS)
		return (unsigned)ns;
	shift = 63 - (unsigned)__builtin_clzll(ns) - STEP_BITS;
	return (shift + 1) * STEPS + (unsigned)((ns >> shift) - STEPS);
}

/* The middle of a bucket. */
static double value_of(unsigned bucket)
{
	unsigned shift;

	if (bucket < STEPS)
		return bucket;
	shift = bucket / STEPS - 1;
	return (double)((uint64_t)(STEPS + bucket % STEPS) << shift) + (double)((UINT64_C(1) << shift) - 1) / 2;
}

void bench_histogram_add(struct bench_histogram *h, uint64_t ns)
{
	h->buckets[bucket_of(ns)]++;
	h->count++;
	if (ns > h->max)
		h->max = ns;
}

/*
 * The value that the given fraction of all lies at or below. Clocks tick, on some virtual machines every 10 ns; what
 * shows as one value was therefore spread around it, half-way to its neighbours at most.
 */
double bench_histogram_at(const struct bench_histogram *h, double fraction)
{
	double want = fraction * (double)h->count, before = -TICK_MOST, value, low, high, after;
	uint64_t seen = 0;
	unsigned i, k;

	for (i = 0; i < BENCH_BUCKETS; i++) {
		if (!h->buckets[i])
			continue;
		if ((double)(seen + h->buckets[i]) >= want)
			break;
		seen += h->buckets[i];
		before = value_of(i);
	}
	if (i == BENCH_BUCKETS)
		return (double)h->max;
	for (k = i + 1; k < BENCH_BUCKETS && !h->buckets[k]; k++)
		;
	value = value_of(i);
	after = k < BENCH_BUCKETS ? value_of(k) : value + TICK_MOST;
	low = value - (value - before < TICK_MOST ? value - before : TICK_MOST) / 2;
	high = value + (after - value < TICK_MOST ? after - value : TICK_MOST) / 2;
	return low + (high - low) * (want - (double)seen) / h->buckets[i];
}
