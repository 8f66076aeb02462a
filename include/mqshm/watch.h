/* SPDX-License-Identifier: MIT */
/*
 * Watching queues: who comes, leaves, dies, is evicted; which queues appear and vanish. A watch only looks: it is no user
 * of a queue, keeps none alive, holds nobody back, and ends no dead one's role. It needs read permission of a queue.
 *
 * How soon    A queue that appears or vanishes, and one who closes its handle or whose process ends, is noticed at once
 *             (inotify), one who attaches within 100 ms, all else (evictions, leases) within 100 ms for each 250 queues.
 *             Where there is no inotify left (fs.inotify.max_user_instances) queues within some 1 s, and deaths within
 *             1 s for each 250 queues. A death that a child made by a raw clone() hides, 30 times that.
 * What if     Of one who came and went between two looks both is told, from what it left in its slot; of several in one
 *             slot, the last, and how many more there were (MQSHM_WATCH_MISSED).
 * Threads     A watch is used by one thread at a time; different ones by different threads at the same time. In a child
 *             process its calls give -ECHILD. No function is async-signal-safe.
 * Descriptors One for each queue, and one. An object that is removed is let go of when the watch next looks, so look often,
 *             or close it: its memory is freed then.
 */
#ifndef MQSHM_WATCH_H
#define MQSHM_WATCH_H

#include "../mqshm.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct mqshm_watch;

/* struct mqshm_watch_event.type. Of queues: */
#define MQSHM_WATCH_THERE 1	  /* was there when the watch began, or could not be read before; also of participants */
#define MQSHM_WATCH_CREATED 2
#define MQSHM_WATCH_REMOVED 3
#define MQSHM_WATCH_CLOSED 4	  /* its stream has ended: the last producer closed */
#define MQSHM_WATCH_CRASHED 5	  /* its stream has ended: the last producer died, or failed */
#define MQSHM_WATCH_UNREADABLE 6  /* it can't be looked at: error, text; told once until that changes */
/* ... of participants: */
#define MQSHM_WATCH_ATTACHED 7
#define MQSHM_WATCH_LEFT 8
#define MQSHM_WATCH_DIED 9	  /* told when first seen, whenever its role is ended by those who use the queue */
#define MQSHM_WATCH_EVICTED 10	  /* text: why; by_pid */
#define MQSHM_WATCH_DEMOTED 11	  /* text: why; by_pid */
#define MQSHM_WATCH_LEASED 12	  /* a named consumer left or died (text): its cursor waits for a successor */
#define MQSHM_WATCH_RESUMED 13	  /* a successor has it */
#define MQSHM_WATCH_EXPIRED 14	  /* nobody came for it in time */
#define MQSHM_WATCH_MISSED 15	  /* count more came and went unseen in this slot. Of a queue (role 0): one of this name did */

#define MQSHM_WATCH_PRODUCER 1
#define MQSHM_WATCH_CONSUMER 2

struct mqshm_watch_event {
	uint32_t type;
	uint32_t role;	  /* MQSHM_WATCH_PRODUCER, _CONSUMER; 0: of the queue; then the fields from id to name are 0 */
	uint64_t time_ns; /* CLOCK_REALTIME: when it was noticed */
	char queue[64];
	uint32_t id;	  /* the slot, as in stat */
	int32_t pid;	  /* as seen in its own pid namespace */
	char comm[16];
	char name[MQSHM_CONSUMER_NAME_MAX + 1]; /* of a named consumer, else "" */
	int32_t by_pid;	  /* who evicted or demoted it, else 0 */
	int32_t error;	  /* UNREADABLE: -EACCES ... */
	uint64_t count;	  /* MISSED */
	char text[128];	  /* a reason, for people, or "" */
};

#define MQSHM_WATCH_NEW 1 /* don't tell what is there already */

/*
 * Begin to watch these queues, or all when count is 0. A name need not exist yet.
 * 0; -EINVAL (a name, flags) -ENOMEM -EACCES (the directory of queues)
 */
int mqshm_watch_open(struct mqshm_watch **out, const char *const *names, size_t count, unsigned flags);

/*
 * The next event, in the order in which they were noticed; of one queue, in the order in which they happened as far as can
 * be told. timeout_ms as for pop.
 * 0; -EAGAIN -ETIMEDOUT -EINTR -ECHILD -ENOMEM (some events were lost)
 */
int mqshm_watch_next(struct mqshm_watch *watch, struct mqshm_watch_event *event, int timeout_ms);

/* The watch is gone whatever is returned. NULL is allowed. 0; -ECHILD (only the copy of this child is freed) */
int mqshm_watch_close(struct mqshm_watch *watch);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
