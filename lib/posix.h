/* SPDX-License-Identifier: MIT */
/*
 * Shared by the files of the posix backend.
 *
 * A queue NAME is the object /dev/shm/mqshm.NAME and nothing else. Who owns what is told by open-file-description
 * locks on bytes far beyond its end: one for the life cycle, and for each participant's slot one for its owner (another
 * one each time the slot is given away, so that what a child inherited from a dead owner is in nobody's way) and one
 * for repairs. Each handle has a descriptor of its own for them, which is never mapped (a mapping keeps the
 * description, and so the locks, alive after close) and never duplicated.
 *
 * Who may change what:
 *   - attach, detach's last part, remove and gc hold the life-cycle byte.
 *   - A slot's state and bit belong to its owner while that lives; after that, and to evict, demote or take on a lease,
 *     to the holder of the slot's repair byte. A slot is given to a new owner under that byte too, so a slow repair never hits a new owner.
 */
#ifndef MQSHM_POSIX_H
#define MQSHM_POSIX_H

#include <pthread.h>
#include <sys/stat.h>

#include "backend.h"
#include "error.h"
#include "fork.h"
#include "log.h"

#define POSIX_DIR "/dev/shm"
#define POSIX_PREFIX "mqshm."

struct posix_mapping {
	struct mqshm_mapping base; /* first: backends cast */
	void *address;
	size_t length;
	int lock_fd;
	dev_t device; /* of the object, to tell whether name and descriptor still are ours */
	ino_t inode;
	uint64_t pid_namespace; /* ours, 0: /proc is not to be trusted */
	uint32_t looks;		/* at peers, see check() */
	pthread_mutex_t repairs; /* a handle's thread and the one that notifies for it share a lock descriptor */
	bool lifecycle;		/* we hold the life-cycle byte, and log lines are kept */
};

static inline struct posix_mapping *posix(struct mqshm_mapping *m)
{
	return (struct posix_mapping *)m;
}

/* posix_reserve.c: allocate all of a new file's memory, or fail cleanly. -ENOSPC -ENOMEM -EFBIG */
int posix_reserve(int fd, const char *name, uint64_t bytes);

/* posix_object.c */
void posix_path(char path[64 + sizeof POSIX_DIR + sizeof POSIX_PREFIX], const char *name);
/* Open the object of a name: descriptor >= 3, a regular file. flags O_RDWR or O_RDONLY. -ENOENT -EACCES -EBADMSG */
int posix_open_object(const char *name, int flags, struct stat *st);
/*
 * Open a queue, which has to match options when they are given, or create it, and map it; returns with the life-cycle byte held and the queue
 * known to be alive. Zombies are removed on the way. created may be NULL.
 */
int posix_open(const char *name, const struct mqshm_queue_options *options, uint32_t flags, uint64_t deadline,
	       struct posix_mapping **out, bool *created);
/* flags, besides MQSHM_PREFAULT and MQSHM_MLOCK */
#define POSIX_TO_ATTACH 0x10000 /* a new queue counts as used at once */
#define POSIX_CREATE 0x20000	/* when it is missing */
void posix_forked(struct mqshm_mapping *mapping);
/* Unmap, close, free. Releases every lock. */
void posix_close(struct posix_mapping *p);
/* With the life-cycle byte held: set dead and unlink the name if it still is this object. */
int posix_unlink(struct posix_mapping *p);

/* posix_owner.c */
/* Is the lock descriptor still ours, or did this process close it, and is its number perhaps another file's now? */
bool posix_has_lock_fd(struct posix_mapping *p, struct stat *st);
int posix_try_lock(int fd, int64_t byte);  /* 1: ours now, 0: somebody else's, or -errno */
void posix_unlock(int fd, int64_t byte);
int posix_lifecycle_lock(struct posix_mapping *p, uint64_t deadline); /* -ETIMEDOUT names the holder */
void posix_lifecycle_unlock(struct posix_mapping *p);
/* Is the process there that a participant entry names? 1 yes, 0 no, -1 can't be told from here. */
int posix_process_runs(const struct mqshm_participant *participant, uint64_t pid_namespace);
uint64_t posix_pid_namespace(void);
uint64_t posix_start_time(uint32_t pid);
/* Does somebody hold the byte of the owner that the state word of slot i tells of? */
bool posix_is_locked(int fd, uint32_t i, uint32_t word);
/* The same, and does its process run? Of a LEASED slot: does the lease? */
bool posix_alive(int fd, const struct mqshm_participant *participant, uint32_t i, uint64_t pid_namespace);
/* Is there a role in slot i, or what is left of one after a crash in posix_end_role()? */
bool posix_has_role(struct mqshm_ring *r, uint32_t i);
/* Wait for a slot's repair byte: its holder may be stopped. */
bool posix_lock_repair(struct posix_mapping *p, uint32_t i, uint64_t deadline);
/* End the role of participant i if it is dead, or begin its lease. True: it was, and we did. */
bool posix_reap(struct posix_mapping *p, uint32_t i);
/* End the role of a live participant, or make it lossy; false, and nothing happens, while another repairs its slot. */
bool posix_evict(struct posix_mapping *p, uint32_t i, uint32_t word, uint32_t why);
bool posix_demote(struct posix_mapping *p, uint32_t i, uint32_t word, uint32_t why);
/*
 * End a role, as one who may (see above), and wake all. state: what becomes of the slot, MQSHM_SLOT_FREE, _ENDED or
 * _LEASED; how: MQSHM_EPOCH_CLOSED or _CRASHED, for producers. why: MQSHM_WHY_..., 0: its owner leaves. Can be repeated
 * after a crash at any point in it. True: it was us who ended it.
 */
bool posix_end_role(struct posix_mapping *p, uint32_t i, uint32_t state, uint32_t how, uint32_t why);
/* Does anybody live here? Not seen: who holds a role through p. Reaps on the way. Life-cycle byte held. */
bool posix_anybody(struct posix_mapping *p);
void posix_wake_all(struct posix_mapping *p);

/* posix_stat.c */
int posix_stat(const char *name, struct mqshm_stat **out);

/* posix_watch.c */
int posix_watch_begin(struct mqshm_watch *w);

#endif
