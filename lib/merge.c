/* SPDX-License-Identifier: MIT */
/*
 * See merge.h. Each consumer is in one of six states. A message is given when none is NEW or AWAITED:
 *
 *	NEW ----- has a message ----> READY (in the heap) ----- given, overtaken ----> NEW
 *	 `------- has none -----> AWAITED ----- for too long ----> SILENT
 *	all others: a message ----> READY, stream ended ----> ENDED, any other error ----> FAILED
 *	ENDED --- next producer ----> SILENT
 *
 * Built on mqshm.h alone, so on every backend.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "error.h"
#include "heap.h"
#include "mqshm/merge.h"

#define ENDED_LOOK_NS MQSHM_LIVENESS_NS /* how soon a next producer of an ended stream is noticed while waiting */
#define OVERTAKEN_MOST 64		/* times in a row, before the time is looked at */

enum state { NEW, AWAITED, SILENT, ENDED, FAILED, LISTS, READY = LISTS };

struct source {
	struct mqshm_heap_entry entry; /* first: see from_entry() */
	struct mqshm_consumer *consumer;
	enum state state;
	struct source *next, *previous; /* in the list of its state; not when READY */
	uint64_t since_ns;		/* NEW, AWAITED: found without a message, or added; 0: not looked yet */
	struct mqshm_message head;	/* READY */
	bool has_given;
	uint64_t last_timestamp; /* that it has given */
	int end;		 /* ENDED: -ESHUTDOWN or -EOWNERDEAD */
};

struct list {
	struct source *first, *last;
	size_t count;
};

struct mqshm_merge {
	uint64_t sync_ns; /* MQSHM_FOREVER */
	struct list lists[LISTS];
	struct mqshm_heap heap;
	struct source *current; /* looked at: stays the next one until it is released; NULL: none */
	uint64_t number;	/* of the next that is added */
	uint64_t ended_looked_ns;
	uint64_t last_timestamp; /* that was given */
	uint64_t merged, timeouts, backward, source_backward;

	size_t count, room; /* sources, and how many heap, items and waiting can take */
	struct mqshm_wait_item *items;
	struct source **waiting; /* whose item each is */
};

static struct source *from_entry(struct mqshm_heap_entry *entry)
{
	return (struct source *)entry;
}

/* ---- states ---- */

static void leave(struct mqshm_merge *m, struct source *s)
{
	struct list *list = &m->lists[s->state < LISTS ? s->state : 0];

	if (s->state == READY) {
		mqshm_heap_remove(&m->heap, &s->entry);
		return;
	}
	*(s->previous ? &s->previous->next : &list->first) = s->next;
	*(s->next ? &s->next->previous : &list->last) = s->previous;
	list->count--;
}

static void enter(struct mqshm_merge *m, struct source *s, enum state state)
{
	struct list *list = &m->lists[state < LISTS ? state : 0];

	s->state = state;
	if (state == READY) {
		mqshm_heap_add(&m->heap, &s->entry);
		return;
	}
	s->next = NULL;
	s->previous = list->last;
	*(list->last ? &list->last->next : &list->first) = s;
	list->last = s;
	list->count++;
}

static void change(struct mqshm_merge *m, struct source *s, enum state state)
{
	leave(m, s);
	enter(m, s, state);
}

/* Too long without a message, at the time of a look that found none? */
static bool overdue(const struct mqshm_merge *m, const struct source *s, uint64_t now)
{
	return now - s->since_ns >= m->sync_ns;
}

static void give_up(struct mqshm_merge *m, struct source *s)
{
	change(m, s, SILENT);
	m->timeouts++;
}

/* Has it a message? 0: look at its state; -EAGAIN: no, and its state is what it was; -EINTR -ECANCELED -ECHILD. */
static int look(struct mqshm_merge *m, struct source *s)
{
	int rc = mqshm_consumer_peek(s->consumer, &s->head, 1, 0);

	switch (rc) {
	case -EAGAIN:
	case -ETIMEDOUT:
		if (s->state < ENDED)
			return -EAGAIN;
		change(m, s, SILENT); /* a next producer is there, and has not said anything yet */
		return 0;
	case -EINTR:
	case -ECANCELED:
	case -ECHILD:
		return rc;
	case -ESHUTDOWN:
	case -EOWNERDEAD:
		s->end = rc;
		if (s->state != ENDED)
			change(m, s, ENDED);
		return 0;
	default:
		if (rc < 0) {
			if (s->state != FAILED)
				change(m, s, FAILED);
			return 0;
		}
		s->entry.timestamp = s->head.timestamp_ns;
		change(m, s, READY);
		return 0;
	}
}

/* Those whose message was given, and those just added. */
static int look_at_new(struct mqshm_merge *m)
{
	struct source *s;

	while ((s = m->lists[NEW].first)) {
		uint64_t before = s->since_ns ? mqshm_now_ns() : 0; /* a look after its time is over comes first */
		int rc = look(m, s);

		if (rc && rc != -EAGAIN)
			return rc;
		if (!rc)
			continue;
		if (!s->since_ns)
			s->since_ns = before = mqshm_now_ns();
		if (overdue(m, s, before))
			give_up(m, s);
		else
			change(m, s, AWAITED);
	}
	return 0;
}

/*
 * Those that are not waited for are looked at in turn: one that has nothing for each call, so that it costs the same
 * however many there are.
 */
static int look_at_unawaited(struct mqshm_merge *m, enum state state)
{
	struct source *s;

	while ((s = m->lists[state].first)) {
		int rc = mqshm_consumer_lag(s->consumer) > 0 ? look(m, s) : -EAGAIN;

		if (rc && rc != -EAGAIN)
			return rc;
		if (rc || s->state == state) {
			change(m, s, state); /* to the end of the list */
			return 0;
		}
	}
	return 0;
}

/* All of a list, once; those that stay in it keep their order. */
static int look_at_all(struct mqshm_merge *m, enum state state)
{
	struct source *s, *next;

	for (s = m->lists[state].first; s; s = next) {
		int rc;

		next = s->next;
		rc = look(m, s);
		if (rc && rc != -EAGAIN)
			return rc;
	}
	return 0;
}

/* ---- waiting ---- */

static size_t list_items(struct mqshm_merge *m, enum state state, size_t n)
{
	for (struct source *s = m->lists[state].first; s; s = s->next) {
		m->items[n] = (struct mqshm_wait_item){ .consumer = s->consumer };
		m->waiting[n++] = s;
	}
	return n;
}

/* Until when nothing happens by itself. */
static uint64_t next_event(const struct mqshm_merge *m, uint64_t until)
{
	for (struct source *s = m->lists[AWAITED].first; s && m->sync_ns != MQSHM_FOREVER; s = s->next)
		if (until > s->since_ns + m->sync_ns)
			until = s->since_ns + m->sync_ns;
	if (m->lists[ENDED].count && until > m->ended_looked_ns + ENDED_LOOK_NS)
		until = m->ended_looked_ns + ENDED_LOOK_NS;
	return until;
}

/* One nap of those that lack a message, at most to deadline (0: none), and a look at those that have news. */
static int wait_for_more(struct mqshm_merge *m, uint64_t deadline)
{
	uint64_t now = mqshm_now_ns(), until = next_event(m, deadline);
	size_t n = list_items(m, SILENT, list_items(m, AWAITED, 0));
	int ms = -1, rc;

	if (until <= now)
		ms = 0;
	else if (until != MQSHM_FOREVER)
		ms = until - now > INT32_MAX ? INT32_MAX : (int)((until - now + 999999) / 1000000);
	rc = mqshm_wait_any(m->items, n, ms);
	if (rc < 0 && rc != -EAGAIN && rc != -ETIMEDOUT)
		return rc;
	for (size_t i = 0; i < n; i++) {
		if (m->items[i].result) {
			rc = look(m, m->waiting[i]);
			if (rc && rc != -EAGAIN)
				return rc;
		}
		if (m->waiting[i]->state == AWAITED && overdue(m, m->waiting[i], now)) /* before that look */
			give_up(m, m->waiting[i]);
	}
	if (m->lists[ENDED].count && now - m->ended_looked_ns >= ENDED_LOOK_NS) {
		m->ended_looked_ns = now;
		return look_at_all(m, ENDED);
	}
	return 0;
}

static int timed_out(const struct mqshm_merge *m, int timeout_ms)
{
	const struct source *s = m->lists[AWAITED].first ? m->lists[AWAITED].first : m->lists[SILENT].first;
	struct mqshm_queue_info info = { .name = "" };

	if (timeout_ms == 0)
		return -EAGAIN;
	if (s)
		mqshm_consumer_info(s->consumer, &info);
	return mqshm_error(-ETIMEDOUT, "timed out after %d ms; %zu of %zu queues have no message, '%s' is one", timeout_ms,
			   m->count - m->heap.count, m->count, info.name);
}

/* Nothing there and nobody to wait for. 0: there is, after all. */
static int merge_end(struct mqshm_merge *m)
{
	struct mqshm_queue_info info;
	int rc;

	if (!m->count)
		return mqshm_error(-ESHUTDOWN, "no consumer is in the merge");
	rc = look_at_all(m, ENDED);
	if (rc || m->lists[ENDED].count != m->count)
		return rc;
	for (const struct source *s = m->lists[ENDED].first; s; s = s->next)
		if (s->end == -EOWNERDEAD && !mqshm_consumer_info(s->consumer, &info))
			return mqshm_error(-EOWNERDEAD, "the producer of queue '%s' died without closing, or failed",
					   info.name);
	return mqshm_error(-ESHUTDOWN, "end of stream: all producers have closed");
}

/* What a consumer said that can't be read any more: said again, with its sentence. 0: it can be read after all. */
static int failure(struct mqshm_merge *m, struct mqshm_consumer **source)
{
	struct source *s = m->lists[FAILED].first;
	int rc = mqshm_consumer_peek(s->consumer, &s->head, 1, 0);

	if (rc < 0 && rc != -EAGAIN && rc != -ESHUTDOWN && rc != -EOWNERDEAD) {
		if (source)
			*source = s->consumer;
		return rc;
	}
	s->since_ns = 0;
	change(m, s, NEW);
	return 0;
}

/* Make the next message m->current. *deadline is 0 before the first wait. */
static int find(struct mqshm_merge *m, struct mqshm_consumer **source, int timeout_ms, uint64_t *deadline)
{
	bool waited = false;
	int rc;

	if (source)
		*source = NULL;
	while (!m->current) {
		if (m->lists[FAILED].count) {
			rc = failure(m, source);
			if (rc)
				return rc;
		}
		rc = look_at_new(m);
		if (!rc)
			rc = look_at_unawaited(m, SILENT);
		if (!rc)
			rc = look_at_unawaited(m, ENDED);
		if (rc)
			return rc;
		if (m->lists[FAILED].count)
			continue;
		if (m->heap.count && !m->lists[AWAITED].count) {
			m->current = from_entry(mqshm_heap_first(&m->heap));
			break;
		}
		if (m->lists[ENDED].count == m->count) {
			rc = merge_end(m);
			if (rc)
				return rc;
			continue;
		}
		if (!*deadline)
			*deadline = timeout_ms == 0 ? 1 : mqshm_deadline(timeout_ms);
		if (waited && mqshm_now_ns() >= *deadline)
			return timed_out(m, timeout_ms);
		waited = true;
		rc = wait_for_more(m, *deadline);
		if (rc)
			return rc;
	}
	rc = mqshm_consumer_id(m->current->consumer);
	if (rc < 0) /* a child: what was looked at is not mapped here */
		return rc;
	if (source)
		*source = m->current->consumer;
	return 0;
}

/* ---- the public functions ---- */

int mqshm_merge_peek(struct mqshm_merge *m, struct mqshm_message *message, struct mqshm_consumer **source,
		     int timeout_ms)
{
	uint64_t deadline = 0;
	int rc;

	if (!message)
		return mqshm_error(-EINVAL, "no place for a message");
	rc = find(m, source, timeout_ms, &deadline);
	if (!rc)
		*message = m->current->head;
	return rc;
}

int mqshm_merge_release(struct mqshm_merge *m)
{
	struct source *s = m->current;
	int rc;

	if (!s)
		return mqshm_error(-EINVAL, "no message was looked at");
	rc = mqshm_consumer_release(s->consumer, 1);
	if (rc == -ECHILD)
		return rc;
	m->current = NULL;
	s->since_ns = 0;
	change(m, s, NEW);
	if (rc)
		return rc; /* overtaken, or worse: the next look will tell */
	if (m->merged && s->entry.timestamp < m->last_timestamp)
		m->backward++;
	if (s->has_given && s->entry.timestamp < s->last_timestamp)
		m->source_backward++;
	m->merged++;
	m->last_timestamp = s->last_timestamp = s->entry.timestamp;
	s->has_given = true;
	return 0;
}

ssize_t mqshm_merge_next(struct mqshm_merge *m, void *buffer, size_t capacity, struct mqshm_message *message,
			 struct mqshm_consumer **source, int timeout_ms)
{
	uint64_t deadline = 0;

	for (int overtaken = 0;; overtaken++) {
		struct mqshm_message head;
		int rc = find(m, source, timeout_ms, &deadline);

		if (rc)
			return rc;
		head = m->current->head;
		if (head.size && head.size <= capacity)
			racy_copy(buffer, head.data, head.size);
		head.data = head.size <= capacity ? buffer : NULL;
		if (message)
			*message = head;
		if (head.size > capacity)
			return mqshm_error(-EMSGSIZE, "the message has %zu bytes, the buffer %zu", head.size, capacity);
		rc = mqshm_merge_release(m);
		if (!rc)
			return (ssize_t)head.size;
		if (rc != -ESTALE) /* that may be a lossy read that was overtaken; if it is more, the next look says so */
			return rc;
		if (overtaken < OVERTAKEN_MOST)
			continue;
		overtaken = 0;
		if (!deadline)
			deadline = timeout_ms == 0 ? 1 : mqshm_deadline(timeout_ms);
		if (mqshm_now_ns() >= deadline)
			return timed_out(m, timeout_ms);
	}
}

static struct source *find_source(const struct mqshm_merge *m, const struct mqshm_consumer *consumer)
{
	for (size_t i = 0; i < LISTS; i++)
		for (struct source *s = m->lists[i].first; s; s = s->next)
			if (s->consumer == consumer)
				return s;
	for (size_t i = 0; i < m->heap.count; i++)
		if (from_entry(m->heap.places[i].entry)->consumer == consumer)
			return from_entry(m->heap.places[i].entry);
	return NULL;
}

/* Room for one more, here and not while merging. */
static int make_room(struct mqshm_merge *m)
{
	size_t room = m->room ? 2 * m->room : 8;
	void *places, *items, *waiting;

	if (m->count < m->room)
		return 0;
	places = reallocarray(m->heap.places, room, sizeof *m->heap.places);
	if (places)
		m->heap.places = places;
	items = reallocarray(m->items, room, sizeof *m->items);
	if (items)
		m->items = items;
	waiting = reallocarray(m->waiting, room, sizeof *m->waiting);
	if (waiting)
		m->waiting = waiting;
	if (!places || !items || !waiting)
		return mqshm_error(-ENOMEM, "no memory for %zu consumers", room);
	m->room = room;
	return 0;
}

int mqshm_merge_add(struct mqshm_merge *m, struct mqshm_consumer *consumer)
{
	KEEP_ERRNO;
	struct source *s;
	int rc;

	if (!consumer)
		return mqshm_error(-EINVAL, "no consumer");
	rc = mqshm_consumer_id(consumer);
	if (rc < 0)
		return rc;
	if (find_source(m, consumer))
		return mqshm_error(-EEXIST, "the consumer is in the merge already");
	rc = make_room(m);
	if (rc)
		return rc;
	s = calloc(1, sizeof *s);
	if (!s)
		return mqshm_error(-ENOMEM, "no memory for a consumer");
	s->consumer = consumer;
	s->entry.number = m->number++;
	s->since_ns = mqshm_now_ns();
	enter(m, s, NEW);
	m->count++;
	return 0;
}

int mqshm_merge_remove(struct mqshm_merge *m, struct mqshm_consumer *consumer)
{
	KEEP_ERRNO;
	struct source *s = find_source(m, consumer);

	if (!s)
		return mqshm_error(-ENOENT, "the consumer is not in the merge");
	if (m->current == s)
		m->current = NULL;
	leave(m, s);
	m->count--;
	free(s);
	return 0;
}

void mqshm_merge_stats(const struct mqshm_merge *m, struct mqshm_merge_stats *stats)
{
	*stats = (struct mqshm_merge_stats){
		.merged = m->merged,
		.timeouts = m->timeouts,
		.backward = m->backward,
		.source_backward = m->source_backward,
		.consumers = (uint32_t)m->count,
		.ready = (uint32_t)m->heap.count,
		.silent = (uint32_t)m->lists[SILENT].count,
		.ended = (uint32_t)m->lists[ENDED].count,
	};
}

int mqshm_merge_open(struct mqshm_merge **out, int sync_timeout_ms)
{
	KEEP_ERRNO;
	struct mqshm_merge *m = calloc(1, sizeof *m);

	*out = m;
	if (!m)
		return mqshm_error(-ENOMEM, "no memory for a merge");
	m->sync_ns = sync_timeout_ms < 0 ? MQSHM_FOREVER : (uint64_t)sync_timeout_ms * 1000000u;
	return 0;
}

void mqshm_merge_close(struct mqshm_merge *m)
{
	KEEP_ERRNO;

	if (!m)
		return;
	for (size_t i = 0; i < LISTS; i++)
		for (struct source *s = m->lists[i].first, *next; s; s = next) {
			next = s->next;
			free(s);
		}
	for (size_t i = 0; i < m->heap.count; i++)
		free(from_entry(m->heap.places[i].entry));
	free(m->heap.places);
	free(m->items);
	free(m->waiting);
	free(m);
}
