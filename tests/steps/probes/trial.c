/* SPDX-License-Identifier: MIT */
/*
 * One trial, seen by its referee: build the state, let the victim run to its step, look, let the others go on, look
 * again, end everything, look what is left. Nothing is timed but hangs.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "felt.h"
#include "world.h"

#define HANG_MS 60000
#define STARVES_US 100000
#define STARVED_MOST 10
#define OPEN_AFTER_NS 10000000 /* a victim that is not there by then needs the others to get on */

static struct world *w;
static const struct program *program;
static bool open_gates, late_started;
static int starved;
static uint64_t base_good[PEERS], base_timeouts[PEERS], base_ended[PEERS];

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	char path[100];
	va_list args;

	va_start(args, format);
	vsnprintf(w->failure, sizeof w->failure, format, args);
	va_end(args);
	if (w->orphan)
		kill(w->orphan, SIGKILL);
	for (int i = 0; i < PEERS; i++)
		if (w->peers[i].pid)
			kill(w->peers[i].pid, SIGKILL);
	for (int i = 0; i < PEERS; i++)
		if (w->peers[i].pid)
			waitpid(w->peers[i].pid, NULL, 0);
	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", w->name);
	unlink(path);
	_exit(1);
}

static pid_t start(int i, void (*life)(struct world *, struct peer *))
{
	pid_t referee = getpid(), pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != referee)
			_exit(1);
		life(w, &w->peers[i]);
		_exit(0);
	}
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	w->peers[i].pid = pid;
	return pid;
}

static bool survivor(int i)
{
	return w->peers[i].pid && (i < VICTIM || i == NEW_PRODUCER || i == NEW_CONSUMER);
}

static bool pushes(int i)
{
	return (i >= OTHERS && i < VICTIM) || i == NEW_PRODUCER;
}

static const char *label(int i)
{
	static const char *const names[PEERS] = { "consumer 0", "consumer 1", "consumer 2", "producer 0", "producer 1",
						  "the victim", "the new producer", "the new consumer", "the filler",
						  "the first victim", "the one who is away" };
	return names[i];
}

static void check_survivors(void)
{
	for (int i = 0; i < PEERS; i++) {
		int status;

		if (!survivor(i) && (i != AWAY || !w->peers[i].pid))
			continue;
		if (!w->peers[i].quit && waitpid(w->peers[i].pid, &status, WNOHANG) == w->peers[i].pid) {
			w->peers[i].pid = 0;
			fail("%s ended (status %#x): %s", label(i), status, w->peers[i].complaint);
		}
	}
}

/* For how long it has run, if it would like to run just now. */
static bool wants_to_run(pid_t pid, uint64_t *ran_ns)
{
	unsigned long long ran = 0;
	char path[64], state = 0;
	FILE *from;

	snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
	from = fopen(path, "re");
	if (!from || fscanf(from, "%llu", &ran) != 1)
		ran = 0;
	if (from)
		(void)fclose(from);
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	from = fopen(path, "re");
	if (!from || fscanf(from, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (from)
		(void)fclose(from);
	*ran_ns = ran;
	return state == 'R' || state == 'D'; /* its exit waits for a kernel thread, which may starve, too */
}

/* Is there one that would like to run, and does not get to? Some kernels let some wait for many seconds beside others. */
static bool starves(void)
{
	uint64_t before[PEERS], now;
	bool wants[PEERS];

	for (int i = 0; i < PEERS; i++)
		wants[i] = w->peers[i].pid && wants_to_run(w->peers[i].pid, &before[i]);
	nap_us(STARVES_US);
	for (int i = 0; i < PEERS; i++)
		if (wants[i] && wants_to_run(w->peers[i].pid, &now) && now - before[i] < STARVES_US * 1000 / 10)
			return true;
	return false;
}

/* Since start nothing has come of it, and not because the machine would not let it. */
static bool hangs(uint64_t *start)
{
	if (felt_ns() - *start < hang_ns)
		return false;
	if (++starved > STARVED_MOST || !starves())
		return true;
	*start = felt_ns();
	return false;
}

#define WAIT(cond, ...)                                         \
	do {                                                    \
		uint64_t start_ = felt_ns();                    \
		while (!(cond)) {                               \
			check_survivors();                      \
			if (hangs(&start_))                     \
				fail("hangs: " __VA_ARGS__);    \
			nap_us(1000);                           \
		}                                               \
	} while (0)

static void gates(bool open)
{
	open_gates = open;
	for (int i = 0; i < PEERS; i++)
		SET(w->peers[i].gate, open);
	for (int i = 0; i < PEERS && !open; i++)
		if (survivor(i))
			WAIT(GET(w->peers[i].paused), "%s does not pause", label(i));
}

static void start_consumer(int i)
{
	if (w->peers[i].pid)
		return;
	w->peers[i].lossy = w->options.flags & MQSHM_OVERWRITE || i == CONSUMERS + 2;
	w->peers[i].gate = open_gates;
	start(i, consumer_life);
}

static void start_producer(int i)
{
	if (w->peers[i].pid)
		return;
	w->peers[i].gate = open_gates;
	start(i, producer_life);
}

static void start_others(void)
{
	for (int i = 0; i < w->config.others; i++)
		start_producer(OTHERS + i);
}

static void start_consumers(void)
{
	for (int i = 0; i < w->config.consumers; i++)
		start_consumer(CONSUMERS + i);
}

static void all_ready(void)
{
	for (int i = 0; i < PEERS; i++)
		if (survivor(i))
			WAIT(GET(w->peers[i].ready), "%s does not get in: %s", label(i), w->peers[i].error);
}

static void finish(int i, const char *what)
{
	uint64_t begin = felt_ns();
	int status = 0;

	while (!waitpid(w->peers[i].pid, &status, WNOHANG)) {
		if (hangs(&begin))
			fail("hangs: %s %s", label(i), what);
		nap_us(1000);
	}
	w->peers[i].pid = 0;
	if (status)
		fail("%s failed (status %#x) %s: %s", label(i), status, what, w->peers[i].complaint);
}

static void filler_life(struct world *world, struct peer *me)
{
	struct mqshm_producer *p;
	uint64_t count = world->config.state == HALF || world->config.state == LAPPED ? NODES / 2
			 : world->config.state == FULL ? NODES : 0;
	int rc;

	do
		rc = mqshm_producer_open(&p, world->name, &world->options, NULL);
	while (rc == -ETIMEDOUT);
	if (rc)
		complain(me, "producer_open: %s", mqshm_last_error());
	if (world->config.state == LAPPED) {
		SET(me->ready, 1);
		for (int i = 0; i < LAP + 5; i++)
			if (push_one(world, me, p, 0, HANG_MS))
				complain(me, "push: %s", mqshm_last_error());
		if (mqshm_producer_wait_drained(p, HANG_MS))
			complain(me, "wait_drained: %s", mqshm_last_error());
		SET(me->paused, 1);
		while (!GET(me->quit))
			nap_us(1000);
	}
	while (count--)
		if (push_one(world, me, p, 0, 0) && world->config.state != LAPPED) /* there others have pushed, too */
			complain(me, "no room for NODES messages");
	mqshm_producer_close(p);
}

static void fill(void)
{
	struct peer *filler = &w->peers[FILLER];

	start(FILLER, filler_life);
	if (w->config.state == LAPPED) {
		gates(true);
		WAIT(GET(filler->paused) || waitpid(filler->pid, NULL, WNOHANG), "the filler: %s", filler->complaint);
		gates(false);
		SET(filler->quit, 1);
	}
	finish(FILLER, "to fill the queue");
}

/* The others come and go, and the life cycle's lock is not waited for for long here. */
static struct mqshm_consumer *enter(struct world *world, struct peer *me, const struct mqshm_consumer_options *o)
{
	struct mqshm_consumer *c;
	int rc;

	do
		rc = mqshm_consumer_open(&c, world->name, &world->options, o);
	while (rc == -ETIMEDOUT);
	if (rc)
		complain(me, "consumer_open: %s", mqshm_last_error());
	return c;
}

static void zombie_life(struct world *world, struct peer *me)
{
	enter(world, me, NULL);
	raise(SIGKILL);
}

/* Dies, and a child made past the fork handlers keeps its lock. */
static void orphan_life(struct world *world, struct peer *me)
{
	pid_t pid;

	enter(world, me, NULL);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		alarm(60);
		pause();
		_exit(0);
	}
	world->orphan = pid;
	raise(SIGKILL);
}

/* Does not read and is thrown out for that; or has the victim's name and leaves its cursor. */
static void away_life(struct world *world, struct peer *me)
{
	unsigned flags = programs[world->config.program].flags;
	struct mqshm_consumer_options o = { .size = sizeof o, .start = MQSHM_FROM_OLDEST };
	unsigned char buffer[BLOCK];
	struct mqshm_consumer *c;
	struct mqshm_message m;
	ssize_t rc;

	if (flags & (FORMER | EXPIRES)) {
		o.name = HEIR;
		o.lease_ms = flags & EXPIRES ? SHORT_LEASE_MS : LEASE_MS;
	}
	c = enter(world, me, &o);
	me->id = (uint32_t)mqshm_consumer_id(c);
	SET(me->ready, 1);
	if (flags & (FORMER | EXPIRES)) {
		rc = mqshm_consumer_pop(c, buffer, sizeof buffer, &m, 0);
		if (rc >= 0)
			message_check(world, me, buffer, &m);
		if (payload_mix(world->config.seed + 9) & 1)
			raise(SIGKILL);
	} else {
		while (!GET(me->quit))
			nap_us(1000);
		rc = mqshm_consumer_pop(c, buffer, sizeof buffer, &m, 0);
		if (flags & DEMOTES ? mqshm_consumer_demoted(c) != 1 : rc != -ECONNABORTED)
			complain(me, "it did not read, all went on, and its pop gives %zd %s", rc, mqshm_last_error());
	}
	if (mqshm_consumer_close(c))
		complain(me, "consumer_close: %s", mqshm_last_error());
}

static void make_life(struct world *world, struct peer *me)
{
	if (mqshm_queue_create(world->name, &world->options))
		complain(me, "queue_create: %s", mqshm_last_error());
}

static void prepare(void)
{
	int flags = (int)program->flags;

	if (flags & LATE) {
		if (flags & ZOMBIE) {
			waitpid(start(FILLER, zombie_life), NULL, 0);
			w->peers[FILLER].pid = 0;
		}
		if (flags & UNUSED) {
			start(FILLER, make_life);
			finish(FILLER, "to create the queue");
		}
		return;
	}
	if (flags & HELD) {
		start_others();
		all_ready();
		gates(true);
		for (int i = 0; i < w->config.others; i++)
			WAIT(GET(w->peers[OTHERS + i].timeouts), "%s is not held", label(OTHERS + i));
		return;
	}
	for (int i = 0; i < w->config.consumers; i++)
		w->peers[i].since_start = true;
	start_consumers();
	all_ready();
	if (w->config.state == LAPPED && w->config.shared) { /* they have pushed, and know where they were */
		start_others();
		all_ready();
	}
	fill();
	start_others();
	all_ready();
	if (flags & ORPHAN) {
		waitpid(start(FILLER, orphan_life), NULL, 0);
		w->peers[FILLER].pid = 0;
	}
	if (flags & IDLE) {
		start(AWAY, away_life);
		WAIT(GET(w->peers[AWAY].ready), "the one who is away does not get in");
	}
	if (flags & (FORMER | EXPIRES)) {
		waitpid(start(AWAY, away_life), NULL, 0);
		w->peers[AWAY].pid = 0;
		if (w->peers[AWAY].complaint[0])
			fail("the one who is away: %s", w->peers[AWAY].complaint);
	}
	if (flags & OPEN_GATE)
		gates(true);
}

enum ending { FINISHED, KILLED, STOPPED };

static void start_late(void)
{
	if (late_started || !(program->flags & (LATE | HELD)))
		return;
	late_started = true;
	start_consumers();
	if (!(program->flags & HELD))
		start_others();
}

static enum ending await_victim(int i)
{
	uint64_t begin = felt_ns(), open_at = begin + OPEN_AFTER_NS;

	for (;;) {
		int status;

		if (waitpid(w->peers[i].pid, &status, WNOHANG | WUNTRACED) == w->peers[i].pid) {
			if (WIFSTOPPED(status) && !GET(w->control.hit) && i == VICTIM) { /* its pause */
				if (open_gates)
					gates(false); /* the new consumer shall be where it joined when the victim looks */
				start_consumer(NEW_CONSUMER);
				WAIT(GET(w->peers[NEW_CONSUMER].ready), "the new consumer does not get in");
				kill(w->peers[i].pid, SIGCONT);
				begin = felt_ns();
				open_at = begin + OPEN_AFTER_NS;
				continue;
			}
			if (WIFSTOPPED(status))
				return STOPPED;
			w->peers[i].pid = 0;
			if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
				return KILLED;
			if (status)
				fail("%s failed (status %#x): %s", label(i), status, w->peers[i].complaint);
			return FINISHED;
		}
		if (felt_ns() > open_at) {
			if (!open_gates)
				gates(true);
			if (i == VICTIM && !(program->flags & (BROKEN | SWEEPS)))
				start_late();
		}
		if (hangs(&begin))
			fail("hangs: %s does not get on", label(i));
		check_survivors();
		nap_us(1000);
	}
}

static void first_life(struct world *world, struct peer *me)
{
	programs[world->config.first].run(world, me, &world->first_control);
}

static void victim_life(struct world *world, struct peer *me)
{
	program->run(world, me, &world->control);
}

static void mark(void)
{
	for (int i = 0; i < PEERS; i++) {
		base_good[i] = GET(w->peers[i].good);
		base_timeouts[i] = GET(w->peers[i].timeouts);
		base_ended[i] = GET(w->peers[i].ended);
	}
}

static bool gone_on(int i)
{
	return GET(w->peers[i].good) >= base_good[i] + NODES + 2;
}

static bool names(int i, pid_t pid)
{
	char text[32], *found;

	snprintf(text, sizeof text, "pid %d", (int)pid);
	if (GET(w->peers[i].timeouts) == base_timeouts[i])
		return false;
	found = strstr(w->peers[i].error, text);
	return found && (found[strlen(text)] < '0' || found[strlen(text)] > '9');
}

static void positions(const char *when)
{
	struct outside *o = outside_open(w);
	const char *wrong = o ? outside_positions(o) : NULL;

	if (wrong)
		fail("%s: %s", when, wrong);
	outside_close(o);
}

static void new_ones(bool dead)
{
	bool producers = w->config.others > 0;

	start_consumer(NEW_CONSUMER);
	if (!w->peers[NEW_PRODUCER].pid && (!producers || (dead && w->config.shared)))
		start_producer(NEW_PRODUCER);
}

static void all_go_on(const char *when)
{
	for (int i = 0; i < PEERS; i++)
		if (survivor(i))
			WAIT(gone_on(i), "%s, %s does not go on (%s)", when, label(i), w->peers[i].error);
}

/*
 * Before anybody new comes, who would repair on the way: with a producer left all go on, without one the consumers are
 * told that the stream has ended.
 */
static void survivors_alone(void)
{
	if (w->config.others || w->peers[NEW_PRODUCER].pid) {
		all_go_on("after the death");
		return;
	}
	for (int i = 0; i < PEERS && !(program->flags & (LATE | REMOVES)); i++)
		if (survivor(i))
			WAIT(GET(w->peers[i].ended) > base_ended[i], "after the death, %s is not told (%s)", label(i),
			     w->peers[i].error);
}

/*
 * The victim has died while it raised head over the cursor of one who joined: the next producer takes head back, so that
 * one who has not read yet is in its way.
 */
static void held_back(void)
{
	struct peer *joined = &w->peers[NEW_CONSUMER];

	SET(joined->gate, 0);
	WAIT(GET(joined->paused), "%s does not pause", label(NEW_CONSUMER));
	if (!w->config.others)
		start_producer(NEW_PRODUCER);
	for (int i = 0; i < PEERS; i++)
		if (survivor(i) && pushes(i))
			WAIT(GET(w->peers[i].timeouts) > base_timeouts[i], "%s is not held back by the one who joined", label(i));
	positions("after the take-over");
	mark();
	SET(joined->gate, 1);
}

/*
 * It stands still. Who depends on it waits, and is told its pid; all the others go on. Consumers just wait where all
 * producers do.
 */
static void stands_still(pid_t victim)
{
	struct outside *o = outside_open(w);
	bool lock = o && outside_holds_lock(o, victim), back = o && outside_holds_back(o, victim);
	/* Where a dead one is in the way, it is named, not who just repairs that; and see docs/verification.md. */
	bool unnamed = program->flags & (HELD | IDLE | FORMER | EXPIRES) || ((w->config.first >= 0 || program->flags & ORPHAN) && o && outside_repairs(o));
	bool nameless = o && outside_lifecycle_unnamed(o);
	/* A slow consumer must be got out of the way. */
	bool must = program->flags & (EVICTS | DEMOTES) && program->role == CONSUMER && !lock;

	if (program->flags & BROKEN) {
		outside_close(o);
		return;
	}
	mark();
	gates(true);
	start_late();
	start_consumer(NEW_CONSUMER);
	for (uint64_t begin = felt_ns();;) {
		bool going = false, all = true;
		int i, stuck = -1;

		for (i = 0; i < PEERS; i++) {
			bool told = names(i, victim), timed_out = GET(w->peers[i].timeouts) > base_timeouts[i];

			if (!survivor(i) || !pushes(i))
				continue;
			if (gone_on(i) && !lock && !(back && outside_holds_back(o, victim)))
				going = !(program->flags & REMOVES); /* else perhaps in the old queue, until it is told */
			else if (must || (!told && !((unnamed || (nameless && !GET(w->peers[i].ready))) && timed_out)))
				all = false, stuck = i;
		}
		for (i = 0; i < PEERS && all; i++) {
			bool waited = GET(w->peers[i].timeouts) > base_timeouts[i] || GET(w->peers[i].ended) > base_ended[i];

			if (!survivor(i) || pushes(i) || gone_on(i) || names(i, victim))
				continue;
			if (!GET(w->peers[i].ready) ? !(nameless && waited) : going || !waited) /* who is not in must know why */
				all = false, stuck = i;
		}
		if (all)
			break;
		check_survivors();
		if (hangs(&begin))
			fail("while it is stopped, %s neither goes on nor is told why (%s)%s%s", label(stuck),
			     w->peers[stuck].error, lock ? ", lock" : "", back ? ", held back" : "");
		nap_us(1000);
	}
	for (int i = 0; i < PEERS; i++)
		if (survivor(i) && !gone_on(i)) {
			w->waited++;
			w->named += names(i, victim);
		}
	outside_close(o);
}

/* Where the queue was removed from under them, all find that out, and meet in the new one. */
static bool met(void)
{
	uint32_t producers = 0, consumers = 0;
	struct mqshm_stat *stat;
	bool all;

	if (mqshm_queue_stat(w->name, &stat))
		return false;
	for (int i = 0; i < PEERS; i++) {
		producers += survivor(i) && pushes(i);
		consumers += survivor(i) && !pushes(i);
	}
	all = stat->producer_count == producers && stat->consumer_count == consumers;
	mqshm_stat_free(stat);
	return all;
}

static void settle(void)
{
	pid_t producers[PEERS + 1] = { 0 }, consumers[PEERS + 1] = { 0 };
	int p = 0, c = 0, flags = (int)program->flags;
	struct outside *o;
	const char *wrong;
	uint64_t acked = 0, pushed;

	if (flags & REMOVES)
		WAIT(met(), "not all have noticed that the queue is gone");
	gates(false);
	if (mqshm_queue_gc(w->name, NULL, NULL))
		fail("gc of a queue with users removed it, or failed: %s", mqshm_last_error());
	for (int i = 0; i < PEERS; i++) {
		if (survivor(i))
			*(pushes(i) ? &producers[p++] : &consumers[c++]) = w->peers[i].pid;
		acked += w->peers[i].acked;
	}
	o = outside_open(w);
	if (!o)
		fail("the queue is gone under its users");
	wrong = outside_positions(o);
	if (!wrong)
		wrong = outside_roles(o, w, producers, consumers);
	if (wrong)
		fail("at rest: %s", wrong);
	pushed = outside_pushed(o);
	if (w->orphan)
		kill(w->orphan, SIGKILL);
	if (!(flags & (LATE | REMOVES)) && (pushed < acked || pushed > acked + 6 + 6))
		fail("%llu messages were pushed, the queue has %llu", (unsigned long long)acked, (unsigned long long)pushed);
	outside_close(o);
}

static void gone(const char *complaint)
{
	char path[100];

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", w->name);
	if (!access(path, F_OK))
		fail("%s", complaint);
}

/* One by one, so that nobody waits for another's leaving. */
static void leave(void)
{
	gates(true);
	if (w->peers[AWAY].pid) {
		SET(w->peers[AWAY].quit, 1);
		finish(AWAY, "at its end");
	}
	for (int turn = 0; turn < 2; turn++) {
		for (int i = 0; i < PEERS; i++) {
			if (!survivor(i) || pushes(i) == turn)
				continue;
			SET(w->peers[i].quit, program->flags & REMOVES ? 2 : 1);
			finish(i, "at its end");
			if (turn == 0 || w->peers[i].lossy || !w->peers[i].since_start)
				continue;
			for (int k = 0; k < PEERS; k++)
				if (w->peers[k].acked &&
				    (w->peers[i].next_count[k] == UINT64_MAX || w->peers[i].next_count[k] < w->peers[k].acked))
					fail("%s has seen %lld messages of %s, which has pushed %llu", label(i),
					     (long long)w->peers[i].next_count[k], label(k),
					     (unsigned long long)w->peers[k].acked);
		}
	}
	gone("all have left, and the queue is still there");
}

int trial_run(struct world *world)
{
	enum ending ending;
	uint64_t death;
	int action;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	w = world;
	program = &programs[w->config.program];
	action = w->control.action;
	w->options = (struct mqshm_queue_options){
		.size = sizeof w->options, .node_count = NODES, .block_size = BLOCK,
		.max_consumers = (uint32_t)w->config.consumers + 1 + (action == SIGSTOP || program->flags & ORPHAN) +
				 !!(program->flags & (IDLE | FORMER | EXPIRES)),
		.flags = (w->config.shared ? MQSHM_SHARED : 0) | (program->flags & HELD ? MQSHM_HOLD : 0) |
			 (program->flags & OVERWRITES ? MQSHM_OVERWRITE : 0),
		.slow_policy = program->flags & EVICTS ? MQSHM_SLOW_EVICT : program->flags & DEMOTES ? MQSHM_SLOW_DEMOTE : 0,
		.slow_ms = program->flags & (EVICTS | DEMOTES) ? SLOW_MS : 0,
	};
	for (int i = 0; i < PEERS; i++)
		peer_init(&w->peers[i]);
	prepare();
	if (w->config.first >= 0) {
		start(FIRST, first_life);
		await_victim(FIRST);
		if (open_gates && !(program->flags & (OPEN_GATE | HELD)))
			gates(false);
	}
	start(VICTIM, victim_life);
	ending = await_victim(VICTIM);
	death = now_ns();
	if (ending != FINISHED && !open_gates && !(program->flags & (LATE | JOIN_AMID))) /* there head may come back yet */
		positions("right after");
	if (ending == STOPPED) {
		stands_still(w->peers[VICTIM].pid);
		mark();
		death = now_ns();
		kill(w->peers[VICTIM].pid, SIGCONT);
		if (await_victim(VICTIM) != FINISHED)
			fail("it did not come to its end after SIGCONT");
	}
	if (program->flags & BROKEN && ending == KILLED)
		mqshm_queue_remove(w->name, MQSHM_FORCE);
	if (program->flags & SWEEPS && ending != STOPPED) {
		if (ending == KILLED)
			mqshm_queue_gc(w->name, NULL, NULL);
		gone("the zombie is still there");
	}
	if (program->flags & BY_HAND && ending == KILLED) {
		int rc = mqshm_queue_evict(w->name, w->peers[AWAY].id);

		if (rc && rc != -ESRCH)
			fail("evicting once more: %d %s", rc, mqshm_last_error());
	}
	mark();
	start_late();
	gates(true);
	if (program->flags & NAMED)
		start_consumer(NEW_CONSUMER);
	if (ending == KILLED && program->flags & JOIN_AMID && w->peers[NEW_CONSUMER].pid)
		held_back();
	if (ending == KILLED)
		survivors_alone();
	if (ending == KILLED && !(program->flags & (LATE | REMOVES | JOIN_AMID | ORPHAN | IDLE | EXPIRES))) /* where it is the death that counts */
		w->alone_ns = now_ns() - death;
	mark();
	new_ones(ending == KILLED);
	all_go_on(ending == KILLED ? "after the death" : "afterwards");
	w->all_ns = now_ns() - death;
	settle();
	leave();
	return action && !w->control.hit ? 2 : 0;
}
