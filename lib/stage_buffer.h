/* SPDX-License-Identifier: MIT */
/*
 * The bounded buffer of a stage: a queue of messages from one thread (reserve, commit, end) to one other (take,
 * release), bounded by their number and by their bytes. Each message lies in one piece. Also counts, under the same
 * lock as it moves them, so that in == processed + dropped + count at any moment.
 */
#ifndef MQSHM_STAGE_BUFFER_H
#define MQSHM_STAGE_BUFFER_H

#include <pthread.h>
#include <stdbool.h>

#include "mqshm.h"

struct stage_buffer {
	pthread_mutex_t mutex;
	pthread_cond_t filled, freed;

	struct mqshm_message *messages; /* a ring of most_count of them */
	size_t first, count, most_count;
	unsigned char *bytes; /* most_bytes, and one block more, see place() */
	size_t tail, used, most_bytes, block, align;

	size_t wanted; /* who takes waits for so many */
	bool starved;  /* who reserves waits for room */
	bool ended;    /* no more will come */
	bool aborted;  /* both sides shall leave */
	uint64_t in, processed, dropped, depth_most;
};

/* 0; -EINVAL: most_bytes is less than one block; -ENOMEM. block: bytes of the largest message. */
int stage_buffer_init(struct stage_buffer *b, size_t most_count, size_t most_bytes, size_t block, size_t align);
void stage_buffer_destroy(struct stage_buffer *b);

/*
 * Wait for room for a message of at least least bytes: where it goes, and how large it may be (0, too). 0; -ECANCELED after
 * an abort; -EMSGSIZE: it never fits.
 */
int stage_buffer_reserve(struct stage_buffer *b, size_t least, void **place, size_t *capacity);
void stage_buffer_commit(struct stage_buffer *b, const struct mqshm_message *message);
void stage_buffer_end(struct stage_buffer *b);

/*
 * Wait for messages; with wait_ms != 0 also, so long (-1: for ever), for max of them. How many there are in messages, which
 * stay where they are until released; 0: no more will come; -ECANCELED after an abort.
 */
int stage_buffer_take(struct stage_buffer *b, struct mqshm_message *messages, size_t max, int wait_ms);
void stage_buffer_release(struct stage_buffer *b, size_t count, bool processed);

/* Wake both sides for good. */
void stage_buffer_abort(struct stage_buffer *b);

/* Initialise a condition whose timed waits go by CLOCK_MONOTONIC; that clock; and it as a timespec. */
void stage_cond_init(pthread_cond_t *cond);
uint64_t stage_now_ns(void);
struct timespec stage_time(uint64_t ns);

#endif
