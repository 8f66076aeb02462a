/* SPDX-License-Identifier: MIT */
/*
 * Producers: push in all its forms. The hot path is begin() .. finish(): on an exclusive queue with room and nobody
 * asleep it is a copy, some stores and one fence. See ring.h for the algorithm.
 */
#include <stdlib.h>
#include <time.h>

#include "backend.h"
#include "error.h"
#include "lock.h"
#include "log.h"
#include "waitable.h"

#define PIECES_MAX 1024	       /* of mqshm_producer_pushv(): as IOV_MAX */

struct mqshm_producer {
	/* what a push reads */
	struct mqshm_mapping *mapping;
	const uint32_t *owner, *state_word;
	uint32_t state, block_size, flags;
	bool shared, reserved;
	uint32_t blocked_on;		/* slot + 1 of whom we have named last, 0: nobody */
	bool loaded;			/* shared: the writer has seen the queue */
	uint32_t room;			/* bytes of the reservation */
	uint64_t need;			/* of whom we wait for: where its cursor shall be */
	uint64_t timestamp_ns;		/* MQSHM_TIMESTAMP_OWN */
	struct mqshm_writer writer;

	struct mqshm_lock lock;
	struct mqshm_patience patience;
	uint32_t cancelled;
	struct mqshm_notifier *notifier; /* NULL: nobody has asked for a descriptor */
	bool busy; /* ready() has found the lock held */

	/* the consumer that holds us back, since when, and where it stood then */
	struct {
		uint64_t position, since_ns;
		uint32_t word; /* of its slot's state */
		int32_t slot;
	} slow;
	void (*tell_slow)(const struct mqshm_slow *slow, void *arg);
	void *slow_arg;
};

static uint64_t timestamp(const struct mqshm_producer *p)
{
	struct timespec now;

	if (p->flags & MQSHM_TIMESTAMP_OFF)
		return 0;
	if (p->flags & MQSHM_TIMESTAMP_OWN)
		return p->timestamp_ns;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int check_owner(const struct mqshm_producer *p)
{
	if (likely(*p->owner))
		return 0;
	return mqshm_error(-ECHILD, "the handle belongs to a parent process");
}

static int damaged(const struct mqshm_producer *p, int rc)
{
	if (rc == -EOVERFLOW)
		return mqshm_error(rc, "2^63 bytes have gone through queue '%s'", p->mapping->name);
	mqshm_log(MQSHM_LOG_ERROR, p->mapping->name, "damaged: its positions make no sense");
	return mqshm_error(rc, "queue '%s' is damaged", p->mapping->name);
}

/* Only consumers are evicted: our slot says so because somebody scribbled on it. */
static __attribute__((cold)) int not_evicted(const struct mqshm_producer *p, int rc)
{
	return rc != -ECONNABORTED ? rc : mqshm_error(-ESTALE, "this handle of queue '%s' has lost its role", p->mapping->name);
}

static int check_role(const struct mqshm_producer *p)
{
	int rc = p->mapping->backend->check_self(p->mapping);

	return rc ? not_evicted(p, rc) : 0;
}

/* The one in our way is another than before, or has moved: its time runs from now. */
static void watch_slow(struct mqshm_producer *p)
{
	const struct mqshm_ring *r = &p->mapping->ring;
	uint32_t slot = (uint32_t)p->writer.slowest, word = READ_ONCE(ring_consumer(r, slot)->state);
	uint64_t position = READ_ONCE(ring_area(r, slot)->position);
	struct timespec now;

	if (p->slow.since_ns && p->slow.slot == (int32_t)slot && p->slow.word == word && p->slow.position == position)
		return;
	p->slow.slot = (int32_t)slot;
	p->slow.word = word;
	p->slow.position = position;
	p->slow.since_ns = mqshm_now_ns();
	clock_gettime(CLOCK_REALTIME, &now);
	WRITE_ONCE(r->producer->blocked_since_ns, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

/* The consumer in our way lives. Has it had its time? True: it is out of our way. */
static bool punish_slow(struct mqshm_producer *p, uint32_t slot)
{
	struct mqshm_mapping *m = p->mapping;
	const struct mqshm_ring *r = &m->ring;
	const struct mqshm_participant *participant = ring_consumer(r, slot);
	uint64_t blocked_ns = mqshm_now_ns() - p->slow.since_ns, tail, next, sequence;
	struct mqshm_slow slow = { .queue = m->name, .policy = r->slow_policy, .id = slot, .blocked_ns = blocked_ns };

	if (r->slow_policy == MQSHM_SLOW_BLOCK || p->slow.slot != (int32_t)slot || !slot_is_live(p->slow.word) ||
	    READ_ONCE(participant->state) != p->slow.word ||
	    smp_load_acquire(&ring_area(r, slot)->position) != p->slow.position ||
	    blocked_ns < r->slow_ms * 1000000ull)
		return false;
	slow.pid = (int32_t)READ_ONCE(participant->pid);
	memcpy(slow.comm, participant->comm, sizeof slow.comm - 1);
	sequence = READ_ONCE(ring_area(r, slot)->sequence);
	slow.lag = ring_read_tail(r, &tail, &next) || sequence > next ? 0 : next - sequence;
	if (!(r->slow_policy == MQSHM_SLOW_EVICT ? m->backend->evict : m->backend->demote)(
		    m, r->max_producers + slot, p->slow.word, MQSHM_WHY_SLOW))
		return false; /* somebody else is at it */
	if (p->tell_slow)
		p->tell_slow(&slow, p->slow_arg);
	return true;
}

/* While waiting: is the consumer in our way alive and in time, are we still the producer? */
static int check_blocker(void *arg)
{
	struct mqshm_producer *p = arg;
	struct mqshm_mapping *m = p->mapping;
	uint32_t blocked_on = READ_ONCE(m->ring.producer->blocked_on);
	int rc = check_role(p);

	if (rc)
		return rc;
	if (blocked_on == 0 || blocked_on > m->ring.max_consumers)
		return 0;
	return !m->backend->check(m, m->ring.max_producers + blocked_on - 1) || punish_slow(p, blocked_on - 1);
}

/* The writer found no room: say whom we wait for and from where on it shall wake us. True: it is another than before. */
static bool publish_need(struct mqshm_producer *p)
{
	struct mqshm_writer *w = &p->writer;
	struct mqshm_producer_page *page = w->ring->producer;
	uint32_t blocked_on = (uint32_t)(w->slowest + 1), before = p->blocked_on;
	uint64_t floor;

	if (w->hostile >= 0)
		p->mapping->backend->evict(p->mapping, w->ring->max_producers + (uint32_t)w->hostile, 0, MQSHM_WHY_HOSTILE);
	w->hostile = -1;
	if (w->slowest < 0) {
		WRITE_ONCE(page->blocked_on, 0);
		return false;
	}
	floor = w->seen[w->slowest];
	p->need = floor + 1; /* who polls is told of any ... */
	if (!p->notifier || !p->mapping->backend->descriptor)
		p->need += (w->tail - floor) / 4; /* ... else of a quarter of what it has left */
	WRITE_ONCE(page->need, p->need);
	WRITE_ONCE(page->blocked_on, blocked_on);
	p->blocked_on = blocked_on;
	watch_slow(p);
	return blocked_on != before;
}

/* The descriptor shall be readable when a message of block_size fits, or soon, when the lock is held by another. */
static void notify_later(struct mqshm_producer *p, bool busy)
{
	struct mqshm_writer *w = &p->writer;
	struct mqshm_news news = { .producer = true, .own_state = p->state, .retry_ns = MQSHM_FOREVER };
	struct mqshm_mark need;

	if (busy) {
		news.slot = MQSHM_NEWS_BUSY;
		news.retry_ns = mqshm_now_ns() + MQSHM_ROOM_NAP_NS;
	} else if (w->slowest < 0) {
		news.slot = MQSHM_NEWS_HOLD;
	} else {
		need = writer_need(w, w->position + writer_largest(w));
		news.position = need.position;
		news.sequence = need.sequence;
		news.slot = (uint32_t)w->slowest;
		news.slot_state = READ_ONCE(ring_consumer(w->ring, news.slot)->state);
		if (w->ring->slow_policy && slot_is_live(news.slot_state))
			news.retry_ns = p->slow.since_ns + w->ring->slow_ms * 1000000ull;
	}
	mqshm_notifier_watch(p->notifier, &news);
}

/* The lock was not to be had: rc. */
static __attribute__((noinline, cold)) int keep_watch(struct mqshm_producer *p, int rc)
{
	if (rc == -EAGAIN && p->notifier)
		notify_later(p, true);
	return rc;
}

static void unblock(struct mqshm_producer *p)
{
	const struct mqshm_ring *r = &p->mapping->ring;

	/* Shared, with the lock: another that sleeps on the word has said since whom it waits for. */
	if (!p->shared || !(READ_ONCE(r->info->room.word) & 1))
		WRITE_ONCE(r->producer->blocked_on, 0);
	p->blocked_on = 0;
}

/* Shared: take the lock and catch up with the others. */
static int enter(struct mqshm_producer *p, uint64_t deadline)
{
	int rc = mqshm_lock_take(&p->lock, deadline);

	if (rc < 0)
		return not_evicted(p, rc);
	rc = rc == 1 || !p->loaded ? writer_take_over(&p->writer) : writer_catch_up(&p->writer);
	p->loaded = !rc;
	if (rc) {
		mqshm_lock_release(&p->lock);
		return damaged(p, rc);
	}
	return 0;
}

/* Our state word says that the role is not ours: why? */
static int lost_role(const struct mqshm_producer *p)
{
	int rc = check_role(p);

	/* 0: it was another and is ours again, which only a peer that scribbles does. */
	return rc ? rc : mqshm_error(-ESTALE, "the role of this handle of queue '%s' was changed by another",
				     p->mapping->name);
}

/* The ring has no room and never will have. A shared queue's lock is held, and is released. */
static __attribute__((noinline, cold)) int broken(struct mqshm_producer *p, int rc)
{
	KEEP_ERRNO;

	if (p->shared)
		mqshm_lock_release(&p->lock);
	return rc == -EIDRM ? lost_role(p) : damaged(p, rc);
}

/* Why a producer may not push now. */
static __attribute__((noinline, cold)) int refuse(const struct mqshm_producer *p, size_t size)
{
	KEEP_ERRNO;
	int rc = check_owner(p);

	if (rc)
		return rc;
	if (size > p->block_size)
		return mqshm_error(-EMSGSIZE, "%zu bytes are more than the block size of queue '%s', %u", size,
				   p->mapping->name, p->block_size);
	if (p->reserved)
		return mqshm_error(-EDEADLK, "a reservation of queue '%s' is held", p->mapping->name);
	return lost_role(p);
}

/* There is no room yet: wait for it. The lock of a shared queue is held before and after, not during. */
static int wait_for_room(struct mqshm_producer *p, uint32_t size, unsigned char **payload, int timeout_ms,
			 uint64_t deadline)
{
	struct mqshm_wait w = {
		.mapping = p->mapping,
		.patience = &p->patience,
		.armed = &p->mapping->ring.info->room,
		.check = check_blocker,
		.arg = p,
		.cancelled = &p->cancelled,
		.timeout_ms = timeout_ms,
		.first_nap_ns = MQSHM_ROOM_NAP_NS,
		.seldom = true,
		.deadline_ns = deadline,
	};
	struct mqshm_writer *writer = &p->writer;
	char who[64];
	int rc;
	KEEP_ERRNO;

	WRITE_ONCE(writer->ring->producer->stalls, READ_ONCE(writer->ring->producer->stalls) + 1);
	for (;;) {
		if (p->shared)
			mqshm_log_hold(); /* the lock is held */
		if (publish_need(p))
			mqshm_wait_anew(&w); /* the new one did not know that we wait for it */
		w.watch = writer->slowest >= 0 ? &ring_area(writer->ring, (uint32_t)writer->slowest)->position : NULL;
		w.until = p->need; /* not for the first node that is freed: then each push would have to raise head */
		if (p->shared) {
			mqshm_lock_release(&p->lock);
			mqshm_log_deliver();
		}
		rc = mqshm_wait(&w);
		if (rc == -ETIMEDOUT && writer->slowest >= 0)
			mqshm_error(rc, "timed out: queue '%s' is full, waiting for consumer %d: %s", p->mapping->name,
				    writer->slowest, mqshm_who(ring_consumer(writer->ring, (uint32_t)writer->slowest), who,
							       sizeof who));
		if (rc && p->notifier)
			notify_later(p, false);
		if (!rc && p->shared)
			rc = enter(p, deadline);
		if (rc)
			return rc;
		if (READ_ONCE(*p->state_word) != p->state) { /* we were thought dead, and may have a successor */
			if (p->shared)
				mqshm_lock_release(&p->lock);
			return refuse(p, size);
		}
		rc = writer_stage(writer, size, payload);
		if (rc != -EAGAIN)
			break;
	}
	if (rc)
		return broken(p, rc);
	unblock(p);
	return 0;
}

/* Out of begin(): what is seldom. */
static __attribute__((noinline, cold)) int begin_slowly(struct mqshm_producer *p, int rc, uint32_t size,
							  unsigned char **payload, int timeout_ms, uint64_t deadline)
{
	return rc == -EAGAIN ? wait_for_room(p, size, payload, timeout_ms, deadline) : broken(p, rc);
}

/*
 * Get room for a message of at most size bytes: 0 and the place, and on a shared queue the lock is held; or an error,
 * and nothing is held.
 */
static inline __attribute__((always_inline)) int begin(struct mqshm_producer *p, size_t size, unsigned char **payload, int timeout_ms)
{
	uint64_t deadline = 0; /* of the lock and of room together */
	int rc;

	if (unlikely(!*p->owner || size > p->block_size || p->reserved || READ_ONCE(*p->state_word) != p->state))
		return refuse(p, size);
	if (p->shared) {
		deadline = timeout_ms ? mqshm_deadline(timeout_ms) : 0;
		rc = enter(p, deadline);
		if (rc)
			return keep_watch(p, rc);
	}
	rc = writer_stage(&p->writer, (uint32_t)size, payload);
	if (unlikely(rc))
		return begin_slowly(p, rc, (uint32_t)size, payload, timeout_ms, deadline);
	if (unlikely(p->blocked_on))
		unblock(p);
	return 0;
}

static inline void finish(struct mqshm_producer *p)
{
	bool asleep = writer_publish(&p->writer);

	if (p->shared)
		mqshm_lock_release(&p->lock);
	if (unlikely(asleep))
		mqshm_wake(p->mapping, &p->mapping->ring.info->data);
}

int mqshm_producer_push(struct mqshm_producer *p, const void *data, size_t size, int timeout_ms)
{
	unsigned char *payload;
	int rc = begin(p, size, &payload, timeout_ms);

	if (unlikely(rc))
		return rc;
	if (size)
		shared_copy(payload, data, size);
	writer_finish(&p->writer, (uint32_t)size, timestamp(p));
	finish(p);
	return 0;
}

int mqshm_producer_pushv(struct mqshm_producer *p, const struct iovec *pieces, int count, int timeout_ms)
{
	unsigned char *payload;
	size_t size = 0;
	int rc;

	if (count < 0 || count > PIECES_MAX)
		return mqshm_error(-EINVAL, "count is %d, not 0..%d", count, PIECES_MAX);
	for (int i = 0; i < count; i++)
		if (__builtin_add_overflow(size, pieces[i].iov_len, &size))
			return mqshm_error(-EMSGSIZE, "the sum of the pieces is too large");
	rc = begin(p, size, &payload, timeout_ms);
	if (rc)
		return rc;
	for (int i = 0; i < count; i++) {
		if (pieces[i].iov_len)
			shared_copy(payload, pieces[i].iov_base, pieces[i].iov_len);
		payload += pieces[i].iov_len;
	}
	writer_finish(&p->writer, (uint32_t)size, timestamp(p));
	finish(p);
	return 0;
}

int mqshm_producer_push_batch(struct mqshm_producer *p, const struct iovec *messages, size_t count, int timeout_ms)
{
	uint64_t deadline = timeout_ms > 0 ? mqshm_deadline(timeout_ms) : 0;
	size_t done = 0;

	if (count > INT32_MAX)
		count = INT32_MAX;
	while (done < count) {
		unsigned char *payload;
		uint64_t now_ns;
		int rc;

		/* The first of each part waits for room ... */
		if (timeout_ms > 0 && done) {
			uint64_t now = mqshm_now_ns();

			timeout_ms = now < deadline ? (int)((deadline - now + 999999) / 1000000) : 0;
		}
		rc = begin(p, messages[done].iov_len, &payload, timeout_ms);
		if (rc)
			return done ? (int)done : rc;
		now_ns = timestamp(p);
		for (;;) {
			size_t size = messages[done].iov_len;

			if (size)
				shared_copy(payload, messages[done].iov_base, size);
			writer_finish(&p->writer, (uint32_t)size, now_ns);
			if (++done == count || messages[done].iov_len > p->block_size)
				break;
			/* ... the others come along while there is some. */
			if (writer_stage(&p->writer, (uint32_t)messages[done].iov_len, &payload))
				break;
		}
		finish(p);
	}
	return (int)done;
}

int mqshm_producer_reserve(struct mqshm_producer *p, size_t size, void **data, int timeout_ms)
{
	unsigned char *payload = NULL;
	int rc = begin(p, size, &payload, timeout_ms);

	*data = NULL;
	if (unlikely(rc))
		return rc;
	*data = payload;
	p->room = (uint32_t)size;
	p->reserved = true;
	return 0;
}

int mqshm_producer_commit(struct mqshm_producer *p, size_t used)
{
	int rc = check_owner(p);

	if (unlikely(rc))
		return rc;
	if (unlikely(!p->reserved))
		return mqshm_error(-EINVAL, "there is no reservation to commit");
	if (unlikely(used > p->room))
		return mqshm_error(-EINVAL, "%zu bytes are more than the %u reserved", used, p->room);
	if (unlikely(READ_ONCE(*p->state_word) != p->state)) {
		mqshm_producer_abort(p);
		return lost_role(p);
	}
	p->reserved = false;
	writer_finish(&p->writer, (uint32_t)used, timestamp(p));
	finish(p);
	return 0;
}

int mqshm_producer_abort(struct mqshm_producer *p)
{
	int rc = check_owner(p);

	if (rc)
		return rc;
	if (!p->reserved)
		return mqshm_error(-EINVAL, "there is no reservation to abort");
	p->reserved = false;
	writer_abort(&p->writer);
	if (p->shared)
		mqshm_lock_release(&p->lock);
	return 0;
}

int mqshm_producer_set_timestamp(struct mqshm_producer *p, uint64_t timestamp_ns)
{
	int rc = check_owner(p);

	if (rc)
		return rc;
	if (!(p->flags & MQSHM_TIMESTAMP_OWN))
		return mqshm_error(-EINVAL, "queue '%s' was not created with the caller's own timestamps",
				   p->mapping->name);
	p->timestamp_ns = timestamp_ns;
	return 0;
}

/* ---- waiting for consumers ---- */

static uint32_t consumers_attached(const struct mqshm_ring *r)
{
	uint32_t count = 0;

	for (uint32_t slot = 0; slot < r->max_consumers; slot++)
		count += slot_is_live(smp_load_acquire(&ring_consumer(r, slot)->state));
	return count;
}

/* Have all who are attached read everything? */
static bool drained(const struct mqshm_ring *r)
{
	uint64_t tail = READ_ONCE(r->producer->tail);

	for (uint32_t slot = 0; slot < r->max_consumers; slot++)
		if (slot_is_live(smp_load_acquire(&ring_consumer(r, slot)->state)) &&
		    smp_load_acquire(&ring_area(r, slot)->position) < tail)
			return false;
	return true;
}

static int check_all_consumers(void *arg)
{
	struct mqshm_producer *p = arg;
	struct mqshm_mapping *m = p->mapping;
	int rc = check_role(p), changed = 0;

	if (!rc && m->ring.sync)
		m->ring.sync(m->ring.sync_arg); /* the dead don't count, and the module alone knows them */
	for (uint32_t slot = 0; slot < m->ring.max_consumers && !rc; slot++)
		if (MQSHM_SLOT_STATE(READ_ONCE(ring_consumer(&m->ring, slot)->state)) != MQSHM_SLOT_FREE)
			changed |= !m->backend->check(m, m->ring.max_producers + slot);
	return rc ? rc : changed;
}

static int check_ready(struct mqshm_producer *p)
{
	int rc = check_owner(p);

	if (rc)
		return rc;
	if (p->reserved)
		return mqshm_error(-EDEADLK, "a reservation of queue '%s' is held", p->mapping->name);
	return READ_ONCE(*p->state_word) == p->state ? 0 : check_role(p);
}

int mqshm_producer_wait_consumers(struct mqshm_producer *p, unsigned count, unsigned flags, int timeout_ms)
{
	struct mqshm_wait w = {
		.mapping = p->mapping, .patience = &p->patience, .armed = &p->mapping->ring.info->event,
		.check = check_all_consumers, .arg = p, .cancelled = &p->cancelled, .timeout_ms = timeout_ms,
	};
	const struct mqshm_ring *r = &p->mapping->ring;
	KEEP_ERRNO;
	int rc = check_ready(p);

	if (!rc && flags & ~(unsigned)MQSHM_EVER)
		return mqshm_error(-EINVAL, "unknown flags 0x%x", flags);
	if (!rc && !(flags & MQSHM_EVER))
		rc = check_all_consumers(p); /* the dead don't count */
	if (rc > 0)
		rc = 0;
	while (!rc) {
		if (flags & MQSHM_EVER ? smp_load_acquire(&r->info->consumers_ever) >= count
				       : consumers_attached(r) >= count)
			return 0;
		rc = mqshm_wait(&w);
	}
	if (rc == -ETIMEDOUT)
		mqshm_error(rc, "timed out: %u of %u consumers of queue '%s' are there", consumers_attached(r), count,
			    p->mapping->name);
	return rc;
}

int mqshm_producer_wait_drained(struct mqshm_producer *p, int timeout_ms)
{
	struct mqshm_wait w = {
		.mapping = p->mapping, .patience = &p->patience, .armed = &p->mapping->ring.info->room,
		.check = check_all_consumers, .arg = p, .cancelled = &p->cancelled, .timeout_ms = timeout_ms,
	};
	int rc = check_ready(p);

	while (!rc) {
		if (drained(&p->mapping->ring))
			return 0;
		rc = mqshm_wait(&w);
	}
	if (rc == -ETIMEDOUT)
		mqshm_error(rc, "timed out: not all consumers of queue '%s' have read everything", p->mapping->name);
	return rc;
}

/* ---- open, close ---- */

int mqshm_producer_open(struct mqshm_producer **out, const char *name, const struct mqshm_queue_options *queue,
			const struct mqshm_producer_options *options)
{
	KEEP_ERRNO;
	struct mqshm_attach how = { .name = name, .role = MQSHM_ROLE_PRODUCER };
	struct mqshm_queue_options read;
	struct mqshm_producer *p;
	int rc;

	*out = NULL;
	rc = mqshm_attach_begin(&how, queue, &read);
	if (rc)
		return rc;
	if (options && options->size != sizeof *options)
		return mqshm_error(-EINVAL, "struct mqshm_producer_options says its size is %zu, not %zu",
				   options->size, sizeof *options);
	if (options && options->flags & ~(uint32_t)(MQSHM_PREFAULT | MQSHM_MLOCK))
		return mqshm_error(-EINVAL, "unknown flags 0x%x", options->flags);
	p = aligned_alloc(64, (sizeof *p + 63) & ~63ul);
	if (!p)
		return mqshm_error(-ENOMEM, "no memory for a handle");
	memset(p, 0, sizeof *p);
	rc = mqshm_patience_init(&p->patience, options ? options->spin_us : 0);
	how.flags = options ? options->flags : 0;
	if (!rc)
		rc = mqshm_attach(&how, &p->mapping, &p->writer, NULL);
	if (rc) {
		free(p);
		return rc;
	}
	p->owner = p->mapping->owner;
	p->state_word = &p->mapping->ring.participants[p->mapping->participant].state;
	p->state = p->mapping->state;
	p->block_size = p->mapping->ring.block_size;
	p->flags = p->mapping->ring.flags;
	p->shared = p->flags & MQSHM_SHARED;
	mqshm_lock_init(&p->lock, p->mapping, &p->patience, &p->cancelled);
	if (options) {
		p->tell_slow = options->slow;
		p->slow_arg = options->slow_arg;
	}
	*out = p;
	return 0;
}

int mqshm_producer_info(const struct mqshm_producer *p, struct mqshm_queue_info *info)
{
	int rc = check_owner(p);

	if (!rc)
		mqshm_fill_info(&p->mapping->ring, p->mapping->name, info);
	return rc;
}

static int leave(struct mqshm_producer *p, uint32_t how)
{
	KEEP_ERRNO;
	int rc;

	if (!p)
		return 0;
	if (*p->owner && p->reserved)
		mqshm_producer_abort(p);
	if (*p->owner && p->blocked_on && READ_ONCE(*p->state_word) == p->state)
		unblock(p);
	mqshm_notifier_close(p->notifier);
	rc = p->mapping->backend->detach(p->mapping, how);
	free(p);
	return rc;
}

/* Would a message of block_size fit (1)? Its room is not kept. */
static int ready(void *handle)
{
	struct mqshm_producer *p = handle;
	unsigned char *payload;
	int rc;

	if (unlikely(!*p->owner || p->reserved || READ_ONCE(*p->state_word) != p->state))
		return refuse(p, 0);
	if (p->shared) {
		rc = enter(p, 0);
		if (rc)
			return rc == -EAGAIN ? (p->busy = true, 0) : rc;
		mqshm_log_hold(); /* the lock is held */
	}
	p->busy = false;
	rc = writer_stage(&p->writer, p->block_size, &payload);
	if (!rc) {
		writer_abort(&p->writer);
		if (p->blocked_on)
			unblock(p);
	} else if (rc == -EAGAIN) {
		publish_need(p);
	} else {
		rc = broken(p, rc);
		if (p->shared)
			mqshm_log_deliver();
		return rc;
	}
	if (p->shared) {
		mqshm_lock_release(&p->lock);
		mqshm_log_deliver();
	}
	return !rc;
}

int mqshm_producer_device_fd(struct mqshm_producer *p)
{
	KEEP_ERRNO;
	int rc = check_owner(p);

	return rc ? rc : mqshm_device_fd(p->mapping);
}

int mqshm_producer_fd(struct mqshm_producer *p)
{
	KEEP_ERRNO;
	struct mqshm_notifier *n;
	int rc = check_owner(p);

	if (!rc && !p->notifier) {
		rc = mqshm_notifier_open(&n, p->mapping, &p->mapping->ring.info->room);
		if (!rc)
			__atomic_store_n(&p->notifier, n, __ATOMIC_RELEASE);
	}
	if (rc)
		return rc;
	if (!ready(p))
		notify_later(p, p->busy);
	return mqshm_notifier_fd(p->notifier);
}

static int watch(void *handle)
{
	return mqshm_producer_fd(handle);
}

void mqshm_producer_waitable(struct mqshm_producer *p, struct mqshm_waitable *w)
{
	*w = (struct mqshm_waitable){
		.mapping = p->mapping,
		.armed = &p->mapping->ring.info->room,
		.patience = &p->patience,
		.cancelled = &p->cancelled,
		.handle = p,
		.ready = ready,
		.check = check_blocker,
		.watch = watch,
	};
}

void mqshm_producer_cancel(struct mqshm_producer *p)
{
	struct mqshm_mapping *m = p->mapping;

	__atomic_store_n(&p->cancelled, 1, __ATOMIC_RELAXED);
	smp_mb(); /* MO-5: the word is out before we look who sleeps */
	mqshm_wake(m, &m->ring.info->room);
	mqshm_wake(m, &m->ring.info->event);
	if (p->shared)
		m->backend->wake(m, &m->ring.producer->lock);
	if (smp_load_acquire(&p->notifier))
		mqshm_notifier_set(p->notifier);
}

int mqshm_producer_close(struct mqshm_producer *p)
{
	return leave(p, MQSHM_EPOCH_CLOSED);
}

int mqshm_producer_fail(struct mqshm_producer *p)
{
	return leave(p, MQSHM_EPOCH_CRASHED);
}
