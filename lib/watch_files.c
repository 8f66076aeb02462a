/* SPDX-License-Identifier: MIT */
/*
 * Watching queues that are files of a directory. inotify tells which objects appear and vanish, when one is opened (somebody is about to attach),
 * and when a descriptor of one is closed: that of somebody who leaves, and those of a process that ends, whatever way.
 * After a close at once, for a second after an open every 100 ms, and else in turn, the `epoch` of a queue is read; only
 * when it has changed all its participants are, and compared with what they were. In turn, and after a close, it is
 * looked whether they live.
 *
 * A backend whose descriptors are ready when something has changed (struct watch_place's told) needs none of these looks: they
 * and inotify's are in one set (epoll), which is edge-triggered, as a queue that is gone stays ready.
 *
 * As in stat everything is read with pread(), from a descriptor that is kept open: an object that somebody truncates
 * can't hurt, and after it was unlinked we still see how it ended.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "error.h"
#include "stat.h"
#include "watch.h"

#define ROUND_NS 100000000u	/* between two rounds of looks ... */
#define ROUND_QUEUES 250	/* ... at that many queues, in turn: more would cost too much */
#define WARM_NS 1000000000u	/* who has opened an object needs less than that to attach */
#define LIVENESS_EVERY 10	/* looks at a queue */
#define PROCESS_EVERY 300	/* looks: /proc is 30 times as dear, and only needed where a child hides a death */
#define RESCAN_EVERY 10		/* rounds, without inotify */
#define RETRY_NS 1000000000u	/* of what could not be opened, where objects tell */
#define TRIES 3			/* to read the participants while they change */
#define BUCKETS 1024

#define EVENTS (IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_ATTRIB | IN_ONLYDIR)
#define EVENTS_UNTOLD (IN_OPEN | IN_CLOSE_WRITE)
#define SET_EVENTS 64 /* taken from the set at once */

/* What is read at each look: the words from info.dead to info.epoch. */
#define HEAD_AT offsetof(struct mqshm_info, dead)
#define HEAD_BYTES (offsetof(struct mqshm_info, hold) - HEAD_AT)

struct object {
	struct watch_queue queue;
	int fd;		/* -1: it can't be looked at, for this error */
	int error;
	dev_t device;
	ino_t inode;
	uint64_t participants_offset;
	uint32_t epoch, looks;
	uint64_t warm_until_ns;
	bool created;	/* while we watched */
	bool quiet;	/* it was there before, and shall not be told of */
	bool removed;	/* and that has been told */
	bool nameless;	/* looked at for a while longer: who removes a queue by force then ends its users' roles */
	struct object *next, *next_in_bucket;
};

struct watching {
	const struct watch_place *place;
	int inotify; /* -1: there is none left */
	int set;     /* of inotify and all objects; -1: the objects don't tell */
	struct object *objects;
	struct object *buckets[BUCKETS]; /* by name: others' files are told of too */
	size_t count;
	bool unread; /* some may be without a descriptor */
	uint64_t round_ns, rounds; /* the last one, how many */
	uint64_t pid_namespace;
	struct mqshm_participant *table; /* of one queue */
};

/* ---- one queue ---- */

static void let_go(struct object *o)
{
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
}

static void unreadable(struct mqshm_watch *w, struct object *o, int error)
{
	struct mqshm_watch_event *event;

	let_go(o);
	((struct watching *)w->private)->unread = true;
	if (o->error == error)
		return;
	o->error = error;
	event = watch_tell(w, o->queue.name, MQSHM_WATCH_UNREADABLE);
	event->error = error;
	snprintf(event->text, sizeof event->text, "%.*s", (int)sizeof event->text - 1, mqshm_last_error());
}

/* Read all participants, as of one moment. 0, or -errno with the sentence. */
static int read_table(struct watching *in, struct object *o, uint64_t *producer_epoch)
{
	size_t bytes = o->queue.slots * sizeof *in->table;
	uint8_t head[HEAD_BYTES];

	for (int i = 0; i < TRIES; i++) {
		uint32_t epoch;

		if (in->place->told)
			(void)!pread(o->fd, &epoch, sizeof epoch, 0); /* what changes from now on is told of */
		if (pread(o->fd, in->table, bytes, (off_t)o->participants_offset) != (ssize_t)bytes ||
		    pread(o->fd, head, sizeof head, HEAD_AT) != sizeof head)
			return mqshm_error(-EBADMSG, "queue '%s' is damaged: it can't be read", o->queue.name);
		memcpy(&epoch, head + offsetof(struct mqshm_info, epoch) - HEAD_AT, sizeof epoch);
		memcpy(producer_epoch, head + offsetof(struct mqshm_info, producer_epoch) - HEAD_AT, sizeof *producer_epoch);
		if (epoch == o->epoch)
			break;
		o->epoch = epoch;
	}
	return 0;
}

static void remove_told(struct mqshm_watch *w, struct object *o)
{
	if (!o->removed)
		watch_tell(w, o->queue.name, MQSHM_WATCH_REMOVED);
	o->removed = true;
}

static bool anybody(const struct object *o)
{
	for (uint32_t i = 0; o->fd >= 0 && o->queue.slot && i < o->queue.slots; i++)
		if (watch_is_live(&o->queue, i))
			return true;
	return false;
}

/* Look at a queue; whatever_epoch: also when nobody says that something has changed. */
static void look(struct mqshm_watch *w, struct object *o, bool whatever_epoch)
{
	struct watching *in = w->private;
	uint8_t head[HEAD_BYTES];
	uint64_t producer_epoch = 0;
	uint32_t epoch, dead;
	int rc;

	if (o->fd < 0)
		return;
	if (pread(o->fd, head, sizeof head, HEAD_AT) != sizeof head) {
		mqshm_error(-EBADMSG, "queue '%s' is damaged: it can't be read", o->queue.name);
		unreadable(w, o, -EBADMSG);
		return;
	}
	memcpy(&dead, head, sizeof dead);
	memcpy(&epoch, head + offsetof(struct mqshm_info, epoch) - HEAD_AT, sizeof epoch);
	if (epoch == o->epoch && !whatever_epoch && !dead)
		return;
	o->epoch = epoch;
	rc = read_table(in, o, &producer_epoch);
	if (rc) {
		unreadable(w, o, rc);
		return;
	}
	watch_compare(w, &o->queue, in->table, producer_epoch, o->created, o->quiet);
	if (dead)
		remove_told(w, o);
}

/* Does everybody live who has a role? With their processes looked at, too. */
static void look_who_lives(struct mqshm_watch *w, struct object *o, bool processes)
{
	struct watching *in = w->private;

	for (uint32_t i = 0; in->place->alive && o->fd >= 0 && o->queue.slot && i < o->queue.slots; i++) {
		uint64_t at = o->participants_offset + i * sizeof *in->table;
		struct mqshm_participant then, now;

		if (!watch_is_live(&o->queue, i) || pread(o->fd, &then, sizeof then, (off_t)at) != sizeof then ||
		    then.state != o->queue.slot[i].word)
			continue;
		if (in->place->alive(o->fd, &then, i, processes, in->pid_namespace))
			continue;
		/* One who leaves says so before it unlocks: so who still has the role now has died. */
		if (pread(o->fd, &now, sizeof now, (off_t)at) == sizeof now && now.state == then.state)
			watch_tell_death(w, &o->queue, i);
	}
}

/* Open the object of a name and see whether it is a queue. 0, or -errno with the sentence. */
static int open_it(struct watching *in, struct object *o)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = o };
	struct mqshm_info info;
	struct stat st;
	int rc, fd = in->place->open_file(o->queue.name, O_RDONLY, &st);

	if (fd < 0)
		return fd;
	rc = mqshm_read_info(fd, o->queue.name, in->place->told ? 0 : (uint64_t)st.st_size, &info);
	if (rc) {
		close(fd);
		return rc;
	}
	if (in->set >= 0 && epoll_ctl(in->set, EPOLL_CTL_ADD, fd, &event)) {
		rc = mqshm_error(mqshm_errno(), "queue '%s' can't be watched: %s", o->queue.name, strerror(errno));
		close(fd);
		return rc;
	}
	o->fd = fd;
	o->error = 0;
	o->device = st.st_dev;
	o->inode = st.st_ino;
	o->participants_offset = info.participants_offset;
	free(o->queue.slot); /* it may be another one than before */
	o->queue.slot = NULL;
	o->queue.max_producers = info.max_producers;
	o->queue.slots = info.max_producers + info.max_consumers;
	return 0;
}

/* ---- all queues ---- */

static struct object **bucket(struct watching *in, const char *name)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	while (*name)
		hash = (hash ^ (uint8_t)*name++) * 16777619u;
	return &in->buckets[(hash ^ hash >> 16) % BUCKETS];
}

static struct object *find(struct watching *in, const char *name)
{
	struct object *o = *bucket(in, name);

	while (o && (o->nameless || strcmp(o->queue.name, name)))
		o = o->next_in_bucket;
	return o;
}

static void forget(struct watching *in, struct object *o)
{
	struct object **at = &in->objects;

	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
	at = bucket(in, o->queue.name);
	while (*at != o)
		at = &(*at)->next_in_bucket;
	*at = o->next_in_bucket;
	in->count--;
	let_go(o);
	free(o->queue.slot);
	free(o);
}

static void try_to_open(struct mqshm_watch *w, struct object *o)
{
	bool before = o->error;
	int rc = open_it(w->private, o);

	if (rc == -ENOENT)
		return; /* its removal is told of later */
	if (rc) {
		if (!before && !o->created && !o->quiet)
			watch_tell(w, o->queue.name, MQSHM_WATCH_THERE);
		unreadable(w, o, rc);
		return;
	}
	if (!o->created && (!o->quiet || before))
		watch_tell(w, o->queue.name, MQSHM_WATCH_THERE);
	look(w, o, true);
	look_who_lives(w, o, true);
}

static void appeared(struct mqshm_watch *w, const char *name, bool created)
{
	struct watching *in = w->private;
	struct object *o;

	if (!watch_wants(w, name) || find(in, name))
		return;
	o = calloc(1, sizeof *o);
	if (!o) {
		w->lost = true;
		return;
	}
	o->fd = -1;
	o->created = created;
	o->quiet = !created && w->flags & MQSHM_WATCH_NEW;
	snprintf(o->queue.name, sizeof o->queue.name, "%s", name);
	o->next = in->objects;
	in->objects = o;
	o->next_in_bucket = *bucket(in, name);
	*bucket(in, name) = o;
	in->count++;
	o->warm_until_ns = mqshm_now_ns() + WARM_NS;
	if (created)
		watch_tell(w, name, MQSHM_WATCH_CREATED);
	try_to_open(w, o);
}

/* Its name is gone. Is it another one than what we have opened, which has been made anew? */
static bool is_another(const struct watching *in, const struct object *o)
{
	uint32_t dead = 1;
	struct stat st;

	if (o->fd < 0)
		return false;
	if (in->place->told)
		return pread(o->fd, &dead, sizeof dead, HEAD_AT) == sizeof dead && !dead;
	return !fstat(o->fd, &st) && st.st_nlink;
}

static void vanished(struct mqshm_watch *w, const char *name)
{
	struct watching *in = w->private;
	struct object *o = find(in, name);

	if (!o)
		return;
	if (is_another(in, o)) {
		watch_tell(w, name, MQSHM_WATCH_MISSED)->count = 1;
		return;
	}
	look(w, o, true);
	look_who_lives(w, o, true);
	remove_told(w, o);
	o->nameless = true;
	o->warm_until_ns = mqshm_now_ns() + WARM_NS;
	if (in->place->told || !anybody(o)) /* all have been ended by then */
		forget(in, o);
}

/* What inotify may not have told: all names once more. */
static int rescan(struct mqshm_watch *w, bool created)
{
	struct watching *in = w->private;
	char(*names)[MQSHM_NAME_MAX + 1];
	int count = mqshm_names(in->place->backend, &names);

	if (count < 0)
		return count;
	for (struct object *o = in->objects, *next; o; o = next) {
		char path[MQSHM_NAME_MAX + 32];
		struct stat st;

		next = o->next;
		snprintf(path, sizeof path, "%s/%s%s", in->place->backend->directory, in->place->backend->prefix, o->queue.name);
		if (!o->nameless && (lstat(path, &st) || (o->fd >= 0 && st.st_ino != o->inode)))
			vanished(w, o->queue.name);
	}
	for (int i = 0; i < count; i++)
		appeared(w, names[i], created);
	free(names);
	return 0;
}

static const char *queue_of(const struct watching *in, const char *file)
{
	const char *prefix = in->place->backend->prefix, *name = file + strlen(prefix);

	return strncmp(file, prefix, strlen(prefix)) || mqshm_check_name(name) ? NULL : name;
}

/* Somebody closed a descriptor of it. The creator's are of an unnamed file, which the kernel calls "#inode". */
static void closed(struct mqshm_watch *w, const char *file)
{
	struct watching *in = w->private;
	const char *name = queue_of(in, file);
	struct object *o = name ? find(in, name) : NULL;

	if (*file == '#') {
		ino_t inode = strtoull(file + 1, NULL, 10);

		for (o = in->objects; o && o->inode != inode;)
			o = o->next;
	}
	if (!o)
		return;
	look(w, o, true);
	look_who_lives(w, o, true);
}

static void heed(struct mqshm_watch *w, const struct inotify_event *event)
{
	struct watching *in = w->private;
	const char *name = event->len ? queue_of(in, event->name) : NULL;
	struct object *known = name ? find(in, name) : NULL;

	if (event->mask & IN_Q_OVERFLOW)
		rescan(w, true);
	else if (event->mask & IN_CLOSE_WRITE && event->len)
		closed(w, event->name);
	else if (!name)
		return;
	else if (event->mask & IN_OPEN && known)
		known->warm_until_ns = mqshm_now_ns() + WARM_NS;
	else if (event->mask & (IN_DELETE | IN_MOVED_FROM))
		vanished(w, name);
	else if (event->mask & (IN_CREATE | IN_MOVED_TO)) {
		if (known && known->removed)
			vanished(w, name);
		appeared(w, name, true);
	} else if (event->mask & IN_ATTRIB && known && known->fd < 0 && !known->removed) {
		try_to_open(w, known); /* we may have been given the right to */
	}
}

static void hear(struct mqshm_watch *w)
{
	struct watching *in = w->private;
	char text[16384] __attribute__((aligned(8)));
	ssize_t n;

	while (in->inotify >= 0 && (n = read(in->inotify, text, sizeof text)) > 0)
		for (char *at = text; at < text + n; at += sizeof(struct inotify_event) + ((struct inotify_event *)at)->len)
			heed(w, (struct inotify_event *)at);
}

/* The queues that say that something has changed. */
static void look_at_told(struct mqshm_watch *w)
{
	struct watching *in = w->private;
	struct epoll_event events[SET_EVENTS];
	int n;

	do {
		n = epoll_wait(in->set, events, SET_EVENTS, 0);
		for (int i = 0; i < n; i++)
			if (events[i].data.ptr)
				look(w, events[i].data.ptr, true);
	} while (n == SET_EVENTS);
}

/* One round: those whose turn it is, and those that somebody has just opened. */
static void look_around(struct mqshm_watch *w)
{
	struct watching *in = w->private;
	uint64_t turns = (in->count + ROUND_QUEUES - 1) / ROUND_QUEUES, i = ++in->rounds;

	in->round_ns = mqshm_now_ns();
	for (struct object *o = in->objects, *next; o; o = next, i++) {
		bool turn = i % turns == 0;

		next = o->next;
		if (o->nameless && (in->round_ns >= o->warm_until_ns || !anybody(o))) {
			forget(in, o);
			continue;
		}
		if (!turn && in->round_ns >= o->warm_until_ns)
			continue;
		look(w, o, false);
		if (turn && ++o->looks % LIVENESS_EVERY == 0) {
			if (o->fd < 0 && !o->removed)
				try_to_open(w, o);
			look_who_lives(w, o, o->looks % PROCESS_EVERY == 0);
		}
	}
	if (in->inotify < 0 && in->rounds % RESCAN_EVERY == 0)
		rescan(w, true);
}

/* What nobody tells of is that there are descriptors, or memory, again. */
static void try_again(struct mqshm_watch *w, uint64_t *again)
{
	struct watching *in = w->private;

	if (in->unread && mqshm_now_ns() >= in->round_ns + RETRY_NS) {
		in->unread = false;
		in->round_ns = mqshm_now_ns();
		for (struct object *o = in->objects; o; o = o->next)
			if (o->fd < 0 && !o->removed)
				try_to_open(w, o);
	}
	if (in->unread)
		*again = in->round_ns + RETRY_NS;
}

/* ---- a backend's part of watch.h ---- */

static int open_inotify(struct watching *in)
{
	struct epoll_event event = { .events = EPOLLIN };

	in->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (in->inotify >= 0 && inotify_add_watch(in->inotify, in->place->backend->directory,
						  EVENTS | (in->place->told ? 0 : EVENTS_UNTOLD)) < 0) {
		close(in->inotify);
		in->inotify = -1;
	}
	if (!in->place->told)
		return 0;
	in->set = epoll_create1(EPOLL_CLOEXEC);
	if (in->set >= 0 && (in->inotify < 0 || !epoll_ctl(in->set, EPOLL_CTL_ADD, in->inotify, &event)))
		return 0;
	return mqshm_error(mqshm_errno(), "no descriptor to watch by: %s", strerror(errno));
}

int watch_files_begin(struct mqshm_watch *w, const struct watch_place *place)
{
	struct watching *in = calloc(1, sizeof *in);
	int rc;

	if (in)
		in->table = malloc((MQSHM_PRODUCER_SLOTS_SHARED + MQSHM_CONSUMER_SLOTS_MAX) * sizeof *in->table);
	if (!in || !in->table) {
		free(in);
		return mqshm_error(-ENOMEM, "no memory");
	}
	w->private = in;
	in->place = place;
	in->pid_namespace = place->pid_namespace ? place->pid_namespace() : 0;
	in->set = -1;
	rc = open_inotify(in);
	if (!rc)
		rc = rescan(w, false); /* watch first, then look: nothing is missed between */
	in->round_ns = mqshm_now_ns();
	if (rc)
		watch_files_end(w);
	return rc;
}

void watch_files_look(struct mqshm_watch *w, uint64_t *again)
{
	struct watching *in = w->private;

	if (in->set >= 0)
		look_at_told(w); /* first: who is then found gone tells nothing more */
	hear(w);
	if (in->set >= 0 && in->inotify >= 0) {
		try_again(w, again);
		return;
	}
	if (!w->count && mqshm_now_ns() >= in->round_ns + ROUND_NS)
		look_around(w);
	*again = in->round_ns + ROUND_NS;
}

int watch_files_fd(const struct mqshm_watch *w)
{
	const struct watching *in = w->private;

	return in->set >= 0 ? in->set : in->inotify;
}

void watch_files_end(struct mqshm_watch *w)
{
	struct watching *in = w->private;

	while (in->objects)
		forget(in, in->objects);
	if (in->inotify >= 0)
		close(in->inotify);
	if (in->set >= 0)
		close(in->set);
	free(in->table);
	free(in);
}
