/* SPDX-License-Identifier: MIT */
/* See lock.h. */
#include <stdio.h>

#include "error.h"
#include "lock.h"
#include "log.h"

#define SPINS 200 /* a push under the lock takes less than these pauses */

static uint32_t word_of(uint32_t slot, uint32_t generation)
{
	return (slot + 1) | ((generation << 8) & ~MQSHM_LOCK_WAITERS);
}

void mqshm_lock_init(struct mqshm_lock *lock, struct mqshm_mapping *mapping, struct mqshm_patience *patience,
		     uint32_t *cancelled)
{
	lock->cancelled = cancelled;
	lock->mapping = mapping;
	lock->patience = patience;
	lock->word = word_of(mapping->participant, MQSHM_SLOT_GENERATION(mapping->state));
}

/* Does the process that a lock word names still live in its slot? */
static bool holder_lives(struct mqshm_mapping *m, uint32_t word)
{
	uint32_t slot = (word & 0xff) - 1, state;

	if (slot >= m->ring.max_producers)
		return false; /* scribbled: nobody's */
	state = smp_load_acquire(&m->ring.participants[slot].state);
	if (MQSHM_SLOT_STATE(state) != MQSHM_SLOT_LIVE ||
	    word_of(slot, MQSHM_SLOT_GENERATION(state)) != (word & ~MQSHM_LOCK_WAITERS))
		return false;
	return m->backend->check(m, slot);
}

static const char *holder(struct mqshm_mapping *m, uint32_t word, char *who, size_t size)
{
	uint32_t slot = (word & 0xff) - 1;

	return slot < m->ring.max_producers ? mqshm_who(&m->ring.participants[slot], who, size) : "nobody";
}

static bool change(uint32_t *word, uint32_t from, uint32_t to)
{
	return try_cmpxchg(word, &from, to, ACQUIRE); /* MO-11 */
}

static int take_slowly(struct mqshm_lock *lock, uint64_t deadline)
{
	struct mqshm_mapping *m = lock->mapping;
	uint32_t *word = &m->ring.producer->lock, held;
	uint32_t mine = lock->word;
	KEEP_ERRNO;

	for (int i = 0; i < SPINS && lock->patience->spin_ns; i++) {
		held = READ_ONCE(*word);
		if (!held && change(word, 0, lock->word))
			return 0;
		cpu_relax();
	}
	for (;;) {
		uint64_t now = mqshm_now_ns(), nap;
		char who[64];
		int rc;

		held = READ_ONCE(*word);
		if (!held) {
			if (change(word, 0, mine))
				return 0;
			continue;
		}
		if (now >= lock->next_check_ns || now >= deadline || m->backend->ends_roles) { /* then a look costs little */
			lock->next_check_ns = now + mqshm_look_interval(m);
			rc = m->backend->check_self(m);
			if (rc)
				return rc;
			/* We do not hold it: if it is our own word, that is scribbled, and nobody will give it back. */
			if ((held & ~MQSHM_LOCK_WAITERS) == lock->word || !holder_lives(m, held)) {
				/* With the waiters' bit, so that the release comes the slow way: it logs this. */
				if (change(word, held, mine | MQSHM_LOCK_WAITERS)) {
					snprintf(lock->taken_from, sizeof lock->taken_from, "%s", holder(m, held, who, sizeof who));
					return 1;
				}
				if (now < deadline) /* else it changes all the time */
					continue;
			}
		}
		if (deadline && mqshm_cancelled(lock->cancelled))
			return mqshm_error(-ECANCELED, "the wait was cancelled");
		if (now >= deadline) {
			if (deadline == 0)
				return -EAGAIN;
			return mqshm_error(-ETIMEDOUT, "timed out: the lock of queue '%s' is held by %s", m->name,
					   holder(m, held, who, sizeof who));
		}
		if (!(held & MQSHM_LOCK_WAITERS)) {
			if (!change(word, held, held | MQSHM_LOCK_WAITERS))
				continue;
			held |= MQSHM_LOCK_WAITERS;
		}
		mine = lock->word | MQSHM_LOCK_WAITERS; /* there may be more than us */
		nap = lock->next_check_ns < deadline ? lock->next_check_ns - now : deadline - now;
		rc = m->backend->sleep(m, word, held, nap);
		if (rc)
			return rc;
	}
}

int mqshm_lock_take(struct mqshm_lock *lock, uint64_t deadline)
{
	if (likely(change(&lock->mapping->ring.producer->lock, 0, lock->word)))
		return 0;
	return take_slowly(lock, deadline);
}

void mqshm_lock_release(struct mqshm_lock *lock)
{
	struct mqshm_mapping *m = lock->mapping;
	uint32_t *word = &m->ring.producer->lock;
	uint32_t mine = lock->word;

	if (likely(try_cmpxchg(word, &mine, 0, RELEASE)))
		return; /* MO-11 */
	if (mine == (lock->word | MQSHM_LOCK_WAITERS) && try_cmpxchg(word, &mine, 0, RELEASE))
		m->backend->wake(m, word);
	/* else it was taken from us: we were thought dead */
	if (*lock->taken_from)
		mqshm_log(MQSHM_LOG_WARNING, m->name, "took the lock of %s, who died with it", lock->taken_from);
	*lock->taken_from = 0;
}
