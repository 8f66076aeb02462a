/* SPDX-License-Identifier: MIT */
/*
 * mqshm bench: what its files share. Included by tools/bench*.c and tools/cmd_bench.c only.
 *
 *	cmd_bench.c          options, the order of things
 *	cases.c        which cases there are
 *	schedule.c     repetitions, calibration, discarding, classes
 *	run.c          one run: forked, pinned processes, a start barrier, a deadline
 *	janitor.c      leaves nothing in /dev/shm, however we end
 *	queue.c        what the processes of an mqshm run do
 *	mutex_ring.c   the baseline
 *	limits.c       what the machine can do: cache line, futex, memcpy, clock; the probe
 *	summary.c      medians and quartiles
 *	payload.c      sources with a sequence and a last byte, and their check
 *	histogram.c    percentiles
 *	targets.c      the targets and their ratios
 *	machine.c, report.c, json.c   output
 */
#ifndef MQSHM_TOOLS_BENCH_H
#define MQSHM_TOOLS_BENCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_NODES 1024      /* messages a queue or baseline ring holds */
#define BENCH_BATCH 32	      /* messages of one push_batch, pop_batch */
#define BENCH_SIZE_MAX 12800  /* bytes */
#define BENCH_CONSUMERS_MAX 32
#define BENCH_PROCESSES_MAX (BENCH_CONSUMERS_MAX + 1)
#define BENCH_REPS_NEEDED 5   /* runs of one class that a median needs */

/* ---- cases (cases.c) -------------------------------------------------------------------------------- */

enum bench_kind {
	BENCH_THROUGHPUT, /* producer and consumers, as fast as they can */
	BENCH_LATENCY,	  /* one message goes there and back, over and over */
	BENCH_PUSH,	  /* a producer without consumers: the price of a push */
	BENCH_CLOCK, BENCH_MEMCPY, /* one process */
	BENCH_LINE, BENCH_FUTEX,   /* ping-pong */
	BENCH_PROBE,		   /* BENCH_LINE for a fixed time; not a case of the table */
};
enum bench_system { BENCH_MQSHM, BENCH_MUTEX_RING, BENCH_LIMIT };
enum bench_mode { BENCH_COPY, BENCH_BATCHED, BENCH_ZERO_COPY };
enum bench_wait { BENCH_DEFAULT, BENCH_SPIN, BENCH_SLEEP };

struct bench_case {
	char name[80]; /* "throughput/mqshm/copy/default/64B/1c" */
	enum bench_kind kind;
	enum bench_system system;
	enum bench_mode mode;
	enum bench_wait wait;
	unsigned size; /* bytes */
	unsigned consumers;
	bool timestamps;
	bool late;	 /* mutex ring: broadcasts after the unlock */
	bool basic;	 /* in the default subset */
	bool wanted;	 /* a target needs it */
	bool chosen;	 /* to be run */
	uint64_t count;	 /* messages, rounds or calls of a run; 0: not yet calibrated */
	struct bench_run *runs;
	size_t run_count;
};

struct bench_case *bench_cases_make(size_t *count);
struct bench_case *bench_cases_find(struct bench_case *cases, size_t count, const char *name);
void bench_cases_free(struct bench_case *cases, size_t count);
bool bench_is_round_trip(const struct bench_case *c);

/* ---- histograms of nanoseconds (histogram.c) -------------------------------------------------------- */

#define BENCH_BUCKETS (58 * 128) /* 128 steps an octave: within 0.8 % */
struct bench_histogram {
	uint64_t count, max;
	uint32_t buckets[BENCH_BUCKETS];
};
void bench_histogram_add(struct bench_histogram *h, uint64_t ns);
double bench_histogram_at(const struct bench_histogram *h, double fraction);

/* ---- one run (run.c) -------------------------------------------------------------------------------- */

/* Probes and what is made of them. */
enum bench_class { BENCH_NEAR, BENCH_MID, BENCH_FAR, BENCH_CLASSES };
struct bench_probe {
	double ns;   /* half a round trip: median over blocks */
	double mean; /* over all: far above the median when something else runs on these processors */
};

struct bench_run {
	unsigned rep;
	struct bench_probe before, after;
	enum bench_class class;
	const char *discarded; /* NULL, or why: a constant string */
	uint64_t count;
	double seconds;
	double waited;	       /* part of the time in which a process that never slept waited for its processor */
	double p50, p99, p999; /* ns of half a round trip; 0 where too few samples */
	double max;
};

/* What the processes of a run share, besides the queue. */
struct bench_place {
	uint64_t begin_ns, end_ns; /* CLOCK_MONOTONIC */
	uint64_t waited_ns;	   /* runnable, but not running, between begin and end */
	char error[240];	   /* a sentence: this process failed */
};
struct bench_shared {
	pthread_barrier_t barrier;
	_Alignas(128) _Atomic uint64_t line; /* one u64 on one line */
	_Alignas(128) _Atomic uint32_t futex;
	_Alignas(128) struct bench_histogram histogram;
	struct bench_probe probe;
	struct bench_place places[BENCH_PROCESSES_MAX];
};

struct bench_env {
	const struct bench_case *what;
	uint64_t count;	      /* messages after the barrier */
	uint64_t warm;	      /* and before it */
	double seconds;	      /* BENCH_PROBE: how long */
	unsigned index;	      /* of this process: 0 produces, 1.. consume */
	char queue[40];	      /* name; "b" appended for the way back */
	struct bench_mutex_ring *ring, *back; /* BENCH_MUTEX_RING: there, and with BENCH_LATENCY back */
	struct bench_shared *shared;
	bool crowded;	      /* several processes on one processor: spinning must yield */
};

/* The processors to use, in order; the first is the producer's. */
struct bench_cpus {
	unsigned count;
	int id[BENCH_PROCESSES_MAX];
};

/* Why bench_run_one() did not bring a result. */
enum { BENCH_RUN_OK, BENCH_RUN_FAILED, BENCH_RUN_STOPPED };

int bench_run_begin(void);
const struct bench_cpus *bench_run_cpus(void);
int bench_run_one(const struct bench_case *what, uint64_t count, double seconds, struct bench_run *run);
int bench_run_probe(struct bench_probe *probe);
int bench_run_end(void);

/* For the bodies of processes. */
void bench_fail(struct bench_env *env, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
void bench_barrier(struct bench_env *env);  /* all are warm; the clock starts */
void bench_finish(struct bench_env *env);   /* this process is done; the clock stops with the last consumer */
uint64_t bench_now_ns(void);

void bench_queue_body(struct bench_env *env);
void bench_mutex_ring_body(struct bench_env *env);
void bench_limits_body(struct bench_env *env);

/* ---- the baseline's memory (mutex_ring.c) ----------------------------------------------------------- */

struct bench_mutex_ring *bench_mutex_ring_map(unsigned size, unsigned consumers, bool late);
void bench_mutex_ring_unmap(struct bench_mutex_ring *ring);

/* ---- payloads (payload.c) --------------------------------------------------------------------------- */

/*
 * Warm source buffers. Each message starts with its sequence and ends with its low byte. Stamped well before it is
 * pushed, so that the copy does not wait for the stamp to leave the store buffer.
 */
struct bench_source {
	unsigned char *buffers;
	unsigned size, stride, count, ahead;
	uint64_t next;
};
int bench_source_init(struct bench_source *s, unsigned size, unsigned count);
void *bench_source_next(struct bench_source *s);
bool bench_payload_check(const void *data, size_t size, uint64_t sequence);
void bench_payload_fill(void *data, size_t size, uint64_t sequence);	   /* every byte, in place */
bool bench_payload_check_all(const void *data, size_t size, uint64_t sequence);

/* ---- the janitor (janitor.c) ------------------------------------------------------------------------ */

int bench_janitor_start(void);
void bench_janitor_end(void);

/* ---- repetitions (schedule.c) ----------------------------------------------------------------------- */

struct bench_options {
	unsigned reps;
	bool more; /* then go on with what the targets lack */
	double seconds_per_run, seconds_at_most;
	const char *only;
	bool full, json, check;
};
struct bench_plan {
	struct bench_options options;
	struct bench_case *cases;
	size_t case_count;
	unsigned runs, discarded; /* all there were */
	double seconds;
	bool stopped, failed;
};
void bench_schedule(struct bench_plan *plan);
const char *bench_class_name(enum bench_class class);

/* Good runs of a case in a class: their number, and the quartiles of what tells (messages/s or ns). */
struct bench_summary {
	unsigned runs;
	double min, q1, median, q3, max;
};
enum bench_value { BENCH_RATE, BENCH_NS, BENCH_P50, BENCH_P99, BENCH_P999, BENCH_MAX };

/* summary.c */
struct bench_summary bench_summarize(const struct bench_case *c, enum bench_class class, enum bench_value value);

/* ---- targets (targets.c) ---------------------------------------------------------------------------- */

struct bench_verdict {
	const char *text; /* of the target */
	const char *a, *b; /* names of the cases compared */
	const char *unit;  /* NULL, or of a case: the value is (a - b) / unit, in ns */
	bool at_least;
	double limit;
	enum { BENCH_NOT_RUN, BENCH_TOO_FEW, BENCH_MET, BENCH_MISSED } result;
	enum bench_class class;
	unsigned runs_a, runs_b;
	double value, low, high; /* ratio of medians; of the quartiles that are furthest apart */
};
size_t bench_targets_count(void);
struct bench_verdict bench_targets_judge(const struct bench_plan *plan, size_t index);
void bench_targets_mark(struct bench_case *cases, size_t count);

/* ---- output (machine.c, report.c, json.c) ------------------------------------------------ */

struct bench_machine {
	char cpu[128], kernel[256], compiler[128], date[40];
	unsigned cpus; /* online */
	bool virtual;
};
void bench_machine_look(struct bench_machine *machine);
void bench_report(const struct bench_plan *plan, int argc, char **argv);
void bench_json(const struct bench_plan *plan, int argc, char **argv);

#endif
