/* SPDX-License-Identifier: MIT */
/*
 * mqshm stages: a callback with threads of its own between two queues.
 *
 *	input queue -> [reader thread -> buffer] -> [callback thread] -> output queue
 *
 * The reader takes messages out of the input queue into a bounded buffer; the callback gets them from there in batches
 * and emits results into the output queue. A slow callback holds nobody back until its buffer is full; then the reader
 * stops reading, and the stage holds the producer back as any reliable consumer does: exactly buffer_messages more than
 * the queue has nodes are under way (or fewer by buffer_bytes).
 *
 * Without an input the stage is a source: its callback is called time and again. Without an output it is a sink. A chain
 * is a stage that reads what another one writes; a fan-out is several stages that read one queue. Open all stages first,
 * then start them: what is emitted before a reader has come is not for it.
 *
 * End          A stage ends when its input has ended and all is processed, when it is stopped, when the callback says so,
 *              or by an error. It leaves both queues at once, whether or not anybody waits for it: a chain comes to its end
 *              from the front by itself. Its output is closed when the stream was whole (-ESHUTDOWN for who reads it),
 *              and failed (mqshm_producer_fail(), -EOWNERDEAD) when not: the input's producer died, the stage ended by an
 *              error, or it was stopped at once.
 * Threads      Any thread may call start, stop, wait and stat at any time; emit, reserve, commit, abort and set_timestamp
 *              only the callback, in its thread. close is the last call.
 * Signals      No function is async-signal-safe. The stage's threads block all signals but those that their own mistakes
 *              raise (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS), so signals go to the application's threads.
 * fork         The child has no stages: each call gives it -ECHILD, only close frees its copy. A child that the callback
 *              forks shall end (or exec) in the callback; if it returns, its only thread is ended.
 * Errors       As in mqshm.h; and -ECANCELED: emit, when the stage is being stopped at once.
 */
#ifndef MQSHM_STAGE_H
#define MQSHM_STAGE_H

#include "mqshm.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct mqshm_stage;

#define MQSHM_STAGE_BUFFER_MAX (1u << 20) /* messages: bounds what one stage allocates for descriptors (32 MiB) */

/* struct mqshm_stage_options.flags */
#define MQSHM_STAGE_SKIP 0x1 /* a batch that the callback fails on is dropped, and the stage goes on; else it ends */
#define MQSHM_STAGE_STAY 0x2 /* the end of the input does not end the stage: it waits for the next producer (and sees it
				within 50 ms). If one died, the output is failed, not closed, in the end */

/*
 * The callback. messages are count (1..batch_max) messages in order, valid until it returns, aligned as in the input
 * queue; of a source, NULL and 0. Returns 0; MQSHM_STAGE_DONE: the stage ends well, what is left in the buffer is dropped;
 * or a negative errno value: the batch failed. It may call mqshm_stage_stop() for its own stage. It must not throw, jump out
 * or be cancelled.
 */
typedef int (*mqshm_stage_callback)(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count,
				    void *arg);
#define MQSHM_STAGE_DONE 1

/* Zero means the default. */
struct mqshm_stage_options {
	size_t size;					 /* sizeof(struct mqshm_stage_options) */
	const char *name;				 /* for people: threads are NAME-in and NAME-cb (12 bytes of it); default "stage" */
	const char *input;				 /* queue to read, or NULL */
	const struct mqshm_queue_options *input_queue;	 /* as for mqshm_consumer_open() */
	const struct mqshm_consumer_options *consumer;	 /* the same */
	const char *output;				 /* another queue to write, or NULL. Not both NULL */
	const struct mqshm_queue_options *output_queue;	 /* as for mqshm_producer_open() */
	const struct mqshm_producer_options *producer;	 /* the same */
	mqshm_stage_callback callback;
	void *arg;					 /* for the callback */
	uint32_t flags;					 /* MQSHM_STAGE_... */
	uint32_t buffer_messages;			 /* most messages in the buffer, those in the callback's hands included:
							    1..MQSHM_STAGE_BUFFER_MAX; default 64 */
	size_t buffer_bytes;				 /* and their most bytes, each message rounded up to the queue's align; at
							    least one block. Default: buffer_messages blocks, at most 16 MiB */
	uint32_t batch_max;				 /* most messages in one call: 1..buffer_messages; default 16, at most that */
	int32_t batch_wait_ms;				 /* 0: call with what there is; else wait that long, -1 for ever, for batch_max to
							    be there (less when the buffer is full or the input ends) */
	uint32_t retries;				 /* how often a failed batch is tried again before it counts as failed. What it
							    has emitted stays emitted */
	uint32_t retry_ms;				 /* pause before each */
	uint32_t interval_us;				 /* of a source: time from call to call; 0: as fast as it can. A call that comes
							    late is not made up for */
};

/*
 * Attach to both queues; nothing runs yet, but the input is held from now on. On failure *out is NULL.
 * 0; -EINVAL -ENOMEM, and those of mqshm_consumer_open() and mqshm_producer_open()
 */
int mqshm_stage_open(struct mqshm_stage **out, const struct mqshm_stage_options *options);

/* Start the threads. A stage runs once. 0; -EBUSY (not the first time, or stopped) -EAGAIN (no thread to be had) -ECHILD */
int mqshm_stage_start(struct mqshm_stage *stage);

#define MQSHM_STAGE_AT_ONCE 1
/*
 * Stop and wait until the stage has ended. What the input queue and the buffer hold when stop is called is processed first
 * (a source: the call that is going on); then the output is closed. With MQSHM_STAGE_AT_ONCE in flags only the
 * callback's running call is waited for, its emits give -ECANCELED, the rest is dropped, and the output is failed. A
 * second call may ask for more (AT_ONCE after -ETIMEDOUT), or go on waiting. From the stage's own callback it only
 * asks, and returns 0. Before start, the stage has ended by this.
 * 0: it has ended, see stat for how; -ETIMEDOUT (the callback hangs, or its output is full) -EAGAIN -EINVAL -ECHILD
 */
int mqshm_stage_stop(struct mqshm_stage *stage, unsigned flags, int timeout_ms);

/*
 * Wait until the stage has ended, by itself or by stop. 0: it ended well; -EAGAIN or -ETIMEDOUT: it has not ended; -EDEADLK:
 * called by its own callback; -ECHILD; else the error it ended by: what the callback returned, -EOWNERDEAD, -ESTALE, ...
 * Where the callback returns one of the above, stat tells the difference.
 */
int mqshm_stage_wait(struct mqshm_stage *stage, int timeout_ms);

#define MQSHM_STAGE_READY 0
#define MQSHM_STAGE_RUNNING 1
#define MQSHM_STAGE_STOPPING 2
#define MQSHM_STAGE_ENDED 3

/* A stage at one moment. in == processed + dropped + depth holds in each. */
struct mqshm_stage_stat {
	uint32_t state;	      /* MQSHM_STAGE_... */
	int32_t result;	      /* 0, or the error it ended by */
	char error_text[128]; /* and its sentence */
	uint64_t in;	      /* messages taken from the input queue */
	uint64_t processed;   /* ... of batches that the callback returned 0 or MQSHM_STAGE_DONE for */
	uint64_t dropped;     /* ... of batches that failed, and those left in the buffer at the end */
	uint64_t depth;	      /* ... in the buffer now, those in the callback's hands included */
	uint64_t depth_most;  /* the most there ever were */
	uint64_t depth_bytes; /* as counted for buffer_bytes */
	uint64_t missed;      /* messages a lossy input was lapped by */
	uint64_t out;	      /* messages emitted */
	uint64_t calls;	      /* of the callback, that have returned */
	uint64_t errors;      /* ... with a negative value, retries included */
	uint64_t ends;	      /* how often the input ended, or its producer died */
	uint64_t callback_ns; /* time spent in the callback, all calls together */
	uint64_t blocked_ns;  /* ... of which waiting for room in the output queue, waits that are over */
	uint32_t blocked;     /* 1: the callback waits for room right now */
};

/* 0; -ECHILD */
int mqshm_stage_stat(struct mqshm_stage *stage, struct mqshm_stage_stat *stat);

/* Free a stage that has ended or was never started. NULL is allowed. 0; -EBUSY: it runs; -ECHILD: the child's copy is freed */
int mqshm_stage_close(struct mqshm_stage *stage);

/* ---- for the callback ---- */

/*
 * Emit one message: copied into the output queue, waiting for room as long as it takes. An error other than
 * -EMSGSIZE, -EINVAL and -EDEADLK ends the stage by that error, whatever the callback returns.
 * 0; -ECANCELED (being stopped at once) -EMSGSIZE -EINVAL (a sink, or not in the callback) and those of mqshm_producer_push()
 */
int mqshm_stage_emit(struct mqshm_stage *stage, const void *data, size_t size);

/*
 * Zero copy, as mqshm_producer_reserve(), _commit() and _abort(). What is still reserved when the callback returns is
 * aborted. Errors as for emit; commit and abort: -EINVAL, too, when nothing is reserved.
 */
int mqshm_stage_reserve(struct mqshm_stage *stage, size_t size, void **data);
int mqshm_stage_commit(struct mqshm_stage *stage, size_t used);
int mqshm_stage_abort(struct mqshm_stage *stage);

/*
 * The timestamp of what is emitted from now on in this call, in ns, where the output queue has MQSHM_TIMESTAMP_OWN (else
 * -EINVAL). Each call begins with that of its first input message, so with batch_max 1 results keep the input's
 * timestamp; a source's begins with CLOCK_REALTIME.
 */
int mqshm_stage_set_timestamp(struct mqshm_stage *stage, uint64_t timestamp_ns);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
