/* SPDX-License-Identifier: MIT */
/*
 * One run of mqshm bench, for schedule.c: a forked process for the producer and for each consumer, each pinned
 * to a processor; a barrier when all are warm; a deadline. The first process that fails ends the run, a signal ends
 * it too, and no child outlives it: children are killed with their parent, and always reaped.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROBE_SECONDS 0.025
#define DEADLINE_NS(seconds) ((uint64_t)(((seconds) * 50 + 30) * 1e9)) /* a run that takes longer hangs */
#define WARM_MESSAGES (2 * BENCH_NODES)
#define SLEPT_OFTEN 50 /* sleeps of a process in one run, above which waiting to run is part of the work */

static struct bench_cpus cpus;
static struct bench_shared *shared;
static sigset_t waited_for, mask_before;
static unsigned run_number;
static int stop_signal;

uint64_t bench_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* How long this process has been runnable without running, in ns; 0 where the kernel does not tell. */
static uint64_t waited_to_run(void)
{
	unsigned long long ran, waited = 0;
	char text[80];
	ssize_t n;
	int fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	return sscanf(text, "%llu %llu", &ran, &waited) == 2 ? waited : 0;
}

static long sleeps(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nvcsw : 0;
}

/* ---- in the children */

static uint64_t waited_before;
static long sleeps_before;

void bench_fail(struct bench_env *env, const char *format, ...)
{
	struct bench_place *place = &env->shared->places[env->index];
	va_list args;

	va_start(args, format);
	vsnprintf(place->error, sizeof(place->error), format, args);
	va_end(args);
	_exit(1);
}

void bench_barrier(struct bench_env *env)
{
	waited_before = waited_to_run();
	pthread_barrier_wait(&env->shared->barrier);
	sleeps_before = sleeps();
	env->shared->places[env->index].begin_ns = bench_now_ns();
}

void bench_finish(struct bench_env *env)
{
	struct bench_place *place = &env->shared->places[env->index];

	place->end_ns = bench_now_ns();
	if (sleeps() - sleeps_before < SLEPT_OFTEN)
		place->waited_ns = waited_to_run() - waited_before;
}

static unsigned cpu_of(unsigned index)
{
	if (index == 0 || cpus.count == 1)
		return 0;
	return 1 + (index - 1) % (cpus.count - 1);
}

static void __attribute__((noreturn)) child(struct bench_env *env, pid_t parent)
{
	cpu_set_t set;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	/* Ctrl-C reaches us too, but it is the parent who ends us: signals stay blocked. */
	CPU_ZERO(&set);
	CPU_SET(cpus.id[cpu_of(env->index)], &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		bench_fail(env, "cannot be pinned to processor %d: %s", cpus.id[cpu_of(env->index)], strerror(errno));
	if (env->what->system == BENCH_MQSHM)
		bench_queue_body(env);
	else if (env->what->system == BENCH_MUTEX_RING)
		bench_mutex_ring_body(env);
	else
		bench_limits_body(env);
	_exit(0);
}

/* ---- in the parent */

static unsigned processes_of(const struct bench_case *what)
{
	switch (what->kind) {
	case BENCH_CLOCK:
	case BENCH_MEMCPY:
		return 1;
	case BENCH_LINE:
	case BENCH_FUTEX:
	case BENCH_PROBE:
		return 2;
	default:
		return 1 + what->consumers;
	}
}

/* One process ended. 0, or why the run is over. */
static int reap(const struct bench_case *what, pid_t *pids, unsigned count, unsigned *left)
{
	const char *error;
	int status;
	pid_t pid;

	while (*left && (pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (unsigned i = 0; i < count; i++) {
			if (pids[i] != pid)
				continue;
			pids[i] = 0;
			(*left)--;
			if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
				break;
			error = shared->places[i].error;
			if (*error)
				fprintf(stderr, "mqshm bench: %s: process %u: %s\n", what->name, i, error);
			else
				fprintf(stderr, "mqshm bench: %s: process %u ended with status %#x\n", what->name, i,
					status);
			return BENCH_RUN_FAILED;
		}
	}
	return BENCH_RUN_OK;
}

/*
 * Until all have ended; or one has failed, the time is over, a signal came: then the others are killed. result: not
 * BENCH_RUN_OK when they shall be killed at once.
 */
static int wait_for(const struct bench_case *what, pid_t *pids, unsigned count, double seconds, int result)
{
	const uint64_t until = bench_now_ns() + DEADLINE_NS(seconds);
	unsigned left = count;

	while (left && result == BENCH_RUN_OK) {
		const struct timespec nap = { .tv_sec = 1 };
		int signal_number = sigtimedwait(&waited_for, NULL, &nap);

		result = reap(what, pids, count, &left);
		if (signal_number > 0 && signal_number != SIGCHLD) {
			stop_signal = signal_number;
			result = BENCH_RUN_STOPPED;
		} else if (result == BENCH_RUN_OK && left && bench_now_ns() > until) {
			fprintf(stderr, "mqshm bench: %s: hangs\n", what->name);
			result = BENCH_RUN_FAILED;
		}
	}
	for (unsigned i = 0; i < count; i++)
		if (pids[i])
			kill(pids[i], SIGKILL);
	for (unsigned i = 0; i < count; i++)
		while (pids[i] && waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
			;
	return result;
}

/* Fork them all and wait for them. */
static int start(struct bench_env *env, unsigned count)
{
	pthread_barrierattr_t attr;
	pid_t pids[BENCH_PROCESSES_MAX] = { 0 }, parent = getpid();
	unsigned started = 0;

	memset(shared, 0, sizeof(*shared));
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attr, count);
	for (; started < count; started++) {
		env->index = started;
		pids[started] = fork();
		if (pids[started] == 0)
			child(env, parent);
		if (pids[started] < 0)
			break;
	}
	if (started == count)
		return wait_for(env->what, pids, count, env->seconds, BENCH_RUN_OK);
	fprintf(stderr, "mqshm bench: fork: %s\n", strerror(errno));
	return wait_for(env->what, pids, started, env->seconds, BENCH_RUN_FAILED);
}

static void measure(const struct bench_env *env, unsigned count, struct bench_run *run)
{
	const struct bench_histogram *h = &shared->histogram;
	uint64_t begin = UINT64_MAX, end = 0, waited = 0;
	bool last_counts = env->what->kind == BENCH_THROUGHPUT; /* the last consumer; else the first process */

	for (unsigned i = 0; i < count; i++) {
		const struct bench_place *place = &shared->places[i];
		bool alone = cpus.count > 1 && (i == 0 || count <= cpus.count);

		if (place->begin_ns < begin)
			begin = place->begin_ns;
		if ((last_counts ? i > 0 : i == 0) && place->end_ns > end)
			end = place->end_ns;
		if (alone && place->waited_ns > waited)
			waited = place->waited_ns;
	}
	run->count = env->count;
	run->seconds = (double)(end - begin) / 1e9;
	run->waited = (double)waited / (double)(end - begin);
	if (h->count) {
		run->p50 = bench_histogram_at(h, 0.50) / 2;
		run->p99 = h->count >= 500 ? bench_histogram_at(h, 0.99) / 2 : 0;
		run->p999 = h->count >= 5000 ? bench_histogram_at(h, 0.999) / 2 : 0;
		run->max = (double)h->max / 2;
	}
}

/* count: messages, rounds or calls after the warm-up. seconds: about how long that takes. */
int bench_run_one(const struct bench_case *what, uint64_t count, double seconds, struct bench_run *run)
{
	unsigned processes = processes_of(what);
	struct bench_env env = {
		.what = what,
		.count = count,
		.warm = count / 4 < WARM_MESSAGES ? count / 4 : WARM_MESSAGES,
		.seconds = seconds,
		.shared = shared,
		.crowded = cpus.count == 1,
	};
	int result;

	env.warm = (env.warm + BENCH_BATCH - 1) / BENCH_BATCH * BENCH_BATCH;
	snprintf(env.queue, sizeof(env.queue), "bench-%d-%u", (int)getpid(), run_number++);
	if (what->system == BENCH_MUTEX_RING) {
		env.ring = bench_mutex_ring_map(what->size, what->consumers, what->late);
		env.back = bench_mutex_ring_map(what->size, 1, what->late);
		if (!env.ring || !env.back) {
			fprintf(stderr, "mqshm bench: no shared memory for the mutex ring: %s\n", strerror(errno));
			return BENCH_RUN_FAILED;
		}
	}
	result = start(&env, processes);
	bench_mutex_ring_unmap(env.ring);
	bench_mutex_ring_unmap(env.back);
	if (result == BENCH_RUN_OK)
		measure(&env, processes, run);
	return result;
}

int bench_run_probe(struct bench_probe *probe)
{
	static const struct bench_case what = { .name = "probe", .kind = BENCH_PROBE, .system = BENCH_LIMIT };
	struct bench_run run;
	int result = bench_run_one(&what, 0, PROBE_SECONDS, &run);

	*probe = shared->probe;
	return result;
}

const struct bench_cpus *bench_run_cpus(void)
{
	return &cpus;
}

/* Signals are taken with sigtimedwait() only: nothing is ever interrupted half-way. 0, or -1 with errno. */
int bench_run_begin(void)
{
	static const int stops[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction action;
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return -1;
	for (int i = 0; i < CPU_SETSIZE && cpus.count < BENCH_PROCESSES_MAX; i++)
		if (CPU_ISSET(i, &set))
			cpus.id[cpus.count++] = i;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return -1;
	sigemptyset(&waited_for);
	for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++)
		if (sigaction(stops[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) /* nohup */
			sigaddset(&waited_for, stops[i]);
	sigaddset(&waited_for, SIGCHLD);
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_BLOCK, &waited_for, &mask_before);
	return bench_janitor_start();
}

/* Nothing of us is left after this. Returns the signal that stopped us, or 0. */
int bench_run_end(void)
{
	bench_janitor_end();
	munmap(shared, sizeof(*shared));
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
	return stop_signal;
}
