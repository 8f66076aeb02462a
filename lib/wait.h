/* SPDX-License-Identifier: MIT */
/*
 * Waiting: spin, then sleep. The caller loops: try; on -EAGAIN call mqshm_wait(); when that gives 0, try again.
 *
 *	for (;;) {
 *		rc = try();
 *		if (rc != -EAGAIN || (rc = mqshm_wait(&w)))
 *			return rc;
 *	}
 *
 * Inside, a round is: arm the word, fence, let the caller try once more, sleep. So whatever the caller looks at, it
 * looks between arming and sleeping (MO-2, MO-5), and no wake-up is lost. With for_data, where the backend can, the sleep arms
 * the word, and looks at tail and epoch, after the caller's last try; what else there is must be told by mqshm_disturb(). A sleep is never longer than
 * mqshm_look_interval(): a waker may be killed, or stopped, between its store and waking.
 */
#ifndef MQSHM_WAIT_H
#define MQSHM_WAIT_H

#include "backend.h"

/* Who waits for room naps from here, so as to use what is free before it is woken; naps double to mqshm_look_interval(). */
#define MQSHM_ROOM_NAP_NS 1000000u

/* What a handle remembers from wait to wait. */
struct mqshm_patience {
	uint32_t spin_ns;	/* now */
	uint32_t spin_most_ns;	/* 0: never spins */
	bool adapt;
	bool crowded;		/* others want this processor: let them run instead of spinning */
	uint64_t next_check_ns; /* of the liveness of whom we wait for */
};

/* spin_us as in mqshm.h. -EINVAL */
int mqshm_patience_init(struct mqshm_patience *patience, int32_t spin_us);

struct mqshm_wait {
	struct mqshm_mapping *mapping;
	struct mqshm_patience *patience;
	struct mqshm_armed *armed;
	const __u64 *watch; /* spinning waits for this position to get to until; NULL: the caller looks itself */
	uint64_t until;
	bool for_data; /* watch is tail, until 1 more than the caller saw in its last try, and nothing but it, epoch and cancelled is
			* waited for */
	bool seldom; /* look seldom while spinning: it is for the rate, not for the first one */
	int (*check)(void *arg); /* is whom we wait for alive, are we? 0, 1: something changed, try again; -errno */
	void *arg;
	uint32_t *cancelled; /* set by mqshm_..._cancel(), NULL: can't be */
	int timeout_ms;
	uint64_t first_nap_ns; /* sleeps double from here; 0: all are mqshm_look_interval() */
	uint64_t deadline_ns;  /* 0: timeout_ms from the first call */

	/* private */
	int phase, yields;
	uint64_t start_ns, nap_ns;
	uint32_t value, epoch;
};

/* 0: try again; -EAGAIN (timeout_ms 0) -ETIMEDOUT -EINTR -ECANCELED or what check says. */
int mqshm_wait(struct mqshm_wait *w);

/* Has somebody cancelled? Takes it back: -ECANCELED is given once. */
static inline bool mqshm_cancelled(uint32_t *cancelled)
{
	return unlikely(READ_ONCE(*cancelled)) && __atomic_exchange_n(cancelled, 0, __ATOMIC_ACQUIRE);
}

/* What the waker goes by has changed: arm and try once more before the next sleep. */
void mqshm_wait_anew(struct mqshm_wait *w);

#endif
