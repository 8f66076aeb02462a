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

#define MQSHM_SLEEP_ANY_MAX 128 /* FUTEX_WAITV_MAX */

enum mqshm_role { MQSHM_ROLE_PRODUCER, MQSHM_ROLE_CONSUMER };

struct mqshm_attach {
	const char *name;
	const struct mqshm_queue_options *queue; /* create when missing; NULL: must exist */
	enum mqshm_role role;
	uint32_t flags; /* MQSHM_LOSSY | MQSHM_PREFAULT | MQSHM_MLOCK */
	int start;	/* consumers: MQSHM_FROM_... */
	int wait_ms;	/* for a missing queue */
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
	char name[MQSHM_NAME_MAX + 1];
};

struct mqshm_watch;

struct mqshm_backend {
	const char *name;

	/* Objects. create: 1 when it existed and matches. */
	int (*create)(const char *name, const struct mqshm_queue_options *options);
	int (*remove)(const char *name, unsigned flags);
	int (*gc)(const char *name, void (*report)(const char *name, const char *what, void *arg), void *arg);
	int (*stat)(const char *name, struct mqshm_stat **out);
	int (*list)(int (*each)(const struct mqshm_stat *stat, void *arg), void *arg);
	int (*evict_from)(const char *name, uint32_t slot); /* mqshm_queue_evict() */

	/* Watching, see watch.h. begin: tell what is there. wait: look, and sleep until there is something to look at or
	 * the deadline has come; -EINTR. end: in a child too. */
	int (*watch_begin)(struct mqshm_watch *watch);
	int (*watch_wait)(struct mqshm_watch *watch, uint64_t deadline);
	void (*watch_end)(struct mqshm_watch *watch);

	/*
	 * Roles. attach claims a role, in one step as seen by others: with a taken-over writer for an exclusive
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

	/* The same on up to MQSHM_SLEEP_ANY_MAX words of several mappings, while all of them are as given. -ENOSYS: the
	 * kernel can't do more than one. */
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
};

extern const struct mqshm_backend mqshm_backend_posix;

/* The backend for this process: MQSHM_BACKEND=posix|auto. -EINVAL for one that is not there. */
int mqshm_backend_get(const struct mqshm_backend **out);

/*
 * What the open of both roles begins with: check the name, find the backend, read the options of the queue, if given,
 * into *read, where how->queue then points.
 */
int mqshm_attach_begin(struct mqshm_attach *how, const struct mqshm_queue_options *queue,
		       struct mqshm_queue_options *read, const struct mqshm_backend **backend);

uint64_t mqshm_now_ns(void); /* CLOCK_MONOTONIC */
uint64_t mqshm_deadline(int timeout_ms);

/* Make an armed word odd, before the look that decides to sleep. Returns the value to sleep on. The caller fences. */
uint32_t mqshm_arm(struct mqshm_armed *armed);

/* Make an armed word even and wake all who sleep on it. */
void mqshm_wake(struct mqshm_mapping *mapping, struct mqshm_armed *armed);

/* Is the role still ours? It may have been demoted. */
static inline bool mqshm_has_role(const struct mqshm_mapping *m)
{
	uint32_t word = smp_load_acquire(&m->ring.participants[m->participant].state);

	return MQSHM_SLOT_GENERATION(word) == MQSHM_SLOT_GENERATION(m->state) && slot_is_live(word);
}

/* Why we have no role any more, with the sentence: -ESTALE or -ECONNABORTED. */
int mqshm_lost_role(const struct mqshm_mapping *mapping);

/* "pid 123 (sinegen)" of a participant, for sentences. */
const char *mqshm_who(const struct mqshm_participant *participant, char *buffer, size_t size);

/* Does the stream go on: is a producer alive, are we still a consumer? 0, 1: something has changed, or -ESTALE ... */
int mqshm_check_producers(struct mqshm_mapping *mapping);

/* "consumer 3 of pid 123 (sinegen)" of participant i; buffer has MQSHM_ROLE_TEXT bytes. */
#define MQSHM_ROLE_TEXT 96
const char *mqshm_role_text(const struct mqshm_ring *ring, uint32_t i, char *buffer);

/*
 * Call this, as the one who may, when no producer slot is live any more: sets how the stream ended. For a queue whose
 * producers are all dead but nobody noted it, too.
 */
void mqshm_settle_producers(struct mqshm_ring *ring, uint32_t how);

#endif
