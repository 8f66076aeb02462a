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
#include "watch.h"

/* How long attach and detach wait for a life-cycle byte, or a repair, whose holder may be stopped. */
#ifndef LIFECYCLE_NS /* tests/steps have less time */
#define LIFECYCLE_NS 5000000000u
#endif
#define REPAIR_NAP_NS 1000000

static int create(const char *name, const struct mqshm_queue_options *options, bool missing)
{
	struct posix_mapping *p;
	bool created;
	int rc = posix_open(name, options, missing ? POSIX_CREATE : 0, mqshm_now_ns() + LIFECYCLE_NS, &p, &created);

	if (rc)
		return rc;
	posix_close(p);
	return created ? 0 : 1;
}

/*
 * Life-cycle byte held: make slot i ours, unless somebody lives there: lock the next owner's byte and say JOINING. A
 * slot whose owner was evicted and lives is not free: that one may be just about to store its cursor. 1, 0 or -errno;
 * -EAGAIN: somebody else is ending the role of its dead owner.
 */
static int take_slot(struct posix_mapping *p, uint32_t i)
{
	struct mqshm_participant *participant = &p->base.ring.participants[i];
	uint32_t word, generation;
	int rc;

	posix_reap(p, i);
	rc = posix_try_lock(p->lock_fd, MQSHM_LOCK_REPAIR(i));
	if (rc <= 0)
		return rc ? rc : -EAGAIN;
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

/* Life-cycle byte held: find a slot for our role. Index, or -EAGAIN (one is being repaired), or -EBUSY. */
static int look_for_slot(struct posix_mapping *p, uint32_t first, uint32_t count)
{
	struct mqshm_ring *r = &p->base.ring;
	int none = -EBUSY;

	for (uint32_t i = first; i < first + count; i++) {
		uint32_t word = smp_load_acquire(&r->participants[i].state);
		int rc;

		if (slot_is_live(word) && posix_alive(p->lock_fd, &r->participants[i], i, p->pid_namespace))
			continue;
		rc = take_slot(p, i);
		if (rc > 0)
			return (int)i;
		if (rc == -EAGAIN)
			none = rc;
		else if (rc < 0)
			return mqshm_error(rc, "queue '%s' can't be locked: %s", p->base.name, strerror(-rc));
	}
	return none;
}

/* The same, and a slot that is being repaired is waited for: who holds it may be stopped, but its owner is dead. */
static int find_slot(struct posix_mapping *p, enum mqshm_role role)
{
	struct mqshm_ring *r = &p->base.ring;
	uint32_t first = role == MQSHM_ROLE_CONSUMER ? r->max_producers : 0;
	uint32_t count = role == MQSHM_ROLE_CONSUMER ? r->max_consumers : r->max_producers;
	uint64_t deadline = mqshm_now_ns() + LIFECYCLE_NS;
	int rc;

	while ((rc = look_for_slot(p, first, count)) == -EAGAIN) {
		if (mqshm_now_ns() >= deadline)
			return mqshm_error(-ETIMEDOUT, "a place in queue '%s' is being cleaned up by a process that doesn't get "
					   "on (stopped?)", p->base.name);
		nanosleep(&(struct timespec){ 0, REPAIR_NAP_NS }, NULL);
	}
	if (rc != -EBUSY)
		return rc;
	return mqshm_no_place(p->base.name, role, &r->participants[first], count);
}

static void fill_participant(struct posix_mapping *p, struct mqshm_participant *participant,
			     const struct mqshm_attach *how)
{
	uint32_t flags = how->flags;
	struct timespec now;
	FILE *f;

	clock_gettime(CLOCK_REALTIME, &now);
	WRITE_ONCE(participant->flags, flags & MQSHM_LOSSY ? MQSHM_ROLE_LOSSY : 0);
	WRITE_ONCE(participant->why, 0);
	WRITE_ONCE(participant->uid, geteuid());
	WRITE_ONCE(participant->pid, (uint32_t)getpid());
	WRITE_ONCE(participant->pid_start, p->pid_namespace ? posix_start_time((uint32_t)getpid()) : 0);
	WRITE_ONCE(participant->attached_at_ns, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	shared_clear(participant->comm, sizeof participant->comm);
	f = fopen("/proc/self/comm", "re");
	if (f) {
		char comm[17] = "";

		if (fscanf(f, "%16[^\n]", comm) == 1)
			shared_copy(participant->comm, comm, strnlen(comm, 15));
		fclose(f);
	}
	WRITE_ONCE(participant->lease_ms, how->lease_ms);
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
	/* Only here: who takes on a cursor and dies leaves it to the next one of that name. */
	shared_clear(participant->name, sizeof participant->name);
	if (how->consumer_name)
		shared_copy(participant->name, how->consumer_name, strnlen(how->consumer_name, MQSHM_CONSUMER_NAME_MAX));
	fill_participant(p, participant, how);
	p->base.state = (READ_ONCE(*state) & ~0xffu) | MQSHM_SLOT_LIVE;
	if (how->role == MQSHM_ROLE_CONSUMER) {
		reader->ring = r;
		reader->slot = p->base.participant - r->max_producers;
		reader->lossy = how->flags & MQSHM_LOSSY || r->flags & MQSHM_OVERWRITE;
		rc = reader_join(reader, how->start, !reader->lossy && READ_ONCE(r->info->hold));
		atomic_add(&r->info->consumers_ever, 1, RELAXED);
	} else {
		__u64 epoch = smp_load_acquire(&r->info->producer_epoch);

		writer->ring = r;
		if (r->max_producers == 1)
			rc = writer_take_over(writer);
		if (!rc) {
			smp_store_release(state, p->base.state);
			while (!try_cmpxchg(&r->info->producer_epoch, &epoch,
					    ((epoch & ~3ULL) + MQSHM_EPOCH_ONE) | MQSHM_EPOCH_ACTIVE, ACQ_REL))
				;
		}
		atomic_add(&r->info->producers_ever, 1, RELAXED);
	}
	if (rc) {
		posix_end_role(p, p->base.participant, MQSHM_SLOT_FREE, MQSHM_EPOCH_CRASHED, 0);
		mqshm_log(MQSHM_LOG_ERROR, how->name, "damaged: its positions make no sense");
		return mqshm_error(rc, "queue '%s' is damaged: its positions make no sense", how->name);
	}
	posix_wake_all(p);
	return 0;
}

/* Repair byte held: is the cursor in slot i there for us? 0; -ENOENT: its lease has ended; -EBUSY and why. */
static int may_resume(struct posix_mapping *p, const struct mqshm_attach *how, uint32_t i)
{
	if (!posix_has_role(&p->base.ring, i))
		return -ENOENT;
	return mqshm_may_take_on(p->base.name, how, &p->base.ring.participants[i]);
}

/* Whose name stands in slot i is there, or its cursor is; in one that joins it may be its predecessor's. */
static bool is_named(struct mqshm_ring *r, uint32_t i)
{
	return posix_has_role(r, i) && !slot_is_joining(smp_load_acquire(&r->participants[i].state));
}

/* Life-cycle byte held: take on the cursor that a former consumer of our name has left. -ENOENT: there is none. */
static int resume(struct posix_mapping *p, const struct mqshm_attach *how, struct mqshm_reader *reader)
{
	struct mqshm_ring *r = &p->base.ring;
	struct mqshm_participant *participant;
	uint32_t i, generation;
	int rc;

	for (i = r->max_producers; i < r->max_producers + r->max_consumers; i++)
		if (is_named(r, i) && !strncmp((const char *)r->participants[i].name, how->consumer_name,
						     sizeof r->participants[i].name))
			break;
	if (i == r->max_producers + r->max_consumers)
		return -ENOENT;
	posix_reap(p, i); /* a lease begins, or ends */
	if (!posix_lock_repair(p, i, mqshm_now_ns() + LIFECYCLE_NS))
		return mqshm_error(-ETIMEDOUT, "consumer '%s' of queue '%s' is being repaired by another process, which "
				   "doesn't get on (stopped?)", how->consumer_name, p->base.name);
	participant = &r->participants[i];
	generation = (MQSHM_SLOT_GENERATION(smp_load_acquire(&participant->state)) + 1) & 0xffffff;
	rc = may_resume(p, how, i);
	if (!rc && posix_try_lock(p->lock_fd, MQSHM_LOCK_OWNER(i, generation)) <= 0)
		rc = mqshm_error(-EBUSY, "consumer '%s' of queue '%s' can't be locked", how->consumer_name, p->base.name);
	if (!rc) {
		WRITE_ONCE(participant->pid_namespace, 0); /* no verdict from the former owner's pid */
		fill_participant(p, participant, how);
		reader->ring = r;
		reader->slot = i - r->max_producers;
		reader->lossy = how->flags & MQSHM_LOSSY || r->flags & MQSHM_OVERWRITE;
		rc = reader_resume(reader, generation);
		if (rc) {
			posix_end_role(p, i, MQSHM_SLOT_ENDED, 0, MQSHM_WHY_HOSTILE);
			rc = mqshm_error(rc, "queue '%s' is damaged: the cursor of consumer '%s' makes no sense", p->base.name,
					 how->consumer_name);
		}
	}
	posix_unlock(p->lock_fd, MQSHM_LOCK_REPAIR(i));
	if (rc)
		return rc;
	WRITE_ONCE(r->info->used, 1);
	p->base.participant = i;
	p->base.state = reader->state;
	atomic_add(&r->info->consumers_ever, 1, RELAXED);
	posix_wake_all(p);
	return 0;
}

static int attach(const struct mqshm_attach *how, struct mqshm_mapping **out, struct mqshm_writer *writer,
		  struct mqshm_reader *reader)
{
	uint32_t flags = how->flags | POSIX_TO_ATTACH | (how->create ? POSIX_CREATE : 0);
	char role[MQSHM_ROLE_TEXT];
	struct posix_mapping *p;
	bool fresh;
	int rc;

	rc = posix_open(how->name, how->queue, flags, mqshm_now_ns() + LIFECYCLE_NS, &p, &fresh);
	if (rc)
		return rc;
	p->base.role = how->role;
	rc = how->consumer_name ? resume(p, how, reader) : -ENOENT;
	if (how->resumed)
		*how->resumed = !rc;
	if (rc == -ENOENT) {
		rc = find_slot(p, how->role);
		if (rc >= 0) {
			p->base.participant = (uint32_t)rc;
			rc = claim(p, how, writer, reader);
		}
	}
	if (rc) {
		if (fresh)
			posix_unlink(p);
		posix_close(p);
		return rc;
	}
	mqshm_log(MQSHM_LOG_INFO, how->name, "%s attached%s", mqshm_role_text(&p->base.ring, p->base.participant, role),
		  how->resumed && *how->resumed ? " and goes on where a former one was" : "");
	posix_lifecycle_unlock(p);
	*out = &p->base;
	return 0;
}

static int detach(struct mqshm_mapping *m, uint32_t how)
{
	struct posix_mapping *p = posix(m);
	char role[MQSHM_ROLE_TEXT] = "";
	uint32_t state;
	struct stat st;

	if (!*m->owner) { /* a child: the mapping is not there, and unlocking would take the parent's lock */
		p->address = NULL;
		if (posix_has_lock_fd(p, &st))
			close(p->lock_fd); /* after a raw clone(); a fork has closed it */
		p->lock_fd = -1;
		posix_close(p);
		return mqshm_error(-ECHILD, "the handle belongs to a parent process");
	}
	if (mqshm_log_wants(MQSHM_LOG_INFO)) /* while it is ours */
		mqshm_role_text(&m->ring, m->participant, role);
	state = how != MQSHM_EPOCH_NONE && READ_ONCE(m->ring.participants[m->participant].lease_ms) &&
				m->role == MQSHM_ROLE_CONSUMER
			? MQSHM_SLOT_LEASED
			: MQSHM_SLOT_FREE;
	if (mqshm_has_role(m) && posix_end_role(p, m->participant, state, how, 0))
		mqshm_log(MQSHM_LOG_INFO, m->name, "%s left%s", role,
			  state == MQSHM_SLOT_LEASED ? ", its lease begins"
			  : how == MQSHM_EPOCH_CRASHED ? " in the middle of the stream" : "");
	/* A stopped holder must not hang us: then the name is left for the next open, or gc. */
	if (!posix_lifecycle_lock(p, mqshm_now_ns() + LIFECYCLE_NS) && !(m->ring.flags & MQSHM_PERSISTENT) &&
	    !posix_anybody(p)) { /* our former slot too: it may have a new owner */
		bool dead = READ_ONCE(m->ring.info->dead);

		if (!posix_unlink(p) && !dead)
			mqshm_log(MQSHM_LOG_INFO, m->name, "removed with its last user");
	}
	posix_close(p);
	return 0;
}

/*
 * What SYS_futex reads: not always a struct timespec, whose seconds a 32-bit program may be built to have 64 bits of. A
 * nap is short and relative, so it needs no more.
 */
struct nap {
	__kernel_long_t seconds, ns;
};

static int futex(uint32_t *word, int operation, uint32_t value, const struct nap *timeout)
{
	return (int)syscall(SYS_futex, word, operation, value, timeout, NULL, 0);
}

static int sleep_on(struct mqshm_mapping *m, uint32_t *word, uint32_t value, uint64_t ns)
{
	struct nap timeout = { (__kernel_long_t)(ns / 1000000000u), (__kernel_long_t)(ns % 1000000000u) };

	(void)m;
	if (futex(word, FUTEX_WAIT, value, &timeout) && errno == EINTR)
		return mqshm_error(-EINTR, "interrupted by a signal");
	return 0;
}

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449 /* Linux 5.16, on all architectures but alpha */
#endif

static int sleep_any(uint32_t *const *words, const uint32_t *values, size_t count, uint64_t ns)
{
	struct {
		uint64_t value, address;
		uint32_t flags, reserved;
	} waits[MQSHM_SLEEP_ANY_MAX]; /* the kernel's struct futex_waitv */
	uint64_t until = mqshm_now_ns();
	int64_t deadline[2]; /* its struct timespec, with 64 bits everywhere */

	until = ns > UINT64_MAX / 2 - until ? UINT64_MAX / 2 : until + ns;
	for (size_t i = 0; i < count; i++) {
		waits[i].value = values[i];
		waits[i].address = (uintptr_t)words[i];
		waits[i].flags = 2; /* FUTEX_32, and shared between processes */
		waits[i].reserved = 0;
	}
	deadline[0] = (int64_t)(until / 1000000000u);
	deadline[1] = (int64_t)(until % 1000000000u);
	if (syscall(SYS_futex_waitv, waits, count, 0, deadline, CLOCK_MONOTONIC) >= 0)
		return 0;
	if (errno == EINTR)
		return mqshm_error(-EINTR, "interrupted by a signal");
	return errno == ENOSYS || errno == EPERM ? -ENOSYS : 0; /* EPERM: old containers' filters */
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
	if (state == MQSHM_SLOT_LEASED && mqshm_lease_left(participant))
		return 1;
	if ((slot_is_live(word) || slot_is_joining(word)) && posix_is_locked(p->lock_fd, i, word) &&
	    (__atomic_add_fetch(&p->looks, 1, __ATOMIC_RELAXED) % 8 || posix_process_runs(participant, p->pid_namespace) != 0))
		return 1;
	posix_reap(p, i);
	return 0;
}

static bool evict(struct mqshm_mapping *m, uint32_t i, uint32_t word, uint32_t why)
{
	return posix_evict(posix(m), i, word, why);
}

static bool demote(struct mqshm_mapping *m, uint32_t i, uint32_t word, uint32_t why)
{
	return posix_demote(posix(m), i, word, why);
}

static int check_self(struct mqshm_mapping *m)
{
	struct posix_mapping *p = posix(m);
	struct stat st;

	if (!mqshm_has_role(m))
		return mqshm_lost_role(m);
	if (!posix_has_lock_fd(p, &st))
		return mqshm_error(-ESTALE, "the lock descriptor of queue '%s' was closed by this process (closefrom?)",
				   m->name);
	if (st.st_nlink == 0 || READ_ONCE(m->ring.info->dead)) {
		/*
		 * Nobody can find us any more. Producers are told at their next push, consumers once they have drained.
		 * By all who notice: who noticed first, or removed the queue, may have died before it told anybody.
		 */
		if (!READ_ONCE(m->ring.info->dead))
			mqshm_log(MQSHM_LOG_WARNING, m->name, "its object was unlinked (rm, or systemd's RemoveIPC)");
		smp_store_release(&m->ring.info->dead, 1);
		for (uint32_t i = 0; i < m->ring.max_producers; i++)
			posix_evict(p, i, 0, MQSHM_WHY_REMOVED);
		posix_wake_all(p);
		return mqshm_error(-ESTALE, "the object of queue '%s' was unlinked (rm, or systemd's RemoveIPC)", m->name);
	}
	return 0;
}

/* ---- remove and gc ---- */

static void evict_all(struct posix_mapping *p)
{
	for (uint32_t i = 0; i < p->base.ring.max_producers + p->base.ring.max_consumers; i++)
		posix_evict(p, i, 0, MQSHM_WHY_REMOVED);
}

static int remove_broken(const char *name)
{
	char path[64 + sizeof POSIX_DIR + sizeof POSIX_PREFIX];

	posix_path(path, name);
	if (!unlink(path)) {
		mqshm_log(MQSHM_LOG_INFO, name, "removed by force by pid %d: it was no usable queue", (int)getpid());
		return 0;
	}
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

static bool has_user(uint32_t word)
{
	return slot_is_live(word) || MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LEASED;
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
		mqshm_name_users(p->base.ring.participants, p->base.ring.max_producers + p->base.ring.max_consumers, users,
				 sizeof users);
		rc = mqshm_error(-EBUSY, "queue '%s' is in use by %s", name, users);
	} else {
		rc = posix_unlink(p);
		if (!rc) {
			mqshm_log(MQSHM_LOG_INFO, name, "removed by pid %d", (int)getpid());
			evict_all(p);
		}
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
		char role[MQSHM_ROLE_TEXT], what[128];

		if (!has_user(smp_load_acquire(&r->participants[i].state)) ||
		    posix_alive(p->lock_fd, &r->participants[i], i, p->pid_namespace))
			continue;
		mqshm_role_text(r, i, role);
		if (!posix_reap(p, i) || !report)
			continue;
		snprintf(what, sizeof what, "%s %s",
			 MQSHM_SLOT_STATE(READ_ONCE(r->participants[i].state)) == MQSHM_SLOT_LEASED ? "began the lease of" : "ended",
			 role);
		report(name, what, arg);
	}
	posix_close(p);
	return 0;
}

static int gc(const char *name, void (*report)(const char *name, const char *what, void *arg), void *arg)
{
	return exists(name) == -ENOENT ? -ENOENT : gc_one(name, report, arg);
}

/* mqshm_queue_evict() */
static int evict_from(const char *name, uint32_t slot)
{
	struct posix_mapping *p;
	uint64_t deadline = mqshm_now_ns() + LIFECYCLE_NS;
	int rc = posix_open(name, NULL, 0, deadline, &p, NULL);
	char role[MQSHM_ROLE_TEXT];
	uint32_t i;

	if (rc)
		return rc;
	posix_lifecycle_unlock(p); /* a slot's repair byte is enough, and its holder may be stopped */
	i = p->base.ring.max_producers + slot;
	if (slot >= p->base.ring.max_consumers || !posix_has_role(&p->base.ring, i))
		rc = mqshm_error(-ESRCH, "queue '%s' has no consumer %u", name, slot);
	else if (!posix_lock_repair(p, i, deadline))
		rc = mqshm_error(-ETIMEDOUT, "consumer %u of queue '%s' is being repaired by another process, which "
				 "doesn't get on (stopped?)", slot, name);
	else
		mqshm_role_text(&p->base.ring, i, role);
	if (!rc && !posix_end_role(p, i, MQSHM_SLOT_ENDED, 0, MQSHM_WHY_BY_HAND))
		rc = mqshm_error(-ESRCH, "consumer %u of queue '%s' has just left", slot, name);
	posix_close(p);
	if (!rc)
		mqshm_log(MQSHM_LOG_WARNING, name, "evicted %s: by hand, by pid %d", role, (int)getpid());
	return rc;
}

const struct mqshm_backend mqshm_backend_posix = {
	.name = "posix",
	.directory = POSIX_DIR,
	.prefix = POSIX_PREFIX,
	.create = create,
	.remove = remove_queue,
	.gc = gc,
	.evict_from = evict_from,
	.stat = posix_stat,
	.watch_begin = posix_watch_begin,
	.watch_look = watch_files_look,
	.watch_fd = watch_files_fd,
	.watch_end = watch_files_end,
	.attach = attach,
	.detach = detach,
	.sleep = sleep_on,
	.sleep_any = sleep_any,
	.wake = wake,
	.check = check,
	.evict = evict,
	.demote = demote,
	.check_self = check_self,
	.forked = posix_forked,
};
