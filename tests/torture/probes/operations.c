/* SPDX-License-Identifier: MIT */
/*
 * The table of operations, and what they share. A new operation is a function and a row here; weights are for the
 * characters a process may have (world.h).
 */
#include <errno.h>
#include <string.h>

#include "operations.h"

const struct operation operations[] = {
	/*					  producer consumer mixed manager burster visitor flasher */
	{ "producer_open", open_producer, { 30, 0, 20, 3, 30, 0, 0 } },
	{ "push", push_singly, { 300, 0, 150, 0, 5, 0, 0 } },
	{ "push_batch", push_in_batches, { 80, 0, 40, 0, 0, 0, 0 } },
	{ "reserve", push_in_place, { 80, 0, 40, 0, 0, 0, 0 } },
	{ "push too much", push_too_much, { 2, 0, 2, 0, 0, 0, 0 } },
	{ "wait_consumers", wait_consumers, { 6, 0, 4, 0, 0, 0, 0 } },
	{ "wait_drained", wait_drained, { 8, 0, 6, 0, 0, 0, 0 } },
	{ "producer_close", close_producer, { 6, 0, 5, 5, 1, 0, 1 } },
	{ "consumer_open", open_consumer, { 0, 30, 20, 6, 0, 0, 0 } },
	{ "pop", pop, { 0, 800, 500, 30, 0, 5, 0 } },
	{ "consumer_close", close_consumer, { 0, 8, 6, 6, 0, 0, 0 } },
	{ "create", create, { 1, 1, 1, 12, 0, 0, 0 } },
	{ "remove", remove_idle, { 0, 0, 1, 12, 0, 0, 0 } },
	{ "remove by force", remove_by_force, { 0, 0, 0, 1, 0, 0, 0 } },
	{ "unlink", unlink_name, { 0, 0, 0, 1, 0, 0, 0 } },
	{ "gc", gc, { 2, 2, 3, 40, 1, 1, 1 } },
	{ "gc of all", gc_all, { 0, 0, 0, 8, 0, 0, 0 } },
	{ "stat", stat_queue, { 3, 3, 4, 40, 1, 1, 1 } },
	{ "list", list, { 0, 0, 0, 8, 0, 0, 0 } },
	{ "fork", fork_child, { 3, 3, 3, 6, 1, 1, 1 } },
	{ "exec", exec_self, { 1, 1, 1, 1, 1, 1, 1 } },
	{ "exit", exit_without_close, { 1, 1, 1, 1, 1, 1, 1 } },
	{ "doom", doom, { 2, 2, 2, 3, 1, 1, 2 } },
	{ "stop", stop_soon, { 1, 1, 1, 1, 1, 1, 1 } },
	{ "idle", idle, { 10, 10, 10, 60, 0, 0, 0 } },
	{ "burst", burst, { 0, 0, 0, 0, 100, 0, 0 } },
	{ "visit", visit, { 0, 0, 0, 0, 0, 100, 0 } },
	{ "flash", flash, { 0, 0, 0, 0, 0, 0, 100 } },
};
const unsigned operation_count = sizeof operations / sizeof *operations;

int draw_timeout(struct worker *w)
{
	uint64_t kind = below(&w->random, 100);

	return kind < 35 ? 0 : kind < 75 ? 1 + (int)below(&w->random, 60) : -1;
}

int32_t draw_spin(struct worker *w)
{
	static const int32_t spins[] = { 0, 0, MQSHM_SPIN_NEVER, 5, 200 };

	return spins[below(&w->random, sizeof spins / sizeof *spins)];
}

struct handle *free_handle(struct worker *w)
{
	for (int i = 0; i < HANDLES; i++)
		if (!w->handle[i].role)
			return &w->handle[i];
	return NULL;
}

static unsigned running; /* the operation of this process */

void run_operation(struct worker *w, unsigned operation)
{
	running = operation;
	SET(w->notes->operation, operation);
	CALLING(w, "%s", operations[operation].name);
	operations[operation].run(w);
	SET(w->notes->operations, w->notes->operations + 1);
}

void note(int rc)
{
	int outcome = rc < 0 ? -rc : 0;

	ADD(world->outcomes[running][outcome < OUTCOMES ? outcome : OUTCOMES - 1], 1);
}

/* ---- waits ---- */

void wait_begins(struct worker *w, struct waited *wait, struct handle *h, enum waiting what, uint32_t least, int timeout_ms)
{
	wait->timeout_ms = timeout_ms;
	wait->interrupts = GET(w->notes->interrupts);
	if (timeout_ms >= 0)
		return;
	w->notes->wait_least = least;
	SET(w->notes->wait_role, role_index(h->role) + 1);
	SET(w->notes->waiting, (uint32_t)what);
}

bool may_be_stale(const struct role *role, int rc)
{
	return rc == -ESTALE && GET(world->name[role->name].forced_begun) != role->forced;
}

void wait_ended(struct worker *w, const struct waited *wait, struct handle *h, int rc)
{
	SET(w->notes->waiting, NOT_WAITING);
	if (rc == 0 || may_be_stale(h->role, rc) || (rc == -EAGAIN && wait->timeout_ms == 0) ||
	    (rc == -ETIMEDOUT && wait->timeout_ms > 0) ||
	    (rc == -EINTR && GET(w->notes->interrupts) != wait->interrupts))
		return;
	violation("%d (%s) was returned with timeout %d: %s", rc, strerror(-rc), wait->timeout_ms, mqshm_last_error());
}

/* ---- open and close ---- */

/* Somebody who may come to a queue that is only made after it began to open. */
static bool reliable_open_goes_on(uint32_t name)
{
	uint32_t count = GET(world->role_count);

	for (uint32_t i = 0; i < count; i++) {
		const struct role *role = &world->role[i];

		if (role->name == name && !role->producer && !role->lossy && GET(role->state) == ROLE_OPENING)
			return true;
	}
	return false;
}

void make_options(struct worker *w, uint32_t name, struct mqshm_queue_options *queue)
{
	uint32_t *spare = &w->notes->spare_instance;

	if (!*spare) {
		*spare = ADD(world->instance_count, 1) + 1;
		if (*spare >= INSTANCES_MOST)
			violation("the round has too few instances"); /* of the test, not the library */
	}
	world->instance[*spare].name = name;
	world->instance[*spare].reliable_before =
		reliable_open_goes_on(name) ? UINT64_MAX : GET(world->name[name].reliable_begun);
	*queue = world->name[name].options;
	queue->metadata = spare;
	queue->metadata_size = sizeof *spare;
}

bool open_begin(struct worker *w, struct opening *o, struct handle *h, uint32_t name, bool producer, bool lossy,
		struct mqshm_queue_options *queue)
{
	struct role *role;

	make_options(w, name, queue);
	o->handle = h;
	o->stops = GET(world->stops);
	o->wait = (struct waited){ .timeout_ms = 0, .interrupts = GET(w->notes->interrupts) };
	pin_before(&o->pin, name);
	places_before(&o->places, name, producer);
	role = role_new(w->index, (uint32_t)(h - w->handle), name, producer, lossy);
	h->role = role;
	return role;
}

void open_end(struct worker *w, struct opening *o, int rc, const struct mqshm_queue_info *info, bool create,
	      uint32_t places)
{
	struct handle *h = o->handle;
	struct role *role = h->role;
	uint32_t instance = 0;

	SET(w->notes->waiting, NOT_WAITING);
	note(rc);
	if (rc) {
		bool busy_is_right = rc == -EBUSY && !places_were_left(&o->places, role->name, role->producer, places);

		MUST(busy_is_right || (rc == -ENOENT && !create && !pin_holds(&o->pin)) ||
			     (rc == -EINTR && GET(w->notes->interrupts) != o->wait.interrupts) ||
			     (rc == -ETIMEDOUT && GET(world->stops) != o->stops),
		     "open gave %d: %s", rc, mqshm_last_error());
		SET(role->state, ROLE_VOID);
		SET(w->notes->handle_role[h - w->handle], 0);
		h->role = NULL;
		return;
	}
	if (info->metadata_size == sizeof instance)
		memcpy(&instance, info->metadata, sizeof instance);
	MUST(instance && instance < INSTANCES_MOST && world->instance[instance].name == role->name,
	     "the queue says it is instance %u", instance);
	MUST(info->node_count == world->name[role->name].options.node_count &&
		     info->block_size == world->name[role->name].options.block_size,
	     "the queue has %u nodes of %u", info->node_count, info->block_size);
	if (instance == w->notes->spare_instance)
		w->notes->spare_instance = 0;
	MUST(!pin_holds(&o->pin) || instance == o->pin.instance,
	     "got instance %u of %s while role %u was in instance %u all the time", instance,
	     world->name[role->name].text, o->pin.role - 1, o->pin.instance);
	role->order = ADD(world->order_count, 1) + 1;
	SET(role->instance, instance);
	if (role->producer && places == 1)
		for (uint32_t i = 0; i < o->places.role_count; i++)
			MUST(&world->role[i] == role || !world->role[i].producer || world->role[i].instance != instance ||
				     world->role[i].forced != GET(world->name[role->name].forced_begun) ||
				     !role_is_alive(&world->role[i]),
			     "a second exclusive producer, beside role %u", i);
	SET(role->state, ROLE_OPEN);
}

void close_handle(struct worker *w, struct handle *h, enum role_end ending)
{
	struct role *role = h->role;
	int rc;

	role->ending = ending;
	SET(role->state, ROLE_LEAVING);
	CALLING(w, "%s of a %s of %s", ending == BY_FAIL ? "fail" : "close", role->producer ? "producer" : "consumer",
		world->name[role->name].text);
	rc = !role->producer	  ? mqshm_consumer_close(h->consumer)
	     : ending == BY_CLOSE ? mqshm_producer_close(h->producer)
				  : mqshm_producer_fail(h->producer);
	MUST(rc == 0, "close: %d, %s", rc, mqshm_last_error());
	SET(role->state, ROLE_GONE);
	SET(w->notes->handle_role[h - w->handle], 0);
	*h = (struct handle){ .role = NULL };
}
