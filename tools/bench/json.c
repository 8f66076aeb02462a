/* SPDX-License-Identifier: MIT */
/* The output of mqshm bench --json: machine, command, every single run with its probes, medians, targets. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "../tool.h"

static void text(const char *key, const char *value)
{
	printf("\"%s\": ", key);
	json_string(stdout, value, strlen(value));
}

static void machine(int argc, char **argv)
{
	const struct bench_cpus *cpus = bench_run_cpus();
	struct bench_machine m;

	bench_machine_look(&m);
	printf("  \"command\": [\"mqshm\"");
	for (int i = 0; i < argc; i++) {
		printf(", ");
		json_string(stdout, argv[i], strlen(argv[i]));
	}
	printf("],\n  \"machine\": {");
	text("cpu", m.cpu);
	printf(", \"processors\": %u, \"virtual\": %s, ", m.cpus, m.virtual ? "true" : "false");
	text("kernel", m.kernel);
	printf(", ");
	text("compiler", m.compiler);
	printf(", ");
	text("date", m.date);
	printf("},\n  \"pinned\": {\"producer\": %d, \"consumers\": [", cpus->id[0]);
	for (unsigned i = cpus->count > 1; i < cpus->count; i++)
		printf("%s%d", i > 1 ? ", " : "", cpus->id[i]);
	printf("]},\n");
}

static void one_run(const struct bench_case *c, const struct bench_run *run)
{
	printf("      {\"repetition\": %u, \"class\": \"%s\", \"discarded\": ", run->rep, bench_class_name(run->class));
	if (run->discarded)
		printf("\"%s\"", run->discarded);
	else
		printf("null");
	printf(", \"probe_before_ns\": %.2f, \"probe_after_ns\": %.2f, \"waited\": %.4f, \"count\": %llu, \"seconds\": %.6f",
	       run->before.ns, run->after.ns, run->waited, (unsigned long long)run->count, run->seconds);
	if (bench_is_round_trip(c))
		printf(", \"p50_ns\": %.1f, \"p99_ns\": %.1f, \"p999_ns\": %.1f, \"max_ns\": %.1f", run->p50, run->p99,
		       run->p999, run->max);
	printf("}");
}

static void summary(const struct bench_case *c, enum bench_class class, const char *name, enum bench_value value)
{
	struct bench_summary s = bench_summarize(c, class, value);

	printf(", \"%s\": {\"median\": %.6g, \"min\": %.6g, \"q1\": %.6g, \"q3\": %.6g, \"max\": %.6g}", name, s.median,
	       s.min, s.q1, s.q3, s.max);
}

static void classes(const struct bench_case *c)
{
	const char *separator = "";

	for (int class = BENCH_NEAR; class < BENCH_CLASSES; class++) {
		unsigned runs = bench_summarize(c, class, BENCH_NS).runs;

		if (!runs)
			continue;
		printf("%s\"%s\": {\"runs\": %u", separator, bench_class_name(class), runs);
		separator = ", ";
		if (bench_is_round_trip(c)) {
			summary(c, class, "p50_ns", BENCH_P50);
			summary(c, class, "p99_ns", BENCH_P99);
			summary(c, class, "p999_ns", BENCH_P999);
			summary(c, class, "max_ns", BENCH_MAX);
		} else {
			summary(c, class, "per_second", BENCH_RATE);
			summary(c, class, "ns", BENCH_NS);
		}
		printf("}");
	}
}

static void one_case(const struct bench_case *c)
{
	static const char *const kinds[] = { "throughput", "latency", "push", "clock_gettime", "memcpy", "cache-line",
					     "futex" };
	static const char *const systems[] = { "mqshm", "mutex-ring", "limit" };

	printf("    {");
	text("name", c->name);
	printf(", \"kind\": \"%s\", \"system\": \"%s\", \"size\": %u, \"consumers\": %u, \"timestamps\": %s,\n",
	       kinds[c->kind], systems[c->system], c->size, c->consumers, c->timestamps ? "true" : "false");
	printf("     \"classes\": {");
	classes(c);
	printf("},\n     \"runs\": [\n");
	for (size_t i = 0; i < c->run_count; i++) {
		one_run(c, &c->runs[i]);
		printf("%s\n", i + 1 < c->run_count ? "," : "");
	}
	printf("    ]}");
}

static void targets(const struct bench_plan *plan)
{
	static const char *const results[] = { "not run", "need more repetitions", "met", "missed" };

	printf("  \"targets\": [");
	for (size_t i = 0; i < bench_targets_count(); i++) {
		struct bench_verdict v = bench_targets_judge(plan, i);

		printf("%s\n    {", i ? "," : "");
		text("target", v.text);
		printf(", \"case\": \"%s\", \"against\": \"%s\", ", v.a, v.b);
		if (v.unit)
			printf("\"in_units_of\": \"%s\", ", v.unit);
		printf("\"%s\": %g, \"result\": \"%s\"", v.at_least ? "at_least" : "at_most", v.limit, results[v.result]);
		if (v.result == BENCH_MET || v.result == BENCH_MISSED)
			printf(", \"class\": \"%s\", \"runs\": [%u, %u], \"value\": %.4g, \"low\": %.4g, \"high\": %.4g",
			       bench_class_name(v.class), v.runs_a, v.runs_b, v.value, v.low, v.high);
		printf("}");
	}
	printf("\n  ]\n");
}

void bench_json(const struct bench_plan *plan, int argc, char **argv)
{
	const char *separator = "";

	printf("{\n");
	machine(argc, argv);
	printf("  \"seconds\": %.1f, \"runs\": %u, \"discarded\": %u, \"interrupted\": %s, \"failed\": %s,\n", plan->seconds,
	       plan->runs, plan->discarded, plan->stopped ? "true" : "false", plan->failed ? "true" : "false");
	printf("  \"cases\": [\n");
	for (size_t i = 0; i < plan->case_count; i++) {
		if (!plan->cases[i].run_count)
			continue;
		printf("%s", separator);
		one_case(&plan->cases[i]);
		separator = ",\n";
	}
	printf("\n  ],\n");
	targets(plan);
	printf("}\n");
}
