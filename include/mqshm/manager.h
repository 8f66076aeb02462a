/* SPDX-License-Identifier: MIT */
/*
 * Queue manager: opens queues on demand by name, and shares the handles between the threads of a process.
 *
 * A handle of mqshm.h is used by one thread at a time. A manager gives out shared ones: a producer, a consumer or a merge
 * with a lock. The first who asks for the producer (or the consumer) of a name opens it, all others get the same one, until
 * it is closed by name, with all, or with the manager.
 *
 *	mqshm_manager_producer(manager, &shared, "samples", &queue, NULL);	once per thread
 *	mqshm_shared_push(shared, data, size, -1);				any number of times
 *	mqshm_shared_put(shared);						when done with it
 *
 * Sharing      Threads that share a producer push in turn. Threads that share a consumer share one cursor: each message
 *              goes to one of them. (For each to see every message, each opens a consumer of its own.)
 * Life         The manager keeps a handle open, also while nobody has it; putting it back only says that the pointer is
 *              not used any more. A consumer that is open and not read holds its producers back, as always. Closing is safe
 *              at any time: who waits in the handle, or for its lock, gets -EBADF, as does every later use.
 * Threads      All functions, from any thread. mqshm_manager_close() is the last one on a manager; shared handles
 *              may be used and put after it.
 * Signals      No function is async-signal-safe. Waits give -EINTR as those of mqshm.h; waiting for the lock does not.
 * fork         A child gets -ECHILD, and makes a manager of its own. exec ends all roles.
 */
#ifndef MQSHM_MANAGER_H
#define MQSHM_MANAGER_H

#include "mqshm.h"
#include "mqshm/merge.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct mqshm_manager;
struct mqshm_shared;

/* 0 -ENOMEM */
int mqshm_manager_open(struct mqshm_manager **out);

/*
 * The shared producer, or consumer, of a queue. It is opened by mqshm_producer_open() or mqshm_consumer_open() when the
 * manager does not have it; then the errors are theirs. When it has, the fields of queue that are given must match as they
 * must there (those of struct mqshm_queue_info), else -EEXIST; options mean nothing then. A call that waits for a queue
 * (wait_ms) ends with -EBADF when that name, or all, is closed meanwhile.
 * 0, and *out is to be put; -EDEADLK: another thread is closing it while this one has its lock; -ENOMEM -EBADF -ECHILD
 */
int mqshm_manager_producer(struct mqshm_manager *manager, struct mqshm_shared **out, const char *name,
			   const struct mqshm_queue_options *queue, const struct mqshm_producer_options *options);
int mqshm_manager_consumer(struct mqshm_manager *manager, struct mqshm_shared **out, const char *name,
			   const struct mqshm_queue_options *queue, const struct mqshm_consumer_options *options);

/*
 * A merge (merge.h) of queues, each read by a consumer of its own, opened with options: not the shared ones, whose
 * messages it does not take. Each call makes another one. Errors as above; -EINVAL: count is 0
 */
int mqshm_manager_merge(struct mqshm_manager *manager, struct mqshm_shared **out, const char *const *names, size_t count,
			int sync_timeout_ms, const struct mqshm_consumer_options *options);

/* The same one for another thread, which puts it too; give it back. NULL can be put. */
void mqshm_shared_get(struct mqshm_shared *shared);
void mqshm_shared_put(struct mqshm_shared *shared);

/*
 * mqshm_producer_push() on a shared producer; mqshm_consumer_pop() on a shared consumer, mqshm_merge_next() on a merge.
 * timeout_ms is for lock and message together; -EAGAIN also says that another thread is in it.
 * Errors are theirs, and -EBADF (closed) -EINVAL (not that kind) -EDEADLK (this thread has the lock) -ECHILD
 */
int mqshm_shared_push(struct mqshm_shared *shared, const void *data, size_t size, int timeout_ms);
ssize_t mqshm_shared_pop(struct mqshm_shared *shared, void *buffer, size_t capacity, struct mqshm_message *message,
			 int timeout_ms);

/*
 * For all else: lock it, use the handle with the functions of mqshm.h or merge.h, unlock it. The handle is NULL for another
 * kind; it is valid until unlock, and must not be closed, cancelled or (a merge) have consumers added or removed. When a wait
 * gives -ECANCELED, somebody wants to close it: unlock.
 * lock: 0; -EAGAIN -ETIMEDOUT -EBADF -EDEADLK -ECHILD. unlock: by the same thread.
 */
int mqshm_shared_lock(struct mqshm_shared *shared, int timeout_ms);
void mqshm_shared_unlock(struct mqshm_shared *shared);
struct mqshm_producer *mqshm_shared_producer(const struct mqshm_shared *shared);
struct mqshm_consumer *mqshm_shared_consumer(const struct mqshm_shared *shared);
struct mqshm_merge *mqshm_shared_merge(const struct mqshm_shared *shared);

/*
 * Close one handle (its stream ends, if it is a producer); producer and consumer of a name; all. They return when it is
 * closed, whoever closed it; a handle that is in use is closed when the user's call has ended, which is at once. The manager
 * can open it again. Nothing is closed of what this thread has locked: -EDEADLK (close_all closes the others).
 * 0; -ENOENT (close_queue: there is none of that name) -EDEADLK -ECHILD
 */
int mqshm_manager_close_handle(struct mqshm_manager *manager, struct mqshm_shared *shared);
int mqshm_manager_close_queue(struct mqshm_manager *manager, const char *name);
int mqshm_manager_close_all(struct mqshm_manager *manager);

/* Close all, wait until nobody is in a call with the manager, free it. NULL is allowed. 0 -EDEADLK -ECHILD (nothing is
   freed) */
int mqshm_manager_close(struct mqshm_manager *manager);

/* struct mqshm_managed.kind */
#define MQSHM_MANAGED_PRODUCER 1
#define MQSHM_MANAGED_CONSUMER 2
#define MQSHM_MANAGED_MERGE 3

/* A handle of the manager. */
struct mqshm_managed {
	char name[64];		       /* of the queue; of a merge: its first one */
	uint32_t kind;		       /* MQSHM_MANAGED_... */
	uint32_t queues;	       /* of a merge; else 1 */
	uint32_t users;		       /* gets that were not put yet */
	uint64_t uses;		       /* how often it was locked, pushes and pops included */
	uint64_t contended;	       /* how often another thread had it just then */
	const struct mqshm_stat *stat; /* of the queue, as from mqshm_queue_stat(); NULL for a merge, or when it can't be read */
};

/*
 * Look at all handles: producers and consumers in order of name, then merges. each may call the manager; it returns 0 to
 * go on, anything else ends the walk and is returned. managed is valid only during the call.
 * Returns how many there were; -ENOMEM -ECHILD
 */
int mqshm_manager_list(struct mqshm_manager *manager, int (*each)(const struct mqshm_managed *managed, void *arg),
		       void *arg);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
