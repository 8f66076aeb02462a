/* SPDX-License-Identifier: MIT */
/*
 * mqshm bench: throughput and latency of queues beside what the machine can do and beside a ring under a mutex.
 * Called by main.c. What is measured and how: docs/benchmarks.md; the parts: bench.h.
 */
#include "bench/bench.h"

#include <errno.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define SECONDS_PER_RUN 0.2
#define SECONDS_BASIC 280     /* the default subset shall stay under five minutes */
#define SECONDS_FULL 3600
#define SECONDS_UNTIL 1800

static const char help[] =
	"usage: mqshm bench [--full] [--only PATTERN] [--reps N] [--until-class-reps] [--at-most S]\n"
	"                   [--seconds-per-run S] [--json] [--check] [--list]\n"
	"Measure throughput and latency of queues, beside the limits of this machine and beside a ring under\n"
	"a mutex, in forked processes pinned to processors. Every run is probed; runs that were disturbed are\n"
	"discarded and repeated, and only runs of one class are compared. Under 5 minutes without options.\n\n"
	"  --full                every case, not only the default subset\n"
	"  --only PATTERN        only the cases whose name contains PATTERN, or matches it with * and ?\n"
	"  --list                print the names of the cases and leave\n"
	"  --reps N              repetitions of each case; default 5, then --until-class-reps\n"
	"  --until-class-reps    go on with the cases of targets that lack runs of one class\n"
	"  --at-most S           seconds for all together; default 280, with --until-class-reps 1800, with\n"
	"                        --full 3600\n"
	"  --seconds-per-run S   about how long each run takes; default 0.2\n"
	"  --json                everything as JSON on stdout, each single run too\n"
	"  --check               a target that is not met is a failure\n"
	"  --help                this text\n\n"
	"exit codes: 0 done; 1 failed, or with --check a target was not met; 2 wrong usage\n\n"
	"example: mqshm bench --only 'latency/*'\n";

enum { FULL = 256, ONLY, LIST, REPS, UNTIL, AT_MOST, PER_RUN, JSON, CHECK };

static const struct option long_options[] = {
	{ "full", no_argument, NULL, FULL },
	{ "only", required_argument, NULL, ONLY },
	{ "list", no_argument, NULL, LIST },
	{ "reps", required_argument, NULL, REPS },
	{ "until-class-reps", no_argument, NULL, UNTIL },
	{ "at-most", required_argument, NULL, AT_MOST },
	{ "seconds-per-run", required_argument, NULL, PER_RUN },
	{ "json", no_argument, NULL, JSON },
	{ "check", no_argument, NULL, CHECK },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static bool parse_seconds(const char *what, const char *typed, double min, double max, double *seconds)
{
	char *end;

	errno = 0;
	*seconds = strtod(typed, &end);
	if (end == typed || *end || errno || !(*seconds >= min && *seconds <= max)) {
		usage_error("%s: '%s' is not a number of seconds from %g to %g", what, typed, min, max);
		return false;
	}
	return true;
}

static bool matches(const char *name, const char *pattern)
{
	return strstr(name, pattern) || fnmatch(pattern, name, 0) == 0;
}

/* What --only, --full or neither asks for. False: nothing. */
static bool choose(struct bench_plan *plan)
{
	const struct bench_options *o = &plan->options;
	size_t chosen = 0;

	for (size_t i = 0; i < plan->case_count; i++) {
		struct bench_case *c = &plan->cases[i];

		c->chosen = o->only ? matches(c->name, o->only) : o->full || c->basic || c->wanted;
		chosen += c->chosen;
	}
	return chosen > 0;
}

static int list(const struct bench_plan *plan)
{
	for (size_t i = 0; i < plan->case_count; i++)
		if (plan->cases[i].chosen)
			printf("%s\n", plan->cases[i].name);
	return output_finish(EXIT_DONE);
}

static bool all_met(const struct bench_plan *plan)
{
	for (size_t i = 0; i < bench_targets_count(); i++)
		if (bench_targets_judge(plan, i).result != BENCH_MET)
			return false;
	return true;
}

static int run(struct bench_plan *plan, int argc, char **argv)
{
	int stop_signal, code;

	if (bench_run_begin() < 0) {
		complain("cannot start: %s", strerror(errno));
		return EXIT_FAILED;
	}
	bench_schedule(plan);
	stop_signal = bench_run_end();
	if (plan->options.json)
		bench_json(plan, argc, argv);
	else
		bench_report(plan, argc, argv);
	code = output_finish(plan->failed || (plan->options.check && !all_met(plan)) ? EXIT_FAILED : EXIT_DONE);
	if (stop_signal) {
		signal(stop_signal, SIG_DFL);
		raise(stop_signal);
	}
	return code;
}

/* EXIT_DONE, or what to leave with. */
static int parse(int argc, char **argv, struct bench_options *o, bool *only_list)
{
	bool reps = false, until = false;
	uint64_t number;
	int code;

	while ((code = next_option(argc, argv, ":h", long_options)) != -1) {
		if (code == 'h' || code == '?')
			return code;
		if (code == FULL)
			o->full = true;
		else if (code == ONLY)
			o->only = optarg;
		else if (code == LIST)
			*only_list = true;
		else if (code == UNTIL)
			until = true;
		else if (code == JSON)
			o->json = true;
		else if (code == CHECK)
			o->check = true;
		else if (code == AT_MOST && !parse_seconds("--at-most", optarg, 1, 1e6, &o->seconds_at_most))
			return '?';
		else if (code == PER_RUN && !parse_seconds("--seconds-per-run", optarg, 0.001, 60, &o->seconds_per_run))
			return '?';
		else if (code == REPS) {
			if (!parse_number("--reps", optarg, 1, 1000, &number))
				return '?';
			o->reps = (unsigned)number;
			reps = true;
		}
	}
	if (!check_arguments(argc, argv, 0, NULL))
		return '?';
	o->more = until || !reps;
	if (!o->seconds_at_most)
		o->seconds_at_most = o->full ? SECONDS_FULL : until ? SECONDS_UNTIL : SECONDS_BASIC;
	return EXIT_DONE;
}

int cmd_bench(int argc, char **argv)
{
	struct bench_plan plan = { .options = { .reps = BENCH_REPS_NEEDED, .seconds_per_run = SECONDS_PER_RUN } };
	bool only_list = false;
	int code = parse(argc, argv, &plan.options, &only_list);

	if (code == 'h')
		return output_text(help);
	if (code != EXIT_DONE)
		return EXIT_USAGE;
	plan.cases = bench_cases_make(&plan.case_count);
	bench_targets_mark(plan.cases, plan.case_count);
	if (!choose(&plan))
		code = usage_error("no case matches '%s'; --list shows them", plan.options.only);
	else if (only_list)
		code = list(&plan);
	else
		code = run(&plan, argc, argv);
	bench_cases_free(plan.cases, plan.case_count);
	return code;
}
