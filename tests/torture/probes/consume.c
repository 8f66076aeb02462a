/* SPDX-License-Identifier: MIT */
/* What a consumer does: open, pop in all forms, leave. */
#include <errno.h>

#include "operations.h"

static char buffer[BATCH_MOST * (BLOCK_MOST + 8)];

/* ---- open ---- */

void open_consumer(struct worker *w)
{
	struct handle *h = free_handle(w);
	uint32_t name = (uint32_t)below(&w->random, world->names);
	struct name *n = &world->name[name];
	bool create = chance(&w->random, 60), overwrite = n->options.flags & MQSHM_OVERWRITE;
	struct mqshm_consumer_options options = { .size = sizeof options, .spin_us = draw_spin(w) };
	struct mqshm_queue_options queue;
	struct mqshm_queue_info info;
	struct instance *instance;
	uint64_t mine = 0, acked = 0, begun;
	struct opening o;
	struct role *role;
	int rc;

	if (!h)
		return;
	options.start = (int)below(&w->random, 3);
	options.wait_ms = chance(&w->random, 50) ? (int)below(&w->random, 30) : 0;
	if (chance(&w->random, 30))
		options.flags |= MQSHM_LOSSY;
	if (!open_begin(w, &o, h, name, false, overwrite || options.flags & MQSHM_LOSSY, &queue))
		return;
	role = h->role;
	role->start = (uint32_t)options.start;
	if (o.pin.role)
		acked = GET(world->instance[o.pin.instance].acked);
	if (!role->lossy)
		mine = ADD(n->reliable_begun, 1);
	CALLING(w, "consumer_open(%s, start %d%s)", n->text, options.start, role->lossy ? ", lossy" : "");
	wait_begins(w, &o.wait, h, NOT_WAITING, 0, options.wait_ms);
	rc = mqshm_consumer_open(&h->consumer, n->text, create ? &queue : NULL, &options);
	MUST(rc == 0 || h->consumer == NULL, "open failed with %d and left a handle", rc);
	if (rc == 0) {
		MUST(!mqshm_consumer_info(h->consumer, &info), "consumer_info: %s", mqshm_last_error());
		role->slot = mqshm_consumer_id(h->consumer);
		role->missed = role->missed_first = (uint64_t)mqshm_consumer_missed(h->consumer);
	}
	open_end(w, &o, rc, &info, create, n->options.max_consumers);
	if (rc)
		return;
	instance = &world->instance[role->instance];
	begun = GET(instance->begun);
	role->first_most = begun;
	if (options.start == MQSHM_FROM_LATEST && role->instance == o.pin.instance && !(n->options.flags & MQSHM_HOLD))
		role->first_least = acked;
	if (options.start != MQSHM_FROM_LATEST && begun < n->options.node_count)
		role->first_most = 0; /* nothing is gone yet, not even for a reservation */
	if (n->options.flags & MQSHM_HOLD && !role->lossy && mine == instance->reliable_before &&
	    GET(n->reliable_begun) == mine + 1)
		role->first_most = 0; /* it was kept for us */
	if (options.start == MQSHM_FROM_BEGINNING) {
		role->next = role->missed;
		role->known = 1;
		MUST(role->next <= role->first_most + (role->lossy ? role->missed : 0),
		     "from the beginning: %llu are missed, at most %llu can be", (unsigned long long)role->next,
		     (unsigned long long)role->first_most);
	}
}

/* ---- pop ---- */

static int pop_one(struct worker *w, struct handle *h, int timeout_ms)
{
	const struct mqshm_queue_options *queue = &world->name[h->role->name].options;
	size_t capacity = chance(&w->random, 90) ? queue->block_size : below(&w->random, queue->block_size + 1);
	struct mqshm_message m = { .size = 4711 };
	ssize_t rc;

	SET(h->role->pending, 1);
	CALLING(w, "pop(capacity %zu, timeout %d)", capacity, timeout_ms);
	rc = mqshm_consumer_pop(h->consumer, buffer, capacity, &m, timeout_ms);
	if (rc >= 0) {
		MUST(m.size == (size_t)rc && m.data == buffer, "pop returned %zd, the message says %zu", rc, m.size);
		took(h->role, m.sequence, message_key(&m, queue), (uint64_t)mqshm_consumer_missed(h->consumer));
		world->bytes += m.size;
	} else if (rc == -EMSGSIZE) {
		MUST(m.size > capacity, "-EMSGSIZE, but %zu bytes fit into %zu", m.size, capacity);
	}
	return rc < 0 ? (int)rc : 1;
}

static int pop_batch(struct worker *w, struct handle *h, int timeout_ms)
{
	const struct mqshm_queue_options *queue = &world->name[h->role->name].options;
	size_t max = 1 + below(&w->random, BATCH_MOST), min = 1;
	struct mqshm_message m[BATCH_MOST];
	int rc;

	if (timeout_ms > 0 && chance(&w->random, 30))
		min = 1 + below(&w->random, max < queue->node_count ? max : queue->node_count);
	SET(h->role->pending, max);
	CALLING(w, "pop_batch(%zu..%zu, timeout %d)", min, max, timeout_ms);
	rc = mqshm_consumer_pop_batch(h->consumer, m, min, max, buffer, sizeof buffer, timeout_ms);
	MUST(rc != 0 && rc <= (int)max, "pop_batch of %zu returned %d", max, rc);
	for (int i = 0; i < rc; i++)
		took(h->role, m[i].sequence, message_key(&m[i], queue), (uint64_t)mqshm_consumer_missed(h->consumer));
	return rc;
}

static int peek(struct worker *w, struct handle *h, int timeout_ms)
{
	const struct mqshm_queue_options *queue = &world->name[h->role->name].options;
	size_t max = 1 + below(&w->random, BATCH_MOST), count;
	uint64_t key[BATCH_MOST], missed;
	struct mqshm_message m[BATCH_MOST];
	int rc, n;

	SET(h->role->pending, 0);
	CALLING(w, "peek(%zu, timeout %d)", max, timeout_ms);
	n = mqshm_consumer_peek(h->consumer, m, max, timeout_ms);
	MUST(n != 0 && n <= (int)max, "peek of %zu returned %d", max, n);
	if (n < 0)
		return n;
	missed = (uint64_t)mqshm_consumer_missed(h->consumer);
	if (chance(&w->random, 10))
		MUST(mqshm_consumer_release(h->consumer, (size_t)n + 1) == -EINVAL, "more was released than looked at");
	if (chance(&w->random, 10))
		nap_us(1 + (unsigned)below(&w->random, 2000));
	for (int i = 0; i < n; i++)
		key[i] = message_key(&m[i], queue); /* of a lossy read, advisory until released */
	count = chance(&w->random, 70) ? (size_t)n : below(&w->random, (uint64_t)n + 1);
	SET(h->role->pending, count);
	CALLING(w, "release(%zu of %d)", count, n);
	rc = mqshm_consumer_release(h->consumer, count);
	if (rc == -ESTALE && h->role->lossy && !may_be_stale(h->role, rc))
		return n; /* overtaken: the handle is as good as before */
	if (rc)
		return rc;
	for (size_t i = 0; i < count; i++)
		took(h->role, m[i].sequence, key[i], missed);
	return n;
}

static int (*const forms[])(struct worker *w, struct handle *h, int timeout_ms) = { pop_one, pop_batch, peek };

/* One call: > 0, or why not. The end of a stream is looked at twice, the second time with all its producers settled. */
static int pop_checked(struct worker *w, struct handle *h, int form, int timeout_ms, struct ends *e)
{
	struct waited wait;
	uint64_t missed;
	int rc;

	ends_before(e, h->role);
	wait_begins(w, &wait, h, FOR_MESSAGES, 1, timeout_ms);
	rc = forms[form](w, h, timeout_ms);
	SET(h->role->pending, 0);
	if (rc > 0) {
		ADD(world->messages, (uint64_t)rc);
		wait_ended(w, &wait, h, 0);
		return rc;
	}
	if (rc == -EMSGSIZE && form == 0) {
		wait_ended(w, &wait, h, 0);
		return 1;
	}
	missed = (uint64_t)mqshm_consumer_missed(h->consumer);
	if (rc == -ESHUTDOWN || rc == -EOWNERDEAD || rc == -EAGAIN || rc == -ETIMEDOUT)
		ends_after(e, h->role, rc, missed);
	if (rc != -ESHUTDOWN && rc != -EOWNERDEAD)
		wait_ended(w, &wait, h, rc);
	else
		wait_ended(w, &wait, h, 0);
	return rc;
}

int pop_some(struct worker *w, struct handle *h, int timeout_ms)
{
	int form = (int)below(&w->random, sizeof forms / sizeof *forms), times = 1 + (int)below(&w->random, 32);
	struct ends first, second;
	int rc = 1;

	for (int i = 0; i < times && rc > 0; i++)
		rc = pop_checked(w, h, form, timeout_ms, &first);
	if (rc == -ESHUTDOWN || rc == -EOWNERDEAD) {
		int end = rc;

		rc = pop_checked(w, h, 0, 0, &second);
		if (rc > 0)
			end_was_none(&first, h->role, end);
	}
	return rc < 0 ? rc : 0;
}

void pop(struct worker *w)
{
	struct handle *h = &w->handle[below(&w->random, HANDLES)];
	int rc;

	if (!h->consumer)
		return;
	rc = pop_some(w, h, draw_timeout(w));
	note(rc);
	if (rc == -ESTALE || ((rc == -ESHUTDOWN || rc == -EOWNERDEAD) && chance(&w->random, 50)))
		close_handle(w, h, BY_CLOSE);
}

void close_consumer(struct worker *w)
{
	struct handle *h = &w->handle[below(&w->random, HANDLES)];

	if (h->consumer) {
		close_handle(w, h, BY_CLOSE);
		note(0);
	}
}

/* Come, take what is there at once, leave: again and again. */
void visit(struct worker *w)
{
	for (int i = 0; i < 10 && GET(world->phase) == RUN; i++) {
		struct handle *h = free_handle(w);

		open_consumer(w);
		if (!h || !h->consumer)
			continue;
		note(pop_some(w, h, chance(&w->random, 80) ? 0 : 1));
		close_handle(w, h, BY_CLOSE);
	}
}
