/* SPDX-License-Identifier: MIT */
/*
 * Waiting for one of many. Up to MQSHM_SLEEP_ANY_MAX queues: as mqshm_wait(), with one system call that sleeps on all
 * words. More, or where the kernel has no such call: by the handles' descriptors and poll().
 */
#include <limits.h>
#include <poll.h>
#include <stdlib.h>

#include "error.h"
#include "waitable.h"

/* False: the item is to be passed over. */
static bool waitable(const struct mqshm_wait_item *item, struct mqshm_waitable *w)
{
	if (item->consumer)
		mqshm_consumer_waitable(item->consumer, w);
	else if (item->producer)
		mqshm_producer_waitable(item->producer, w);
	return item->consumer || item->producer;
}

static int check_items(const struct mqshm_wait_item *items, size_t count)
{
	size_t set = 0;

	if (!items || count > INT_MAX)
		return mqshm_error(-EINVAL, "no items to wait for, or more than %d", INT_MAX);
	for (size_t i = 0; i < count; i++) {
		if (items[i].consumer && items[i].producer)
			return mqshm_error(-EINVAL, "item %zu has both a consumer and a producer", i);
		set += items[i].consumer || items[i].producer;
	}
	return set ? 0 : mqshm_error(-EINVAL, "all items are empty");
}

/* How many are ready or have an error. */
static int look(struct mqshm_wait_item *items, size_t count)
{
	struct mqshm_waitable w;
	int ready = 0;

	for (size_t i = 0; i < count; i++) {
		items[i].result = waitable(&items[i], &w) ? w.ready(w.handle) : 0;
		ready += items[i].result != 0;
	}
	return ready;
}

static bool cancelled(const struct mqshm_wait_item *items, size_t count)
{
	struct mqshm_waitable w;

	for (size_t i = 0; i < count; i++)
		if (waitable(&items[i], &w) && mqshm_cancelled(w.cancelled))
			return true;
	return false;
}

/* Look whether the peers live that have not been looked at for a while. next: when to do so again. True: try again. */
static bool check_peers(const struct mqshm_wait_item *items, size_t count, uint64_t *next)
{
	uint64_t now = mqshm_now_ns(), interval = mqshm_liveness_interval(count), check_until = now;
	struct mqshm_waitable w;
	bool changed = false;

	*next = MQSHM_FOREVER;
	for (size_t i = 0; i < count; i++)
		if (waitable(&items[i], &w) && now >= w.patience->next_check_ns)
			check_until = now + interval / 4; /* awake for one: those that are due soon, too */
	for (size_t i = 0; i < count; i++) {
		if (!waitable(&items[i], &w))
			continue;
		if (check_until >= w.patience->next_check_ns) {
			w.patience->next_check_ns = now + interval;
			changed |= w.check(w.handle) != 0;
		}
		if (w.patience->next_check_ns < *next)
			*next = w.patience->next_check_ns;
	}
	return changed;
}

struct words {
	uint32_t *word[MQSHM_SLEEP_ANY_MAX], value[MQSHM_SLEEP_ANY_MAX];
	size_t count;
	const struct mqshm_backend *backend;
	bool room; /* one of them is for room */
};

/* False: too many, or of several backends, or of one that can't. */
static bool arm(const struct mqshm_wait_item *items, size_t count, struct words *words)
{
	struct mqshm_waitable w;

	words->count = 0;
	words->backend = NULL;
	words->room = false;
	for (size_t i = 0; i < count; i++) {
		if (!waitable(&items[i], &w))
			continue;
		if (words->count == MQSHM_SLEEP_ANY_MAX || !w.mapping->backend->sleep_any ||
		    (words->count && words->backend != w.mapping->backend))
			return false;
		words->backend = w.mapping->backend;
		words->word[words->count] = &w.armed->word;
		words->value[words->count++] = mqshm_arm(w.mapping, w.armed);
		words->room |= items[i].producer != NULL;
	}
	smp_mb(); /* MO-2, MO-5: armed before we look again */
	return words->backend;
}

static int timed_out(int timeout_ms)
{
	return mqshm_error(-ETIMEDOUT, "timed out after %d ms", timeout_ms);
}

static int wait_by_descriptors(struct mqshm_wait_item *items, size_t count, int timeout_ms, uint64_t deadline)
{
	struct pollfd *fds = calloc(count, sizeof *fds);
	int rc = fds ? 0 : mqshm_error(-ENOMEM, "no memory to wait for %zu handles", count);

	while (!rc) {
		struct mqshm_waitable w;
		struct timespec ts;
		uint64_t now;

		for (size_t i = 0; i < count; i++) {
			int fd = waitable(&items[i], &w) ? w.watch(w.handle) : -1;

			if (fd < 0 && (items[i].consumer || items[i].producer))
				rc = fd;
			fds[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
		}
		now = mqshm_now_ns();
		if (!rc && cancelled(items, count))
			rc = mqshm_error(-ECANCELED, "the wait was cancelled");
		else if (!rc && now >= deadline)
			rc = timed_out(timeout_ms);
		if (!rc) {
			ts = (struct timespec){ (time_t)((deadline - now) / 1000000000u), (long)((deadline - now) % 1000000000u) };
			rc = ppoll(fds, count, deadline == MQSHM_FOREVER ? NULL : &ts, NULL) < 0 ? mqshm_errno() : 0;
			if (rc == -EINTR)
				mqshm_error(rc, "interrupted by a signal");
			if (!rc)
				rc = look(items, count);
		}
	}
	free(fds);
	return rc;
}

int mqshm_wait_any(struct mqshm_wait_item *items, size_t count, int timeout_ms)
{
	KEEP_ERRNO;
	uint64_t deadline = mqshm_deadline(timeout_ms), nap = MQSHM_ROOM_NAP_NS, next, now;
	struct words words;
	int rc = check_items(items, count);

	if (rc)
		return rc;
	rc = look(items, count);
	if (!rc && timeout_ms == 0)
		rc = check_peers(items, count, &next) ? look(items, count) : 0;
	if (rc || timeout_ms == 0)
		return rc ? rc : -EAGAIN;
	for (;;) {
		if (!arm(items, count, &words))
			return wait_by_descriptors(items, count, timeout_ms, deadline);
		if (cancelled(items, count))
			return mqshm_error(-ECANCELED, "the wait was cancelled");
		rc = look(items, count);
		if (rc)
			return rc;
		now = mqshm_now_ns();
		if (now >= deadline)
			return timed_out(timeout_ms);
		if (check_peers(items, count, &next))
			continue;
		if (next > deadline)
			next = deadline;
		if (words.room && now + nap < next)
			next = now + nap;
		nap = 2 * nap < MQSHM_LIVENESS_NS ? 2 * nap : MQSHM_LIVENESS_NS;
		rc = words.backend->sleep_any(words.word, words.value, words.count, next - now);
		if (rc == -ENOSYS)
			return wait_by_descriptors(items, count, timeout_ms, deadline);
		if (rc)
			return rc;
	}
}
