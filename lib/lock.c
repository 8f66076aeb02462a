/* SPDX-License-Identifier: MIT */
/* See lock.h. */
#include "error.h"
#include "lock.h"

#define SPINS 200 /* a push under the lock takes less than these pauses */

static uint32_t word_of(uint32_t slot, uint32_t generation)
{
	return (slot + 1) | ((generation << 8) & ~MQSHM_LOCK_WAITERS);
}

void mqshm_lock_init(struct mqshm_lock *lock, struct mqshm_mapping *mapping, struct mqshm_patience *patience)
{
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

static bool change(uint32_t *word, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(word, &from, to, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED); /* MO-11 */
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
		if (now >= lock->next_check_ns || now >= deadline) {
			lock->next_check_ns = now + MQSHM_LIVENESS_NS;
			rc = m->backend->check_self(m);
			if (rc)
				return rc;
			/* We do not hold it: our own word is scribbled, and nobody will give it back. */
			if ((held & ~MQSHM_LOCK_WAITERS) == lock->word || !holder_lives(m, held)) {
				if (change(word, held, mine | (held & MQSHM_LOCK_WAITERS)))
					return 1;
				if (now < deadline) /* else it changes all the time */
					continue;
			}
		}
		if (now >= deadline) {
			uint32_t slot = (held & 0xff) - 1;

			if (deadline == 0)
				return -EAGAIN;
			return mqshm_error(-ETIMEDOUT, "timed out: the lock of queue '%s' is held by %s", m->name,
					   slot < m->ring.max_producers ? mqshm_who(&m->ring.participants[slot], who,
										    sizeof who) : "nobody");
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

	if (likely(__atomic_compare_exchange_n(word, &mine, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)))
		return; /* MO-11 */
	if (mine == (lock->word | MQSHM_LOCK_WAITERS) &&
	    __atomic_compare_exchange_n(word, &mine, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		m->backend->wake(m, word);
	/* else it was taken from us: we were thought dead */
}
