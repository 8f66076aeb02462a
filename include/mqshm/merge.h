/* SPDX-License-Identifier: MIT */
/*
 * Merge by timestamp: one stream, in order of time, out of any number of consumers.
 *
 * Order        The message with the smallest timestamp_ns is next; of equal ones that of the consumer that was added
 *              first. Messages of one queue never change their order, whatever timestamps they carry. A queue with
 *              MQSHM_TIMESTAMP_OFF has timestamp 0: its messages come at once. Timestamps are what producers wrote,
 *              any 64 bits; only their order matters.
 * Waiting      A message is given when every consumer that is waited for has shown its next one. A consumer is waited
 *              for from when it was added, and after each of its messages. It is not waited for
 *                - when it is silent: the merge has found it without a message, and still without one sync_timeout_ms
 *                  later (for one that has not given any yet: later than it was added). Time is CLOCK_MONOTONIC:
 *                  jumps of the wall clock do no harm
 *                - when its stream has ended, by a close or a death
 *              until its next message is noticed: at once when the merge waits for any, else after no more messages of
 *              others than there are consumers that are not waited for. So what comes too late comes out late: it is
 *              counted as backward.
 * End          An ended consumer stays in the merge: a next producer's messages take part again (noticed within 50 ms
 *              while the merge waits for others). When all have ended, the merge has: -ESHUTDOWN, or -EOWNERDEAD if
 *              one of the streams ended that way; again at each call until a new producer attaches to one.
 * Cost         A binary heap: O(log consumers) a message. While waiting, only the consumers without a message are
 *              looked at. Nothing is allocated but in open and add. One message of each consumer is looked at ahead
 *              and still unread as its producer sees it.
 * Consumers    belong to the caller, who opens and closes them; lossy ones and overwrite queues are fine. While one
 *              is in a merge nothing else is done with it except mqshm_consumer_missed(), _lag(), _id(), _info().
 *              Take it out before it is closed. What was looked at and not given is not lost: it is its next message.
 * Threads      One thread at a time uses a merge, and with it the consumers in it.
 * Signals      No function is async-signal-safe. Waits give -EINTR as those of mqshm.h.
 * fork         A child gets -ECHILD, as from the consumers; it may close the merge.
 */
#ifndef MQSHM_MERGE_H
#define MQSHM_MERGE_H

#include "mqshm.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct mqshm_merge;

/*
 * Make a merge, of nothing yet. sync_timeout_ms: how long a consumer without a message is waited for; -1 (any negative):
 * for ever, which gives strict order; 0: not at all, which gives what is there in order.
 * 0; -ENOMEM, and *out is NULL.
 */
int mqshm_merge_open(struct mqshm_merge **out, int sync_timeout_ms);

/* Add a consumer, take one out; at any time. 0; add: -EEXIST (it is in already) -EINVAL (NULL) -ECHILD -ENOMEM;
   remove: -ENOENT. */
int mqshm_merge_add(struct mqshm_merge *merge, struct mqshm_consumer *consumer);
int mqshm_merge_remove(struct mqshm_merge *merge, struct mqshm_consumer *consumer);

/*
 * Take the next message: copy it to buffer, and take it from its consumer. message and source (whose it is) may be NULL.
 * Returns its size in bytes, or
 *   -EAGAIN -ETIMEDOUT          there is none, or a consumer is waited for that has none
 *   -EMSGSIZE                   buffer is too small: message->size is needed, the message stays
 *   -ESHUTDOWN -EOWNERDEAD      all streams have ended; -ESHUTDOWN also for a merge of nothing
 *   -EINTR -ECANCELED           the wait was ended
 *   -ECHILD
 *   -ESTALE -EBADMSG ...        what *source said, which can't be read any more: at each call, until it is taken out
 * For all but the message and these last errors *source becomes NULL (-EMSGSIZE: whose it is).
 */
ssize_t mqshm_merge_next(struct mqshm_merge *merge, void *buffer, size_t capacity, struct mqshm_message *message,
			 struct mqshm_consumer **source, int timeout_ms);

/*
 * The same without a copy: look at the next message where it lies, then take it from its consumer. It stays the next one,
 * and valid, until it is released or its consumer is taken out. For a lossy consumer, and on an overwrite queue, it is only
 * confirmed by release, which gives -ESTALE when it was overtaken meanwhile: look again.
 * peek: 0, errors as above. release: 0; -EINVAL (nothing was looked at) -ESTALE -ECHILD ...
 */
int mqshm_merge_peek(struct mqshm_merge *merge, struct mqshm_message *message, struct mqshm_consumer **source,
		     int timeout_ms);
int mqshm_merge_release(struct mqshm_merge *merge);

struct mqshm_merge_stats {
	uint64_t merged;	  /* messages given */
	uint64_t timeouts;	  /* how often a consumer became silent: was waited for in vain */
	uint64_t backward;	  /* messages with a smaller timestamp than the one given before, of whichever consumer */
	uint64_t source_backward; /* messages with a smaller timestamp than the one before of the same consumer */
	uint32_t consumers;	  /* in the merge now ... */
	uint32_t ready;		  /* ... whose next message is known ... */
	uint32_t silent, ended;	  /* ... and not waited for */
};
void mqshm_merge_stats(const struct mqshm_merge *merge, struct mqshm_merge_stats *stats);

/* Free the merge; its consumers stay open. NULL is allowed. */
void mqshm_merge_close(struct mqshm_merge *merge);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
