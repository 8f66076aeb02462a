/* SPDX-License-Identifier: MIT */
/*
 * The targets of mqshm bench and what was measured against them: ratios of medians of interleaved runs, in the
 * fastest class in which every case concerned has BENCH_REPS_NEEDED runs that count.
 */
#include "bench.h"

#include <stddef.h>

struct target {
	const char *text, *a, *b, *unit;
	enum bench_value value;
	bool at_least;
	double limit;
};

#define QUEUE "throughput/mqshm/"
#define RING "throughput/mutex-ring/copy/"

static const struct target targets[] = {
	{ "copying, 8 B, 1 consumer", QUEUE "copy/default/8B/1c", RING "8B/1c", NULL, BENCH_RATE, true, 12 },
	{ "copying, 64 B, 1 consumer", QUEUE "copy/default/64B/1c", RING "64B/1c", NULL, BENCH_RATE, true, 7 },
	{ "copying, 1,024 B, 1 consumer", QUEUE "copy/default/1024B/1c", RING "1024B/1c", NULL, BENCH_RATE, true, 4 },
	{ "copying, 4,096 B, 1 consumer", QUEUE "copy/default/4096B/1c", RING "4096B/1c", NULL, BENCH_RATE, true, 3 },
	{ "copying, 12,800 B, 1 consumer", QUEUE "copy/default/12800B/1c", RING "12800B/1c", NULL, BENCH_RATE, true, 3 },
	{ "batched, 64 B, 1 consumer", QUEUE "batched/default/64B/1c", RING "64B/1c", NULL, BENCH_RATE, true, 12 },
	{ "copying, 64 B, 8 consumers", QUEUE "copy/default/64B/8c", RING "64B/8c", NULL, BENCH_RATE, true, 12 },
	{ "timestamp of a push / clock_gettime", "push/mqshm/copy/64B/timestamps", "push/mqshm/copy/64B",
	  "limit/clock_gettime", BENCH_NS, false, 1 },
	{ "spinning p50 / cache line, 8 B", "latency/mqshm/copy/spin/8B/1c", "limit/cache-line", NULL, BENCH_P50, false, 1.8 },
	{ "sleeping p50 / futex, 8 B", "latency/mqshm/copy/sleep/8B/1c", "limit/futex", NULL, BENCH_P50, false, 1.1 },
};

size_t bench_targets_count(void)
{
	return sizeof(targets) / sizeof(targets[0]);
}

/* False while a class has too few runs of one of the cases. */
static bool judge_in(const struct target *t, const struct bench_case *const c[3], enum bench_class class,
		     struct bench_verdict *v)
{
	struct bench_summary a = bench_summarize(c[0], class, t->value), b = bench_summarize(c[1], class, t->value), u;

	if (a.runs < BENCH_REPS_NEEDED || b.runs < BENCH_REPS_NEEDED)
		return false;
	v->value = a.median / b.median;
	v->low = a.q1 / b.q3;
	v->high = a.q3 / b.q1;
	if (c[2]) {
		u = bench_summarize(c[2], class, t->value);
		if (u.runs < BENCH_REPS_NEEDED)
			return false;
		v->value = (a.median - b.median) / u.median;
		v->low = (a.q1 - b.q3) / u.median;
		v->high = (a.q3 - b.q1) / u.median;
	}
	v->class = class;
	v->runs_a = a.runs;
	v->runs_b = b.runs;
	v->result = (t->at_least ? v->value >= t->limit : v->value <= t->limit) ? BENCH_MET : BENCH_MISSED;
	return true;
}

struct bench_verdict bench_targets_judge(const struct bench_plan *plan, size_t index)
{
	const struct target *t = &targets[index];
	struct bench_verdict v = { .text = t->text, .a = t->a, .b = t->b, .unit = t->unit, .at_least = t->at_least,
				   .limit = t->limit, .result = BENCH_TOO_FEW };
	const struct bench_case *c[3] = {
		bench_cases_find(plan->cases, plan->case_count, t->a),
		bench_cases_find(plan->cases, plan->case_count, t->b),
		t->unit ? bench_cases_find(plan->cases, plan->case_count, t->unit) : NULL,
	};

	if (!c[0] || !c[1] || !c[0]->chosen || !c[1]->chosen || (c[2] && !c[2]->chosen)) {
		v.result = BENCH_NOT_RUN;
		return v;
	}
	for (int class = BENCH_NEAR; class < BENCH_CLASSES; class++)
		if (judge_in(t, c, class, &v))
			break;
	return v;
}

/* Tell the cases that the targets need from the others. */
void bench_targets_mark(struct bench_case *cases, size_t count)
{
	for (size_t i = 0; i < bench_targets_count(); i++) {
		const char *const names[] = { targets[i].a, targets[i].b, targets[i].unit };

		for (size_t k = 0; k < 3; k++) {
			struct bench_case *c = names[k] ? bench_cases_find(cases, count, names[k]) : NULL;

			if (c)
				c->wanted = true;
		}
	}
}
