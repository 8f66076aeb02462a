/* SPDX-License-Identifier: MIT */
/* See wait.h. */
#include <sched.h>

#include "error.h"
#include "wait.h"

#define SPIN_DEFAULT_US 20 /* about what a sleep and a wake-up cost: spinning longer than that can't pay */
#define SPIN_LEAST 16	   /* useless spins shrink to 1/16 of the most, so that a change for the better is noticed */
#define TIGHT_NS 2000	   /* spin without pauses that long: a pause is as long as a message takes */
#define YIELDS 4	   /* of one wait, that brought nothing */
#define YIELDED_NS 1000	   /* sched_yield() takes longer when somebody else ran */
#define LOOKS 64	   /* between two looks at the clock ... */
#define LOOKS_SELDOM 6	   /* ... with up to so many */
#define PAUSES_MOST 31	   /* pauses between them */

enum { START, SPIN, ARM, SLEEP };

int mqshm_patience_init(struct mqshm_patience *patience, int32_t spin_us)
{
	cpu_set_t cpus;

	if (spin_us < MQSHM_SPIN_NEVER || spin_us > MQSHM_SPIN_MAX)
		return mqshm_error(-EINVAL, "spin_us is %d, not -1..%d", spin_us, MQSHM_SPIN_MAX);
	patience->adapt = spin_us == 0;
	patience->next_check_ns = 0;
	if (spin_us == 0)
		/* With one processor nothing can change while we spin. */
		spin_us = !sched_getaffinity(0, sizeof cpus, &cpus) && CPU_COUNT(&cpus) == 1 ? MQSHM_SPIN_NEVER
											     : SPIN_DEFAULT_US;
	patience->spin_ns = patience->spin_most_ns = spin_us < 0 ? 0 : (uint32_t)spin_us * 1000;
	return 0;
}

static void spun(struct mqshm_patience *patience, bool useful)
{
	if (!patience->adapt)
		return;
	if (useful)
		patience->spin_ns = patience->spin_ns * 2 < patience->spin_most_ns ? patience->spin_ns * 2
										   : patience->spin_most_ns;
	else if (patience->spin_ns > patience->spin_most_ns / SPIN_LEAST)
		patience->spin_ns /= 2;
}

/*
 * Look for a while. Each look takes the line away from its writer, which then waits for it in its next fence; who waits
 * for many messages' room looks seldom.
 */
static bool look(const struct mqshm_wait *w, bool pauses)
{
	int looks = w->seldom ? LOOKS_SELDOM : LOOKS, pause = pauses;

	for (int i = 0; i < looks; i++) {
		if (w->watch && READ_ONCE(*w->watch) >= w->until)
			return true;
		if (w->seldom && pause < PAUSES_MOST)
			pause = 2 * pause + 1;
		for (int k = 0; k < pause; k++)
			cpu_relax();
	}
	return !w->watch; /* let the caller look itself */
}

static int check(struct mqshm_wait *w, uint64_t now)
{
	uint64_t interval = mqshm_look_interval(w->mapping);

	if (now < w->patience->next_check_ns && w->patience->next_check_ns - now <= interval)
		return 0; /* not so after a wait on many, which looks seldom */
	w->patience->next_check_ns = now + interval;
	return w->check ? w->check(w->arg) : 0;
}

/* Let others run. True: somebody did, so there may be news. */
static bool yield(struct mqshm_patience *patience)
{
	uint64_t before = mqshm_now_ns();

	sched_yield();
	patience->crowded = mqshm_now_ns() - before > YIELDED_NS;
	return patience->crowded;
}

int mqshm_wait(struct mqshm_wait *w)
{
	KEEP_ERRNO;
	uint64_t now, nap;
	uint32_t epoch;
	int rc;

	if (w->cancelled && w->timeout_ms && mqshm_cancelled(w->cancelled))
		return mqshm_error(-ECANCELED, "the wait was cancelled");
	switch (w->phase) {
	case START:
		now = mqshm_now_ns();
		rc = check(w, now); /* here, too: who yields on a crowded machine may never get to sleep */
		if (w->timeout_ms == 0) {
			w->phase = SLEEP; /* a second try comes after a check that changed something */
			return rc > 0 ? 0 : rc ? rc : -EAGAIN;
		}
		if (rc)
			return rc > 0 ? 0 : rc;
		w->start_ns = now;
		w->epoch = READ_ONCE(w->mapping->ring.info->epoch);
		if (!w->deadline_ns)
			w->deadline_ns = w->timeout_ms < 0 ? MQSHM_FOREVER : now + (uint64_t)w->timeout_ms * 1000000u;
		w->nap_ns = w->first_nap_ns ? w->first_nap_ns : mqshm_look_interval(w->mapping);
		w->phase = SPIN;
		__attribute__((fallthrough));
	case SPIN:
		if (w->patience->crowded && w->yields++ < YIELDS && yield(w->patience))
			return 0;
		while (w->patience->spin_ns) {
			now = mqshm_now_ns();
			if (now - w->start_ns >= w->patience->spin_ns || now >= w->deadline_ns)
				break;
			if (now - w->start_ns >= MQSHM_LIVENESS_NS && (rc = check(w, now))) /* told to spin that long */
				return rc > 0 ? 0 : rc;
			if (look(w, now - w->start_ns > TIGHT_NS)) {
				if (w->watch)
					spun(w->patience, true);
				return 0;
			}
			epoch = READ_ONCE(w->mapping->ring.info->epoch);
			if (epoch != w->epoch || (w->cancelled && READ_ONCE(*w->cancelled))) { /* somebody came, left or died */
				w->epoch = epoch;
				return 0;
			}
		}
		spun(w->patience, false);
		if (w->patience->adapt && w->yields++ < YIELDS && yield(w->patience))
			return 0;
		__attribute__((fallthrough));
	case ARM:
		if (w->for_data && w->mapping->backend->sleep_for_data) {
			w->value = READ_ONCE(w->armed->word); /* the sleep arms it */
			w->epoch = READ_ONCE(w->mapping->ring.info->epoch);
		} else {
			w->value = mqshm_arm(w->mapping, w->armed);
		}
		smp_mb(); /* MO-2, MO-5: armed, or at least read, before the caller looks again */
		w->phase = SLEEP;
		return 0;
	default:
		break;
	}
	if (w->timeout_ms == 0)
		return -EAGAIN;
	now = mqshm_now_ns();
	if (now >= w->deadline_ns)
		return mqshm_error(-ETIMEDOUT, "timed out after %d ms", w->timeout_ms);
	rc = check(w, now);
	if (rc)
		return rc > 0 ? 0 : rc;
	nap = w->nap_ns < w->deadline_ns - now ? w->nap_ns : w->deadline_ns - now;
	if (nap > w->patience->next_check_ns - now) /* a death is noticed in time, whenever the last wait has looked */
		nap = w->patience->next_check_ns - now;
	w->nap_ns *= 2;
	if (w->nap_ns > mqshm_look_interval(w->mapping))
		w->nap_ns = mqshm_look_interval(w->mapping);
	w->phase = ARM;
	if (w->for_data && w->mapping->backend->sleep_for_data)
		return w->mapping->backend->sleep_for_data(w->mapping, w->value, w->until, w->epoch, nap);
	return w->mapping->backend->sleep(w->mapping, &w->armed->word, w->value, nap);
}

void mqshm_wait_anew(struct mqshm_wait *w)
{
	if (w->phase == SLEEP && w->timeout_ms)
		w->phase = ARM;
}
