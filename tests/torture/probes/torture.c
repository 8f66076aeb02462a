/* SPDX-License-Identifier: MIT */
/*
 * Random torture: rounds of some processes doing random operations on some queues, while they are killed, stopped and
 * interrupted at random; between rounds, and in each process as it goes, all that must be true is checked (check.c).
 *
 *	torture [--seed N] [--kills N] [--from ROUND] [--rounds N] [--style 0..2] [--tool PATH-OF-mqshm] [--progress]
 *
 * Everything that is drawn comes from the seed, which is printed; what the scheduler adds can't be repeated. A round
 * depends on the seed and its number only, so that a failing one can be run again alone. Exit status 0, 1 (something
 * was wrong), 2 (usage).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "felt.h"
#include "world.h"

#define HANG_NS 15000000000u  /* nobody may wait that long without a reason */
#define NUDGE_NS 1000000000u  /* nor, in a crossing of waits that have reasons, longer than that */
#define PROGRESS_NS 5000000000u

static uint64_t kills, kills_wanted = 300, rounds_wanted = UINT64_MAX, first_round;
static uint64_t started_ns, progress_ns;
static int one_style = -1;
static bool show_progress;
static char *self;
static uint64_t random_state;

/* ---- reports ---- */

static void progress(void)
{
	uint64_t now = now_ns();
	double seconds = (double)(now - started_ns) / 1e9, rate = (double)kills / seconds;

	if (!show_progress || now < progress_ns)
		return;
	progress_ns = now + PROGRESS_NS;
	fprintf(stderr, "round %u: %" PRIu64 " of %" PRIu64 " kills, %.0f/s, %" PRIu64 " messages, %.0f s left\n", world->round,
		kills, kills_wanted, rate, world->messages, kills ? (double)(kills_wanted - (kills < kills_wanted ? kills : kills_wanted)) / rate : 0);
}

static void summary(void)
{
	double seconds = (double)(now_ns() - started_ns) / 1e9;

	printf("# %u rounds, %" PRIu64 " kills, %" PRIu64 " messages popped and checked, %.0f s\n", world->round + 1 - (uint32_t)first_round,
	       kills, world->messages, seconds);
	for (unsigned i = 0; i < operation_count; i++) {
		printf("#  %-16s", operations[i].name);
		for (unsigned k = 0; k < OUTCOMES; k++)
			if (world->outcomes[i][k])
				printf(" %s %" PRIu64, k ? strerrorname_np((int)k) : "good", world->outcomes[i][k]);
		if (world->killed_in[i])
			printf(" | killed in it %" PRIu64, world->killed_in[i]);
		printf("\n");
	}
	(void)fflush(stdout);
}

static __attribute__((noreturn)) void fail(const char *what)
{
	printf("# FAILED in round %u: %s\n", world->round, what);
	dump(stdout);
	summary();
	printf("# to repeat: %s --seed %" PRIu64 " --from %u --rounds 1\n", self, world->seed, world->round);
	(void)fflush(stdout);
	for (uint32_t i = 0; i < world->workers; i++)
		if (world->worker[i].pid > 0)
			kill(world->worker[i].pid, SIGKILL);
	SET(world->phase, END);
	while (waitpid(-1, NULL, 0) > 0)
		;
	for (uint32_t i = 0; i < world->names; i++)
		mqshm_queue_remove(world->name[i].text, MQSHM_FORCE);
	exit(1);
}

static void look_for_violations(void)
{
	if (!GET(world->violated))
		return;
	for (int i = 0; GET(world->violated) < 2 && i < 1000; i++)
		nap_us(1000); /* it is being written */
	fail(world->violation);
}

/* ---- processes ---- */

static void start_worker(uint32_t i)
{
	struct worker_notes *notes = &world->worker[i];
	pid_t pid;

	notes->incarnation++;
	notes->stopped = notes->parked = notes->exited = notes->children = notes->children_ran = 0;
	SET(notes->dying, 0);
	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		notes->pid = getpid();
		worker_run(i, self, false);
	}
	if (pid < 0)
		fail("fork failed");
	notes->pid = pid;
}

static struct worker_notes *worker_of(pid_t pid)
{
	for (uint32_t i = 0; i < world->workers; i++)
		if (world->worker[i].pid == pid)
			return &world->worker[i];
	return NULL; /* an orphan that a dead one left us */
}

/* Take note of all who ended or stopped. again: start another in the place of who died. */
static void reap(bool again)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		struct worker_notes *notes = worker_of(pid);
		char what[96];

		if (!notes)
			continue;
		if (WIFSTOPPED(status)) {
			notes->stopped = 1;
			continue;
		}
		look_for_violations();
		if (!(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && notes->dying) &&
		    !(WIFEXITED(status) && !WEXITSTATUS(status) && notes->exited)) {
			snprintf(what, sizeof what, "worker %d ended with status 0x%x", (int)(notes - world->worker), status);
			fail(what);
		}
		if (WIFSIGNALED(status)) {
			kills++;
			world->killed_in[notes->operation]++;
		}
		roles_die((uint32_t)(notes - world->worker));
		notes->pid = 0;
		if (notes->removing) {
			ADD(world->name[notes->removing - 1].forced_done, 1);
			notes->removing = 0;
		}
		if (again)
			start_worker((uint32_t)(notes - world->worker));
	}
}

static void kill_worker(struct worker_notes *w)
{
	SET(w->dying, 1); /* before: from here on its roles are not relied on */
	if (w->pid > 0)
		kill(w->pid, SIGKILL);
}

static void proceed(void)
{
	for (uint32_t i = 0; i < world->workers; i++)
		if (world->worker[i].pid > 0 && world->worker[i].stopped) {
			world->worker[i].stopped = 0;
			kill(world->worker[i].pid, SIGCONT);
		}
}

/* ---- who waits too long ---- */

static struct {
	uint64_t operations, since_ns, guilty_ns;
} watch[WORKERS_MOST];

static void watch_worker(uint32_t i, bool ending)
{
	struct worker_notes *w = &world->worker[i];
	uint64_t now = felt_ns();
	char what[512];

	if (!watch[i].since_ns || w->pid <= 0 || w->stopped || w->operations != watch[i].operations || (w->parked && !ending)) {
		watch[i].operations = w->operations;
		watch[i].since_ns = watch[i].guilty_ns = now;
		return;
	}
	if (w->waiting && excuse(w)) {
		watch[i].guilty_ns = now;
		if (now - watch[i].since_ns > NUDGE_NS)
			kill(w->pid, SIGUSR1);
	}
	if (now - watch[i].guilty_ns > HANG_NS) {
		snprintf(what, sizeof what, "worker %u hangs in %s", i, w->what);
		fail(what);
	}
}

/* ---- a round ---- */

static const uint32_t node_counts[] = { 1, 2, 3, 7, 16, 64, 300 };
static const uint32_t block_sizes[] = { 8, 24, 100, 333, 1000, 4096, 20000 };

static void draw_name(struct name *n, unsigned number)
{
	static const uint32_t kinds[] = { 0, 0, MQSHM_SHARED, MQSHM_SHARED, MQSHM_OVERWRITE, MQSHM_HOLD,
					  MQSHM_SHARED | MQSHM_HOLD, MQSHM_SHARED | MQSHM_OVERWRITE };
	static const uint32_t timestamps[] = { 0, 0, MQSHM_TIMESTAMP_OFF, MQSHM_TIMESTAMP_OWN };
	static const uint32_t aligns[] = { 0, 0, 16, 64 };
	uint64_t *r = &random_state;

	memset(n, 0, sizeof *n);
	snprintf(n->text, sizeof n->text, "t%d-%u", (int)world->supervisor, number);
	n->options = (struct mqshm_queue_options){
		.size = sizeof n->options,
		.node_count = node_counts[below(r, sizeof node_counts / sizeof *node_counts)],
		.block_size = block_sizes[below(r, sizeof block_sizes / sizeof *block_sizes)],
		.max_consumers = chance(r, 20) ? 1 + (uint32_t)below(r, 3) : HANDLES * WORKERS_MOST,
		.align = aligns[below(r, 4)],
		.flags = kinds[below(r, sizeof kinds / sizeof *kinds)] | timestamps[below(r, 4)],
	};
	if (chance(r, 15))
		n->options.flags |= MQSHM_PERSISTENT;
	if (world->style == ANYTHING)
		return;
	n->options.node_count = node_counts[below(r, 5)];
	n->options.block_size = block_sizes[below(r, 4)];
	n->options.max_consumers = HANDLES * WORKERS_MOST;
	n->options.flags &= ~(uint32_t)(MQSHM_OVERWRITE | MQSHM_PERSISTENT);
}

static void set_up(uint32_t round)
{
	uint32_t instances = world->instance_count < INSTANCES_MOST ? world->instance_count + 1 : INSTANCES_MOST;

	random_state = (world->seed + round * 0x9e3779b97f4a7c15u) | 1;
	for (int i = 0; i < 4; i++)
		draw(&random_state);
	world->round = round;
	world->round_seed = draw(&random_state);
	for (uint32_t i = 0; i < instances; i++)
		memset(world->log[i], 0, sizeof world->log[i][0] * (world->instance[i].begun < LOG_MOST ? (size_t)world->instance[i].begun + 1 : LOG_MOST));
	memset(world->instance, 0, sizeof world->instance);
	memset(world->role, 0, sizeof world->role);
	memset(world->worker, 0, sizeof world->worker);
	memset(watch, 0, sizeof watch);
	world->role_count = world->instance_count = world->order_count = world->stops = world->orphan_count = world->children_ran = world->children_ended = 0;
	world->style = chance(&random_state, 60) ? ANYTHING : chance(&random_state, 60) ? STORM : FLASHES;
	if (one_style >= 0)
		world->style = (uint32_t)one_style;
	world->names = world->style != ANYTHING || chance(&random_state, 40) ? 1 : chance(&random_state, 60) ? 2 + (uint32_t)below(&random_state, 3)
										 : 10 + (uint32_t)below(&random_state, 31);
	world->workers = world->style == STORM ? 3 : 4 + (uint32_t)below(&random_state, WORKERS_MOST - 3); /* opens exclude each other */
	for (uint32_t i = 0; i < world->names; i++)
		draw_name(&world->name[i], i);
	SET(world->phase, RUN);
}

/* Signals at random until the round has had its kills. */
static void run(void)
{
	uint64_t *r = &random_state, pace_us = 500 + below(r, world->style == STORM ? 200000 : 20000);
	uint64_t until = kills + 5 + below(r, world->style == STORM ? 5 : 25);
	uint64_t next = 0;

	for (uint32_t i = 0; i < world->workers; i++)
		start_worker(i);
	while (kills < until && world->role_count < (world->style == ANYTHING ? ROLES_MOST - 1000 : 3000) && world->instance_count < INSTANCES_MOST - 500) {
		struct worker_notes *victim = &world->worker[below(r, world->workers)];

		look_for_violations();
		reap(true);
		progress();
		for (uint32_t i = 0; i < world->workers; i++)
			watch_worker(i, false);
		nap_us(500);
		if (chance(r, 5))
			proceed();
		if (now_ns() < next || victim->pid <= 0)
			continue;
		next = now_ns() + pace_us * 1000;
		switch (below(r, 4)) {
		case 0:
			ADD(world->stops, 1);
			kill(victim->pid, SIGSTOP);
			break;
		case 1:
			kill(victim->pid, SIGUSR1);
			break;
		default:
			kill_worker(victim);
			break;
		}
	}
}

static bool all_at_rest(void)
{
	for (uint32_t i = 0; i < world->workers; i++)
		if (world->worker[i].pid > 0 && (!GET(world->worker[i].parked) || GET(world->worker[i].dying)))
			return false;
	return true;
}

static bool all_gone(void)
{
	for (uint32_t i = 0; i < world->workers; i++)
		if (world->worker[i].pid > 0)
			return false;
	return true;
}

/*
 * Who waits with a reason is interrupted until all have come to rest; who has none must come back by itself, and it can
 * be told now, as nothing changes any more.
 */
static void freeze(void)
{
	uint64_t start = felt_ns(), nudged = 0;

	SET(world->phase, FREEZE);
	while (!all_at_rest()) {
		look_for_violations();
		reap(false);
		proceed();
		if (now_ns() - nudged > 5000000u) {
			nudged = now_ns();
			for (uint32_t i = 0; i < world->workers; i++)
				if (world->worker[i].pid > 0 && GET(world->worker[i].waiting) && excuse(&world->worker[i]))
					kill(world->worker[i].pid, SIGUSR1);
		}
		nap_us(500);
		for (uint32_t i = 0; i < world->workers; i++)
			watch_worker(i, false);
		if (felt_ns() - start > 4 * HANG_NS)
			fail("not all come to rest");
	}
}

/* In a child, as a violation ends the process that finds it. */
static void in_child(void (*check)(void))
{
	int status;
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		check();
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid");
	look_for_violations();
	if (status)
		fail("a check ended with a signal");
}

static void audit_all(void)
{
	for (uint32_t i = 0; i < world->names; i++)
		audit_stat(i);
}

/* Nobody is there any more: gc leaves only what is to stay, and that can be removed without force. */
static void audit_remains(void)
{
	for (uint32_t i = 0; i < world->names; i++) {
		struct name *n = &world->name[i];
		struct mqshm_stat *s = NULL;
		char path[128];
		int rc = mqshm_queue_gc(n->text, NULL, NULL);

		MUST(rc == 0 || rc == 1 || rc == -ENOENT, "the last gc of %s: %d, %s", n->text, rc, mqshm_last_error());
		rc = mqshm_queue_stat(n->text, &s);
		MUST(rc == 0 || rc == -ENOENT, "the last stat of %s: %d, %s", n->text, rc, mqshm_last_error());
		if (rc == 0) {
			MUST(s->flags & MQSHM_PERSISTENT || (!s->consumers_ever && s->producer_state == MQSHM_PRODUCER_NONE),
			     "queue %s is left behind: %llu consumers ever, producer state %u", n->text,
			     (unsigned long long)s->consumers_ever, s->producer_state);
			mqshm_stat_free(s);
			rc = mqshm_queue_remove(n->text, 0);
			MUST(rc == 0, "the last remove of %s: %d, %s", n->text, rc, mqshm_last_error());
		}
		snprintf(path, sizeof path, "/dev/shm/mqshm.%s", n->text);
		MUST(access(path, F_OK), "%s is left behind", path);
	}
	audit_logs();
}

static void end(void)
{
	uint64_t start;
	uint32_t die = (uint32_t)below(&random_state, 3); /* kill none, a third, two thirds of those at rest */

	for (uint32_t i = 0; i < world->workers; i++)
		if (below(&random_state, 3) < die)
			kill_worker(&world->worker[i]);
	start = felt_ns();
	SET(world->phase, END);
	while (!all_gone()) {
		look_for_violations();
		reap(false);
		proceed();
		nap_us(500);
		if (felt_ns() - start > 3 * HANG_NS)
			fail("not all come to an end");
	}
	while (waitpid(-1, NULL, 0) > 0) /* orphans */
		;
	look_for_violations();
	if (world->children_ran != world->children_ended)
		fail("a child that called functions with its parent's handles did not survive it");
}

/* A /dev/shm of our own, where that is allowed: nobody else's queues to spare, nor ours to be in others' way. */
static void get_private_shm(void)
{
	world->private_shm = !unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
			     !mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1g,mode=1777");
}

static void make_world(void)
{
	world_fd = memfd_create("torture", 0); /* exec keeps it */
	if (world_fd < 0 || ftruncate(world_fd, sizeof *world)) {
		perror("memfd");
		exit(1);
	}
	world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED, world_fd, 0);
	if (world == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
}

/* What must have happened in a run of some length, else it showed nothing. */
static bool covered(void)
{
	static const struct {
		const char *operation;
		int outcome;
	} wanted[] = {
		{ "producer_open", 0 }, { "producer_open", EBUSY }, { "push", 0 }, { "push", EAGAIN }, { "push_batch", 0 },
		{ "reserve", 0 }, { "consumer_open", 0 }, { "pop", 0 }, { "pop", EAGAIN }, { "pop", ETIMEDOUT },
		{ "pop", ESHUTDOWN }, { "pop", EOWNERDEAD }, { "pop", EINTR }, { "pop", ESTALE }, { "gc", 0 }, { "fork", 0 },
		{ "exec", 0 }, { "exit", 0 }, { "visit", 0 }, { "flash", 0 },
	};
	bool all = true;

	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
		for (unsigned k = 0; k < operation_count; k++)
			if (!strcmp(operations[k].name, wanted[i].operation) && !world->outcomes[k][wanted[i].outcome]) {
				printf("# never happened: %s with %s\n", wanted[i].operation,
				       wanted[i].outcome ? strerrorname_np(wanted[i].outcome) : "success");
				all = false;
			}
	return all;
}

static int usage(void)
{
	fprintf(stderr, "usage: torture [--seed N] [--kills N] [--from ROUND] [--rounds N] [--style N] [--tool PATH] [--progress]\n");
	return 2;
}

int main(int argc, char **argv)
{
	char path[256];
	sigset_t usr1;
	ssize_t n;

	if (argc == 4 && !strcmp(argv[1], "--worker")) { /* after exec */
		world_fd = (int)strtol(argv[3], NULL, 10);
		world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED, world_fd, 0);
		if (world == MAP_FAILED)
			return 1;
		worker_run((uint32_t)strtoul(argv[2], NULL, 10), argv[0], true);
	}
	n = readlink("/proc/self/exe", path, sizeof path - 1);
	if (n < 0)
		return 1;
	path[n] = 0;
	self = path;
	make_world();
	world->seed = now_ns() | 1;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--progress"))
			show_progress = true;
		else if (i + 1 == argc)
			return usage();
		else if (!strcmp(argv[i], "--seed"))
			world->seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--kills"))
			kills_wanted = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--from"))
			first_round = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--rounds"))
			rounds_wanted = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--style"))
			one_style = (int)strtol(argv[++i], NULL, 0) % 3;
		else if (!strcmp(argv[i], "--tool"))
			snprintf(world->tool, sizeof world->tool, "%s", argv[++i]);
		else
			return usage();
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL); /* workers are deaf until they have a handler */
	get_private_shm();
	world->supervisor = getpid();
	started_ns = now_ns();
	printf("# seed %" PRIu64 "%s\n", world->seed, world->private_shm ? ", with a /dev/shm of its own" : "");
	for (uint64_t round = first_round; kills < kills_wanted && round - first_round < rounds_wanted; round++) {
		set_up((uint32_t)round);
		run();
		freeze();
		in_child(audit_all);
		end();
		in_child(audit_remains);
	}
	summary();
	if (kills >= 600 && rounds_wanted == UINT64_MAX && one_style < 0 && !covered())
		return 1;
	return 0;
}
