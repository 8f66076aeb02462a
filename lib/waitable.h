/* SPDX-License-Identifier: MIT */
/* What waiting on many handles needs of each, be it a consumer or a producer. */
#ifndef MQSHM_WAITABLE_H
#define MQSHM_WAITABLE_H

#include "notify.h"
#include "wait.h"

struct mqshm_waitable {
	struct mqshm_mapping *mapping;
	struct mqshm_armed *armed;
	struct mqshm_patience *patience;
	uint32_t *cancelled;
	void *handle;
	int (*ready)(void *handle); /* 1, 0, or the error that the next call would give; by the handle's thread */
	int (*check)(void *handle); /* as in struct mqshm_wait */
	int (*watch)(void *handle); /* the descriptor that is readable while ready() is not 0; -errno */
};

void mqshm_consumer_waitable(struct mqshm_consumer *consumer, struct mqshm_waitable *w);
void mqshm_producer_waitable(struct mqshm_producer *producer, struct mqshm_waitable *w);

#endif
