/* SPDX-License-Identifier: MIT */
/*
 * Descriptors for poll() and friends. Where the backend has none: an eventfd for each handle that is asked for one, and
 * threads of this process that sleep on the queues' armed words for those handles that have nothing to do.
 *
 * A notifier belongs to its handle's thread: that one says when it has found nothing (mqshm_notifier_watch()); from then
 * on a thread of ours watches, and makes the descriptor readable when another try is worth it. It touches nothing of the
 * handle but its mapping.
 *
 * A backend that has descriptors needs no threads: ours is a set (epoll) of its one and an eventfd for who cancels.
 */
#ifndef MQSHM_NOTIFY_H
#define MQSHM_NOTIFY_H

#include "backend.h"

/* What a handle waits for. All of it is compared only, never followed. */
struct mqshm_news {
	bool producer;
	uint32_t own_state;   /* of our slot: any other value is news */
	uint64_t position;    /* consumer: tail is elsewhere. producer: the cursor of slot gets here ... */
	uint64_t sequence;    /* ... and there */
	uint32_t slot;	      /* whom the producer waits for; MQSHM_NEWS_HOLD: the first consumer; ..._BUSY: the lock */
	uint32_t slot_state;  /* any other value is news */
	uint64_t retry_ns;    /* CLOCK_MONOTONIC, MQSHM_FOREVER: try again then in any case */
};

#define MQSHM_NEWS_HOLD UINT32_MAX
#define MQSHM_NEWS_BUSY (UINT32_MAX - 1)

struct mqshm_notifier;

/* The descriptor is readable at first. -EMFILE -ENFILE -ENOMEM -EAGAIN (no thread) */
int mqshm_notifier_open(struct mqshm_notifier **out, struct mqshm_mapping *mapping, struct mqshm_armed *armed);
int mqshm_notifier_fd(const struct mqshm_notifier *notifier);

/* Nothing to do: not readable any more, until there is news. */
void mqshm_notifier_watch(struct mqshm_notifier *notifier, const struct mqshm_news *news);

/* Make it readable. Async-signal-safe. */
void mqshm_notifier_set(struct mqshm_notifier *notifier);

/* NULL is allowed. Before the mapping is given back; in a child of the process it only frees the child's copy. */
void mqshm_notifier_close(struct mqshm_notifier *notifier);

/*
 * How long between two looks at whether the peers of n handles live: looks cost a system call each, and shall not
 * cost more with many queues.
 */
static inline uint64_t mqshm_liveness_interval(size_t n)
{
	return MQSHM_LIVENESS_NS * (1 + n / 16);
}

#endif
