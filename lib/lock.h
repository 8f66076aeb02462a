/* SPDX-License-Identifier: MIT */
/*
 * The lock of a shared queue's producers. The word names its holder (slot and generation), so that it can be taken from
 * a dead one, by one compare-and-swap of exactly that word, and never from one that lives, however long it holds it.
 */
#ifndef MQSHM_LOCK_H
#define MQSHM_LOCK_H

#include "wait.h"

struct mqshm_lock {
	struct mqshm_mapping *mapping;
	struct mqshm_patience *patience;
	uint32_t *cancelled;
	uint64_t next_check_ns; /* of the holder */
	uint32_t word;		/* ours */
	char taken_from[64];	/* the dead holder: to be logged at release */
};

void mqshm_lock_init(struct mqshm_lock *lock, struct mqshm_mapping *mapping, struct mqshm_patience *patience,
		     uint32_t *cancelled);

/*
 * 0: ours; 1: ours, taken from a dead holder, who may have died anywhere: take over the writer. -EAGAIN -ETIMEDOUT
 * -EINTR -ECANCELED -ESTALE. deadline as in backend.h; at once is a deadline of 0.
 */
int mqshm_lock_take(struct mqshm_lock *lock, uint64_t deadline);
void mqshm_lock_release(struct mqshm_lock *lock);

#endif
