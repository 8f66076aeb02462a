/* SPDX-License-Identifier: MIT */
/* What a producer does: open, push in all forms, wait, leave. */
#include <errno.h>
#include <string.h>

#include "operations.h"

static char payload[BATCH_MOST][BLOCK_MOST];

/* ---- open ---- */

void open_producer(struct worker *w)
{
	struct handle *h = free_handle(w);
	uint32_t name = (uint32_t)below(&w->random, world->names);
	bool create = chance(&w->random, 80), shared = world->name[name].options.flags & MQSHM_SHARED;
	struct mqshm_producer_options options = { .size = sizeof options, .spin_us = draw_spin(w) };
	struct mqshm_queue_options queue;
	struct mqshm_queue_info info;
	struct opening o;
	int rc;

	if (!h)
		return;
	if (chance(&w->random, 10))
		options.flags |= MQSHM_PREFAULT;
	if (!open_begin(w, &o, h, name, true, false, &queue))
		return;
	CALLING(w, "producer_open(%s)", world->name[name].text);
	rc = mqshm_producer_open(&h->producer, world->name[name].text, create ? &queue : NULL, &options);
	if (rc == 0)
		MUST(!mqshm_producer_info(h->producer, &info), "producer_info: %s", mqshm_last_error());
	MUST(rc == 0 || h->producer == NULL, "open failed with %d and left a handle", rc);
	open_end(w, &o, rc, &info, create, shared ? 64 : 1);
}

/* ---- push ---- */

static struct handle *some_producer(struct worker *w)
{
	struct handle *h = &w->handle[below(&w->random, HANDLES)];

	if (!h->producer)
		return NULL;
	if (world->style != STORM && GET(world->instance[h->role->instance].begun) + 4 * BATCH_MOST * WORKERS_MOST > LOG_MOST) {
		close_handle(w, h, BY_CLOSE); /* the log is full */
		return NULL;
	}
	return h;
}

static void push_begins(struct role *role, uint64_t count)
{
	ADD(world->instance[role->instance].begun, count);
	SET(role->begun, role->acked + count);
}

static void push_ended(struct role *role, uint64_t count, int done)
{
	uint64_t pushed = done > 0 ? (uint64_t)done : 0;

	SET(role->acked, role->acked + pushed);
	SET(role->begun, role->acked);
	ADD(world->instance[role->instance].acked, pushed);
	ADD(world->instance[role->instance].begun, pushed - count); /* modulo 2^64 */
}

static int push_one(struct worker *w, struct handle *h, int timeout_ms)
{
	const struct mqshm_queue_options *queue = &world->name[h->role->name].options;
	uint64_t key = key_of(h->role, h->role->acked);
	size_t size = message_size(key, queue);
	struct waited wait;
	int rc;

	message_fill(payload[0], size, key, queue);
	if (queue->flags & MQSHM_TIMESTAMP_OWN)
		MUST(!mqshm_producer_set_timestamp(h->producer, key), "set_timestamp: %s", mqshm_last_error());
	push_begins(h->role, 1);
	wait_begins(w, &wait, h, FOR_ROOM, 1, timeout_ms);
	if (chance(&w->random, 70)) {
		CALLING(w, "push(%zu bytes, timeout %d)", size, timeout_ms);
		rc = mqshm_producer_push(h->producer, payload[0], size, timeout_ms);
	} else {
		size_t cut = size ? below(&w->random, size + 1) : 0;
		struct iovec pieces[3] = { { payload[0], cut }, { NULL, 0 }, { payload[0] + cut, size - cut } };

		CALLING(w, "pushv(%zu + %zu bytes, timeout %d)", cut, size - cut, timeout_ms);
		rc = mqshm_producer_pushv(h->producer, pieces, 3, timeout_ms);
	}
	push_ended(h->role, 1, rc == 0);
	wait_ended(w, &wait, h, rc);
	return rc;
}

static int push_batch(struct worker *w, struct handle *h, int timeout_ms)
{
	const struct mqshm_queue_options *queue = &world->name[h->role->name].options;
	size_t count = 1 + below(&w->random, BATCH_MOST);
	struct iovec messages[BATCH_MOST];
	struct waited wait;
	int rc;

	for (size_t i = 0; i < count; i++) {
		uint64_t key = key_of(h->role, h->role->acked + i);

		messages[i] = (struct iovec){ payload[i], message_size(key, queue) };
		message_fill(payload[i], messages[i].iov_len, key, queue);
	}
	push_begins(h->role, count);
	wait_begins(w, &wait, h, FOR_ROOM, (uint32_t)count, timeout_ms); /* all but the last may be out already */
	CALLING(w, "push_batch(%zu messages, timeout %d)", count, timeout_ms);
	rc = mqshm_producer_push_batch(h->producer, messages, count, timeout_ms);
	push_ended(h->role, count, rc);
	MUST(rc != 0 && rc <= (int)count, "push_batch of %zu returned %d", count, rc);
	wait_ended(w, &wait, h, rc < 0 ? rc : 0);
	return rc < 0 ? rc : 0;
}

static int reserve(struct worker *w, struct handle *h, int timeout_ms)
{
	const struct mqshm_queue_options *queue = &world->name[h->role->name].options;
	uint64_t key = key_of(h->role, h->role->acked);
	size_t size = message_size(key, queue), room = size + below(&w->random, queue->block_size - size + 1);
	bool abort = chance(&w->random, 25);
	struct waited wait;
	void *data = NULL;
	int rc;

	wait_begins(w, &wait, h, FOR_ROOM, 1, timeout_ms);
	CALLING(w, "reserve(%zu bytes, timeout %d)", room, timeout_ms);
	rc = mqshm_producer_reserve(h->producer, room, &data, timeout_ms);
	wait_ended(w, &wait, h, rc);
	if (rc)
		return rc;
	if (chance(&w->random, 20)) {
		int second = mqshm_producer_push(h->producer, payload[0], 8, 0);

		MUST(second == -EDEADLK || may_be_stale(h->role, second), "push during a reservation: %d", second);
		MUST(mqshm_producer_commit(h->producer, room + 1) == -EINVAL, "more than reserved was committed");
	}
	memset(data, 0x5a, room < 64 ? room : 64); /* what was written and not committed is never seen */
	if (chance(&w->random, 10))
		nap_us(1 + (unsigned)below(&w->random, 2000));
	if (abort) {
		CALLING(w, "abort");
		MUST(!mqshm_producer_abort(h->producer), "abort: %s", mqshm_last_error());
		return 0;
	}
	message_fill(data, size, key, queue);
	if (queue->flags & MQSHM_TIMESTAMP_OWN)
		MUST(!mqshm_producer_set_timestamp(h->producer, key), "set_timestamp: %s", mqshm_last_error());
	push_begins(h->role, 1);
	CALLING(w, "commit(%zu of %zu bytes)", size, room);
	rc = mqshm_producer_commit(h->producer, size);
	push_ended(h->role, 1, rc == 0);
	MUST(rc == 0 || may_be_stale(h->role, rc), "commit: %d, %s", rc, mqshm_last_error());
	return rc;
}

/* Some pushes; leaves when the role is lost. */
static void push_with(struct worker *w, int (*push)(struct worker *w, struct handle *h, int timeout_ms))
{
	struct handle *h = some_producer(w);
	int rc = 0, times = 1 + (int)below(&w->random, 24);

	if (!h)
		return;
	if (push == push_batch && world->name[h->role->name].options.flags & MQSHM_TIMESTAMP_OWN)
		push = push_one; /* a batch has one timestamp, and the key is there */
	for (int i = 0; i < times && rc == 0 && GET(world->phase) == RUN; i++)
		rc = push(w, h, draw_timeout(w));
	note(rc);
	if (rc == -ESTALE)
		close_handle(w, h, BY_CLOSE);
}

void push_singly(struct worker *w) { push_with(w, push_one); }
void push_in_batches(struct worker *w) { push_with(w, push_batch); }
void push_in_place(struct worker *w) { push_with(w, reserve); }

void push_too_much(struct worker *w)
{
	struct handle *h = some_producer(w);
	int rc;

	if (!h)
		return;
	CALLING(w, "push of more than block_size");
	rc = mqshm_producer_push(h->producer, payload[0], world->name[h->role->name].options.block_size + 1, -1);
	note(rc);
	MUST(rc == -EMSGSIZE || may_be_stale(h->role, rc), "push of more than block_size: %d", rc);
}

/* ---- wait ---- */

void wait_consumers(struct worker *w)
{
	struct handle *h = some_producer(w);
	int rc, timeout_ms = (int)below(&w->random, 40);
	struct waited wait;

	if (!h)
		return;
	wait_begins(w, &wait, h, NOT_WAITING, 0, timeout_ms);
	CALLING(w, "wait_consumers(timeout %d)", timeout_ms);
	rc = mqshm_producer_wait_consumers(h->producer, 1 + (unsigned)below(&w->random, 4),
					   chance(&w->random, 50) ? MQSHM_EVER : 0, timeout_ms);
	wait_ended(w, &wait, h, rc);
	note(rc);
}

void wait_drained(struct worker *w)
{
	struct handle *h = some_producer(w);
	int rc, timeout_ms = (int)below(&w->random, 40);
	uint32_t count = GET(world->role_count);
	struct waited wait;
	uint64_t acked;

	if (!h)
		return;
	acked = GET(world->instance[h->role->instance].acked);
	wait_begins(w, &wait, h, NOT_WAITING, 0, timeout_ms);
	CALLING(w, "wait_drained(timeout %d)", timeout_ms);
	rc = mqshm_producer_wait_drained(h->producer, timeout_ms);
	wait_ended(w, &wait, h, rc);
	note(rc);
	for (uint32_t i = 0; i < count && rc == 0; i++) {
		const struct role *role = &world->role[i];
		uint64_t pending = GET(role->pending); /* before next: together they are no less than its cursor */

		if (!role->producer && role->instance == h->role->instance && GET(role->known) && !role->lossy &&
		    role_is_alive(role) && role->forced == GET(world->name[role->name].forced_begun))
			MUST(GET(role->next) + pending >= acked, "drained, but role %u is at %llu of %llu", i,
			     (unsigned long long)role->next, (unsigned long long)acked);
	}
}

/* ---- leave ---- */

void close_producer(struct worker *w)
{
	struct handle *h = &w->handle[below(&w->random, HANDLES)];

	if (h->producer) {
		close_handle(w, h, chance(&w->random, 80) ? BY_CLOSE : BY_FAIL);
		note(0);
	}
}

/* ---- one thing again and again ---- */

/* As fast as it goes, so that head rises all the time. */
void burst(struct worker *w)
{
	struct handle *h = some_producer(w);
	int rc = 0;

	if (!h)
		return;
	CALLING(w, "a burst of pushes");
	for (int i = 0; i < 2000 && rc == 0; i++) {
		const struct mqshm_queue_options *queue = &world->name[h->role->name].options;
		uint64_t key = key_of(h->role, h->role->acked);
		size_t size = message_size(key, queue);

		message_fill(payload[0], size, key, queue);
		if (queue->flags & MQSHM_TIMESTAMP_OWN)
			mqshm_producer_set_timestamp(h->producer, key);
		push_begins(h->role, 1);
		rc = mqshm_producer_push(h->producer, payload[0], size, 0);
		push_ended(h->role, 1, rc == 0);
		if (rc == -EAGAIN && i < 1000)
			rc = 0;
	}
	note(rc);
	MUST(rc == 0 || rc == -EAGAIN || may_be_stale(h->role, rc), "push: %d, %s", rc, mqshm_last_error());
	if (rc == -ESTALE)
		close_handle(w, h, BY_CLOSE);
}

/* Comes, pushes little, leaves. */
void flash(struct worker *w)
{
	struct handle *h = free_handle(w);
	int rc = 0;

	open_producer(w);
	if (!h || !h->producer)
		return;
	for (uint64_t i = below(&w->random, 4); i && rc == 0; i--)
		rc = push_one(w, h, (int)below(&w->random, 20));
	note(rc);
	close_handle(w, h, chance(&w->random, 80) ? BY_CLOSE : BY_FAIL);
}
