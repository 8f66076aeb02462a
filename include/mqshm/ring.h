/* SPDX-License-Identifier: MIT */
/*
 * The ring: how messages get in and out of a mapped queue. Used by lib/ on every backend and by tests over a plain
 * array. Nothing here sleeps, allocates or makes a system call.
 *
 * Positions are byte counts that only grow. head <= every reliable cursor <= tail <= head + ring_bytes. Each side
 * keeps (position, offset) and wraps by compare. A writer publishes with one release store of tail, a reader moves on
 * with one release store of its cursor; both then need one full fence to see whether somebody sleeps.
 *
 * MO-n names an ordered pair of docs/memory-model.md; each stands at both its places.
 */
#ifndef MQSHM_RING_H
#define MQSHM_RING_H

#include <errno.h>
#include <stdbool.h>

#include "mqshm/abi.h"
#include "mqshm/atomic.h"

/* A mapped queue: addresses and geometry, checked when it was opened, never read from shared memory again. */
struct mqshm_ring {
	struct mqshm_info *info;
	struct mqshm_producer_page *producer;
	unsigned char *consumers;
	unsigned char *nodes;
	struct mqshm_participant *participants; /* producers' slots, then consumers' */
	uint64_t ring_bytes;
	uint64_t base; /* base_position */
	uint32_t node_count, block_size;
	uint32_t header, align; /* of nodes, bytes */
	uint64_t round, mask;	/* a node of size bytes has (size + round) & mask */
	uint32_t consumer_stride;
	uint32_t max_producers, max_consumers;
	uint32_t flags;
	uint32_t slow_policy, slow_ms;

	/* Where somebody else joins for us: wait until nobody joins any more who did when this was called. NULL: they do it
	 * themselves. */
	void (*sync)(void *arg);
	void *sync_arg;
};

/* Does a state word say that somebody reads or writes there? */
static inline bool slot_is_live(uint32_t word)
{
	return MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LIVE || MQSHM_SLOT_STATE(word) == MQSHM_SLOT_DEMOTED;
}

static inline bool slot_is_joining(uint32_t word)
{
	return MQSHM_SLOT_STATE(word) == MQSHM_SLOT_JOINING || MQSHM_SLOT_STATE(word) == MQSHM_SLOT_PASSED;
}

/*
 * A consumer's area. With page-sized strides the areas' hot lines would all fall into one cache set, so they are
 * spread over the page.
 */
static inline struct mqshm_consumer_area *ring_area(const struct mqshm_ring *r, uint32_t slot)
{
	size_t spread = r->consumer_stride >= 4096 ? (slot % 64) * 64 : 0;

	return (struct mqshm_consumer_area *)(r->consumers + (size_t)slot * r->consumer_stride + spread);
}

static inline struct mqshm_participant *ring_consumer(const struct mqshm_ring *r, uint32_t slot)
{
	return &r->participants[r->max_producers + slot];
}

static inline uint64_t ring_node_bytes(const struct mqshm_ring *r, uint64_t size)
{
	return (size + r->round) & r->mask;
}

static inline uint64_t ring_offset(const struct mqshm_ring *r, uint64_t position)
{
	return (position - r->base) % r->ring_bytes; /* slow paths only: a division */
}

/* ---- finding a node ---- */

struct mqshm_found {
	unsigned char *payload;
	uint64_t next, next_offset; /* where the following node is looked for */
	uint64_t sequence, timestamp_ns;
	uint32_t size;
};

/*
 * Read the node at (position, offset), position < tail, stepping over padding. All that comes from the ring is
 * bounded: the node lies within it and ends at or before tail. Else -EBADMSG.
 */
static inline int ring_find(const struct mqshm_ring *r, uint64_t position, uint64_t offset, uint64_t tail,
			    struct mqshm_found *f)
{
	uint64_t rest = r->ring_bytes - offset, word = (uint64_t)MQSHM_NODE_PADDING << 32, bytes, size;
	struct mqshm_node *node = (struct mqshm_node *)(r->nodes + offset);

	if (likely(rest >= r->header))
		word = racy_load(&node->word);
	if (unlikely(word >> 32 == MQSHM_NODE_PADDING)) {
		if (unlikely(tail - position <= rest || offset == 0))
			return -EBADMSG; /* a message follows a padding, and a padding a message */
		position += rest;
		offset = 0;
		node = (struct mqshm_node *)r->nodes;
		word = racy_load(&node->word);
	}
	size = word & 0xffffffff;
	bytes = ring_node_bytes(r, size);
	if (unlikely(word >> 32 != MQSHM_NODE_MESSAGE || size > r->block_size || bytes > tail - position ||
		     bytes > r->ring_bytes - offset))
		return -EBADMSG;
	f->payload = (unsigned char *)node + r->header;
	f->size = (uint32_t)size;
	f->sequence = racy_load(&node->sequence);
	f->timestamp_ns = racy_load(&node->timestamp_ns);
	f->next = position + bytes;
	f->next_offset = offset + bytes == r->ring_bytes ? 0 : offset + bytes;
	return 0;
}

/* tail and the sequence of what comes next, read together. -EBADMSG: no record belongs to tail. */
static inline int ring_read_tail(const struct mqshm_ring *r, uint64_t *tail, uint64_t *sequence)
{
	struct mqshm_producer_page *p = r->producer;

	for (int tries = 0; tries < 1000; tries++) {
		uint64_t t = smp_load_acquire(&p->tail); /* MO-1 */

		for (int i = 0; i < 2; i++) {
			if (READ_ONCE(p->record[i].end) != t)
				continue;
			*sequence = READ_ONCE(p->record[i].next);
			*tail = t;
			smp_rmb(); /* MO-8: a record is rewritten only after the next tail is out */
			if (READ_ONCE(p->tail) == t)
				return t > MQSHM_POSITION_MAX || t < r->base || t % r->align ||
				       *sequence > t - r->base ? -EBADMSG : 0; /* no message takes less than a byte */
		}
	}
	return -EBADMSG;
}

/* ---- writing ---- */

#define MQSHM_AHEAD 512 /* bytes: a line takes as long to come from a consumer's cache as some pushes take */

/*
 * This line will be written soon: fetch it for that. Else each push waits in its fence until the line has come back
 * from the cache of the consumer that read it a lap ago. Not an access: it never faults, past the ring's end neither.
 */
static inline void ring_prefetch_for_write(const void *at)
{
#if defined(__x86_64__)
	__asm__ __volatile__("prefetchw %0" ::"m"(*(const char *)at)); /* the builtin gives prefetcht0 without -mprfchw */
#else
	__builtin_prefetch(at, 1);
#endif
}

/* A producer's private state. What is staged is in the ring, but not yet published. */
struct mqshm_writer {
	const struct mqshm_ring *ring;
	uint64_t position, offset, sequence; /* where the next node is staged */
	uint64_t limit, sequence_limit;	     /* room is known to reach here */
	uint64_t mark_position, mark_sequence; /* a mark is due here */
	uint64_t tail, tail_offset, tail_sequence; /* published */
	uint64_t head, head_sequence;
	uint32_t record; /* to be written next */
	uint32_t epoch;	 /* of info, for which seen[] holds */
	int32_t slowest; /* consumer that make_room found in the way, -1: none, MQSHM_HELD: the hold */
	int32_t hostile; /* consumer whose cursor was past tail, or -1 */
	uint64_t seen[MQSHM_CONSUMER_SLOTS_MAX]; /* private copies of cursors, each no later than the cursor is */
};

#define MQSHM_HELD (-2)

static inline void writer_set_limits(struct mqshm_writer *w)
{
	const struct mqshm_ring *r = w->ring;

	w->limit = w->head + r->ring_bytes;
	if (w->limit > MQSHM_POSITION_MAX)
		w->limit = MQSHM_POSITION_MAX;
	w->sequence_limit = w->head_sequence + r->node_count;
}

/*
 * The lowest reliable cursor at or above our head, or tail if there is none; who it is goes to w->slowest. Cursors
 * whose private copy has reached `below` are not read again. A cursor below head holds nobody back: its owner is
 * joining and will try again. A cursor past tail is no cursor.
 */
static inline uint64_t writer_floor(struct mqshm_writer *w, uint64_t below)
{
	const struct mqshm_ring *r = w->ring;
	uint64_t bits[MQSHM_CONSUMER_SLOTS_MAX / 64], floor = w->tail;
	uint32_t words = (r->max_consumers + 63) / 64, epoch;

	w->slowest = -1;
	if (smp_load_acquire(&r->info->hold)) { /* MO-9: once it is off, who adopted it shows in reliable */
		w->slowest = MQSHM_HELD;
		return w->head;
	}
	for (uint32_t i = 0; i < words; i++)
		bits[i] = smp_load_acquire(&r->info->reliable[i]);
	/* MO-10: bumped before a slot's new owner sets its bit. Acquire: a former owner's cursor, read before the new
	 * epoch, would be kept as the new owner's. */
	epoch = smp_load_acquire(&r->info->epoch);
	if (epoch != w->epoch) {
		memset(w->seen, 0, sizeof w->seen);
		w->epoch = epoch;
	}
	for (uint32_t i = 0; i < words; i++) {
		for (uint64_t left = bits[i]; left; left &= left - 1) {
			uint32_t slot = i * 64 + (uint32_t)__builtin_ctzll(left);
			uint64_t cursor = w->seen[slot];

			if (slot >= r->max_consumers)
				break;
			if (cursor < below) {
				cursor = smp_load_acquire(&ring_area(r, slot)->position); /* MO-4 */
				if (cursor > w->tail) {
					w->hostile = (int32_t)slot;
					continue;
				}
				w->seen[slot] = cursor;
			}
			if (cursor >= w->head && cursor < floor) {
				floor = cursor;
				w->slowest = (int32_t)slot;
			}
		}
	}
	return floor;
}

static inline bool writer_enough(struct mqshm_mark at, struct mqshm_mark need)
{
	return at.position >= need.position && at.sequence >= need.sequence;
}

/*
 * Where head should go, at most to floor: to the furthest mark within 1/8 of the ring, or the nearest that is
 * enough. Falls back to the best there is; the caller looks whether it is enough.
 */
static inline struct mqshm_mark writer_pick(const struct mqshm_writer *w, uint64_t floor, struct mqshm_mark need)
{
	const struct mqshm_ring *r = w->ring;
	struct mqshm_producer_page *p = r->producer;
	struct mqshm_mark best = { w->head, w->head_sequence };
	uint64_t count = READ_ONCE(p->mark_count);

	for (uint64_t i = count > MQSHM_MARKS ? count - MQSHM_MARKS : 0; i < count; i++) {
		struct mqshm_mark m = { READ_ONCE(p->mark[i % MQSHM_MARKS].position),
					READ_ONCE(p->mark[i % MQSHM_MARKS].sequence) };

		if (m.position <= best.position || m.sequence <= best.sequence || m.sequence > w->tail_sequence)
			continue;
		if (m.position > floor)
			break;
		if (writer_enough(best, need) &&
		    (m.position - w->head > r->ring_bytes / 8 || m.sequence - w->head_sequence > r->node_count / 8))
			break;
		best = m;
	}
	return best;
}

/*
 * Walk on from a node boundary, as far as floor allows: until need is met, and then on while that is within 1/8 of
 * the ring. What we read here producers wrote.
 */
static inline int writer_walk(const struct mqshm_writer *w, struct mqshm_mark *at, uint64_t floor,
			      struct mqshm_mark need)
{
	const struct mqshm_ring *r = w->ring;
	uint64_t offset = ring_offset(r, at->position);

	if (at->position & ~r->mask) /* a mark, or head, that is no node's */
		return -EBADMSG;
	while (at->position < floor) {
		struct mqshm_found f;
		int rc = ring_find(r, at->position, offset, w->tail, &f);

		if (rc)
			return rc;
		if (f.next > floor)
			break;
		if (writer_enough(*at, need) &&
		    (f.next - w->head > r->ring_bytes / 8 ||
		     at->sequence + 1 - w->head_sequence > r->node_count / 8))
			break;
		at->position = f.next;
		at->sequence++;
		offset = f.next_offset;
	}
	return 0;
}

/* Where head must be at least for one more message, that ends at `end`. */
static inline struct mqshm_mark writer_need(const struct mqshm_writer *w, uint64_t end)
{
	const struct mqshm_ring *r = w->ring;

	return (struct mqshm_mark){ end > r->ring_bytes ? end - r->ring_bytes : 0,
				    w->sequence >= r->node_count ? w->sequence + 1 - r->node_count : 0 };
}

/* How many bytes the largest message would take now, with what is left before the end of the ring if it does not fit there. */
static inline uint64_t writer_largest(const struct mqshm_writer *w)
{
	uint64_t bytes = ring_node_bytes(w->ring, w->ring->block_size), rest = w->ring->ring_bytes - w->offset;

	return bytes > rest ? rest + bytes : bytes;
}

/*
 * Raise head so that a node that ends at `end` fits. The only permission to write is a stored head: it is stored,
 * and after a full fence the cursors are looked at again. A consumer that joined meanwhile has either seen the new
 * head (and tries again) or is seen by us (and head is taken back).
 * 0; -EAGAIN: w->slowest is in the way; -EOVERFLOW; -EBADMSG; -EIDRM: nobody finds this queue any more.
 */
static inline int writer_make_room(struct mqshm_writer *w, uint64_t end)
{
	const struct mqshm_ring *r = w->ring;
	struct mqshm_mark need = writer_need(w, end);

	if (end > MQSHM_POSITION_MAX)
		return -EOVERFLOW;
	if (unlikely(READ_ONCE(r->info->dead))) /* without consumers left we would never wait, and so never be told */
		return -EIDRM;
	for (;;) {
		struct mqshm_mark to = writer_pick(w, w->tail, need);
		uint64_t floor = writer_floor(w, writer_enough(to, need) ? to.position : w->tail);

		if (floor < to.position)
			to = writer_pick(w, floor, need);
		if (!writer_enough(to, need)) {
			int rc = writer_walk(w, &to, floor, need);

			if (rc)
				return rc;
			if (!writer_enough(to, need))
				return -EAGAIN;
		}
		WRITE_ONCE(r->producer->head_sequence, to.sequence);
		smp_store_release(&r->producer->head, to.position);
		smp_mb(); /* MO-3: head is stored before cursors are read; and MO-6: before nodes are written */
		if (likely(writer_floor(w, to.position) >= to.position)) {
			w->head = to.position;
			w->head_sequence = to.sequence;
			writer_set_limits(w);
			return 0;
		}
		WRITE_ONCE(r->producer->head_sequence, w->head_sequence);
		smp_store_release(&r->producer->head, w->head);
	}
}

/*
 * Stage a node for up to size bytes; its payload begins at *payload. Nothing is visible until it is published.
 * 0 or what writer_make_room() says; then nothing changed.
 */
static inline int writer_stage(struct mqshm_writer *w, uint32_t size, unsigned char **payload)
{
	const struct mqshm_ring *r = w->ring;
	uint64_t bytes = ring_node_bytes(r, size), rest = r->ring_bytes - w->offset, skip = 0;

	if (unlikely(bytes > rest))
		skip = rest;
	if (unlikely(w->position + skip + bytes > w->limit || w->sequence >= w->sequence_limit)) {
		int rc = writer_make_room(w, w->position + skip + bytes);

		if (unlikely(rc))
			return rc;
	}
	if (unlikely(skip)) {
		if (rest >= r->header)
			WRITE_ONCE(((struct mqshm_node *)(r->nodes + w->offset))->word,
				   (uint64_t)MQSHM_NODE_PADDING << 32);
		w->position += rest;
		w->offset = 0;
	}
	ring_prefetch_for_write(r->nodes + w->offset + MQSHM_AHEAD);
	ring_prefetch_for_write(r->nodes + w->offset + MQSHM_AHEAD + 64);
	*payload = r->nodes + w->offset + r->header;
	return 0;
}

/* Finish the staged node: its final size, no larger than staged. */
static inline void writer_finish(struct mqshm_writer *w, uint32_t size, uint64_t timestamp_ns)
{
	const struct mqshm_ring *r = w->ring;
	struct mqshm_node *node = (struct mqshm_node *)(r->nodes + w->offset);
	uint64_t bytes = ring_node_bytes(r, size);

	WRITE_ONCE(node->word, (uint64_t)MQSHM_NODE_MESSAGE << 32 | size);
	WRITE_ONCE(node->sequence, w->sequence);
	WRITE_ONCE(node->timestamp_ns, timestamp_ns);
	w->position += bytes;
	w->offset += bytes;
	if (unlikely(w->offset == r->ring_bytes))
		w->offset = 0;
	w->sequence++;
}

/* Forget what is staged. */
static inline void writer_abort(struct mqshm_writer *w)
{
	w->position = w->tail;
	w->offset = w->tail_offset;
	w->sequence = w->tail_sequence;
}

static inline void writer_set_mark(struct mqshm_writer *w)
{
	const struct mqshm_ring *r = w->ring;
	struct mqshm_producer_page *p = r->producer;
	uint64_t count = READ_ONCE(p->mark_count), nodes = r->node_count / 16;

	WRITE_ONCE(p->mark[count % MQSHM_MARKS].position, w->position);
	WRITE_ONCE(p->mark[count % MQSHM_MARKS].sequence, w->sequence);
	WRITE_ONCE(p->mark_count, count + 1);
	w->mark_position = w->position + r->ring_bytes / 16;
	w->mark_sequence = w->sequence + (nodes ? nodes : 1);
}

/* Publish all that is staged. True: somebody sleeps for data and is to be woken. */
static inline bool writer_publish(struct mqshm_writer *w)
{
	struct mqshm_producer_page *p = w->ring->producer;
	struct mqshm_record *record = &p->record[w->record];

	/* One by one: joined into 16-byte moves they would stall on the 8-byte stores just before. */
	uint64_t position = READ_ONCE(w->position), sequence = READ_ONCE(w->sequence);

	WRITE_ONCE(record->end, position);
	WRITE_ONCE(record->next, sequence);
	w->record ^= 1;
	smp_store_release(&p->tail, position); /* MO-1: nodes and record before tail */
	w->tail = position;
	w->tail_sequence = sequence;
	w->tail_offset = READ_ONCE(w->offset);
	if (unlikely(position >= w->mark_position || sequence >= w->mark_sequence))
		writer_set_mark(w);
	smp_mb(); /* MO-2: tail is out before we look who sleeps; and MO-8: before the other record is rewritten */
	return READ_ONCE(w->ring->info->data.word) & 1;
}

/*
 * The state of a consumer for a take-over. One that joins agrees with us by its state word whether its cursor counts: it
 * says LIVE only if no take-over has passed over it, so a LIVE cursor can always be believed. (Looking at head once more
 * after saying LIVE would not do: between the two, one take-over may ignore it, write, and die, and the next believe it.)
 * One whom the kernel joins is waited for.
 */
static inline uint32_t writer_settle_joiner(const struct mqshm_ring *r, uint32_t *word)
{
	uint32_t state = smp_load_acquire(word);

	if (r->sync && MQSHM_SLOT_STATE(state) == MQSHM_SLOT_JOINING) {
		r->sync(r->sync_arg);
		return MQSHM_SLOT_STATE(smp_load_acquire(word)); /* JOINING again: another, that sees our head */
	}
	for (int tries = 0; tries < 1000 && MQSHM_SLOT_STATE(state) == MQSHM_SLOT_JOINING; tries++) {
		if (try_cmpxchg(word, &state, (state & ~0xffu) | MQSHM_SLOT_PASSED, ACQ_REL)) /* MO-14 */
			return MQSHM_SLOT_PASSED;
		state = smp_load_acquire(word);
	}
	return MQSHM_SLOT_STATE(state);
}

/*
 * Take over the writing side: at attach of an exclusive producer, and from the dead holder of a shared queue's lock.
 * The caller is the only one who may write. The one before may have died anywhere, so nothing but tail and its record
 * is believed. It may have stored a new head and not yet looked at the cursors: head goes back to any live reliable
 * cursor that nothing can have overwritten, which is right because nobody writes before that look. Cursors of
 * consumers that are still joining are passed over: they look at head once more when they are done.
 */
static inline int writer_take_over(struct mqshm_writer *w)
{
	const struct mqshm_ring *r = w->ring;
	struct mqshm_producer_page *p = r->producer;
	struct mqshm_mark at;
	uint64_t tail, sequence, head, oldest, offset, first = 0;
	struct mqshm_found f;
	int rc = ring_read_tail(r, &tail, &sequence);

	if (rc)
		return rc;
	head = smp_load_acquire(&p->head);
	if (head < r->base || head > tail || tail - head > r->ring_bytes)
		return -EBADMSG;
	w->tail = w->position = tail;
	w->tail_sequence = w->sequence = sequence;
	w->tail_offset = w->offset = ring_offset(r, tail);
	w->record = READ_ONCE(p->record[0].end) == tail ? 1 : 0;
	w->slowest = w->hostile = -1;
	w->epoch = READ_ONCE(r->info->epoch);
	memset(w->seen, 0, sizeof w->seen);

	at.position = head;
	at.sequence = sequence;
	if (head < tail) {
		offset = ring_offset(r, head);
		if (offset % r->align || ring_find(r, head, offset, tail, &f))
			return -EBADMSG;
		at.sequence = f.sequence;
	}
	if (at.sequence > sequence || sequence - at.sequence > r->node_count)
		return -EBADMSG;

	oldest = tail - r->base > r->ring_bytes ? tail - r->ring_bytes : r->base;
	for (uint32_t slot = 0; slot < r->max_consumers; slot++) {
		uint64_t bits = smp_load_acquire(&r->info->reliable[slot / 64]), cursor, walk, count = 0;
		uint32_t state;

		if (!(bits >> slot % 64 & 1))
			continue;
		state = writer_settle_joiner(r, &ring_consumer(r, slot)->state);
		if (state != MQSHM_SLOT_LIVE && state != MQSHM_SLOT_LEASED)
			continue;
		cursor = smp_load_acquire(&ring_area(r, slot)->position); /* MO-4 */
		if (cursor >= at.position || cursor < oldest || cursor % r->align)
			continue;
		/* It must lead to head node by node, and the sequences with it, else it is no cursor. */
		offset = ring_offset(r, cursor);
		for (walk = cursor; walk < at.position; walk = f.next, offset = f.next_offset, count++) {
			if (ring_find(r, walk, offset, tail, &f))
				break;
			if (count == 0)
				first = f.sequence;
			if (f.sequence != first + count || count > r->node_count)
				break;
		}
		if (walk == at.position && first + count == at.sequence && sequence - first <= r->node_count)
			at = (struct mqshm_mark){ cursor, first };
		else
			w->hostile = (int32_t)slot;
	}
	head = at.position;
	smp_store_release(&p->head, head);
	smp_mb(); /* MO-3: as in writer_make_room() */

	/* Walk to tail, for new marks. */
	offset = ring_offset(r, head);
	w->head = head;
	w->head_sequence = at.sequence;
	WRITE_ONCE(p->head_sequence, at.sequence);
	WRITE_ONCE(p->mark_count, 0);
	w->mark_position = head;
	w->mark_sequence = at.sequence;
	while (at.position < tail) {
		if (ring_find(r, at.position, offset, tail, &f) || f.sequence != at.sequence)
			return -EBADMSG;
		at.position = f.next;
		at.sequence++;
		offset = f.next_offset;
		if (at.position >= w->mark_position || at.sequence >= w->mark_sequence) {
			w->position = at.position;
			w->sequence = at.sequence;
			writer_set_mark(w);
		}
	}
	if (at.sequence != sequence)
		return -EBADMSG;
	writer_abort(w);
	writer_set_limits(w);
	return 0;
}

/*
 * Catch up with the other producers of a shared queue, after taking the lock from its free state. What they left is
 * whole, but hostile all the same.
 */
static inline int writer_catch_up(struct mqshm_writer *w)
{
	const struct mqshm_ring *r = w->ring;
	struct mqshm_producer_page *p = r->producer;
	uint64_t tail = READ_ONCE(p->tail), count = READ_ONCE(p->mark_count), nodes = r->node_count / 16, moved;
	struct mqshm_mark last;

	if (likely(tail == w->tail && READ_ONCE(p->head) == w->head))
		return 0; /* head alone moves when a reservation is aborted */
	w->record = READ_ONCE(p->record[0].end) == tail ? 1 : 0;
	moved = tail - w->tail;
	w->tail_sequence = READ_ONCE(p->record[w->record ^ 1].next);
	if (READ_ONCE(p->record[w->record ^ 1].end) != tail || tail < w->tail ||
	    tail > MQSHM_POSITION_MAX)
		return -EBADMSG;
	w->tail_offset += moved;
	if (w->tail_offset >= r->ring_bytes)
		w->tail_offset = moved < r->ring_bytes ? w->tail_offset - r->ring_bytes : ring_offset(r, tail);
	w->tail = tail;
	w->head = READ_ONCE(p->head);
	w->head_sequence = READ_ONCE(p->head_sequence);
	if (w->head > tail || tail - w->head > r->ring_bytes || w->head_sequence > w->tail_sequence ||
	    w->tail_sequence - w->head_sequence > r->node_count || w->tail_offset % r->align)
		return -EBADMSG;
	w->mark_position = w->mark_sequence = 0;
	if (count) {
		last.position = READ_ONCE(p->mark[(count - 1) % MQSHM_MARKS].position);
		last.sequence = READ_ONCE(p->mark[(count - 1) % MQSHM_MARKS].sequence);
		w->mark_position = last.position + r->ring_bytes / 16;
		w->mark_sequence = last.sequence + (nodes ? nodes : 1);
	}
	writer_abort(w);
	writer_set_limits(w);
	return 0;
}

/* ---- reading ---- */

/* A consumer's private state. */
struct mqshm_reader {
	const struct mqshm_ring *ring;
	struct mqshm_consumer_area *area;
	const uint32_t *state_word; /* ours in the participants' table ... */
	uint32_t state;		    /* ... and what it says while the role is ours */
	uint32_t slot;
	bool lossy;
	bool racy;     /* lossy, or might become it while it copies */
	uint32_t laps; /* times lapped since the last delivery */
	uint64_t position, offset, sequence; /* cursor */
	uint64_t tail;			     /* as last read */
	uint64_t missed, overwritten;
};

/*
 * Find the node at a position at or after the cursor. 0; -EAGAIN: nothing there; -EBADMSG. For a lossy reader the
 * answer means something only after reader_validate().
 */
static inline int reader_find(struct mqshm_reader *rd, uint64_t position, uint64_t offset, uint64_t sequence,
			      struct mqshm_found *f)
{
	int rc;

	if (position == rd->tail) {
		uint64_t tail = smp_load_acquire(&rd->ring->producer->tail); /* MO-1 */

		if (tail == position)
			return -EAGAIN;
		if (unlikely(tail - rd->position > rd->ring->ring_bytes)) {
			/* A lossy reader that was lapped finds this out in validate. */
			return -EBADMSG;
		}
		rd->tail = tail;
	}
	rc = ring_find(rd->ring, position, offset, rd->tail, f);
	if (unlikely(!rc && f->sequence != sequence))
		return -EBADMSG;
	return rc;
}

/* Our state word has changed: were we only demoted? Then we read on, as a lossy reader. */
static inline bool reader_demoted(struct mqshm_reader *rd)
{
	uint32_t word = (rd->state & ~0xffu) | MQSHM_SLOT_DEMOTED;

	if (smp_load_acquire(rd->state_word) != word)
		return false;
	rd->state = word;
	rd->lossy = rd->racy = true;
	return true;
}

/*
 * After reading what reader_find() gave: 0, it was right; -ESTALE: the role is not ours any more; -EAGAIN: a lossy
 * reader was lapped. (MO-6, MO-7)
 */
static inline int reader_validate(struct mqshm_reader *rd)
{
	smp_rmb(); /* MO-6, MO-7: what was read was read before head and state */
	if (unlikely(READ_ONCE(*rd->state_word) != rd->state) && !reader_demoted(rd))
		return -ESTALE;
	if (unlikely(rd->lossy) && READ_ONCE(rd->ring->producer->head) > rd->position)
		return -EAGAIN;
	return 0;
}

/*
 * Move the cursor. True: a producer that sleeps for room (or until all is read) is to be woken: it waits for us and we
 * have come far enough, or we have read everything.
 */
static inline bool reader_advance(struct mqshm_reader *rd, uint64_t position, uint64_t offset, uint64_t sequence)
{
	const struct mqshm_ring *r = rd->ring;

	rd->position = position;
	rd->offset = offset;
	rd->sequence = sequence;
	WRITE_ONCE(rd->area->sequence, sequence);
	smp_store_release(&rd->area->position, position); /* MO-4: reads of the node before this */
	smp_mb(); /* MO-5: the cursor is out before we look who sleeps */
	if (likely(!(READ_ONCE(r->info->room.word) & 1)))
		return false;
	if (READ_ONCE(r->producer->blocked_on) == rd->slot + 1 && position >= READ_ONCE(r->producer->need))
		return true;
	return position == smp_load_acquire(&r->producer->tail);
}

/* The sequence of the node at a position that is not being overwritten; at tail, of the next one. */
static inline int reader_sequence_at(const struct mqshm_ring *r, uint64_t position, uint64_t *sequence)
{
	uint64_t tail;
	struct mqshm_found f;
	int rc = ring_read_tail(r, &tail, sequence);

	if (rc || position == tail)
		return rc;
	if (position > tail || tail - position > r->ring_bytes || position < r->base || position % r->align)
		return -EBADMSG;
	rc = ring_find(r, position, ring_offset(r, position), tail, &f);
	if (!rc && (f.sequence >= *sequence || *sequence - f.sequence > r->node_count))
		rc = -EBADMSG;
	if (!rc)
		*sequence = f.sequence;
	return rc;
}

/*
 * A lossy reader that was lapped goes to the oldest valid message; lapped again before it got one, half-way to tail,
 * and after that to the last publication. What it skips is counted. 0 or -EBADMSG.
 */
static inline int reader_resync(struct mqshm_reader *rd)
{
	const struct mqshm_ring *r = rd->ring;
	struct mqshm_producer_page *p = r->producer;

	for (;;) {
		uint64_t head = smp_load_acquire(&p->head), to = head, tail, sequence;
		int rc = ring_read_tail(r, &tail, &sequence);

		if (rc)
			return rc;
		if (head <= rd->position)
			return 0; /* it was raised and taken back */
		if (++rd->laps > 2) {
			uint64_t last = READ_ONCE(p->record[READ_ONCE(p->record[0].end) == tail].end);

			to = last > head && last < tail ? last : tail; /* else it is being rewritten */
		}
		if (rd->laps == 2) {
			uint64_t half = head + (tail - head) / 2;

			for (int i = 0; i < MQSHM_MARKS; i++) {
				uint64_t m = READ_ONCE(p->mark[i].position);

				if (m > head && m <= half && m > to)
					to = m;
			}
		}
		if (to != tail) {
			rc = reader_sequence_at(r, to, &sequence);
			smp_rmb(); /* MO-6 */
			if (READ_ONCE(p->head) > to)
				continue;
			if (rc)
				return rc;
		}
		if (sequence < rd->sequence)
			return -EBADMSG;
		rd->missed += sequence - rd->sequence;
		rd->overwritten += sequence - rd->sequence;
		WRITE_ONCE(rd->area->missed, rd->missed);
		WRITE_ONCE(rd->area->overwritten, rd->overwritten);
		rd->tail = to; /* read again */
		reader_advance(rd, to, ring_offset(r, to), sequence);
		return 0;
	}
}

/*
 * Make a slot whose participant is JOINING a live consumer. start as in mqshm.h (0 latest, 1 oldest, 2 beginning).
 * The cursor is stored and marked before head is looked at, so that a producer that raises head either sees it or is
 * seen; a take-over that comes before we say LIVE passes over us, and we try again. 0 or -EBADMSG.
 */
static inline int reader_join(struct mqshm_reader *rd, int start, bool adopt)
{
	const struct mqshm_ring *r = rd->ring;
	uint32_t *state = &ring_consumer(r, rd->slot)->state, joining = READ_ONCE(*state);
	uint64_t bit = 1ULL << rd->slot % 64, position, sequence;
	uint32_t before;

	rd->area = ring_area(r, rd->slot);
	rd->state_word = state;
	rd->racy = rd->lossy || r->slow_policy;
	rd->state = (joining & ~0xffu) | MQSHM_SLOT_LIVE;
	for (int tries = 0;; tries++) {
		int rc = ring_read_tail(r, &position, &sequence);

		if (rc || tries > 1000) /* once we are seen head stays: only a wild head gets us here */
			return -EBADMSG;
		if (start != 0 || adopt)
			position = smp_load_acquire(&r->producer->head);
		WRITE_ONCE(rd->area->sequence, sequence);
		smp_store_release(&rd->area->position, position);
		if (!rd->lossy) {
			atomic_add(&r->info->epoch, 1, RELEASE); /* MO-10 */
			atomic_or(&r->info->reliable[rd->slot / 64], bit, RELEASE);
		}
		smp_mb(); /* MO-3: cursor and bit are out before head is read */
		if (READ_ONCE(r->producer->head) > position)
			continue;
		rc = reader_sequence_at(r, position, &sequence);
		smp_rmb(); /* MO-6: a lossy one may be lapped already */
		if (READ_ONCE(r->producer->head) > position)
			continue;
		if (rc)
			return rc;
		WRITE_ONCE(rd->area->sequence, sequence);
		WRITE_ONCE(rd->area->joined, sequence);
		before = joining;
		if (try_cmpxchg(state, &before, rd->state, ACQ_REL)) /* MO-14 */
			break;
		if (before != ((joining & ~0xffu) | MQSHM_SLOT_PASSED))
			return -EBADMSG; /* our slot was taken from us */
		WRITE_ONCE(*state, joining);
	}
	rd->position = rd->tail = position;
	rd->offset = ring_offset(r, position);
	rd->sequence = sequence;
	rd->laps = 0;
	rd->missed = start == 2 ? sequence : 0;
	rd->overwritten = 0;
	WRITE_ONCE(rd->area->missed, rd->missed);
	WRITE_ONCE(rd->area->overwritten, 0);
	if (!rd->lossy && adopt)
		smp_store_release(&r->info->hold, 0); /* MO-9: our bit before the hold ends */
	return 0;
}

/*
 * A reader's private state from what a former one of its name has left in its area; rd->state and rd->lossy say what it is now.
 * Nothing but the reader changes. 0 or -EBADMSG.
 */
static inline int reader_restore(struct mqshm_reader *rd)
{
	const struct mqshm_ring *r = rd->ring;
	uint64_t tail, next, position, sequence;
	int rc = ring_read_tail(r, &tail, &next);

	rd->area = ring_area(r, rd->slot);
	rd->state_word = &ring_consumer(r, rd->slot)->state;
	rd->racy = rd->lossy || r->slow_policy;
	position = READ_ONCE(rd->area->position);
	sequence = READ_ONCE(rd->area->sequence);
	if (rc || position < r->base || position > tail || position % r->align || sequence > next)
		return -EBADMSG;
	if (!rd->lossy) {
		if (READ_ONCE(r->producer->head) > position)
			return -EBADMSG;
		rc = reader_sequence_at(r, position, &sequence); /* the one in the area may be ahead of position */
		if (rc)
			return rc;
	}
	rd->position = rd->tail = position;
	rd->offset = ring_offset(r, position);
	rd->sequence = sequence;
	rd->laps = 0;
	rd->missed = READ_ONCE(rd->area->missed);
	if (rd->missed > sequence) /* it is of messages before this one; or else the former one died while it counted */
		rd->missed = sequence;
	rd->overwritten = READ_ONCE(rd->area->overwritten);
	if (rd->overwritten > rd->missed)
		rd->overwritten = rd->missed;
	return 0;
}

/*
 * Take on the cursor of a LEASED slot, as its owner of the next generation; rd->lossy says whether it was lossy from the
 * start, else one without a bit was demoted. When it is reliable it has held the
 * producer back all the time, so nothing needs to be looked at twice: one store of the state makes it ours. 0 or -EBADMSG.
 */
static inline int reader_resume(struct mqshm_reader *rd, uint32_t generation)
{
	const struct mqshm_ring *r = rd->ring;
	bool reliable = smp_load_acquire(&r->info->reliable[rd->slot / 64]) >> rd->slot % 64 & 1;
	int rc;

	rd->state = generation << 8 | (!reliable && !rd->lossy ? MQSHM_SLOT_DEMOTED : MQSHM_SLOT_LIVE);
	rd->lossy = !reliable;
	rc = reader_restore(rd);
	if (!rc)
		smp_store_release(&ring_consumer(r, rd->slot)->state, rd->state);
	return rc;
}

/*
 * The kernel has made us a live consumer with its cursor at `position`, but can't read nodes: find the sequence. A reliable cursor
 * stays good; a lossy reader, or one that was demoted meanwhile, may be lapped and then starts anew. 0 or -EBADMSG.
 */
static inline int reader_joined(struct mqshm_reader *rd, int start, uint64_t position)
{
	const struct mqshm_ring *r = rd->ring;
	uint64_t sequence;

	rd->area = ring_area(r, rd->slot);
	rd->state_word = &ring_consumer(r, rd->slot)->state;
	rd->racy = rd->lossy || r->slow_policy;
	for (int tries = 0;; tries++) {
		int rc = reader_sequence_at(r, position, &sequence);

		smp_rmb(); /* MO-6: it may be overwritten already */
		if ((rd->lossy || reader_demoted(rd)) && READ_ONCE(r->producer->head) > position) {
			rc = tries > 1000 ? -EBADMSG : ring_read_tail(r, &position, &sequence);
			if (rc)
				return rc;
			if (start != 0)
				position = smp_load_acquire(&r->producer->head);
			continue;
		}
		if (rc)
			return rc;
		break;
	}
	rd->position = rd->tail = position;
	rd->offset = ring_offset(r, position);
	rd->sequence = sequence;
	rd->laps = 0;
	rd->missed = start == 2 ? sequence : 0;
	rd->overwritten = 0;
	WRITE_ONCE(rd->area->sequence, sequence);
	WRITE_ONCE(rd->area->joined, sequence);
	WRITE_ONCE(rd->area->missed, rd->missed);
	WRITE_ONCE(rd->area->overwritten, 0);
	smp_store_release(&rd->area->position, position); /* MO-4 */
	return 0;
}

#endif
