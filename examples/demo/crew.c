/* SPDX-License-Identifier: MIT */
/*
 * The processes: starting them, watching them, ending them. The first process takes no part in a queue; it waits for
 * signals with sigtimedwait(), so it has no handlers. Of the others each obeys SIGTERM only, by closing its handle:
 * the first process sends it when it is told to stop, the kernel sends it when the first process dies. The last one
 * to leave a queue removes it. So nothing stays, whatever way the demo ends.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "demo.h"

#define STOP_MS 3000 /* time to leave after SIGTERM; then SIGKILL */

const char *const role_name[ROLES] = { "producer",	 "meter",   "writer",	 "checksum",  "victim",
				       "latecomer", "fast-in", "fast-out1", "fast-out2", "fast-out3" };

static const int stop_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
#define STOP_SIGNALS (sizeof(stop_signals) / sizeof(stop_signals[0]))

static sigset_t watched;	/* the stop signals and SIGCHLD */
static int stop_signal;		/* first process: the one that came */
static volatile sig_atomic_t stop; /* the others: written by the handler only */

void crew_init(void)
{
	struct sigaction old;

	sigemptyset(&watched);
	sigaddset(&watched, SIGCHLD);
	for (size_t i = 0; i < STOP_SIGNALS; i++)
		if (!sigaction(stop_signals[i], NULL, &old) && old.sa_handler != SIG_IGN) /* nohup */
			sigaddset(&watched, stop_signals[i]);
	sigprocmask(SIG_BLOCK, &watched, NULL);
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_IGN); /* a reader of our output that leaves is no reason to leave things behind */
	signal(SIGXFSZ, SIG_IGN); /* the writer gets EFBIG instead */
}

static void on_term(int number)
{
	(void)number;
	stop = 1;
}

bool told_to_stop(void)
{
	return stop;
}

int crew_signal(void)
{
	return stop_signal;
}

/* In the new process, where the watched signals still are blocked. */
static void become(enum role role, pid_t parent)
{
	struct sigaction action = { .sa_handler = on_term }; /* no SA_RESTART: waits shall end */
	char name[16];

	snprintf(name, sizeof(name), "demo-%s", role_name[role]);
	prctl(PR_SET_NAME, name);
	for (size_t i = 0; i < STOP_SIGNALS; i++)
		signal(stop_signals[i], SIG_IGN); /* Ctrl-C reaches every process; only the first one decides */
	sigaction(SIGTERM, &action, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	sigprocmask(SIG_UNBLOCK, &watched, NULL);
	if (getppid() != parent)
		_exit(1);
}

int crew_start(struct demo *demo, enum role role, int (*run)(struct demo *demo, struct report *report))
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		become(role, parent);
		_exit(run(demo, &demo->shared->report[role]) ? 1 : 0);
	}
	if (pid < 0) {
		fprintf(stderr, "demo: no process for the %s: %s\n", role_name[role], strerror(errno));
		return -1;
	}
	demo->pid[role] = pid;
	demo->running[role] = true;
	return 0;
}

static bool expected_end(const struct demo *demo, enum role role)
{
	int status = demo->status[role];

	if (role == VICTIM && atomic_load(&demo->shared->killed_ns))
		return true; /* verify.c looks closer */
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void complain(const struct demo *demo, enum role role)
{
	const char *error = demo->shared->report[role].error;
	int status = demo->status[role];

	report_event(demo, "%s (pid %d) gave up", role_name[role], (int)demo->pid[role]);
	if (error[0])
		fprintf(stderr, "demo: %s: %s\n", role_name[role], error);
	else if (WIFSIGNALED(status))
		fprintf(stderr, "demo: %s: ended by signal %d (%s)\n", role_name[role], WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else
		fprintf(stderr, "demo: %s: ended with status %d\n", role_name[role], WEXITSTATUS(status));
}

/* Takes note of those that ended. Returns how many did so unexpectedly. */
static int reap(struct demo *demo, bool say)
{
	int failed = 0;

	for (enum role role = 0; role < ROLES; role++) {
		if (!demo->running[role] || waitpid(demo->pid[role], &demo->status[role], WNOHANG) == 0)
			continue;
		demo->running[role] = false;
		if (!say || expected_end(demo, role))
			continue;
		complain(demo, role);
		failed++;
	}
	return failed;
}

static void wait_signal(int timeout_ms)
{
	struct timespec timeout = { timeout_ms / 1000, timeout_ms % 1000 * 1000000L };
	int number = sigtimedwait(&watched, NULL, &timeout);

	if (number > 0 && number != SIGCHLD && !stop_signal)
		stop_signal = number;
}

int crew_watch(struct demo *demo, int timeout_ms)
{
	wait_signal(timeout_ms);
	return reap(demo, true) || stop_signal;
}

bool crew_runs(const struct demo *demo, enum role first, enum role last)
{
	for (enum role role = first; role <= last; role++)
		if (demo->running[role])
			return true;
	return false;
}

static void send_all(const struct demo *demo, int number)
{
	for (enum role role = 0; role < ROLES; role++)
		if (demo->running[role])
			kill(demo->pid[role], number);
}

void crew_stop(struct demo *demo)
{
	uint64_t deadline = now_ns() + STOP_MS * 1000000ull;

	send_all(demo, SIGTERM);
	while (crew_runs(demo, 0, ROLES - 1) && now_ns() < deadline) {
		wait_signal(10);
		reap(demo, false);
	}
	send_all(demo, SIGKILL);
	while (crew_runs(demo, 0, ROLES - 1)) {
		wait_signal(10);
		reap(demo, false);
	}
	/* Normally gone with their last user. */
	mqshm_queue_remove(demo->queue, MQSHM_FORCE);
	mqshm_queue_remove(demo->fast_queue, MQSHM_FORCE);
}
