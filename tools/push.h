/* SPDX-License-Identifier: MIT */
/*
 * One running `mqshm push`: shared by cmd_push.c (begin and end), push_blocks.c and push_lines.c (the two ways to
 * cut the input into messages), stall.c (waits for room) and progress.c (what a person sees). One thread.
 */
#ifndef MQSHM_PUSH_H
#define MQSHM_PUSH_H

#include "tool.h"

struct push {
	struct mqshm_producer *producer;
	const char *name;	  /* of the queue */
	const char *file;	  /* for messages: a path, or "stdin" */
	int input;		  /* its descriptor */
	uint32_t block;		  /* bytes of a full message */
	bool shared;		  /* other producers push meanwhile */
	bool show;		  /* a progress line on stderr */
	uint64_t input_bytes;	  /* how much will come, 0: unknown */
	uint64_t messages, bytes; /* pushed */
	uint64_t begun_ns;	  /* CLOCK_MONOTONIC */

	/* stall.c */
	uint64_t stalls, stalled_ns; /* how often and how long the queue was full */
	uint64_t stall_since_ns;     /* 0: not now */

	/* progress.c: as of the last time the line was drawn */
	struct {
		uint64_t at_ns, bytes, stalled_ns;
		double rate, full; /* bytes/s, and the share of time without room; smoothed */
	} drawn;
	char blocker[48]; /* who blocked last, "" nobody */
};

/* Feed all input to the queue. 0, -EINTR after a signal, or -1 when it failed and that was said. */
int push_blocks(struct push *push);
int push_lines(struct push *push);

/* read(), which a signal ends with -EINTR; other errors are said. Bytes, 0 at the end, or as above. */
ssize_t push_read(struct push *push, void *buffer, size_t size);

/*
 * An operation on the queue that may have to wait for room begins with timeout_ms 0 and is repeated with what
 * stall_patience() gives, as long as that is above 0:
 *	do r = operation(..., timeout_ms); while ((timeout_ms = stall_patience(push, r)) > 0);
 */
int stall_patience(struct push *push, int result);

void progress_begin(struct push *push);
void progress_tick(struct push *push, bool draining); /* draws now and then; draining: all is pushed */
void progress_end(struct push *push);		      /* leaves the last state on the screen */

#endif
