/* SPDX-License-Identifier: MIT */
/*
 * A stage, shared by its life cycle (stage.c) and what its two threads do (stage_run.c).
 *
 * Who may touch what: consumer belongs to the reader thread, producer to the callback thread, once they run; both are
 * changed under mutex. asked, result and text are written under mutex; asked only grows, and is also read without it.
 * The counters have one writer each, and are read without a lock. The buffer has a lock of its own, which is the inner
 * one. Neither is held over a call that waits for others.
 */
#ifndef MQSHM_STAGE_RUN_H
#define MQSHM_STAGE_RUN_H

#include "mqshm/atomic.h"
#include "mqshm/stage.h"
#include "stage_buffer.h"

/* struct mqshm_stage.asked */
#define STAGE_DRAIN 1	/* process what is there, then end */
#define STAGE_CANCEL 2	/* end after the running call */
#define STAGE_OVER 3	/* it ends by itself */

struct mqshm_stage {
	struct mqshm_stage_options options; /* numbers, callback and arg */
	char name[16];
	bool is_source;
	pid_t pid;
	struct mqshm_consumer *consumer; /* NULL: a source, or it has left */
	struct mqshm_producer *producer;
	bool keep_timestamps;
	bool has_buffer, started; /* what is to be taken down in the end */

	pthread_mutex_t mutex;
	pthread_cond_t changed;
	uint32_t state;
	uint32_t asked; /* STAGE_... */
	int result;
	char text[128];
	pthread_t reader, worker;

	/* the reader's */
	struct stage_buffer buffer;
	int input_result; /* why it has ended; read after stage_buffer_end() */
	bool broken;	  /* a producer died, but the stage stayed; the same */
	uint64_t missed, ends;

	/* the callback thread's */
	struct mqshm_message *batch;
	bool in_call, reserved;
	bool blocked; /* read without a lock, as the counters */
	int output_error;
	uint64_t out, calls, errors, callback_ns, blocked_ns;
};

/* What the threads do; arg is the stage. The mutex is held while they are created. */
void *stage_read(void *arg);
void *stage_call(void *arg);

/* Wake whatever thread of the stage waits in a queue: asked has been raised. The mutex is held. */
void stage_interrupt(struct mqshm_stage *s);

#endif
