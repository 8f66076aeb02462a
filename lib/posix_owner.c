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

int posix_lifecycle_lock(struct posix_mapping *p, uint64_t deadline)
{
	struct mqshm_info *info = p->base.ring.info;
	uint64_t give_up = deadline == MQSHM_FOREVER ? mqshm_now_ns() + 10000000000u : deadline;

	for (;;) {
		int rc = posix_try_lock(p->lock_fd, MQSHM_LOCK_LIFECYCLE);

		if (rc > 0)
			break;
		if (rc < 0)
			return mqshm_error(rc, "queue '%s' can't be locked: %s", p->base.name, strerror(-rc));
		if (mqshm_now_ns() >= give_up)
			return mqshm_error(-ETIMEDOUT, "queue '%s' is being attached to or left by pid %u, which doesn't "
					   "get on (stopped?)", p->base.name, READ_ONCE(info->lifecycle_pid));
		nanosleep(&(struct timespec){ 0, LIFECYCLE_NAP_NS }, NULL);
	}
	WRITE_ONCE(info->lifecycle_pid, (uint32_t)getpid());
	return 0;
}

void posix_lifecycle_unlock(struct posix_mapping *p)
{
	posix_unlock(p->lock_fd, MQSHM_LOCK_LIFECYCLE);
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

bool posix_alive(int fd, const struct mqshm_participant *participant, uint32_t i, uint64_t pid_namespace)
{
	return posix_is_locked(fd, i, smp_load_acquire(&participant->state)) &&
	       posix_process_runs(participant, pid_namespace) != 0;
}

void posix_wake_all(struct posix_mapping *p)
{
	struct mqshm_info *info = p->base.ring.info;

	__atomic_fetch_add(&info->epoch, 1, __ATOMIC_ACQ_REL);
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

bool posix_end_role(struct posix_mapping *p, uint32_t i, uint32_t state, uint32_t how)
{
	struct mqshm_ring *r = &p->base.ring;
	struct mqshm_participant *participant = &r->participants[i];
	uint32_t word = smp_load_acquire(&participant->state), slot = i - r->max_producers;
	bool ended = MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LIVE || MQSHM_SLOT_STATE(word) == MQSHM_SLOT_JOINING, live;
	uint64_t got = 0, overwritten = 0;

	/*
	 * The state first: a reader that reads on must find it changed before what it reads is overwritten. But one who
	 * leaves by itself reads no more, and a slot that is FREE may have a new owner at once: so first all that is ours.
	 */
	if (i >= r->max_producers) {
		struct mqshm_consumer_area *area = ring_area(r, slot);

		overwritten = READ_ONCE(area->overwritten);
		got = READ_ONCE(area->sequence) - READ_ONCE(area->joined);
		if (state == MQSHM_SLOT_FREE)
			__atomic_fetch_and(&r->info->reliable[slot / 64], ~(1ULL << slot % 64), __ATOMIC_ACQ_REL);
	}
	live = MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LIVE; /* the area of one who joins may still be its predecessor's */
	ended = ended && __atomic_compare_exchange_n(&participant->state, &word, (word & ~0xffu) | state, false,
						     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED); /* MO-7 */
	if (i < r->max_producers) {
		mqshm_settle_producers(r, how); /* MO-13: after our state */
	} else {
		if (state != MQSHM_SLOT_FREE)
			__atomic_fetch_and(&r->info->reliable[slot / 64], ~(1ULL << slot % 64), __ATOMIC_ACQ_REL);
		if (ended && live) {
			__atomic_fetch_add(&r->info->retired_popped, got > overwritten ? got - overwritten : 0,
					   __ATOMIC_RELAXED);
			__atomic_fetch_add(&r->info->retired_overwritten, overwritten, __ATOMIC_RELAXED);
		}
	}
	posix_wake_all(p);
	return ended;
}

/* Is there something to do, also after one who died while doing it? */
bool posix_has_role(struct mqshm_ring *r, uint32_t i)
{
	uint32_t state = MQSHM_SLOT_STATE(smp_load_acquire(&r->participants[i].state));

	return state == MQSHM_SLOT_LIVE || state == MQSHM_SLOT_JOINING || holds_back(r, i);
}

bool posix_reap(struct posix_mapping *p, uint32_t i)
{
	bool ended = false;

	if (posix_try_lock(p->lock_fd, MQSHM_LOCK_REPAIR(i)) <= 0)
		return false; /* somebody is at it */
	if (posix_has_role(&p->base.ring, i) &&
	    !posix_alive(p->lock_fd, &p->base.ring.participants[i], i, p->pid_namespace))
		ended = posix_end_role(p, i, MQSHM_SLOT_ENDED, MQSHM_EPOCH_CRASHED);
	posix_unlock(p->lock_fd, MQSHM_LOCK_REPAIR(i));
	return ended;
}

void posix_evict(struct posix_mapping *p, uint32_t i)
{
	if (posix_try_lock(p->lock_fd, MQSHM_LOCK_REPAIR(i)) <= 0)
		return;
	if (posix_has_role(&p->base.ring, i))
		posix_end_role(p, i, MQSHM_SLOT_ENDED, MQSHM_EPOCH_CRASHED);
	posix_unlock(p->lock_fd, MQSHM_LOCK_REPAIR(i));
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
