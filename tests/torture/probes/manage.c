/* SPDX-License-Identifier: MIT */
/* What is done to queues and to processes from outside: create, remove, gc, stat, list; fork, exec, exit, death. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "operations.h"

static uint32_t some_name(struct worker *w)
{
	return (uint32_t)below(&w->random, world->names);
}

/* ---- queues ---- */

void create(struct worker *w)
{
	uint32_t name = some_name(w), stops = GET(world->stops);
	struct mqshm_queue_options queue;
	struct pin pin;
	bool only = chance(&w->random, 30);
	int rc;

	make_options(w, name, &queue);
	if (only)
		queue.flags |= MQSHM_CREATE_ONLY;
	pin_before(&pin, name);
	CALLING(w, "queue_create(%s)", world->name[name].text);
	rc = mqshm_queue_create(world->name[name].text, &queue);
	note(rc);
	if (rc == 0)
		w->notes->spare_instance = 0;
	MUST(rc == 0 ? !pin_holds(&pin) : (only ? rc == -EEXIST : rc == 1) || (rc == -ETIMEDOUT && GET(world->stops) != stops),
	     "create gave %d: %s", rc, mqshm_last_error());
}

void remove_idle(struct worker *w)
{
	uint32_t name = some_name(w), stops = GET(world->stops);
	struct pin pin;
	int rc;

	pin_before(&pin, name);
	CALLING(w, "queue_remove(%s)", world->name[name].text);
	rc = mqshm_queue_remove(world->name[name].text, 0);
	note(rc);
	MUST(((rc == 0 || rc == -ENOENT) && !pin_holds(&pin)) || rc == -EBUSY ||
		     (rc == -ETIMEDOUT && GET(world->stops) != stops),
	     "remove gave %d: %s", rc, mqshm_last_error());
}

static void removal_begins(struct worker *w, uint32_t name)
{
	ADD(world->name[name].forced_begun, 1);
	SET(w->notes->removing, name + 1);
}

static void removal_ended(struct worker *w, uint32_t name)
{
	SET(w->notes->removing, 0);
	ADD(world->name[name].forced_done, 1);
}

void remove_by_force(struct worker *w)
{
	uint32_t name = some_name(w), stops = GET(world->stops);
	int rc;

	removal_begins(w, name);
	CALLING(w, "queue_remove(%s, force)", world->name[name].text);
	rc = mqshm_queue_remove(world->name[name].text, MQSHM_FORCE);
	removal_ended(w, name);
	note(rc);
	MUST(rc == 0 || rc == -ENOENT || (rc == -ETIMEDOUT && GET(world->stops) != stops), "remove by force gave %d: %s", rc,
	     mqshm_last_error());
}

/* As systemd's RemoveIPC does. */
void unlink_name(struct worker *w)
{
	uint32_t name = some_name(w);
	char path[128];
	int rc;

	removal_begins(w, name);
	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", world->name[name].text);
	rc = unlink(path) ? -errno : 0;
	removal_ended(w, name);
	note(rc);
}

void gc(struct worker *w)
{
	uint32_t name = some_name(w);
	struct pin pin;
	int rc;

	pin_before(&pin, name);
	CALLING(w, "queue_gc(%s)", world->name[name].text);
	rc = mqshm_queue_gc(world->name[name].text, NULL, NULL);
	note(rc);
	MUST(rc == 0 || ((rc == 1 || rc == -ENOENT) && !pin_holds(&pin)), "gc gave %d: %s", rc, mqshm_last_error());
}

void gc_all(struct worker *w)
{
	int rc;

	if (!world->private_shm)
		return; /* others' queues are not ours to clean up */
	CALLING(w, "queue_gc(all)");
	rc = mqshm_queue_gc(NULL, NULL, NULL);
	note(rc);
	MUST(rc >= 0, "gc of all gave %d: %s", rc, mqshm_last_error());
}

void stat_queue(struct worker *w)
{
	uint32_t name = some_name(w), instance = 0;
	struct mqshm_stat *s = NULL;
	uint64_t acked = 0;
	struct pin pin;
	int rc;

	pin_before(&pin, name);
	if (pin.role)
		acked = GET(world->instance[pin.instance].acked);
	CALLING(w, "queue_stat(%s)", world->name[name].text);
	rc = mqshm_queue_stat(world->name[name].text, &s);
	note(rc);
	MUST(rc == 0 || (rc == -ENOENT && !pin_holds(&pin)), "stat gave %d: %s", rc, mqshm_last_error());
	if (rc)
		return;
	if (s->metadata_size == sizeof instance)
		memcpy(&instance, s->metadata, sizeof instance);
	MUST(instance && instance < INSTANCES_MOST && world->instance[instance].name == name,
	     "stat says it is instance %u", instance);
	if (instance == pin.instance && pin.role)
		MUST(s->total_pushed >= acked && s->total_pushed <= GET(world->instance[instance].begun),
		     "stat says %llu were pushed, not within %llu..%llu", (unsigned long long)s->total_pushed,
		     (unsigned long long)acked, (unsigned long long)world->instance[instance].begun);
	MUST(!pin_holds(&pin) || instance == pin.instance, "stat sees instance %u, role %u is in %u", instance,
	     pin.role - 1, pin.instance);
	mqshm_stat_free(s);
}

static int look_at(const struct mqshm_stat *s, void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < world->names; i++)
		if (!strcmp(s->name, world->name[i].text))
			MUST(!s->error, "list: %s: %d, %s", s->name, s->error, s->error_text);
	return 0;
}

void list(struct worker *w)
{
	int rc;

	CALLING(w, "queue_list");
	rc = mqshm_queue_list(look_at, NULL);
	note(rc);
	MUST(rc >= 0, "list gave %d: %s", rc, mqshm_last_error());
}

/* ---- processes ---- */

#define CHILD(call)                                                     \
	do {                                                            \
		long long child_rc = (long long)(call);                 \
		MUST(child_rc == -ECHILD, #call " in a child: %lld", child_rc); \
	} while (0)

static void touch_parents_handle(const struct handle *h)
{
	struct mqshm_message m;
	char byte[8];
	void *data;

	if (h->producer) {
		CHILD(mqshm_producer_push(h->producer, byte, sizeof byte, -1));
		CHILD(mqshm_producer_reserve(h->producer, sizeof byte, &data, -1));
		CHILD(mqshm_producer_wait_drained(h->producer, -1));
	} else {
		CHILD(mqshm_consumer_pop(h->consumer, byte, sizeof byte, &m, -1));
		CHILD(mqshm_consumer_peek(h->consumer, &m, 1, -1));
		CHILD(mqshm_consumer_release(h->consumer, 1));
		CHILD(mqshm_consumer_lag(h->consumer));
	}
}

static __attribute__((noreturn)) void child_lives(struct worker *w, uint32_t incarnation, bool stays)
{
	ADD(world->children_ran, 1);
	if (GET(w->notes->incarnation) == incarnation)
		ADD(w->notes->children_ran, 1);
	for (int i = 0; i < HANDLES; i++) {
		struct handle *h = &w->handle[i];

		if (!h->role)
			continue;
		touch_parents_handle(h);
		if (chance(&w->random, 50))
			CHILD(h->producer ? mqshm_producer_close(h->producer) : mqshm_consumer_close(h->consumer));
	}
	while (stays && GET(world->phase) != END && !kill(world->supervisor, 0))
		nap_us(5000);
	ADD(world->children_ended, 1);
	_exit(0);
}

void fork_child(struct worker *w)
{
	bool stays = chance(&w->random, 30);
	uint32_t place = 0, incarnation = w->notes->incarnation;
	pid_t pid;

	if (stays) {
		place = ADD(world->orphan_count, 1);
		stays = place < ORPHANS_MOST;
	}
	CALLING(w, "fork");
	w->notes->children++;
	pid = fork();
	if (pid == 0)
		child_lives(w, incarnation, stays);
	MUST(pid > 0, "fork: %s", strerror(errno));
	note(0);
}

/*
 * A child that has not run yet has not closed its copies of our lock descriptors, and keeps the roles that exec is to end:
 * our pid goes on, so nobody can tell. That is a limit of the backend.
 */
void exec_self(struct worker *w)
{
	char index[16], fd[16];
	char *arguments[] = { w->self, "--worker", index, fd, NULL };
	sigset_t usr1;

	snprintf(index, sizeof index, "%u", w->index);
	snprintf(fd, sizeof fd, "%d", world_fd);
	while (GET(w->notes->children_ran) < w->notes->children)
		nap_us(100);
	w->notes->random = draw(&w->random);
	note(0);
	CALLING(w, "exec");
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL); /* until there is a handler again */
	SET(w->notes->dying, 1); /* the end of its roles */
	execv(w->self, arguments);
	violation("exec of %s: %s", w->self, strerror(errno));
}

void exit_without_close(struct worker *w)
{
	note(0);
	CALLING(w, "exit");
	SET(w->notes->dying, 1);
	SET(w->notes->exited, 1);
	_exit(0);
}

/* A signal to ourselves in a moment, wherever we are then. */
static void signal_soon(int signal, uint64_t ns)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = signal };
	struct itimerspec when = { .it_value = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) } };
	timer_t timer;

	MUST(!timer_create(CLOCK_MONOTONIC, &event, &timer) && !timer_settime(timer, 0, &when, NULL), "timer: %s",
	     strerror(errno));
}

void doom(struct worker *w)
{
	if (GET(w->notes->dying))
		return;
	note(0);
	SET(w->notes->dying, 1);
	signal_soon(SIGKILL, 1000 + below(&w->random, chance(&w->random, 50) ? 200000 : 5000000));
}

void stop_soon(struct worker *w)
{
	note(0);
	ADD(world->stops, 1);
	signal_soon(SIGSTOP, 1000 + below(&w->random, chance(&w->random, 50) ? 200000 : 5000000));
}

void idle(struct worker *w)
{
	note(0);
	nap_us((unsigned)below(&w->random, 3000));
}
