/* SPDX-License-Identifier: MIT */
/*
 * What `mqshm top` knows: filled by top_sample.c once a second, drawn by top_draw.c, both called by cmd_top.c, on the
 * screen of terminal.c. One thread.
 */
#ifndef MQSHM_TOP_H
#define MQSHM_TOP_H

#include "tool.h"

#define TOP_HISTORY 64 /* samples of the rate that are kept for a queue's bar */

struct top_user { /* one producer or consumer */
	struct mqshm_participant_stat stat;
	bool producer;
	double rate; /* consumers: messages/s */
};

struct top_queue {
	struct mqshm_stat stat; /* its producers and consumers pointers are not used */
	double rate, byte_rate; /* messages/s; ring bytes/s */
	float history[TOP_HISTORY]; /* of rate; the newest last */
	struct top_user *users; /* producers by id, then consumers, the one furthest behind first */
	size_t user_count;
};

struct top {
	struct top_queue *queues; /* in order of name */
	size_t count, room;
	struct top_queue **order; /* as they are drawn */
	uint64_t sampled_ns;	  /* CLOCK_MONOTONIC */
	size_t producers, consumers;
	uint64_t total_bytes;
	bool by_name; /* else the fastest first */
	char *const *patterns; /* of the names of queues to look at, up to a NULL; NULL or none: all. Not ours */
};

/* Look at all queues. NULL, or what went wrong, for when the terminal is restored: the old state stays. */
const char *top_sample(struct top *top);
void top_sort(struct top *top);
void top_free(struct top *top);

/* The whole screen as one text, from its first line on, for fwrite to the terminal. */
void top_draw(FILE *out, const struct top *top, int rows, int columns);

/* ---- terminal.c */
bool terminal_open(void);  /* alternate screen, keys at once; false: stdout is no terminal */
void terminal_close(void); /* everything as it was; may be called twice */
void terminal_size(int *rows, int *columns);
int terminal_wait(int timeout_ms); /* a key; 0: draw again (time, a signal, another size); -1: no terminal any more */

#endif
