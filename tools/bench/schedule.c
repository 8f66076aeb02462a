/* SPDX-License-Identifier: MIT */
/*
 * Repetitions of mqshm bench: all cases once, then all again, so that a slow quarter of an hour hits all alike. Each
 * run is classed by what a cache line costs right before and after it, since a virtual machine may be moved between
 * processors that are near to each other or far apart; a run during which that changed, or in which something else
 * had the processor, is discarded and repeated. What the targets still lack is measured until the time is over.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ATTEMPTS 3		/* of one run, before the next repetition has to do */
#define MOVED 1.5		/* probes before and after that differ by more: discarded */
#define DISTURBED 0.10		/* part of a run spent waiting for the processor, above which it is discarded */
#define PROBE_DISTURBED 1.6	/* mean of a probe / its median, above which something else was running */
#define AWAKE_NS 2000		/* less than any sleep and wake-up */
#define PROBE_FRESH_NS 5000000	/* the probe after one run is the one before the next */
#define CLASS_NEAR 52		/* ns of half a round trip */
#define CLASS_MID 120
#define COUNT_FIRST 64		/* messages of the first calibration run */
#define COUNT_MOST (UINT64_C(1) << 32)

static struct bench_probe last_probe;
static uint64_t last_probe_at;

const char *bench_class_name(enum bench_class class)
{
	static const char *const names[] = { "near", "mid", "far" };

	return names[class];
}

static enum bench_class class_of(const struct bench_run *run)
{
	double ns = (run->before.ns + run->after.ns) / 2;

	return ns < CLASS_NEAR ? BENCH_NEAR : ns < CLASS_MID ? BENCH_MID : BENCH_FAR;
}

static const char *judge(const struct bench_case *c, const struct bench_run *run)
{
	bool sleeps = c->kind == BENCH_FUTEX || (c->kind == BENCH_LATENCY && c->wait == BENCH_SLEEP);
	double ratio = run->before.ns / run->after.ns;

	/* Two who answer while the other is still on its way to sleep never sleep: that measures something else. */
	if (sleeps && run->p50 < AWAKE_NS)
		return "awake";

	if (ratio > MOVED || ratio < 1 / MOVED)
		return "moved";
	if (run->before.mean > PROBE_DISTURBED * run->before.ns || run->after.mean > PROBE_DISTURBED * run->after.ns ||
	    run->waited > DISTURBED)
		return "disturbed";
	return NULL;
}

static void progress(const struct bench_plan *plan, unsigned rep, size_t done, size_t of, const char *name)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%s %u, %zu of %zu: %s (%u runs, %u discarded)",
			rep <= plan->options.reps ? "repetition" : "more for the targets,", rep, done, of, name,
			plan->runs, plan->discarded);
}

static void progress_end(void)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
}

/* Note why we go no further. */
static bool over(struct bench_plan *plan, int result)
{
	if (result == BENCH_RUN_STOPPED)
		plan->stopped = true;
	if (result == BENCH_RUN_FAILED)
		plan->failed = true;
	return plan->stopped || plan->failed;
}

/* How many messages take about as long as a run shall. */
static int calibrate(struct bench_plan *plan, struct bench_case *c)
{
	const double want = plan->options.seconds_per_run;
	uint64_t count = COUNT_FIRST;
	struct bench_run run;

	for (;;) {
		int result = bench_run_one(c, count, want, &run);
		double factor = run.seconds > 0 ? want / run.seconds : 1000;

		if (result != BENCH_RUN_OK)
			return result;
		if (factor < 4 || count >= COUNT_MOST) {
			count = (uint64_t)((double)count * factor);
			break;
		}
		count *= factor < 50 ? (uint64_t)factor : 50;
	}
	if (count < BENCH_BATCH)
		count = BENCH_BATCH;
	c->count = count / BENCH_BATCH * BENCH_BATCH;
	return BENCH_RUN_OK;
}

/* A run between two probes. */
static int probed(struct bench_plan *plan, struct bench_case *c, struct bench_run *run)
{
	int result = BENCH_RUN_OK;

	if (!last_probe_at || bench_now_ns() - last_probe_at > PROBE_FRESH_NS)
		result = bench_run_probe(&last_probe);
	run->before = last_probe;
	if (result == BENCH_RUN_OK)
		result = bench_run_one(c, c->count, plan->options.seconds_per_run, run);
	if (result == BENCH_RUN_OK)
		result = bench_run_probe(&run->after);
	last_probe = run->after;
	last_probe_at = bench_now_ns();
	run->class = class_of(run);
	run->discarded = judge(c, run);
	return result;
}

/* One repetition of one case: a run that counts, or ATTEMPTS that don't. */
static int measure(struct bench_plan *plan, struct bench_case *c, unsigned rep)
{
	struct bench_run *more;
	int result = BENCH_RUN_OK;

	if (!c->count)
		result = calibrate(plan, c);
	for (unsigned i = 0; i < ATTEMPTS && result == BENCH_RUN_OK; i++) {
		struct bench_run run = { .rep = rep };

		result = probed(plan, c, &run);
		if (result != BENCH_RUN_OK)
			break;
		more = realloc(c->runs, (c->run_count + 1) * sizeof(*more));
		if (!more)
			return BENCH_RUN_FAILED;
		c->runs = more;
		c->runs[c->run_count++] = run;
		plan->runs++;
		if (!run.discarded)
			break;
		plan->discarded++;
	}
	return result;
}

/* All cases that are marked, once. False when it is time to stop. */
static bool repeat(struct bench_plan *plan, unsigned rep, const bool *marked, uint64_t until)
{
	size_t of = 0, done = 0;

	for (size_t i = 0; i < plan->case_count; i++)
		of += marked[i];
	for (size_t i = 0; i < plan->case_count; i++) {
		struct bench_case *c = &plan->cases[i];

		if (!marked[i])
			continue;
		if (bench_now_ns() > until)
			return false;
		progress(plan, rep, ++done, of, c->name);
		if (over(plan, measure(plan, c, rep)))
			return false;
	}
	return of > 0;
}

static void mark(const struct bench_plan *plan, bool *marked, const char *name)
{
	struct bench_case *c = name ? bench_cases_find(plan->cases, plan->case_count, name) : NULL;

	if (c)
		marked[c - plan->cases] = true;
}

void bench_schedule(struct bench_plan *plan)
{
	const uint64_t begin = bench_now_ns();
	const uint64_t until = begin + (uint64_t)(plan->options.seconds_at_most * 1e9);
	bool *marked = calloc(plan->case_count, sizeof(*marked));
	unsigned rep = 1;

	plan->failed = !marked;
	for (size_t i = 0; marked && i < plan->case_count; i++)
		marked[i] = plan->cases[i].chosen;
	while (marked && rep <= plan->options.reps && repeat(plan, rep, marked, until))
		rep++;
	while (marked && plan->options.more && rep > plan->options.reps && !plan->stopped && !plan->failed) {
		for (size_t i = 0; i < plan->case_count; i++)
			marked[i] = false;
		for (size_t i = 0; i < bench_targets_count(); i++) {
			struct bench_verdict v = bench_targets_judge(plan, i);

			if (v.result != BENCH_TOO_FEW)
				continue;
			mark(plan, marked, v.a);
			mark(plan, marked, v.b);
			mark(plan, marked, v.unit);
		}
		if (!repeat(plan, rep++, marked, until))
			break;
	}
	free(marked);
	progress_end();
	plan->seconds = (double)(bench_now_ns() - begin) / 1e9;
}
