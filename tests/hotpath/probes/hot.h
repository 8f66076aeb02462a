/* SPDX-License-Identifier: MIT */
/* The hot calls, for the two programs that look at what they execute: step.c and marks.c. */
#ifndef HOT_H
#define HOT_H

#include "mqshm.h"

struct hot_kind {
	const char *name;
	void (*call)(void); /* one call of it, on the queue that hot_open() made */
	int messages;	    /* how many it moves */
	int puts;	    /* it pushes: partner pops as many, else it pops and partner pushes */
};

extern const struct hot_kind hot_kinds[];

/* A queue with that many bytes a message, half full, neither side ever waiting, past its first lap. flags: of the queue. */
void hot_open(const char *name, uint32_t flags, size_t bytes);
void hot_close(void);
/* Move as many messages back as kind moved, so that the queue stays half full. */
void hot_back(const struct hot_kind *kind);

#endif
