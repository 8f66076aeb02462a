/* SPDX-License-Identifier: MIT */
/*
 * What all processes of the random torture share: the world, in memory of the supervisor that outlives every one of
 * them. It says what each process has begun and what has returned, so that after a kill at any moment the checker
 * (check.c) still knows what must be true. It has nothing to do with the memory of the queues.
 *
 * A role is one handle's life, from the beginning of open to the end. A producer's number (its index + 1) and its count
 * are the key of a message, from which every byte follows. An instance is one queue from its creation to its removal:
 * whoever may create one writes a fresh number into its metadata.
 *
 * Order of notes: what is about to happen is noted before the call, what has happened after it. So `begun` may be too
 * high and `acked` too low after a kill, never the other way round.
 */
#ifndef TORTURE_WORLD_H
#define TORTURE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "mqshm.h"

#define WORKERS_MOST 14
#define HANDLES 4	/* of one worker */
#define NAMES_MOST 40
#define ROLES_MOST 16384 /* of one round */
#define INSTANCES_MOST 4096
#define LOG_MOST 8192	/* messages of one instance that the log has room for: then its producers leave */
#define ORPHANS_MOST 64
#define BATCH_MOST 16
#define OPERATIONS_MOST 48
#define OUTCOMES 136	/* 0 good, else errno */

#define GET(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)
#define ADD(x, v) __atomic_fetch_add(&(x), (v), __ATOMIC_ACQ_REL)

enum phase { RUN, FREEZE, END };

/*
 * Of rounds. STORM: many consumers come for a moment to a small queue whose head rises all the time. FLASHES: producers
 * come, push little and leave, while consumers wait for it.
 */
enum style { ANYTHING, STORM, FLASHES };

enum role_state {
	ROLE_VOID,    /* open failed */
	ROLE_OPENING,
	ROLE_OPEN,
	ROLE_LEAVING,
	ROLE_GONE,    /* left by itself */
	ROLE_DEAD     /* its process died or called exec; was tells in which of the states above */
};

enum role_end { BY_CLOSE, BY_FAIL };

struct role {
	uint32_t state, was, ending; /* enum role_state, enum role_end */
	uint32_t name, worker, producer, lossy, start;
	uint32_t order;    /* of all opens that succeeded, from 1: true for those that exclude each other */
	uint32_t instance; /* 0: not known yet */
	uint64_t forced;   /* forced removals of the name that were over when open began */
	/* producers: messages, counted from 0 */
	uint64_t begun, acked;
	/* consumers */
	uint64_t next, popped, pending; /* pending: how many a pop in progress may take */
	uint64_t missed, missed_first;
	uint64_t first_least, first_most; /* sequence of its first message */
	uint32_t known;		       /* next is */
	int32_t slot;
};

struct instance {
	uint32_t name, created;
	uint64_t reliable_before; /* how many reliable opens of the name had begun when its creation began */
	uint64_t begun, acked;	  /* messages, by all producers */
};

struct name {
	char text[64];
	struct mqshm_queue_options options;
	uint64_t forced_begun, forced_done; /* forced removals: more begun than were done when a role began may concern it */
	uint64_t reliable_begun; /* opens of reliable consumers begun */
};

/* What a process waits for, for the watchdog. */
enum waiting { NOT_WAITING, FOR_MESSAGES, FOR_ROOM };

struct worker_notes {
	pid_t pid;
	uint32_t incarnation, dying, stopped, parked, exited;
	uint32_t character;
	uint32_t operation, waiting, wait_role, wait_least; /* role + 1; messages it waits for, or wants to push */
	uint32_t children, children_ran;
	uint64_t operations, interrupts;
	uint64_t random; /* state of its generator when it called exec */
	uint32_t spare_instance, removing; /* removing: name + 1 of a forced removal that is not over */
	uint32_t handle_role[HANDLES]; /* role + 1 of what it has or is about to get */
	char what[160]; /* the call it is in */
};

struct world {
	uint64_t seed, round_seed;
	uint32_t round, style, phase, workers, names;
	uint32_t role_count, instance_count, order_count;
	uint32_t stops, private_shm; /* stops: SIGSTOPs ever sent; private_shm: this /dev/shm is ours alone */
	pid_t supervisor;
	char tool[256];
	uint32_t violated;
	char violation[1024];
	uint64_t outcomes[OPERATIONS_MOST][OUTCOMES];
	uint64_t killed_in[OPERATIONS_MOST];
	uint64_t messages, bytes; /* popped and checked */
	uint64_t refused_room;
	uint32_t orphan_count; /* children that live on */
	uint32_t children_ran, children_ended;
	struct worker_notes worker[WORKERS_MOST];
	struct name name[NAMES_MOST];
	struct role role[ROLES_MOST];
	struct instance instance[INSTANCES_MOST];
	uint64_t log[INSTANCES_MOST][LOG_MOST]; /* key of each sequence that somebody popped */
};

extern struct world *world;
extern int world_fd; /* survives exec */

/* ---- world.c: xorshift64* (Vigna 2016), time ---- */

uint64_t draw(uint64_t *state);
uint64_t below(uint64_t *state, uint64_t limit);
bool chance(uint64_t *state, unsigned percent);
uint64_t now_ns(void);
void nap_us(unsigned us);

/* ---- world.c: roles and their lives ---- */

/* A role that begins: noted before open. NULL: the round has had its roles. */
struct role *role_new(uint32_t worker, uint32_t handle, uint32_t name, bool producer, bool lossy);
uint32_t role_index(const struct role *role);
bool role_is_final(const struct role *role);
/* Open returned it and nobody is about to kill its process. */
bool role_is_alive(const struct role *role);
/* All roles of a process that has died, or is in exec. */
void roles_die(uint32_t worker);

/* Note what somebody found to be wrong, once, and end this process. */
void violation(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define MUST(cond, ...)                          \
	do {                                     \
		if (!(cond))                     \
			violation(__VA_ARGS__);  \
	} while (0)

/* ---- check.c: what must be true ---- */

uint64_t key_of(const struct role *producer, uint64_t count);
size_t message_size(uint64_t key, const struct mqshm_queue_options *queue);
void message_fill(void *to, size_t size, uint64_t key, const struct mqshm_queue_options *queue);

/* The payload of a message that was read: its key, after every byte was looked at; 0: not whole. */
uint64_t message_key(const struct mqshm_message *m, const struct mqshm_queue_options *queue);
/* A consumer took a message whose payload gave key. missed: what the handle says now. */
void took(struct role *consumer, uint64_t sequence, uint64_t key, uint64_t missed);
/* Some call on a role found nothing there, or the stream ended: nothing acknowledged before may be unread. */
struct ends {
	uint64_t acked;
	uint32_t role_count, unsettled; /* unsettled: some producer may still change how the stream ended */
	uint32_t alive; /* index + 1 of a producer that lived when the call began */
	uint32_t coming, staying; /* how many were just opening, how many were there or leaving */
};
void ends_before(struct ends *e, const struct role *consumer);
void ends_after(const struct ends *e, struct role *consumer, int rc, uint64_t missed);
/* After the end was told there is a message: somebody must have come to push it. */
void end_was_none(const struct ends *e, const struct role *consumer, int rc);

/* A live user keeps a queue in being: taken before a call, looked at after it. */
struct pin {
	uint32_t role; /* + 1, 0: none known */
	uint32_t name, instance;
	uint64_t forced;
};
void pin_before(struct pin *pin, uint32_t name);
bool pin_holds(const struct pin *pin);

/* May open say -EBUSY? */
struct places {
	uint32_t taken, role_count;
};
void places_before(struct places *p, uint32_t name, bool producer);
bool places_were_left(const struct places *p, uint32_t name, bool producer, uint32_t places);

/* With everybody at rest: stat against the notes. */
void audit_stat(uint32_t name);
/* At the end of a round: the order of what was popped. */
void audit_logs(void);
/* Why a process that waits without limit may do so; NULL: it must not. */
const char *excuse(const struct worker_notes *w);

/* ---- worker.c, operations.c ---- */

struct mqshm_producer;
struct mqshm_consumer;

struct handle {
	struct role *role; /* NULL: none */
	struct mqshm_producer *producer;
	struct mqshm_consumer *consumer;
};

struct worker {
	uint32_t index;
	struct worker_notes *notes;
	uint64_t random;
	struct handle handle[HANDLES];
	int descriptors; /* it had at its start */
	char *self;
};

/* What a process does for the most part: anything; or, in rounds of a style of their own, one thing again and again. */
enum character { PRODUCER, CONSUMER, MIXED, MANAGER, BURSTER, VISITOR, FLASHER, CHARACTERS };

struct operation {
	const char *name;
	void (*run)(struct worker *w);
	unsigned weight[CHARACTERS];
};
extern const struct operation operations[];
extern const unsigned operation_count;

__attribute__((noreturn)) void worker_run(uint32_t index, char *self, bool after_exec);
void run_operation(struct worker *w, unsigned operation);
void note(int rc); /* the outcome of the operation that runs */
void close_handle(struct worker *w, struct handle *h, enum role_end ending);
int pop_some(struct worker *w, struct handle *h, int timeout_ms);
void look_for_leaks(struct worker *w);

/* ---- dump.c ---- */
void dump(FILE *to);

#endif
