/* SPDX-License-Identifier: MIT */
/*
 * Death at every step: run every program in every state to see which steps it has, then again and again with a victim
 * that is killed or stopped at one of them, then with two deaths, the second while the first is repaired. Each trial is
 * a process of its own (trial.c); some run at a time, as they mostly sleep.
 *
 *	drive [--only TEXT] [--program TEXT] [--no-pairs] [--report FILE] [--hang SECONDS] [--failures N]
 *	drive --labels | --again TRIAL
 *
 * --only takes steps, --program what victims do, by a part of the name; it ends after N failures (12).
 * MQSHM_SEED repeats a run's choices, MQSHM_LONG=1 tries everything.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "world.h"

#define WORKERS 4
#define KNOWN 64      /* places kept for a point, in the short form; in the long form all */
#define LOOKS 6	      /* rounds more, for what is seldom seen */
#define TRIES 64      /* to reach a point where it was reached before: each place has its turn */
#define PAIRS 80      /* in the short form */
#define REPAIRS 12    /* kills at a step of a repair, there */
#define FIRST_STEPS 90

struct job {
	struct config config;
	int action;
	uint32_t point, occurrence, nth, place;
};

struct known {
	struct config config;
	uint16_t count, misses;
};

struct recovery {
	uint64_t alone_ns, all_ns; /* see struct world */
};

/* What came of it, for one role: the table has a line for each. */
struct outcome {
	uint32_t deaths, stops, second_deaths, named, waited;
	uint32_t count, room;
	struct recovery *recoveries; /* of deaths */
};

struct tally {
	uint32_t seen; /* in how many runs ... */
	uint32_t deaths, stops;
	struct outcome outcomes[3]; /* by role */
	struct known *known; /* ... and the places that are kept */
	uint32_t kept, room;
};

#define NO_MODULE "there is no kernel module here; its tests are run in tests/kernel"

/* What cannot be reached from here, and why. */
static const struct {
	const char *label, *why;
} allowed[] = {
	{ "wait_for_name: close(fd) |", "no inotify watch must be left for that" },
	{ "open_inotify: close(in->inotify) |", "no inotify watch must be left for that" },
	{ "mqshm_notifier_open: close(n->fd) |", "no thread must be left for that" },
	{ "writer_settle_joiner: *word = cmpxchg", "a producer must take over within some instructions of a join; tests/model searches that" },
	{ "reader_join: *state = joining |", "a producer must raise head and take it back within some instructions of the join" },
	{ "open_it: close(fd) |", "a watcher's object must be no queue, and it only reads" },
	{ "rescan: lstat(path, &st) |", "inotify must have lost events" },
	{ "is_another: fstat(o->fd, &st) |", "the name must go under the watcher, and it only reads" },
	{ "look_who_lives: pread(o->fd, &now,", "somebody must die under the watcher's look, and it only reads" },
	{ "is_another: pread(o->fd, &dead,", NO_MODULE },
	{ "look_at_told: epoll_wait(", NO_MODULE },
	{ "mqshm_notifier_close: close(n->event) |", NO_MODULE },
	{ "mqshm_notifier_close: close(n->timer) |", NO_MODULE },
	{ "mqshm_notifier_close: epoll_ctl(", NO_MODULE },
	{ "mqshm_notifier_open: close(n->event) |", NO_MODULE },
	{ "mqshm_notifier_watch: read(n->event, &(uint64_t){ 0 }, sizeof(uint64_t)) |", NO_MODULE },
	{ "open_inotify: epoll_", NO_MODULE },
	{ "open_it: close(fd) #2 |", NO_MODULE },
	{ "open_it: epoll_ctl(", NO_MODULE },
	{ "open_ready: ", NO_MODULE },
	{ "open_set: ", NO_MODULE },
	{ "read_table: pread(o->fd, &epoch,", NO_MODULE },
	{ "reader_joined: ", NO_MODULE },
	{ "set_timer: ", NO_MODULE },
	{ "watch_files_end: close(in->set) |", NO_MODULE },
	{ NULL, NULL },
};

static struct world *slots[WORKERS];
static pid_t busy[WORKERS];
static struct job running[WORKERS];
static struct tally *tallies;
static uint64_t random_state, trials, pairs, pairs_reached, misses;
static struct outcome total;
static int failures, failures_most = 12;
static bool long_form, pair_phase;
static const char *only = "", *only_program = "";
static const char *report;
static struct job *missed_jobs;
static size_t missed_count, missed_room;

static uint64_t rnd(uint64_t below)
{
	uint64_t x = random_state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	random_state = x;
	return (x * 2685821657736338717u >> 11) % below;
}

static const char *action_name(int action)
{
	return action == SIGKILL ? "killed" : action == SIGSTOP ? "stopped" : "let go";
}

static void spell(const struct job *j, char text[300])
{
	const struct config *c = &j->config;

	snprintf(text, 300, "%d,%d,%d,%d,%d,%d,%u,%llu,%d,%u,%u,%u", c->program, c->state, c->others, c->consumers, c->shared,
		 c->first, c->first_nth, (unsigned long long)c->seed, j->action, j->point, j->occurrence, j->nth);
}

static bool unspell(struct job *j, const char *text)
{
	struct config *c = &j->config;
	unsigned long long seed;
	int shared, n = sscanf(text, "%d,%d,%d,%d,%d,%d,%u,%llu,%d,%u,%u,%u", &c->program, &c->state, &c->others, &c->consumers,
			       &shared, &c->first, &c->first_nth, &seed, &j->action, &j->point, &j->occurrence, &j->nth);

	c->shared = shared;
	c->seed = seed;
	return n == 12;
}

static const char *state_name(int state)
{
	static const char *const names[STATES] = { "empty", "half", "full", "lapped" };
	return names[state];
}

/* Make a configuration one that can be: see the flags of its program. */
static struct config fit(int program, int state, int others, int consumers, uint64_t seed)
{
	unsigned flags = programs[program].flags;
	bool exclusive = payload_mix(seed + 7) & 1, producer = programs[program].role == PRODUCER;
	struct config c = { program, state, others, consumers, false, -1, 0, seed };

	if (flags & OTHERS_NEEDED && !c.others)
		c.others = 1;
	if (flags & ALONE)
		c.others = 0;
	c.shared = flags & SHARED_ONLY || c.others + producer > 1 || (!exclusive && !(flags & ALONE));
	if (flags & AFTER_DEATH) {
		static const char *const firsts[] = { "push", "reserve, commit", "push_batch", "attach as producer",
						      "close a producer", "pop", "attach as consumer", "close a consumer",
						      "peek, release" };
		uint64_t r = payload_mix(seed + 8);

		c.first = program_find(firsts[r % (flags & ALONE ? 5 : flags & SHARED_ONLY ? 3 : 9)]);
		c.first_nth = (uint32_t)(1 + (r >> 8) % FIRST_STEPS);
		if (programs[c.first].role == PRODUCER && c.others)
			c.shared = true;
	}
	return c;
}

static void print_trial(FILE *to, const struct job *j, const struct world *w)
{
	const struct config *c = &j->config;
	char text[300], name[300];
	uint32_t hit = w->control.hit;

	spell(j, text);
	fprintf(to, "# %s: %s", programs[c->program].name, action_name(j->action));
	if (hit)
		fprintf(to, " at \"%s\", time %u", point_name(hit - 1, name), w->control.counts[hit - 1]);
	if (c->first >= 0)
		fprintf(to, ", after \"%s\" died at step %u%s%s", programs[c->first].name, c->first_nth,
			w->first_control.hit ? ", " : " (not reached)",
			w->first_control.hit ? point_name(w->first_control.hit - 1, name) : "");
	fprintf(to, "; %s, %s, %d other producers, %d consumers\n#   %s\n#   --again %s\n", state_name(c->state),
		c->shared ? "shared" : "exclusive", c->others, c->consumers, w->failure, text);
}

static void keep(struct tally *t, const struct config *c, uint16_t count)
{
	uint64_t at = t->kept;

	t->seen++;
	if (long_form || at < KNOWN) {
		if (t->kept == t->room)
			t->known = realloc(t->known, (t->room = 2 * t->room + 8) * sizeof *t->known);
		t->kept++;
	} else {
		at = rnd(t->seen);
	}
	if (at < t->kept)
		t->known[at] = (struct known){ *c, count, 0 };
}

static void add(struct outcome *o, const struct job *j, const struct world *w)
{
	o->stops += j->action == SIGSTOP;
	o->waited += w->waited;
	o->named += w->named;
	if (j->action != SIGKILL)
		return;
	o->deaths++;
	o->second_deaths += w->first_control.hit > 0;
	if (!w->alone_ns)
		return;
	if (o->count == o->room)
		o->recoveries = realloc(o->recoveries, (o->room = 2 * o->room + 8) * sizeof *o->recoveries);
	o->recoveries[o->count++] = (struct recovery){ w->alone_ns, w->all_ns };
}

static void finished(int slot, int status)
{
	struct world *w = slots[slot];
	struct job *j = &running[slot];

	trials++;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
		if (pair_phase)
			return;
		misses++;
		if (tallies[j->point].kept)
			tallies[j->point].known[j->place].misses++;
		if (missed_count == missed_room)
			missed_jobs = realloc(missed_jobs, (missed_room = 2 * missed_room + 64) * sizeof *missed_jobs);
		missed_jobs[missed_count++] = *j;
		return;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		if (!w->failure[0])
			snprintf(w->failure, sizeof w->failure, "the referee ended with status %#x", status);
		failures++;
		print_trial(stdout, j, w);
		(void)fflush(stdout);
		return;
	}
	if (!j->action) {
		for (uint32_t p = 0; p < points; p++)
			if (w->control.counts[p])
				keep(&tallies[p], &j->config, w->control.counts[p]);
		return;
	}
	if (w->control.hit) {
		struct tally *t = &tallies[w->control.hit - 1];

		pairs_reached += pair_phase;
		t->deaths += j->action == SIGKILL;
		t->stops += j->action == SIGSTOP;
		add(&t->outcomes[programs[j->config.program].role], j, w);
		add(&total, j, w);
	}
}

static void wait_one(void)
{
	int status;
	pid_t pid = waitpid(-1, &status, 0);

	for (int i = 0; i < WORKERS; i++)
		if (busy[i] == pid) {
			busy[i] = 0;
			finished(i, status);
			return;
		}
}

static void wait_all(void)
{
	for (int i = 0; i < WORKERS; i++)
		while (busy[i])
			wait_one();
}

static void run(const struct job *j)
{
	int slot;

	if (failures >= failures_most)
		return;
	for (;;) {
		for (slot = 0; slot < WORKERS && busy[slot]; slot++)
			;
		if (slot < WORKERS)
			break;
		wait_one();
	}
	memset(slots[slot], 0, sizeof *slots[slot]);
	slots[slot]->config = j->config;
	slots[slot]->control.action = j->action;
	slots[slot]->control.point = j->point;
	slots[slot]->control.occurrence = j->occurrence;
	slots[slot]->control.nth = j->nth;
	slots[slot]->first_control.action = j->config.first >= 0 ? SIGKILL : 0;
	slots[slot]->first_control.nth = j->config.first_nth;
	snprintf(slots[slot]->name, sizeof slots[slot]->name, "t%d-%s-%d", (int)getppid(), "steps", slot);
	running[slot] = *j;
	(void)fflush(NULL);
	busy[slot] = fork();
	if (busy[slot] == 0)
		_exit(trial_run(slots[slot]));
}

static void progress(const char *what, size_t done, size_t of)
{
	if (long_form && done % (of / 100 + 1) == 0)
		fprintf(stderr, "%s: %zu of %zu, %llu trials, %d failures\n", what, done, of, (unsigned long long)trials, failures);
}

static bool wanted(uint32_t point)
{
	char name[300];

	return strstr(point_name(point, name), only);
}

static bool is_allowed(uint32_t point, const char **why)
{
	char name[300];

	point_name(point, name);
	if (strstr(point_file(point), "kernel")) {
		*why = NO_MODULE;
		return true;
	}
	for (size_t i = 0; allowed[i].label; i++)
		if (strstr(name, allowed[i].label)) {
			*why = allowed[i].why;
			return true;
		}
	return false;
}

static bool all_seen(void)
{
	const char *why;

	for (uint32_t p = 0; p < points; p++)
		if (wanted(p) && point_static(p) && !tallies[p].seen && !is_allowed(p, &why))
			return false;
	return true;
}

/* Which steps does each program have, in each state? */
static void look(void)
{
	size_t done = 0;

	for (int program = 0; program < program_count; program++)
		for (int state = 0; state < STATES; state++) {
			if (!strstr(programs[program].name, only_program))
				continue;
			if ((programs[program].flags & (LATE | HELD)) && state && !long_form)
				continue; /* there is no queue to be in a state */
			for (int others = 0; others < (long_form ? 3 : 1); others++)
				for (int consumers = 1; consumers <= (long_form ? 3 : 1); consumers++) {
					struct job j = { .action = 0 };

					j.config = long_form ? fit(program, state, others, consumers, rnd(1u << 30))
							     : fit(program, state, (int)rnd(3), 1 + (int)rnd(3), rnd(1u << 30));
					run(&j);
					progress("looking", ++done, (size_t)program_count * STATES * 9);
				}
		}
	wait_all();
}

/* One place of a point, and one time there. */
static struct job pick(uint32_t point, int action)
{
	struct tally *t = &tallies[point];
	uint32_t place = (uint32_t)rnd(t->kept);

	for (uint32_t i = 0; i < t->kept; i++) /* where it was not reached again others come first */
		if (t->known[i].misses < t->known[place].misses)
			place = i;
	return (struct job){ .config = t->known[place].config, .action = action, .point = point, .place = place,
			     .occurrence = rnd(2) ? 1 : 1 + (uint32_t)rnd(t->known[place].count) };
}

static void again(void)
{
	for (int turn = 0; turn < TRIES && missed_count; turn++) {
		struct job *list = missed_jobs;
		size_t count = missed_count;

		missed_jobs = NULL;
		missed_count = missed_room = 0;
		for (size_t i = 0; i < count; i++) {
			struct job j = pick(list[i].point, list[i].action);

			if (turn > 2)
				j.occurrence = 1;
			run(&j);
		}
		wait_all();
		free(list);
	}
}

/* Much depends there on whom it died beside: one sample is not enough. */
static bool repairs(uint32_t point)
{
	static const char *const functions[] = { "posix_end_role:", "take_slot:", "writer_take_over:", "mqshm_settle_producers:",
						 "posix_demote:", "set_state:", "clear_reliable:", "retire:", "resume:",
						 "reader_resume:" };
	char name[300];

	point_name(point, name);
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
		if (!strncmp(name, functions[i], strlen(functions[i])))
			return true;
	return false;
}

static void every_step(void)
{
	static const int actions[] = { SIGKILL, SIGSTOP };

	for (uint32_t point = 0; point < points; point++) {
		progress("steps", point, points);
		if (!tallies[point].seen || !wanted(point))
			continue;
		for (int a = 0; a < 2; a++) {
			uint32_t places = long_form ? tallies[point].kept : actions[a] == SIGKILL && repairs(point) ? REPAIRS : 1;

			for (uint32_t i = 0; i < places; i++) {
				struct job j = pick(point, actions[a]);
				uint32_t times = long_form ? tallies[point].known[i].count : 1;

				for (uint32_t k = 0; k < times && k < 4; k++) { /* the first three times and the last */
					if (long_form) {
						j.config = tallies[point].known[i].config;
						j.occurrence = k < 3 ? k + 1 : times;
					}
					run(&j);
				}
			}
		}
	}
	wait_all();
	again();
}

/* The one who repairs dies while repairing. */
static void every_pair(void)
{
	size_t done = 0;

	pair_phase = true;
	for (int turn = 0; turn < (long_form ? 20000 : PAIRS); turn++) {
		int program = (int)rnd((uint64_t)program_count);
		struct job j = { .action = SIGKILL };

		if (!(programs[program].flags & (AFTER_DEATH | ZOMBIE))) {
			turn--;
			continue;
		}
		j.config = fit(program, (int)rnd(STATES), (int)rnd(3), 1 + (int)rnd(3), rnd(1u << 30));
		j.nth = 1 + (uint32_t)rnd(rnd(2) ? 40 : 160);
		pairs++;
		run(&j);
		progress("pairs", ++done, 20000);
	}
	wait_all();
}

static int by_alone(const void *a, const void *b)
{
	uint64_t x = ((const struct recovery *)a)->alone_ns, y = ((const struct recovery *)b)->alone_ns;

	return x < y ? -1 : x > y;
}

static int by_all(const void *a, const void *b)
{
	uint64_t x = ((const struct recovery *)a)->all_ns, y = ((const struct recovery *)b)->all_ns;

	return x < y ? -1 : x > y;
}

static double quantile(struct outcome *o, bool alone, uint32_t percent)
{
	uint32_t at = o->count * percent / 100;

	qsort(o->recoveries, o->count, sizeof *o->recoveries, alone ? by_alone : by_all);
	at = at < o->count ? at : o->count - 1;
	return (double)(alone ? o->recoveries[at].alone_ns : o->recoveries[at].all_ns) / 1e6;
}

/* Nothing can, or nothing did, die there or stand still there. */
static bool not_reached(uint32_t point)
{
	const struct tally *t = &tallies[point];

	return wanted(point) && (point_static(point) || t->seen) && !(t->deaths && t->stops) && !*only_program;
}

/*
 * The table: a line for each step and role that was killed or stopped there. All of them went on: the rest is a failure.
 * Then the steps that are excused.
 */
static void write_report(void)
{
	static const char *const roles[] = { "producer", "consumer", "keeper" };
	FILE *to = fopen(report, "we");
	char name[300];

	if (!to)
		return;
	fprintf(to, "Times in ms from a death, median/most: until all survivors have gone round the ring, or have been told that the\n"
		    "stream has ended (alone); until newcomers have, too (all). While stopped: survivors that waited/whose timeouts\n"
		    "named it.\n\n");
	fprintf(to, "%-8s %6s %7s %7s %9s %15s %15s  %s\n", "role", "killed", "(again)", "stopped", "waited", "alone", "all", "step");
	for (uint32_t p = 0; p < points; p++)
		for (int role = 0; role < 3; role++) {
			struct outcome *o = &tallies[p].outcomes[role];
			char alone[32] = "", all[32] = "";

			if (!o->deaths && !o->stops)
				continue;
			if (o->count) {
				snprintf(alone, sizeof alone, "%.1f/%.1f", quantile(o, true, 50), quantile(o, true, 100));
				snprintf(all, sizeof all, "%.1f/%.1f", quantile(o, false, 50), quantile(o, false, 100));
			}
			fprintf(to, "%-8s %6u %7u %7u %4u/%-4u %15s %15s  %s\n", roles[role], o->deaths, o->second_deaths,
				o->stops, o->waited, o->named, alone, all, point_name(p, name));
		}
	fprintf(to, "\n");
	for (uint32_t p = 0; p < points; p++) {
		const char *why;

		if (not_reached(p) && is_allowed(p, &why))
			fprintf(to, "not reached: %s\n    because %s\n", point_name(p, name), why);
	}
	fclose(to);
}

static int summary(void)
{
	static const char *const words[2] = { "newcomers have, too",
					      "all survivors have gone round the ring, or been told of the end" };
	uint32_t missing = 0, excused = 0, killed = 0, stopped = 0;
	char name[300];

	for (uint32_t p = 0; p < points; p++) {
		struct tally *t = &tallies[p];
		const char *why;

		killed += t->deaths > 0;
		stopped += t->stops > 0;
		if (!not_reached(p))
			continue;
		if (is_allowed(p, &why)) {
			excused++;
			continue;
		}
		missing++;
		printf("# not reached: %s%s\n", point_name(p, name), t->seen ? " (seen, but not hit)" : "");
	}
	printf("# %llu trials, %u points killed at, %u stopped at, %llu pairs (%llu with a second death), %llu that were not"
	       " reached again\n", (unsigned long long)trials, killed, stopped, (unsigned long long)pairs,
	       (unsigned long long)pairs_reached, (unsigned long long)misses);
	for (int i = 1; i >= 0 && total.count; i--)
		printf("# from a death until %s: p50 %.1f ms, p99 %.1f ms, most %.1f ms\n", words[i], quantile(&total, i, 50),
		       quantile(&total, i, 99), quantile(&total, i, 100));
	printf("# while it was stopped %u survivors waited, %u of them for it by name\n", total.waited, total.named);
	printf("# %d failures, %u steps not reached, %u more that are excused: see the end of the table\n", failures, missing, excused);
	return failures || missing || killed == 0;
}

int main(int argc, char **argv)
{
	const char *seed = getenv("MQSHM_SEED"), *repeat = NULL;
	bool labels = false, no_pairs = false;
	char name[300];
	int count = labels_read();

	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "--labels"))
			labels = true;
		else if (!strcmp(argv[i], "--no-pairs"))
			no_pairs = true;
		else if (!strcmp(argv[i], "--only"))
			only = value, i++;
		else if (!strcmp(argv[i], "--program"))
			only_program = value, i++;
		else if (!strcmp(argv[i], "--again"))
			repeat = value, i++;
		else if (!strcmp(argv[i], "--hang"))
			hang_ns = strtoull(value, NULL, 0) * 1000000000, i++;
		else if (!strcmp(argv[i], "--failures"))
			failures_most = (int)strtol(value, NULL, 0), i++;
		else if (!strcmp(argv[i], "--report"))
			report = value, i++;
		else
			return 2;
	}
	if (labels) {
		for (uint32_t p = 0; p < points; p++)
			if (point_static(p))
				printf("%s\n", point_name(p, name));
		return 0;
	}
	random_state = seed ? strtoull(seed, NULL, 0) : now_ns();
	random_state += !random_state;
	long_form = getenv("MQSHM_LONG") != NULL;
	printf("# MQSHM_SEED=%llu, %d labels\n", (unsigned long long)random_state, count);
	tallies = calloc(points, sizeof *tallies);
	for (int i = 0; i < WORKERS; i++) {
		slots[i] = mmap(NULL, sizeof **slots, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (slots[i] == MAP_FAILED)
			return 1;
	}
	if (repeat) {
		struct job j = { .action = 0 };

		if (!unspell(&j, repeat))
			return 2;
		run(&j);
		wait_all();
		printf("# %s\n", failures ? "failed" : misses ? "not reached" : "went well");
		return failures > 0;
	}
	look();
	for (int more = 0; more < LOOKS && !*only_program && !all_seen(); more++)
		look(); /* what happens seldom */
	every_step();
	if (!no_pairs)
		every_pair();
	if (report)
		write_report();
	return summary();
}
