/* SPDX-License-Identifier: MIT */
/* The output of mqshm bench for people: machine, rates, latencies, costs, targets. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "../tool.h"

static int name_width; /* of the longest name shown */

/* 7.12M, 93.1k, 512 */
static const char *short_number(char text[16], double n)
{
	if (n >= 1e6)
		snprintf(text, 16, n >= 1e8 ? "%.0fM" : n >= 1e7 ? "%.1fM" : "%.2fM", n / 1e6);
	else if (n >= 1e3)
		snprintf(text, 16, n >= 1e5 ? "%.0fk" : n >= 1e4 ? "%.1fk" : "%.2fk", n / 1e3);
	else
		snprintf(text, 16, "%.0f", n);
	return text;
}

/* 42.3 ns, 1.23 us, 4.56 ms; "-" for what was too rare to tell */
static const char *duration(char text[16], double ns)
{
	if (ns <= 0)
		snprintf(text, 16, "-");
	else if (ns < 999.5)
		snprintf(text, 16, ns < 99.95 ? "%.1f ns" : "%.0f ns", ns);
	else if (ns < 999.5e3)
		snprintf(text, 16, ns < 99.95e3 ? "%.2f us" : "%.0f us", ns / 1e3);
	else
		snprintf(text, 16, ns < 99.95e6 ? "%.2f ms" : "%.0f ms", ns / 1e6);
	return text;
}

/* The class to show: the fastest that has enough runs, else the one that has most. -1: no run counts. */
static int class_to_show(const struct bench_case *c)
{
	unsigned most = 0;
	int best = -1;

	for (int class = BENCH_NEAR; class < BENCH_CLASSES; class++) {
		unsigned runs = bench_summarize(c, class, BENCH_NS).runs;

		if (runs >= BENCH_REPS_NEEDED)
			return class;
		if (runs > most) {
			most = runs;
			best = class;
		}
	}
	return best;
}

/* Name, class, runs; -1 when there is nothing to follow. */
static int row_begin(const struct bench_case *c)
{
	int class = class_to_show(c);
	unsigned runs;

	if (class < 0) {
		printf("%-*s  -     no run that counts (%zu discarded)\n", name_width, c->name, c->run_count);
		return -1;
	}
	runs = bench_summarize(c, class, BENCH_NS).runs;
	printf("%-*s  %-4s %3u%c", name_width, c->name, bench_class_name(class), runs,
	       runs < BENCH_REPS_NEEDED ? '*' : ' ');
	return class;
}

static bool is_rate(const struct bench_case *c)
{
	return c->kind == BENCH_THROUGHPUT;
}

static bool is_cost(const struct bench_case *c)
{
	return c->kind == BENCH_PUSH || c->kind == BENCH_CLOCK || c->kind == BENCH_MEMCPY;
}

static bool any(const struct bench_plan *plan, bool (*which)(const struct bench_case *))
{
	for (size_t i = 0; i < plan->case_count; i++)
		if (plan->cases[i].run_count && which(&plan->cases[i]))
			return true;
	return false;
}

static void rate_row(const struct bench_case *c)
{
	char a[16], b[16], d[16], e[16], f[16];
	int class = row_begin(c);
	struct bench_summary s;

	if (class < 0)
		return;
	s = bench_summarize(c, class, BENCH_RATE);
	printf(" %8s %8s-%-8s %8s %10s\n", short_number(a, s.median), short_number(b, s.q1), short_number(d, s.q3),
	       short_number(e, s.median * c->size), duration(f, 1e9 / s.median));
}

static void latency_row(const struct bench_case *c)
{
	char a[16], b[16], d[16], e[16], f[16], g[16];
	int class = row_begin(c);
	struct bench_summary s;

	if (class < 0)
		return;
	s = bench_summarize(c, class, BENCH_P50);
	printf(" %8s %9s-%-9s %9s %9s %9s\n", duration(a, s.median), duration(b, s.q1), duration(d, s.q3),
	       duration(e, bench_summarize(c, class, BENCH_P99).median),
	       duration(f, bench_summarize(c, class, BENCH_P999).median),
	       duration(g, bench_summarize(c, class, BENCH_MAX).max));
}

static void cost_row(const struct bench_case *c)
{
	char a[16], b[16], d[16];
	int class = row_begin(c);
	struct bench_summary s;

	if (class < 0)
		return;
	s = bench_summarize(c, class, BENCH_NS);
	printf(" %8s %9s-%-9s\n", duration(a, s.median), duration(b, s.q1), duration(d, s.q3));
}

static void table(const struct bench_plan *plan, const char *head, bool (*which)(const struct bench_case *),
		  void (*row)(const struct bench_case *))
{
	if (!any(plan, which))
		return;
	printf("\n%-*s  class runs %s\n", name_width, "", head);
	for (size_t i = 0; i < plan->case_count; i++)
		if (plan->cases[i].run_count && which(&plan->cases[i]))
			row(&plan->cases[i]);
}

static void targets(const struct bench_plan *plan)
{
	printf("\n%-40s %7s  %-24s %-5s %s\n", "target", "", "measured (quartiles)", "class", "");
	for (size_t i = 0; i < bench_targets_count(); i++) {
		struct bench_verdict v = bench_targets_judge(plan, i);
		char measured[40] = "-";

		if (v.result == BENCH_MET || v.result == BENCH_MISSED)
			snprintf(measured, sizeof(measured), "%.2fx (%.2f-%.2f)", v.value, v.low, v.high);
		printf("%-40s %s %4.4gx  %-24s %-5s %s\n", v.text, v.at_least ? ">=" : "<=", v.limit, measured,
		       v.result >= BENCH_MET ? bench_class_name(v.class) : "-",
		       v.result == BENCH_MET	   ? "met"
		       : v.result == BENCH_MISSED ? "missed"
		       : v.result == BENCH_TOO_FEW ? "not reached: need more repetitions"
						   : "not run");
	}
}

static void head(const struct bench_plan *plan, int argc, char **argv)
{
	const struct bench_cpus *cpus = bench_run_cpus();
	struct bench_machine machine;

	bench_machine_look(&machine);
	printf("command   mqshm");
	for (int i = 0; i < argc; i++)
		printf(" %s", argv[i]);
	printf("\nmachine   %s, %u processor%s online%s; %s; %s; %s\n", machine.cpu, machine.cpus, plural(machine.cpus),
	       machine.virtual ? ", virtual" : "", machine.kernel, machine.compiler, machine.date);
	printf("pinned    producer to processor %d, consumers to ", cpus->id[0]);
	if (cpus->count == 1)
		printf("the same one: there is no other, so nothing here runs at the same time\n");
	else if (cpus->count == 2)
		printf("%d\n", cpus->id[1]);
	else
		printf("%d-%d in turn\n", cpus->id[1], cpus->id[cpus->count - 1]);
	printf("runs      %u in %.0f s, %u of them discarded%s\n", plan->runs, plan->seconds, plan->discarded,
	       plan->stopped ? "; interrupted" : plan->failed ? "; FAILED" : "");
	printf("class     cache-line ping-pong around the run: near under 52 ns, mid under 120 ns, far above\n"
	       "runs      * fewer than %d of one class: not to be relied on\n"
	       "numbers   medians over the runs of the class, and their quartiles; latency is half a round trip\n",
	       BENCH_REPS_NEEDED);
}

void bench_report(const struct bench_plan *plan, int argc, char **argv)
{
	name_width = 0;
	for (size_t i = 0; i < plan->case_count; i++)
		if (plan->cases[i].run_count && (int)strlen(plan->cases[i].name) > name_width)
			name_width = (int)strlen(plan->cases[i].name);
	head(plan, argc, argv);
	table(plan, "messages/s   quartiles           B/s  a message", is_rate, rate_row);
	table(plan, "     p50   quartiles of p50        p99     p99.9       max", bench_is_round_trip, latency_row);
	table(plan, "    each   quartiles", is_cost, cost_row);
	targets(plan);
}
