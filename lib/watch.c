/* SPDX-License-Identifier: MIT */
/* See watch.h. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"
#include "error.h"
#include "watch.h"

bool watch_wants(const struct mqshm_watch *w, const char *name)
{
	for (size_t i = 0; i < w->name_count; i++)
		if (!strcmp(w->names[i], name))
			return true;
	return !w->name_count;
}

/* ---- events ---- */

static struct mqshm_watch_event *new_event(struct mqshm_watch *w)
{
	static __thread struct mqshm_watch_event nowhere;

	if (w->first + w->count == w->room && w->first > w->count) { /* half of it has been told */
		memmove(w->events, w->events + w->first, w->count * sizeof *w->events);
		w->first = 0;
	} else if (w->first + w->count == w->room) {
		size_t room = w->room ? 2 * w->room : 64;
		struct mqshm_watch_event *events = realloc(w->events, room * sizeof *events);

		if (!events) {
			w->lost = true;
			return &nowhere;
		}
		w->events = events;
		w->room = room;
	}
	return &w->events[w->first + w->count++];
}

struct mqshm_watch_event *watch_tell(struct mqshm_watch *w, const char *queue, uint32_t type)
{
	struct mqshm_watch_event *event = new_event(w);
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	memset(event, 0, sizeof *event);
	event->type = type;
	event->time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	snprintf(event->queue, sizeof event->queue, "%s", queue);
	return event;
}

/* Of participant i. */
static struct mqshm_watch_event *tell(struct mqshm_watch *w, const struct watch_queue *q, uint32_t i, uint32_t type)
{
	struct mqshm_watch_event *event = watch_tell(w, q->name, type);
	const struct watch_slot *s = &q->slot[i];

	event->role = i < q->max_producers ? MQSHM_WATCH_PRODUCER : MQSHM_WATCH_CONSUMER;
	event->id = i < q->max_producers ? i : i - q->max_producers;
	event->pid = s->pid;
	memcpy(event->comm, s->comm, sizeof event->comm);
	memcpy(event->name, s->name, sizeof event->name);
	return event;
}

static void say(struct mqshm_watch_event *event, const char *text)
{
	snprintf(event->text, sizeof event->text, "%s", text);
}

/* ---- what has happened ---- */

static bool has_role(uint32_t word)
{
	return slot_is_live(word);
}

static bool is_leased(uint32_t word)
{
	return MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LEASED;
}

static bool is_joining(uint32_t word)
{
	return slot_is_joining(word);
}

static const char *reason(uint32_t why)
{
	switch (why) {
	case MQSHM_WHY_DIED:
		return "died";
	case MQSHM_WHY_SLOW:
		return "too slow";
	case MQSHM_WHY_BY_HAND:
		return "by hand";
	case MQSHM_WHY_HOSTILE:
		return "its cursor is out of bounds";
	case MQSHM_WHY_REMOVED:
		return "the queue was removed";
	default:
		return "";
	}
}

static void copy_text(char *to, size_t size, const __u8 *from)
{
	memset(to, 0, size);
	for (size_t i = 0; i < size - 1 && from[i]; i++)
		to[i] = from[i] >= ' ' && from[i] < 127 ? (char)from[i] : '?';
}

static void remember(struct watch_slot *s, const struct mqshm_participant *now)
{
	s->word = now->state;
	s->pid = (int32_t)now->pid;
	copy_text(s->comm, sizeof s->comm, now->comm);
	copy_text(s->name, sizeof s->name, now->name);
}

/* Its role has been ended, or its slot given up, by somebody else or by itself. */
static void tell_end(struct mqshm_watch *w, const struct watch_queue *q, uint32_t i, uint32_t before,
		     const struct mqshm_participant *now)
{
	const struct watch_slot *s = &q->slot[i];
	struct mqshm_watch_event *event;
	uint32_t why = now->why;

	switch (MQSHM_SLOT_STATE(now->state)) {
	case MQSHM_SLOT_FREE:
		tell(w, q, i, MQSHM_WATCH_LEFT);
		break;
	case MQSHM_SLOT_DEMOTED:
		event = tell(w, q, i, MQSHM_WATCH_DEMOTED);
		say(event, reason(why));
		event->by_pid = (int32_t)now->ended_by;
		break;
	case MQSHM_SLOT_LEASED:
		event = tell(w, q, i, MQSHM_WATCH_LEASED);
		say(event, why == MQSHM_WHY_DIED ? "died" : "left");
		break;
	case MQSHM_SLOT_ENDED:
		if (is_leased(before) && why != MQSHM_WHY_BY_HAND && why != MQSHM_WHY_REMOVED) {
			tell(w, q, i, MQSHM_WATCH_EXPIRED);
		} else if (why == MQSHM_WHY_DIED) {
			if (!s->died)
				tell(w, q, i, MQSHM_WATCH_DIED);
		} else {
			event = tell(w, q, i, MQSHM_WATCH_EVICTED);
			say(event, reason(why));
			event->by_pid = (int32_t)now->ended_by;
		}
		break;
	default:
		break;
	}
}

/* Another owner has the slot than the one last seen. */
static void tell_next(struct mqshm_watch *w, struct watch_queue *q, uint32_t i, const struct mqshm_participant *now)
{
	struct watch_slot *s = &q->slot[i], before = *s;
	uint32_t steps = (MQSHM_SLOT_GENERATION(now->state) - MQSHM_SLOT_GENERATION(before.word)) & 0xffffff;
	char name[sizeof s->name];

	copy_text(name, sizeof name, now->name);
	if (is_leased(before.word) && steps == 1 && !strcmp(name, before.name)) {
		remember(s, now);
		tell(w, q, i, MQSHM_WATCH_RESUMED);
	} else {
		if (is_leased(before.word))
			tell(w, q, i, MQSHM_WATCH_EXPIRED);
		else if (has_role(before.word) && !before.died)
			say(tell(w, q, i, MQSHM_WATCH_LEFT), "not seen how");
		if (steps > 1 || is_joining(before.word))
			tell(w, q, i, MQSHM_WATCH_MISSED)->count = steps - 1 + is_joining(before.word);
		remember(s, now);
		if (!is_joining(now->state))
			tell(w, q, i, MQSHM_WATCH_ATTACHED);
	}
	s->died = false;
	if (MQSHM_SLOT_STATE(now->state) != MQSHM_SLOT_LIVE && !is_joining(now->state)) /* and gone already */
		tell_end(w, q, i, MQSHM_SLOT_LIVE, now);
}

static void compare_slot(struct mqshm_watch *w, struct watch_queue *q, uint32_t i, const struct mqshm_participant *now)
{
	struct watch_slot *s = &q->slot[i];
	uint32_t before = s->word;

	if (now->state == before)
		return;
	if (MQSHM_SLOT_GENERATION(now->state) != MQSHM_SLOT_GENERATION(before)) {
		tell_next(w, q, i, now);
		return;
	}
	remember(s, now);
	if (is_joining(before)) {
		tell(w, q, i, MQSHM_WATCH_ATTACHED);
		before = MQSHM_SLOT_LIVE;
		if (MQSHM_SLOT_STATE(now->state) == MQSHM_SLOT_LIVE)
			return;
	}
	if (has_role(before) || is_leased(before))
		tell_end(w, q, i, before, now);
}

/* What is there when a queue is first seen. */
static void begin(struct mqshm_watch *w, struct watch_queue *q, const struct mqshm_participant *now, bool quiet)
{
	for (uint32_t i = 0; i < q->slots; i++) {
		remember(&q->slot[i], &now[i]);
		if (quiet)
			continue;
		if (has_role(now[i].state) || is_leased(now[i].state))
			tell(w, q, i, MQSHM_WATCH_THERE);
		if (MQSHM_SLOT_STATE(now[i].state) == MQSHM_SLOT_DEMOTED || is_leased(now[i].state))
			tell_end(w, q, i, MQSHM_SLOT_LIVE, &now[i]);
	}
}

void watch_compare(struct mqshm_watch *w, struct watch_queue *q, const struct mqshm_participant *now,
		   uint64_t producer_epoch, bool created, bool quiet)
{
	bool first = !q->slot && !created; /* in a queue just created, all has come since */

	if (!q->slot) {
		q->slot = calloc(q->slots, sizeof *q->slot);
		if (!q->slot) {
			w->lost = true;
			return;
		}
	}
	if (first)
		begin(w, q, now, quiet);
	for (uint32_t i = 0; i < q->slots && !first; i++)
		compare_slot(w, q, i, &now[i]);
	if (!first && producer_epoch != q->producer_epoch) {
		if (MQSHM_EPOCH_STATE(producer_epoch) == MQSHM_EPOCH_CLOSED)
			watch_tell(w, q->name, MQSHM_WATCH_CLOSED);
		else if (MQSHM_EPOCH_STATE(producer_epoch) == MQSHM_EPOCH_CRASHED)
			watch_tell(w, q->name, MQSHM_WATCH_CRASHED);
	}
	q->producer_epoch = producer_epoch;
}

bool watch_is_live(const struct watch_queue *q, uint32_t i)
{
	return has_role(q->slot[i].word) && !q->slot[i].died;
}

void watch_tell_death(struct mqshm_watch *w, struct watch_queue *q, uint32_t i)
{
	q->slot[i].died = true;
	tell(w, q, i, MQSHM_WATCH_DIED);
}

/* ---- public ---- */

static int copy_names(struct mqshm_watch *w, const char *const *names, size_t count)
{
	if (!count)
		return 0;
	w->names = calloc(count, sizeof *w->names);
	if (!w->names)
		return mqshm_error(-ENOMEM, "no memory");
	for (size_t i = 0; i < count; i++) {
		int rc = mqshm_check_name(names[i]);

		if (rc)
			return rc;
		strcpy(w->names[i], names[i]);
	}
	w->name_count = count;
	return 0;
}

/* Let the backends up to count have an end. */
static void end(struct mqshm_watch *w, int count)
{
	for (int i = 0; i < count; i++) {
		w->private = w->privates[i];
		w->backends[i]->watch_end(w);
	}
	free(w->names);
	free(w->events);
	free(w);
}

static int begin_all(struct mqshm_watch *w)
{
	int i, rc = w->backend_count = mqshm_backends(w->backends);

	for (i = 0; i < w->backend_count; i++) {
		rc = w->backends[i]->watch_begin(w);
		if (rc)
			break;
		w->privates[i] = w->private;
	}
	if (rc < 0)
		w->backend_count = i;
	return rc < 0 ? rc : 0;
}

int mqshm_watch_open(struct mqshm_watch **out, const char *const *names, size_t count, unsigned flags)
{
	KEEP_ERRNO;
	struct mqshm_watch *w = calloc(1, sizeof *w);
	int rc;

	*out = NULL;
	if (!w)
		return mqshm_error(-ENOMEM, "no memory");
	w->pid = getpid();
	w->flags = flags;
	rc = flags & ~(unsigned)MQSHM_WATCH_NEW ? mqshm_error(-EINVAL, "unknown flags 0x%x", flags)
						: copy_names(w, names, count);
	if (!rc)
		rc = begin_all(w);
	if (rc) {
		end(w, w->backend_count);
		return rc;
	}
	*out = w;
	return 0;
}

/* Look, and sleep until there is something to look at or the deadline has come. */
static int wait(struct mqshm_watch *w, uint64_t deadline)
{
	struct pollfd fds[MQSHM_BACKENDS];
	uint64_t until = deadline, now;
	struct timespec nap;

	for (int i = 0; i < w->backend_count; i++) {
		uint64_t again = MQSHM_FOREVER;

		w->private = w->privates[i];
		w->backends[i]->watch_look(w, &again);
		fds[i] = (struct pollfd){ .fd = w->backends[i]->watch_fd(w), .events = POLLIN };
		if (again < until)
			until = again;
	}
	now = mqshm_now_ns();
	if (w->count || now >= until)
		return 0;
	nap = (struct timespec){ (time_t)((until - now) / 1000000000u), (long)((until - now) % 1000000000u) };
	if (ppoll(fds, (nfds_t)w->backend_count, until == MQSHM_FOREVER ? NULL : &nap, NULL) < 0)
		return errno == EINTR ? mqshm_error(-EINTR, "interrupted by a signal")
				      : mqshm_error(mqshm_errno(), "waiting for changes: %s", strerror(errno));
	return 0;
}

int mqshm_watch_next(struct mqshm_watch *w, struct mqshm_watch_event *event, int timeout_ms)
{
	KEEP_ERRNO;
	uint64_t deadline = mqshm_deadline(timeout_ms);
	int rc;

	if (w->pid != getpid())
		return mqshm_error(-ECHILD, "the watch belongs to a parent process");
	while (!w->count) {
		w->first = 0;
		if (w->lost) {
			w->lost = false;
			return mqshm_error(-ENOMEM, "no memory: some events were lost");
		}
		rc = wait(w, deadline);
		if (rc)
			return rc;
		if (!w->count && !w->lost && mqshm_now_ns() >= deadline)
			return timeout_ms ? mqshm_error(-ETIMEDOUT, "timed out after %d ms", timeout_ms) : -EAGAIN;
	}
	*event = w->events[w->first++];
	w->count--;
	return 0;
}

int mqshm_watch_close(struct mqshm_watch *w)
{
	KEEP_ERRNO;
	int rc = 0;

	if (!w)
		return 0;
	if (w->pid != getpid())
		rc = mqshm_error(-ECHILD, "the watch belongs to a parent process");
	end(w, w->backend_count);
	return rc;
}
