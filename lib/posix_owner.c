/* SPDX-License-Identifier: MIT */
/*
 * Who is alive, and what happens to those who are not. A participant lives while its byte is locked (which works
 * across pid namespaces) and, where we share its pid namespace, while the process of that pid and start time runs
 * (which sees through a child that inherited the descriptor).
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "posix.h"

#define LIFECYCLE_NAP_NS 1000000 /* its holder may be stopped, so we never block on it */

static struct flock lock_of(int64_t byte, short type)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
}

bool posix_has_lock_fd(struct posix_mapping *p, struct stat *st)
{
	if (p->lock_fd >= 0 && !fstat(p->lock_fd, st) && st->st_dev == p->device && st->st_ino == p->inode)
		return true;
	p->lock_fd = -1;
	return false;
}

int posix_try_lock(int fd, int64_t byte)
{
	struct flock lock = lock_of(byte, F_WRLCK);

	if (!fcntl(fd, F_OFD_SETLK, &lock))
		return 1;
	return errno == EAGAIN || errno == EACCES ? 0 : mqshm_errno();
}

void posix_unlock(int fd, int64_t byte)
{
	struct flock lock = lock_of(byte, F_UNLCK);

	fcntl(fd, F_OFD_SETLK, &lock);
}

bool posix_is_locked(int fd, uint32_t i, uint32_t word)
{
	struct flock lock = lock_of(MQSHM_LOCK_OWNER(i, MQSHM_SLOT_GENERATION(word)), F_WRLCK);

	return fcntl(fd, F_OFD_GETLK, &lock) || lock.l_type != F_UNLCK;
}

static const char *lifecycle_holder(const struct posix_mapping *p, char *who, size_t size)
{
	uint32_t pid = READ_ONCE(p->base.ring.info->lifecycle_pid);

	snprintf(who, size, pid ? "pid %u" : "a process", pid); /* it may not have said yet */
	return who;
}

int posix_lifecycle_lock(struct posix_mapping *p, uint64_t deadline)
{
	struct mqshm_info *info = p->base.ring.info;
	uint64_t give_up = deadline == MQSHM_FOREVER ? mqshm_now_ns() + 10000000000u : deadline;
	bool said = false;
	char who[24];

	for (;;) {
		int rc = posix_try_lock(p->lock_fd, MQSHM_LOCK_LIFECYCLE);

		if (rc > 0)
			break;
		if (rc < 0)
			return mqshm_error(rc, "queue '%s' can't be locked: %s", p->base.name, strerror(-rc));
		if (mqshm_now_ns() >= give_up)
			return mqshm_error(-ETIMEDOUT, "queue '%s' is being attached to or left by %s, which doesn't get on "
					   "(stopped?)", p->base.name, lifecycle_holder(p, who, sizeof who));
		if (!said)
			mqshm_log(MQSHM_LOG_DEBUG, p->base.name, "waiting for %s, which attaches or leaves",
				  lifecycle_holder(p, who, sizeof who));
		said = true;
		nanosleep(&(struct timespec){ 0, LIFECYCLE_NAP_NS }, NULL);
	}
	mqshm_log_hold();
	p->lifecycle = true;
	WRITE_ONCE(info->lifecycle_pid, (uint32_t)getpid());
	return 0;
}

void posix_lifecycle_unlock(struct posix_mapping *p)
{
	/* Nobody shall be told of us while the next one has the lock and has not said its pid. */
	WRITE_ONCE(p->base.ring.info->lifecycle_pid, 0);
	posix_unlock(p->lock_fd, MQSHM_LOCK_LIFECYCLE);
	p->lifecycle = false;
	mqshm_log_deliver();
}

/* Fields of /proc/<pid>/stat; comm may contain anything, so count from its last parenthesis. */
static int read_stat(uint32_t pid, char *state, uint64_t *threads, uint64_t *start)
{
	char path[32], text[1024], *after;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%u/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return mqshm_errno();
	n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	text[n] = 0;
	after = strrchr(text, ')');
	/* state is field 3, num_threads 20, starttime 22 */
	if (!after || sscanf(after + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			     "%" SCNu64 " %*s %" SCNu64, state, threads, start) != 3)
		return -EINVAL;
	return 0;
}

uint64_t posix_start_time(uint32_t pid)
{
	uint64_t threads = 0, start = 0;
	char state;

	return read_stat(pid, &state, &threads, &start) ? 0 : start;
}

/*
 * Our pid namespace, if /proc shows the pids of that namespace, else 0: its inode, and that of our time namespace, as
 * start times are told by the clock of the one who asks. Inodes of namespaces have 32 bits.
 */
uint64_t posix_pid_namespace(void)
{
	char self[32];
	ssize_t n = readlink("/proc/self", self, sizeof self - 1);
	struct stat st, clock;

	if (n <= 0)
		return 0;
	self[n] = 0;
	if (strtol(self, NULL, 10) != getpid() || stat("/proc/self/ns/pid", &st))
		return 0;
	if (stat("/proc/self/ns/time", &clock)) /* before Linux 5.6 there is one */
		clock.st_ino = 0;
	return (uint64_t)clock.st_ino << 32 | (st.st_ino & UINT32_MAX);
}

int posix_process_runs(const struct mqshm_participant *participant, uint64_t pid_namespace)
{
	uint64_t theirs = smp_load_acquire(&participant->pid_namespace); /* stored last, 0 while the rest changes */
	uint64_t threads = 0, start = 0, wanted = READ_ONCE(participant->pid_start);
	uint32_t pid = READ_ONCE(participant->pid);
	char state;
	int rc;

	if (!pid_namespace || theirs != pid_namespace || !wanted || !pid || pid > INT32_MAX)
		return -1;
	rc = read_stat(pid, &state, &threads, &start);
	if (rc)
		return kill((pid_t)pid, 0) && errno == ESRCH ? 0 : -1; /* hidden by hidepid, or gone */
	if (start != wanted)
		return 0;
	/* A zombie whose other threads run is alive: its first thread has exited. */
	return (state == 'Z' || state == 'X') && threads <= 1 ? 0 : 1;
}

/* Does the slot of this state word belong to somebody, be it one who comes or one who will come back? */
static bool has_owner(uint32_t word)
{
	return slot_is_live(word) || slot_is_joining(word) ||
	       MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LEASED;
}

static uint32_t lease_ms(const struct mqshm_participant *participant)
{
	uint32_t ms = READ_ONCE(participant->lease_ms);

	return ms < MQSHM_LEASE_MS_MAX ? ms : MQSHM_LEASE_MS_MAX;
}

bool posix_alive(int fd, const struct mqshm_participant *participant, uint32_t i, uint64_t pid_namespace)
{
	if (MQSHM_SLOT_STATE(smp_load_acquire(&participant->state)) == MQSHM_SLOT_LEASED)
		return mqshm_lease_left(participant);
	return posix_is_locked(fd, i, smp_load_acquire(&participant->state)) &&
	       posix_process_runs(participant, pid_namespace) != 0;
}

void posix_wake_all(struct posix_mapping *p)
{
	struct mqshm_info *info = p->base.ring.info;

	atomic_add(&info->epoch, 1, ACQ_REL);
	smp_mb(); /* MO-2, MO-5: what was changed is out before we look who sleeps */
	mqshm_wake(&p->base, &info->data);
	mqshm_wake(&p->base, &info->room);
	mqshm_wake(&p->base, &info->event);
}

static bool holds_back(struct mqshm_ring *r, uint32_t i)
{
	uint32_t slot = i - r->max_producers;

	return i >= r->max_producers && (smp_load_acquire(&r->info->reliable[slot / 64]) >> slot % 64 & 1);
}

/* The state first, as somebody else's deed: a reader that reads on must find it changed before what it reads is overwritten. */
static bool set_state(struct mqshm_participant *participant, uint32_t *was, uint32_t state)
{
	uint32_t word = smp_load_acquire(&participant->state), generation = MQSHM_SLOT_GENERATION(word);

	*was = word;
	while (MQSHM_SLOT_GENERATION(word) == generation && has_owner(word)) {
		*was = word;
		if (try_cmpxchg(&participant->state, &word, generation << 8 | state, ACQ_REL)) /* MO-7 */
			return true;
	}
	return false; /* it has ended already */
}

static void clear_reliable(struct mqshm_ring *r, uint32_t slot)
{
	atomic_and(&r->info->reliable[slot / 64], ~(1ULL << slot % 64), ACQ_REL);
}

/* The counters of one that leaves are kept with the queue. */
static void retire(struct mqshm_ring *r, uint64_t got, uint64_t overwritten)
{
	atomic_add(&r->info->retired_popped, got > overwritten ? got - overwritten : 0, RELAXED);
	atomic_add(&r->info->retired_overwritten, overwritten, RELAXED);
}

bool posix_end_role(struct posix_mapping *p, uint32_t i, uint32_t state, uint32_t how, uint32_t why)
{
	struct mqshm_ring *r = &p->base.ring;
	struct mqshm_participant *participant = &r->participants[i];
	bool consumer = i >= r->max_producers, ended;
	uint32_t slot = i - r->max_producers, was;
	uint64_t got = 0, overwritten = 0;

	/* One who leaves by itself reads no more, and a slot that is FREE may have a new owner at once: so first all that
	 * is ours. */
	if (consumer) {
		struct mqshm_consumer_area *area = ring_area(r, slot);

		overwritten = READ_ONCE(area->overwritten);
		got = READ_ONCE(area->sequence) - READ_ONCE(area->joined);
		if (state == MQSHM_SLOT_FREE)
			clear_reliable(r, slot);
	}
	if (why && has_owner(READ_ONCE(participant->state))) { /* who died in here before has told already */
		WRITE_ONCE(participant->why, why);
		WRITE_ONCE(participant->ended_by, (uint32_t)getpid());
	}
	if (state == MQSHM_SLOT_LEASED)
		WRITE_ONCE(participant->lease_until_ns,
			   mqshm_now_ns() + lease_ms(participant) * 1000000ull);
	ended = set_state(participant, &was, state);
	if (!consumer) {
		mqshm_settle_producers(r, how); /* MO-13: after our state */
	} else if (state != MQSHM_SLOT_LEASED) {
		if (state != MQSHM_SLOT_FREE)
			clear_reliable(r, slot);
		if (ended && !slot_is_joining(was)) /* else the area may still be its predecessor's */
			retire(r, got, overwritten);
		if (ended && (why == MQSHM_WHY_SLOW || why == MQSHM_WHY_BY_HAND || why == MQSHM_WHY_HOSTILE))
			atomic_add(&r->info->evicted, 1, RELAXED);
	}
	posix_wake_all(p);
	return ended;
}

/* Is there something to do, also after one who died while doing it? */
bool posix_has_role(struct mqshm_ring *r, uint32_t i)
{
	return has_owner(smp_load_acquire(&r->participants[i].state)) || holds_back(r, i);
}

/* A named consumer that died leaves its cursor to a successor, all others nothing. */
static uint32_t after_death(const struct mqshm_ring *r, uint32_t i)
{
	return i >= r->max_producers && slot_is_live(smp_load_acquire(&r->participants[i].state)) &&
			       lease_ms(&r->participants[i])
		       ? MQSHM_SLOT_LEASED
		       : MQSHM_SLOT_ENDED;
}

static bool try_repair(struct posix_mapping *p, uint32_t i)
{
	pthread_mutex_lock(&p->repairs);
	if (posix_try_lock(p->lock_fd, MQSHM_LOCK_REPAIR(i)) > 0)
		return true;
	pthread_mutex_unlock(&p->repairs);
	return false;
}

static void end_repair(struct posix_mapping *p, uint32_t i)
{
	posix_unlock(p->lock_fd, MQSHM_LOCK_REPAIR(i));
	pthread_mutex_unlock(&p->repairs);
}

/* Before a role changes: whose it is, for the log. */
static void prepare(const struct posix_mapping *p, uint32_t i, char *role)
{
	*role = 0;
	if (mqshm_log_wants(MQSHM_LOG_WARNING))
		mqshm_role_text(&p->base.ring, i, role);
}

/* ... and when its repair byte is free again. */
static void tell(const struct posix_mapping *p, const char *role, const char *what, uint32_t why)
{
	static const char *const words[] = {
		[MQSHM_WHY_DIED] = "died",
		[MQSHM_WHY_SLOW] = "too slow",
		[MQSHM_WHY_BY_HAND] = "by hand",
		[MQSHM_WHY_HOSTILE] = "its cursor is out of bounds",
		[MQSHM_WHY_REMOVED] = "the queue was removed",
		[MQSHM_WHY_LEASE] = "its lease ran out",
	};

	mqshm_log(MQSHM_LOG_WARNING, p->base.name, "%s %s: %s", what, role, words[why]);
}

bool posix_reap(struct posix_mapping *p, uint32_t i)
{
	struct mqshm_participant *participant = &p->base.ring.participants[i];
	char role[MQSHM_ROLE_TEXT] = "";
	bool ended = false, leased;
	uint32_t state = 0;

	if (!try_repair(p, i))
		return false; /* somebody is at it */
	prepare(p, i, role);
	leased = MQSHM_SLOT_STATE(READ_ONCE(participant->state)) == MQSHM_SLOT_LEASED;
	/* Without an owner it is what somebody who died has left undone, perhaps of one who was evicted and lives. */
	if (posix_has_role(&p->base.ring, i) &&
	    (!has_owner(smp_load_acquire(&participant->state)) ||
	     !posix_alive(p->lock_fd, participant, i, p->pid_namespace))) {
		state = after_death(&p->base.ring, i);
		ended = posix_end_role(p, i, state, MQSHM_EPOCH_CRASHED, leased ? MQSHM_WHY_LEASE : MQSHM_WHY_DIED);
	}
	end_repair(p, i);
	if (ended)
		tell(p, role, state == MQSHM_SLOT_LEASED ? "began the lease of" : "ended",
		     leased ? MQSHM_WHY_LEASE : MQSHM_WHY_DIED);
	return ended;
}

bool posix_lock_repair(struct posix_mapping *p, uint32_t i, uint64_t deadline)
{
	while (posix_try_lock(p->lock_fd, MQSHM_LOCK_REPAIR(i)) <= 0) {
		if (mqshm_now_ns() >= deadline)
			return false;
		nanosleep(&(struct timespec){ 0, LIFECYCLE_NAP_NS }, NULL);
	}
	return true;
}

/* Is it still the one that is meant? */
static bool is_meant(const struct mqshm_ring *r, uint32_t i, uint32_t word)
{
	return !word || smp_load_acquire(&r->participants[i].state) == word;
}

bool posix_evict(struct posix_mapping *p, uint32_t i, uint32_t word, uint32_t why)
{
	char role[MQSHM_ROLE_TEXT];
	bool ended = false;

	if (!try_repair(p, i))
		return false;
	prepare(p, i, role);
	if (is_meant(&p->base.ring, i, word) && posix_has_role(&p->base.ring, i))
		ended = posix_end_role(p, i, MQSHM_SLOT_ENDED, MQSHM_EPOCH_CRASHED, why);
	end_repair(p, i);
	if (ended)
		tell(p, role, why == MQSHM_WHY_REMOVED ? "ended" : "evicted", why);
	return ended;
}

bool posix_demote(struct posix_mapping *p, uint32_t i, uint32_t meant, uint32_t why)
{
	struct mqshm_ring *r = &p->base.ring;
	struct mqshm_participant *participant = &r->participants[i];
	char role[MQSHM_ROLE_TEXT];
	bool demoted = false, by_us = false;
	uint32_t word;

	if (!try_repair(p, i))
		return false;
	prepare(p, i, role);
	word = smp_load_acquire(&participant->state);
	if (meant && word != meant)
		word = MQSHM_SLOT_FREE; /* it has left, and another may have come */
	if (MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LIVE) {
		WRITE_ONCE(participant->why, why);
		WRITE_ONCE(participant->ended_by, (uint32_t)getpid());
		demoted = try_cmpxchg(&participant->state, &word, (word & ~0xffu) | MQSHM_SLOT_DEMOTED, ACQ_REL); /* MO-7 */
		word = smp_load_acquire(&participant->state);
	}
	if (MQSHM_SLOT_STATE(word) == MQSHM_SLOT_DEMOTED) { /* by us, or by one who died before it came to this */
		clear_reliable(r, i - r->max_producers);
		by_us = demoted;
		if (by_us)
			atomic_add(&r->info->demoted, 1, RELAXED);
		posix_wake_all(p);
		demoted = true;
	}
	end_repair(p, i);
	if (by_us)
		tell(p, role, "demoted", why);
	return demoted;
}

bool posix_anybody(struct posix_mapping *p)
{
	struct mqshm_ring *r = &p->base.ring;
	bool anybody = false;

	for (uint32_t i = 0; i < r->max_producers + r->max_consumers; i++) {
		if (!posix_has_role(r, i))
			continue;
		if (posix_alive(p->lock_fd, &r->participants[i], i, p->pid_namespace))
			anybody = true;
		else
			posix_reap(p, i);
	}
	return anybody;
}
