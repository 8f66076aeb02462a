/* SPDX-License-Identifier: MIT */
/* The invariants of a queue, read through a mapping of the observer's own, without being a user of it. */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "layout.h"
#include "world.h"

struct outside {
	int fd;
	void *object;
	size_t bytes;
	struct mqshm_ring ring;
	char wrong[300];
};

#define WRONG(...) (snprintf(o->wrong, sizeof o->wrong, __VA_ARGS__), o->wrong)

struct outside *outside_open(const struct world *w)
{
	struct outside *o = calloc(1, sizeof *o);
	struct mqshm_info info;
	char path[100];
	struct stat st;

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", w->name);
	o->fd = open(path, O_RDWR | O_CLOEXEC);
	if (o->fd < 0 || fstat(o->fd, &st) || pread(o->fd, &info, sizeof info, 0) != sizeof info ||
	    mqshm_check_info(&info, w->name, (uint64_t)st.st_size)) {
		free(o);
		return NULL;
	}
	o->bytes = (size_t)st.st_size;
	o->object = mmap(NULL, o->bytes, PROT_READ, MAP_SHARED, o->fd, 0);
	if (o->object == MAP_FAILED)
		abort();
	mqshm_ring_init(&o->ring, &info, o->object);
	return o;
}

void outside_close(struct outside *o)
{
	if (!o)
		return;
	munmap(o->object, o->bytes);
	close(o->fd);
	free(o);
}

static bool locked(struct outside *o, int64_t byte)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return !fcntl(o->fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}

bool outside_lifecycle_unnamed(struct outside *o)
{
	pid_t pid = (pid_t)READ_ONCE(o->ring.info->lifecycle_pid);

	return locked(o, MQSHM_LOCK_LIFECYCLE) && (pid == 0 || (kill(pid, 0) && errno == ESRCH));
}

bool outside_repairs(struct outside *o)
{
	for (uint32_t i = 0; i < o->ring.max_producers + o->ring.max_consumers; i++)
		if (locked(o, MQSHM_LOCK_REPAIR(i)))
			return true;
	return false;
}

bool outside_holds_lock(struct outside *o, pid_t pid)
{
	uint32_t word = READ_ONCE(o->ring.producer->lock) & ~MQSHM_LOCK_WAITERS, slot = (word & 0xff) - 1, state;

	if (slot >= o->ring.max_producers || READ_ONCE(o->ring.participants[slot].pid) != (uint32_t)pid)
		return false;
	state = READ_ONCE(o->ring.participants[slot].state);
	return ((MQSHM_SLOT_GENERATION(state) << 8) & ~MQSHM_LOCK_WAITERS) == (word & ~0xffu); /* else its former owner's */
}

static bool bit(struct outside *o, uint32_t slot)
{
	return READ_ONCE(o->ring.info->reliable[slot / 64]) >> slot % 64 & 1;
}

bool outside_holds_back(struct outside *o, pid_t pid)
{
	for (uint32_t slot = 0; slot < o->ring.max_consumers; slot++)
		if (bit(o, slot) && READ_ONCE(ring_consumer(&o->ring, slot)->pid) == (uint32_t)pid)
			return true;
	return false;
}

uint64_t outside_pushed(struct outside *o)
{
	uint64_t tail, sequence = 0;

	return ring_read_tail(&o->ring, &tail, &sequence) ? UINT64_MAX : sequence;
}

/* head <= cursors <= tail <= head + ring_bytes, and from head to tail whole messages, numbered without a gap. */
const char *outside_positions(struct outside *o)
{
	const struct mqshm_ring *r = &o->ring;
	uint64_t head = smp_load_acquire(&r->producer->head), tail, sequence, first = 0, count = 0, at, offset;
	struct mqshm_found f;

	if (ring_read_tail(r, &tail, &sequence))
		return WRONG("no record belongs to tail");
	if (head > tail || tail - head > r->ring_bytes)
		return WRONG("head %llu, tail %llu", (unsigned long long)head, (unsigned long long)tail);
	for (uint32_t slot = 0; slot < r->max_consumers; slot++) {
		uint64_t cursor = READ_ONCE(ring_area(r, slot)->position);

		if (bit(o, slot) && MQSHM_SLOT_STATE(ring_consumer(r, slot)->state) == MQSHM_SLOT_LIVE &&
		    (cursor < head || cursor > tail))
			return WRONG("the cursor of consumer %u is %llu, head %llu, tail %llu", slot,
				     (unsigned long long)cursor, (unsigned long long)head, (unsigned long long)tail);
	}
	for (at = head, offset = ring_offset(r, head); at < tail; at = f.next, offset = f.next_offset, count++) {
		uint64_t key;

		if (ring_find(r, at, offset, tail, &f))
			return WRONG("no message at %llu, head %llu, tail %llu", (unsigned long long)at,
				     (unsigned long long)head, (unsigned long long)tail);
		if (count == 0)
			first = f.sequence;
		if (f.sequence != first + count)
			return WRONG("message %llu follows %llu", (unsigned long long)f.sequence,
				     (unsigned long long)(first + count - 1));
		memcpy(&key, f.payload, sizeof key);
		if (f.size < sizeof key || f.size != sizeof key + payload_size(key, BLOCK - sizeof key) ||
		    !payload_good(f.payload + sizeof key, f.size - sizeof key, key))
			return WRONG("message %llu is not whole", (unsigned long long)f.sequence);
	}
	if (count && first + count != sequence)
		return WRONG("the record says %llu, the last message is %llu", (unsigned long long)sequence,
			     (unsigned long long)(first + count - 1));
	if (count > r->node_count)
		return WRONG("%llu messages are kept, more than node_count", (unsigned long long)count);
	return NULL;
}

static bool among(const pid_t *list, uint32_t pid)
{
	for (; *list; list++)
		if ((uint32_t)*list == pid)
			return true;
	return false;
}

static uint32_t length(const pid_t *list)
{
	uint32_t n = 0;

	while (list[n])
		n++;
	return n;
}

/* Nobody works just now: the slots, the bits, the lock and the state of the stream belong to those who live. */
const char *outside_roles(struct outside *o, const struct world *w, const pid_t *producers, const pid_t *consumers)
{
	const struct mqshm_ring *r = &o->ring;
	uint32_t lock = READ_ONCE(r->producer->lock), live[2] = { 0, 0 };
	uint64_t state = MQSHM_EPOCH_STATE(READ_ONCE(r->info->producer_epoch));
	struct mqshm_stat *stat;

	for (uint32_t i = 0; i < r->max_producers + r->max_consumers; i++) {
		uint32_t word = READ_ONCE(r->participants[i].state), pid = READ_ONCE(r->participants[i].pid);
		bool consumer = i >= r->max_producers;

		if (slot_is_joining(word))
			return WRONG("slot %u is still joining, of pid %u", i, pid);
		if (MQSHM_SLOT_STATE(word) != MQSHM_SLOT_LIVE && consumer && bit(o, i - r->max_producers))
			return WRONG("consumer slot %u holds the producer back and is not live", i - r->max_producers);
		if (MQSHM_SLOT_STATE(word) == MQSHM_SLOT_DEMOTED && among(consumers, pid))
			live[1]++; /* on a busy machine survivors are slow, too; it is still attached */
		if (MQSHM_SLOT_STATE(word) != MQSHM_SLOT_LIVE)
			continue;
		if (!among(consumer ? consumers : producers, pid))
			return WRONG("slot %u belongs to pid %u, which is no live %s", i, pid,
				     consumer ? "consumer" : "producer");
		live[consumer]++;
	}
	if (live[0] != length(producers) || live[1] != length(consumers))
		return WRONG("%u producers and %u consumers are attached, not %u and %u", live[0], live[1],
			     length(producers), length(consumers));
	if (lock)
		return WRONG("nobody pushes, and the lock is %#x", lock);
	if ((state == MQSHM_EPOCH_ACTIVE) != (live[0] > 0))
		return WRONG("the stream's state is %u with %u producers", (unsigned)state, live[0]);
	if (locked(o, MQSHM_LOCK_LIFECYCLE) || outside_repairs(o))
		return WRONG("a lock byte is still held");
	if (mqshm_queue_stat(w->name, &stat))
		return WRONG("queue_stat: %s", mqshm_last_error());
	for (uint32_t i = 0; i < stat->producer_count; i++)
		live[0] -= stat->producers[i].alive && among(producers, (uint32_t)stat->producers[i].pid);
	for (uint32_t i = 0; i < stat->consumer_count; i++)
		live[1] -= stat->consumers[i].alive && among(consumers, (uint32_t)stat->consumers[i].pid);
	mqshm_stat_free(stat);
	return live[0] || live[1] ? WRONG("queue_stat does not show all who live") : NULL;
}
