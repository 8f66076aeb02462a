/* SPDX-License-Identifier: MIT */
/* The posix backend: attach, detach and liveness on /dev/shm objects; see posix.h for the rules. */
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "posix.h"

/* How long attach and detach wait for a life-cycle byte whose holder may be stopped. */
#define LIFECYCLE_NS 5000000000u

static int create(const char *name, const struct mqshm_queue_options *options)
{
	struct posix_mapping *p;
	bool created;
	int rc = posix_open(name, options, 0, mqshm_now_ns() + LIFECYCLE_NS, &p, &created);

	if (rc)
		return rc;
	posix_close(p);
	return created ? 0 : 1;
}

/*
 * Life-cycle byte held: make slot i ours, unless somebody lives there: lock the next owner's byte and say JOINING. A
 * slot whose owner was evicted and lives is not free: that one may be just about to store its cursor. 1, 0 or -errno.
 */
static int take_slot(struct posix_mapping *p, uint32_t i)
{
	struct mqshm_participant *participant = &p->base.ring.participants[i];
	uint32_t word, generation;
	int rc;

	posix_reap(p, i);
	rc = posix_try_lock(p->lock_fd, MQSHM_LOCK_REPAIR(i));
	if (rc <= 0)
		return rc;
	word = smp_load_acquire(&participant->state);
	if (!posix_has_role(&p->base.ring, i) &&
	    (MQSHM_SLOT_STATE(word) == MQSHM_SLOT_FREE || !posix_alive(p->lock_fd, participant, i, p->pid_namespace))) {
		generation = (MQSHM_SLOT_GENERATION(word) + 1) & 0xffffff;
		rc = posix_try_lock(p->lock_fd, MQSHM_LOCK_OWNER(i, generation));
		if (rc > 0) {
			/* The byte before the state, and no verdict from the former owner's pid: we are not dead. */
			WRITE_ONCE(participant->pid_namespace, 0);
			smp_store_release(&participant->state, generation << 8 | MQSHM_SLOT_JOINING);
		}
	} else {
		rc = 0;
	}
	posix_unlock(p->lock_fd, MQSHM_LOCK_REPAIR(i));
	return rc;
}

/* Life-cycle byte held: find a slot for our role. Index, or -EBUSY. */
static int find_slot(struct posix_mapping *p, enum mqshm_role role)
{
	struct mqshm_ring *r = &p->base.ring;
	uint32_t first = role == MQSHM_ROLE_CONSUMER ? r->max_producers : 0;
	uint32_t count = role == MQSHM_ROLE_CONSUMER ? r->max_consumers : r->max_producers;
	char who[64];

	for (uint32_t i = first; i < first + count; i++) {
		uint32_t word = smp_load_acquire(&r->participants[i].state);
		int rc;

		if (MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LIVE &&
		    posix_alive(p->lock_fd, &r->participants[i], i, p->pid_namespace))
			continue;
		rc = take_slot(p, i);
		if (rc > 0)
			return (int)i;
		if (rc < 0)
			return mqshm_error(rc, "queue '%s' can't be locked: %s", p->base.name, strerror(-rc));
	}
	if (count == 1 && role == MQSHM_ROLE_PRODUCER)
		return mqshm_error(-EBUSY, "queue '%s' has a live producer: %s", p->base.name,
				   mqshm_who(&r->participants[0], who, sizeof who));
	return mqshm_error(-EBUSY, "queue '%s' has %u %s, the most it was created for", p->base.name, count,
			   role == MQSHM_ROLE_CONSUMER ? "consumers" : "producers");
}

static void fill_participant(struct posix_mapping *p, struct mqshm_participant *participant, uint32_t flags)
{
	struct timespec now;
	FILE *f;

	clock_gettime(CLOCK_REALTIME, &now);
	WRITE_ONCE(participant->flags, flags & MQSHM_LOSSY ? MQSHM_ROLE_LOSSY : 0);
	WRITE_ONCE(participant->pid, (uint32_t)getpid());
	WRITE_ONCE(participant->pid_start, p->pid_namespace ? posix_start_time((uint32_t)getpid()) : 0);
	WRITE_ONCE(participant->attached_at_ns, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	memset(participant->comm, 0, sizeof participant->comm);
	f = fopen("/proc/self/comm", "re");
	if (f) {
		char comm[17] = "";

		if (fscanf(f, "%16[^\n]", comm) == 1)
			memcpy(participant->comm, comm, strnlen(comm, 15));
		fclose(f);
	}
	smp_store_release(&participant->pid_namespace, p->pid_namespace);
}

/* The slot is ours and JOINING, the life cycle is ours. */
static int claim(struct posix_mapping *p, const struct mqshm_attach *how, struct mqshm_writer *writer,
		 struct mqshm_reader *reader)
{
	struct mqshm_ring *r = &p->base.ring;
	struct mqshm_participant *participant = &r->participants[p->base.participant];
	uint32_t *state = &participant->state;
	int rc = 0;

	WRITE_ONCE(r->info->used, 1);
	fill_participant(p, participant, how->flags);
	p->base.state = (READ_ONCE(*state) & ~0xffu) | MQSHM_SLOT_LIVE;
	if (how->role == MQSHM_ROLE_CONSUMER) {
		reader->ring = r;
		reader->slot = p->base.participant - r->max_producers;
		reader->lossy = how->flags & MQSHM_LOSSY || r->flags & MQSHM_OVERWRITE;
		rc = reader_join(reader, how->start, !reader->lossy && READ_ONCE(r->info->hold));
		__atomic_fetch_add(&r->info->consumers_ever, 1, __ATOMIC_RELAXED);
	} else {
		__u64 epoch = smp_load_acquire(&r->info->producer_epoch);

		writer->ring = r;
		if (r->max_producers == 1)
			rc = writer_take_over(writer);
		if (!rc) {
			smp_store_release(state, p->base.state);
			while (!__atomic_compare_exchange_n(&r->info->producer_epoch, &epoch,
							    ((epoch & ~3ULL) + MQSHM_EPOCH_ONE) | MQSHM_EPOCH_ACTIVE,
							    false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
				;
		}
		__atomic_fetch_add(&r->info->producers_ever, 1, __ATOMIC_RELAXED);
	}
	if (rc) {
		posix_end_role(p, p->base.participant, MQSHM_SLOT_FREE, MQSHM_EPOCH_CRASHED);
		return mqshm_error(rc, "queue '%s' is damaged: its positions make no sense", how->name);
	}
	posix_wake_all(p);
	return 0;
}

static int attach(const struct mqshm_attach *how, struct mqshm_mapping **out, struct mqshm_writer *writer,
		  struct mqshm_reader *reader)
{
	uint64_t wait_until = mqshm_deadline(how->wait_ms);
	struct posix_mapping *p;
	bool fresh;
	int rc;

	for (;;) {
		rc = posix_open(how->name, how->queue, how->flags | POSIX_TO_ATTACH, mqshm_now_ns() + LIFECYCLE_NS, &p, &fresh);
		if (rc != -ENOENT || how->queue || how->wait_ms == 0)
			break;
		rc = posix_wait_for_name(how->name, wait_until);
		if (rc)
			break;
	}
	if (rc)
		return rc;
	p->base.role = how->role;
	rc = find_slot(p, how->role);
	if (rc >= 0) {
		p->base.participant = (uint32_t)rc;
		rc = claim(p, how, writer, reader);
	}
	if (rc) {
		if (fresh)
			posix_unlink(p);
		posix_close(p);
		return rc;
	}
	posix_lifecycle_unlock(p);
	*out = &p->base;
	return 0;
}

static int detach(struct mqshm_mapping *m, uint32_t how)
{
	struct posix_mapping *p = posix(m);
	struct stat st;

	if (!*m->owner) { /* a child: the mapping is not there, and unlocking would take the parent's lock */
		p->address = NULL;
		if (posix_has_lock_fd(p, &st))
			close(p->lock_fd); /* after a raw clone(); a fork has closed it */
		p->lock_fd = -1;
		posix_close(p);
		return mqshm_error(-ECHILD, "the handle belongs to a parent process");
	}
	if (READ_ONCE(m->ring.participants[m->participant].state) == m->state)
		posix_end_role(p, m->participant, MQSHM_SLOT_FREE, how);
	/* A stopped holder must not hang us: then the name is left for the next open, or gc. */
	if (!posix_lifecycle_lock(p, mqshm_now_ns() + LIFECYCLE_NS) && !(m->ring.flags & MQSHM_PERSISTENT) &&
	    !posix_anybody(p)) /* our former slot too: it may have a new owner */
		posix_unlink(p);
	posix_close(p);
	return 0;
}

static int futex(uint32_t *word, int operation, uint32_t value, const struct timespec *timeout)
{
	return (int)syscall(SYS_futex, word, operation, value, timeout, NULL, 0);
}

static int sleep_on(struct mqshm_mapping *m, uint32_t *word, uint32_t value, uint64_t ns)
{
	struct timespec timeout = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	(void)m;
	if (futex(word, FUTEX_WAIT, value, &timeout) && errno == EINTR)
		return mqshm_error(-EINTR, "interrupted by a signal");
	return 0;
}

static void wake(struct mqshm_mapping *m, uint32_t *word)
{
	int saved = errno;

	(void)m;
	futex(word, FUTEX_WAKE, INT_MAX, NULL);
	errno = saved;
}

static int check(struct mqshm_mapping *m, uint32_t i)
{
	struct posix_mapping *p = posix(m);
	struct mqshm_participant *participant = &m->ring.participants[i];
	uint32_t word = smp_load_acquire(&participant->state), state = MQSHM_SLOT_STATE(word);

	if (i == m->participant)
		return 1; /* our own lock does not show */
	if (state == MQSHM_SLOT_FREE)
		return posix_alive(p->lock_fd, participant, i, p->pid_namespace);
	/* The lock tells, for 0.5 us; reading /proc costs 30 times that and is only needed for the rare orphan that keeps
	 * a dead parent's lock: every eighth look. */
	if ((state == MQSHM_SLOT_LIVE || state == MQSHM_SLOT_JOINING) && posix_is_locked(p->lock_fd, i, word) &&
	    (++p->looks % 8 || posix_process_runs(participant, p->pid_namespace) != 0))
		return 1;
	posix_reap(p, i);
	return 0;
}

static void evict(struct mqshm_mapping *m, uint32_t i)
{
	posix_evict(posix(m), i);
}

static int check_self(struct mqshm_mapping *m)
{
	struct posix_mapping *p = posix(m);
	struct stat st;

	if (READ_ONCE(m->ring.participants[m->participant].state) != m->state) {
		if (READ_ONCE(m->ring.info->dead))
			return mqshm_error(-ESTALE, "queue '%s' was removed", m->name);
		return mqshm_error(-ESTALE, "this handle of queue '%s' has lost its role", m->name);
	}
	if (!posix_has_lock_fd(p, &st))
		return mqshm_error(-ESTALE, "the lock descriptor of queue '%s' was closed by this process (closefrom?)",
				   m->name);
	if (st.st_nlink == 0 && !READ_ONCE(m->ring.info->dead)) {
		/* Nobody can find us any more. Producers are told at their next push, consumers once they have drained. */
		__atomic_store_n(&m->ring.info->dead, 1, __ATOMIC_RELEASE);
		for (uint32_t i = 0; i < m->ring.max_producers; i++)
			posix_evict(p, i);
		posix_wake_all(p);
	}
	if (READ_ONCE(m->ring.info->dead))
		return mqshm_error(-ESTALE, "the object of queue '%s' was unlinked (rm, or systemd's RemoveIPC)", m->name);
	return 0;
}

/* ---- remove and gc ---- */

static void evict_all(struct posix_mapping *p)
{
	for (uint32_t i = 0; i < p->base.ring.max_producers + p->base.ring.max_consumers; i++)
		posix_evict(p, i);
}

static int remove_broken(const char *name)
{
	char path[64 + sizeof POSIX_DIR + sizeof POSIX_PREFIX];

	posix_path(path, name);
	if (!unlink(path))
		return 0;
	if (errno == EISDIR)
		return mqshm_error(-EBADMSG, "%s is not a queue but a directory, which is not removed", path);
	return mqshm_error(mqshm_errno(), "%s can't be removed: %s", path, strerror(errno));
}

static int exists(const char *name)
{
	struct stat st;
	int fd = posix_open_object(name, O_RDONLY, &st);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

/* Who uses the queue, up to three of them, for people. */
static void name_users(struct posix_mapping *p, char *text, size_t size)
{
	struct mqshm_ring *r = &p->base.ring;
	size_t used = 0;
	uint32_t more = 0;

	text[0] = 0;
	for (uint32_t i = 0; i < r->max_producers + r->max_consumers; i++) {
		char who[64];

		if (MQSHM_SLOT_STATE(smp_load_acquire(&r->participants[i].state)) != MQSHM_SLOT_LIVE)
			continue;
		if (used > size - 80 || more++ >= 3)
			continue;
		used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
					 mqshm_who(&r->participants[i], who, sizeof who));
	}
	if (more > 3)
		snprintf(text + used, size - used, " and %u more", more - 3);
}

static int remove_queue(const char *name, unsigned flags)
{
	struct posix_mapping *p;
	char users[200];
	int rc = exists(name);

	if (!rc) {
		rc = posix_open(name, NULL, 0, mqshm_now_ns() + LIFECYCLE_NS, &p, NULL);
		if (rc == -ENOENT)
			return 0; /* a zombie: opening it removed it */
	}
	if (rc == -EBADMSG || rc == -EPROTONOSUPPORT)
		return flags & MQSHM_FORCE ? remove_broken(name) : rc;
	if (rc)
		return rc;
	if (posix_anybody(p) && !(flags & MQSHM_FORCE)) {
		name_users(p, users, sizeof users);
		rc = mqshm_error(-EBUSY, "queue '%s' is in use by %s", name, users);
	} else {
		rc = posix_unlink(p);
		if (!rc)
			evict_all(p);
	}
	posix_close(p);
	return rc;
}

/* posix_open() of a queue that must exist has all of gc's work done on the way, but for those who live on with others. */
static int gc_one(const char *name, void (*report)(const char *name, const char *what, void *arg), void *arg)
{
	struct posix_mapping *p;
	struct mqshm_ring *r;
	int rc = posix_open(name, NULL, 0, mqshm_now_ns() + LIFECYCLE_NS, &p, NULL);

	if (rc == -ENOENT) {
		if (report)
			report(name, "removed", arg);
		return 1;
	}
	if (rc) {
		if (report)
			report(name, mqshm_last_error(), arg);
		return 0;
	}
	r = &p->base.ring;
	for (uint32_t i = 0; i < r->max_producers + r->max_consumers; i++) {
		char who[64], what[128];
		bool producer = i < r->max_producers;

		if (MQSHM_SLOT_STATE(smp_load_acquire(&r->participants[i].state)) != MQSHM_SLOT_LIVE ||
		    posix_alive(p->lock_fd, &r->participants[i], i, p->pid_namespace))
			continue;
		mqshm_who(&r->participants[i], who, sizeof who);
		if (!posix_reap(p, i) || !report)
			continue;
		snprintf(what, sizeof what, "ended %s %u of %s", producer ? "producer" : "consumer",
			 producer ? i : i - r->max_producers, who);
		report(name, what, arg);
	}
	posix_close(p);
	return 0;
}

static int gc(const char *name, void (*report)(const char *name, const char *what, void *arg), void *arg)
{
	char(*names)[MQSHM_NAME_MAX + 1];
	int count, removed = 0;

	if (name)
		return exists(name) == -ENOENT ? -ENOENT : gc_one(name, report, arg);
	count = posix_names(&names);
	for (int i = 0; i < count; i++)
		removed += gc_one(names[i], report, arg);
	if (count >= 0)
		free(names);
	return count < 0 ? count : removed;
}

const struct mqshm_backend mqshm_backend_posix = {
	.name = "posix",
	.create = create,
	.remove = remove_queue,
	.gc = gc,
	.stat = posix_stat,
	.list = posix_list,
	.attach = attach,
	.detach = detach,
	.sleep = sleep_on,
	.wake = wake,
	.check = check,
	.evict = evict,
	.check_self = check_self,
};
