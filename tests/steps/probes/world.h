/* SPDX-License-Identifier: MIT */
/*
 * What the processes of one trial share: a queue, survivors that go on with it, and a victim that is stopped or killed
 * at one step of what it does. The referee (trial.c) starts them and looks from outside.
 */
#ifndef MQSHM_STEPS_WORLD_H
#define MQSHM_STEPS_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "conformance/payload.h"
#include "mqshm.h"

#define NODES 8
#define BLOCK 424
#define LAP 40		    /* more messages than the ring has bytes for */
#define POINTS_MAX 6000

enum state { EMPTY, HALF, FULL, LAPPED, STATES };
enum who { CONSUMERS, OTHERS = 3, VICTIM = 5, NEW_PRODUCER, NEW_CONSUMER, FILLER, FIRST, AWAY, PEERS };
enum role { PRODUCER, CONSUMER, KEEPER };

/* A survivor or a victim. Its own index tells its messages from others'. */
struct peer {
	pid_t pid;
	bool may_skip;
	bool lossy, since_start; /* a consumer that has seen the stream from its first message */
	uint32_t gate, quit;	 /* said by the referee */
	uint32_t ready, paused;
	uint64_t good, timeouts, ended; /* messages that went through; timeouts; ends of the stream */
	uint64_t acked;			/* messages pushed */
	uint32_t id;			/* of a consumer's slot */
	uint64_t next_sequence, next_count[PEERS]; /* UINT64_MAX: any */
	char error[256];		/* of the last timeout */
	char complaint[256];
};

/* What a process does at a step: the occurrence'th time at a point, or at the nth step of all. */
struct control {
	uint32_t armed, point, occurrence, nth;
	int action; /* SIGKILL, SIGSTOP, 0: only count */
	uint32_t pause;	     /* point + 1 to stop at before, once */
	uint32_t total, hit; /* hit: point + 1 */
	uint16_t counts[POINTS_MAX];
};

struct config {
	int program, state, others, consumers;
	bool shared;
	int first; /* a program whose process is killed before, at its first_nth step; -1: none */
	uint32_t first_nth;
	uint64_t seed;
};

struct world {
	struct config config;
	char name[64];
	struct mqshm_queue_options options;
	struct control control, first_control;
	struct peer peers[PEERS];
	pid_t orphan;
	uint64_t random;
	/* verdict */
	uint64_t alone_ns, all_ns; /* from the death on: survivors alone, and with newcomers; 0: there were none */
	uint32_t named, waited;		/* while it was stopped: timeouts that named it; survivors that waited */
	char failure[600];
};

/* hook.c */
struct mqshm_label;
int labels_read(void); /* how many there are */
const char *point_name(uint32_t point, char buffer[300]);
const char *point_file(uint32_t point); /* of the library */
uint32_t point_find(const char *name);
bool point_static(uint32_t point); /* one that the source has, whatever happens */
extern uint32_t points;
void steps_arm(struct control *control);
void steps_disarm(void);

/* fill.c: what a user does with a reservation, labelled */
void fill_reservation(void *to, const void *from, size_t bytes);

/* peers.c */
extern uint64_t hang_ns; /* nothing that goes on may take this long, on the busiest machine */
uint64_t now_ns(void);
void nap_us(unsigned us);
#define GET(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)
void peer_init(struct peer *me);
void complain(struct peer *me, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
/* Push one message: 0 push, 1 pushv, 2 reserve and commit */
int push_one(struct world *w, struct peer *me, struct mqshm_producer *p, int how, int timeout_ms);
size_t message_make(const struct world *w, const struct peer *me, uint64_t count, unsigned char *to);
void message_check(const struct world *w, struct peer *me, const void *data, const struct mqshm_message *m);
bool stream_over(ssize_t rc);
void consumer_life(struct world *w, struct peer *me);
void producer_life(struct world *w, struct peer *me);

/* victims.c */
#define LATE 1		/* there is no queue before; the others come after the death */
#define REMOVES 2	/* the queue goes from under its users */
#define OPEN_GATE 4	/* the others work meanwhile */
#define SHARED_ONLY 8
#define OTHERS_NEEDED 16
#define HELD 32		/* a queue with hold: consumers come after the death */
#define OVERWRITES 64
#define AFTER_DEATH 128 /* somebody has died before, in the middle of a push or of a pop */
#define ZOMBIE 256	/* LATE, and a queue whose user died */
#define UNUSED 512	/* LATE, and a queue that nobody used yet */
#define ALONE 1024	/* exclusive only */
#define BROKEN 2048	/* LATE, and what has the name is no queue */
#define ORPHAN 4096	/* a dead consumer's lock is held on by its child */
#define SWEEPS 16384	/* LATE, and the queue is gone after it */
#define JOIN_AMID 8192	/* a consumer joins while the victim is about to raise head */
#define EVICTS 0x8000	/* the queue evicts who is too slow, or ... */
#define DEMOTES 0x10000 /* ... makes it lossy */
#define IDLE 0x20000	/* there is a consumer that does not read */
#define BY_HAND 0x40000 /* the victim evicts it */
#define NAMED 0x80000	/* a new consumer takes on the cursor that the victim has left */
#define FORMER 0x100000 /* somebody has left it to the victim, by closing or by its death */
#define EXPIRES 0x200000/* somebody has left a cursor, for a short time */
#define HEIR "heir"	/* the name of these */
#define SLOW_MS 60
#define LEASE_MS 60000
#define SHORT_LEASE_MS 20
struct program {
	const char *name;
	enum role role;
	void (*run)(struct world *w, struct peer *me, struct control *control);
	unsigned flags;
};
extern const struct program programs[];
extern const int program_count;
int program_find(const char *name);

/* outside.c: what must be true, seen without being a user; NULL or what is wrong */
struct outside;
struct outside *outside_open(const struct world *w); /* NULL: no such queue */
void outside_close(struct outside *o);
bool outside_lifecycle_unnamed(struct outside *o); /* it is locked, by one who has not said its pid yet */
bool outside_holds_lock(struct outside *o, pid_t pid);	/* of the producers */
bool outside_holds_back(struct outside *o, pid_t pid);	/* as a consumer */
bool outside_repairs(struct outside *o);		/* somebody ends a role */
const char *outside_positions(struct outside *o);
const char *outside_roles(struct outside *o, const struct world *w, const pid_t *producers, const pid_t *consumers);
uint64_t outside_pushed(struct outside *o);

/* trial.c: runs in a process of its own; 0 went well, 1 failed, 2 the point was not reached */
int trial_run(struct world *w);

#endif
