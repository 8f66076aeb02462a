/* SPDX-License-Identifier: MIT */
/*
 * Watching, the part that all backends share: the list of events that have not been told yet, and what happened to a
 * queue between two looks at its participants. A backend finds queues, looks at them and waits.
 */
#ifndef MQSHM_LIB_WATCH_H
#define MQSHM_LIB_WATCH_H

#include <stdbool.h>
#include <sys/stat.h>

#include "backend.h"
#include "mqshm/watch.h"

/* A participant as it was when last looked at. */
struct watch_slot {
	uint32_t word; /* its state */
	bool died;     /* and that has been told */
	int32_t pid;
	char comm[16], name[MQSHM_CONSUMER_NAME_MAX + 1];
};

/* A queue as it was when last looked at. */
struct watch_queue {
	char name[MQSHM_NAME_MAX + 1];
	uint32_t max_producers, slots;
	uint64_t producer_epoch;
	struct watch_slot *slot; /* producers, then consumers; NULL: never looked at */
};

struct mqshm_watch {
	const struct mqshm_backend *backends[MQSHM_BACKENDS];
	void *privates[MQSHM_BACKENDS];
	int backend_count;
	int32_t pid; /* whose it is */
	unsigned flags;
	char (*names)[MQSHM_NAME_MAX + 1]; /* what to watch, NULL: all */
	size_t name_count;
	struct mqshm_watch_event *events;
	size_t first, count, room; /* events[first .. first + count) are to be told */
	bool lost;		   /* no memory for one */
	void *private;		   /* of the backend whose turn it is */
};

/* Where queues are files: what watch_files.c needs to know. */
struct watch_place {
	const struct mqshm_backend *backend;
	bool told; /* a descriptor is ready when the epoch has changed since its last read of offset 0 */
	int (*open_file)(const char *name, int flags, struct stat *st); /* a descriptor to pread() from; -errno */
	/* Does participant i live? processes: look at its process, too. NULL: its state says so. The last one is what pid_namespace()
	 * gave when the watch began: asking again for each look costs more than the look. */
	bool (*alive)(int fd, const struct mqshm_participant *participant, uint32_t i, bool processes, uint64_t pid_namespace);
	uint64_t (*pid_namespace)(void);
};

int watch_files_begin(struct mqshm_watch *w, const struct watch_place *place);
void watch_files_look(struct mqshm_watch *w, uint64_t *again);
int watch_files_fd(const struct mqshm_watch *w);
void watch_files_end(struct mqshm_watch *w);

bool watch_wants(const struct mqshm_watch *w, const char *name);

/* A new event of a queue, to be filled in further; a place for nothing when there is no memory. */
struct mqshm_watch_event *watch_tell(struct mqshm_watch *w, const char *queue, uint32_t type);

/*
 * The participants and the producer_epoch of a queue, looked at now: tell what has changed. The first time, all is there
 * already (with quiet nothing is told of that), unless the queue was seen to be created.
 */
void watch_compare(struct mqshm_watch *w, struct watch_queue *q, const struct mqshm_participant *now,
		   uint64_t producer_epoch, bool created, bool quiet);

/* Participant i has a role in what was last seen, and has not been told dead. */
bool watch_is_live(const struct watch_queue *q, uint32_t i);
void watch_tell_death(struct mqshm_watch *w, struct watch_queue *q, uint32_t i);

#endif
