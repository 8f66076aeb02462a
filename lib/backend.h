/* SPDX-License-Identifier: MIT */
/*
 * What a mechanism that holds queues must do. The ring algorithm is above it; push and pop come here only to sleep,
 * to wake, and to look whether a peer still lives. One file (or a few, posix_*.c) a backend, one table each, and one
 * conformance suite for all.
 *
 * All functions return 0 or more, or -errno with a sentence for mqshm_last_error(). Deadlines are CLOCK_MONOTONIC ns,
 * MQSHM_FOREVER for none.
 */
#ifndef MQSHM_BACKEND_H
#define MQSHM_BACKEND_H

#include <stdbool.h>
#include <sys/types.h>

#include "layout.h"

#define MQSHM_FOREVER UINT64_MAX

/* How long a sleeper goes without looking whether its peer lives. A death is noticed by then; 20 looks a second cost
 * under 0.2 % of a processor. */
#define MQSHM_LIVENESS_NS 50000000u

/* The same where who dies is told of at once, whatever he was doing. It is for who is stopped between a store and the wake. */
#define MQSHM_TOLD_NS 1000000000u

#define MQSHM_SLEEP_ANY_MAX 128 /* FUTEX_WAITV_MAX */

enum mqshm_role { MQSHM_ROLE_PRODUCER, MQSHM_ROLE_CONSUMER };

struct mqshm_attach {
	const char *name;
	const struct mqshm_queue_options *queue; /* NULL: any */
	bool create;	/* when missing, as queue says */
	enum mqshm_role role;
	uint32_t flags; /* MQSHM_LOSSY | MQSHM_PREFAULT | MQSHM_MLOCK */
	int start;	/* consumers: MQSHM_FROM_... */
	int wait_ms;	/* for a missing queue; not for the backend */
	const char *consumer_name; /* NULL: none */
	uint32_t lease_ms;
	bool *resumed;	/* set: a former one's cursor was taken on */
};

/* An attached role: a mapping of the queue, owned by one handle. Backends embed it in their own struct. */
struct mqshm_mapping {
	const struct mqshm_backend *backend;
	struct mqshm_ring ring;
	enum mqshm_role role;
	uint32_t participant; /* our index in ring.participants */
	uint32_t state;	      /* what its state word says while the role is ours */
	const uint32_t *owner;/* points to 0 in a child of the process that attached */
	struct mqshm_mapping *next, *previous; /* all of this process: fork.h */
	char name[MQSHM_NAME_MAX + 1];
};

struct mqshm_watch;

struct mqshm_backend {
	const char *name;
	const char *directory; /* queue NAME is the file DIRECTORY/PREFIXNAME */
	const char *prefix;
	bool ends_roles; /* it ends the roles of the dead itself, and wakes all: nobody needs to look at who lives */

	/* Can it be used here? 0, 1: what is there already, but nothing can be created; or -errno, with the sentence if say. NULL:
	 * always. */
	int (*probe)(bool say);

	/* Objects; -ENOENT: there is none of that name. create: 1 when it existed and matches; it is created when missing says so.
	 * gc: 1 when it is gone then. */
	int (*create)(const char *name, const struct mqshm_queue_options *options, bool missing);
	int (*remove)(const char *name, unsigned flags);
	int (*gc)(const char *name, void (*report)(const char *name, const char *what, void *arg), void *arg);
	int (*stat)(const char *name, struct mqshm_stat **out);
	int (*evict_from)(const char *name, uint32_t slot); /* mqshm_queue_evict() */

	/* Watching, see watch.h. begin: tell what is there. look: tell what has changed since; and, by *again, when to look once
	 * more though nothing makes watch_fd() (-1: there is none) readable. end: in a child too. */
	int (*watch_begin)(struct mqshm_watch *watch);
	void (*watch_look)(struct mqshm_watch *watch, uint64_t *again);
	int (*watch_fd)(const struct mqshm_watch *watch);
	void (*watch_end)(struct mqshm_watch *watch);

	/*
	 * Roles. attach (-ENOENT: there is no such queue) claims a role, in one step as seen by others: with a taken-over writer for an exclusive
	 * producer, a joined reader for a consumer. detach gives it back and removes the queue with its last user; how is
	 * MQSHM_EPOCH_CLOSED, or _CRASHED for a producer that leaves in the middle; a named consumer's cursor is kept,
	 * unless how is MQSHM_EPOCH_NONE; in a child it only frees memory (-ECHILD).
	 */
	int (*attach)(const struct mqshm_attach *how, struct mqshm_mapping **out, struct mqshm_writer *writer,
		      struct mqshm_reader *reader);
	int (*detach)(struct mqshm_mapping *mapping, uint32_t how);

	/* Sleep while *word is value, at most ns; any reason to wake up is 0, -EINTR a signal handler. */
	int (*sleep)(struct mqshm_mapping *mapping, uint32_t *word, uint32_t value, uint64_t ns);
	void (*wake)(struct mqshm_mapping *mapping, uint32_t *word);

	/* What mqshm_arm() and mqshm_wake() do where armed words can't be written: arm gives the word as it is then, wake_armed
	 * makes it even, too. NULL: they are written. */
	uint32_t (*arm)(struct mqshm_mapping *mapping, struct mqshm_armed *armed);
	void (*wake_armed)(struct mqshm_mapping *mapping, struct mqshm_armed *armed);

	/* Arm and sleep in one: while the data word is as it was, or armed since, tail is below until, and info->epoch is epoch. The
	 * caller has looked after it read word and epoch. NULL: arm, look, sleep. */
	int (*sleep_for_data)(struct mqshm_mapping *mapping, uint32_t value, uint64_t until, uint32_t epoch, uint64_t ns);

	/* A descriptor to poll for what the role waits for, which stays the backend's. NULL: there is none. */
	int (*descriptor)(struct mqshm_mapping *mapping);

	/* Sleep on up to MQSHM_SLEEP_ANY_MAX words of several mappings, while all of them are as given. -ENOSYS: the
	 * kernel can't do more than one. NULL: never. */
	int (*sleep_any)(uint32_t *const *words, const uint32_t *values, size_t count, uint64_t ns);

	/* Is participant i alive? If not its role is ended (and all woken). 1: alive, or just leaving its FREE slot; 0: was
	 * dead or is not there. */
	int (*check)(struct mqshm_mapping *mapping, uint32_t i);
	/* End the role of a live participant, or make a reliable consumer lossy. word: what its state
	 * word says while it is the one that is meant, 0: whoever it is. why is MQSHM_WHY_...; false: not now,
	 * somebody else is at it, or it has none. */
	bool (*evict)(struct mqshm_mapping *mapping, uint32_t i, uint32_t word, uint32_t why);
	bool (*demote)(struct mqshm_mapping *mapping, uint32_t i, uint32_t word, uint32_t why);
	/* Is our own role still ours, and the queue still there? 0 or -ESTALE. */
	int (*check_self)(struct mqshm_mapping *mapping);
	/* In a child of the process that attached, right after a fork: close what it must not keep. */
	void (*forked)(struct mqshm_mapping *mapping);
};

extern const struct mqshm_backend mqshm_backend_kernel, mqshm_backend_posix;

/*
 * The backends of this process, as MQSHM_BACKEND=posix|kernel|auto says: how many. A queue is looked for in all of them, in this
 * order, and created in the first. -errno when the one that is asked for can't be used.
 */
#define MQSHM_BACKENDS 2
int mqshm_backends(const struct mqshm_backend *list[MQSHM_BACKENDS]);

/*
 * What the open of both roles begins with: check the name, and read the options of the queue, if given, into *read, where
 * how->queue then points.
 */
int mqshm_attach_begin(struct mqshm_attach *how, const struct mqshm_queue_options *queue,
		       struct mqshm_queue_options *read);
/* Attach to the queue on whatever backend it is; create it, or wait for it, as how says. */
int mqshm_attach(struct mqshm_attach *how, struct mqshm_mapping **out, struct mqshm_writer *writer,
		 struct mqshm_reader *reader);

uint64_t mqshm_now_ns(void); /* CLOCK_MONOTONIC */
uint64_t mqshm_deadline(int timeout_ms);

/* Make an armed word odd, before the look that decides to sleep. Returns the value to sleep on. The caller fences. */
uint32_t mqshm_arm(struct mqshm_mapping *mapping, struct mqshm_armed *armed);

/* Make an armed word even and wake all who sleep on it. */
void mqshm_wake(struct mqshm_mapping *mapping, struct mqshm_armed *armed);

/* The same, for what no sleeper's call looks at: also who is on its way to sleep_for_data() does not sleep. */
void mqshm_disturb(struct mqshm_mapping *mapping, struct mqshm_armed *armed);

/* The descriptor behind a mapping, for the caller. -ENOTSUP, -ESTALE. */
int mqshm_device_fd(struct mqshm_mapping *mapping);

/* How long a sleep may be, and how long between two looks at whether peers live. A slow consumer is judged then, too. */
static inline uint64_t mqshm_look_interval(const struct mqshm_mapping *m)
{
	return m->backend->ends_roles && !m->ring.slow_policy ? MQSHM_TOLD_NS : MQSHM_LIVENESS_NS;
}

/* Is the role still ours? It may have been demoted. */
static inline bool mqshm_has_role(const struct mqshm_mapping *m)
{
	uint32_t word = smp_load_acquire(&m->ring.participants[m->participant].state);

	return MQSHM_SLOT_GENERATION(word) == MQSHM_SLOT_GENERATION(m->state) && slot_is_live(word);
}

/* How long a LEASED slot is still kept, in ns; 0: its time has come. */
uint64_t mqshm_lease_left(const struct mqshm_participant *participant);

/* Why we have no role any more, with the sentence: -ESTALE or -ECONNABORTED. */
int mqshm_lost_role(const struct mqshm_mapping *mapping);

/* "pid 123 (sinegen)" of a participant, for sentences. */
const char *mqshm_who(const struct mqshm_participant *participant, char *buffer, size_t size);

/* Does the stream go on: is a producer alive, are we still a consumer? 0, 1: something has changed, or -ESTALE ... */
int mqshm_check_producers(struct mqshm_mapping *mapping);

/* "consumer 3 of pid 123 (sinegen)" of participant i; buffer has MQSHM_ROLE_TEXT bytes. */
#define MQSHM_ROLE_TEXT 96
const char *mqshm_role_text(const struct mqshm_ring *ring, uint32_t i, char *buffer);

/* users.c: up to three of those who use a queue, from its participants' table. */
void mqshm_name_users(const struct mqshm_participant *table, uint32_t slots, char *text, size_t size);
/* No place is free: -EBUSY, and why. first, count: the slots of that role. */
int mqshm_no_place(const char *queue, enum mqshm_role role, const struct mqshm_participant *first, uint32_t count);
/* Somebody or a lease has our consumer name: 0, it is ours to take on; -EBUSY, and why not. */
int mqshm_may_take_on(const char *queue, const struct mqshm_attach *how, const struct mqshm_participant *participant);

/* A descriptor that nobody takes for one of the standard streams: the same, or a higher one. -1 and errno. */
int mqshm_above_standard(int fd);

/*
 * Call this, as the one who may, when no producer slot is live any more: sets how the stream ended. For a queue whose
 * producers are all dead but nobody noted it, too.
 */
void mqshm_settle_producers(struct mqshm_ring *ring, uint32_t how);

#endif
