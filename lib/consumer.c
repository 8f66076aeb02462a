/* SPDX-License-Identifier: MIT */
/*
 * Consumers: pop and peek in all their forms. The hot path is mqshm_consumer_pop(): with a message there and nobody
 * asleep it is a few loads, a copy, two stores and one fence. See ring.h for the algorithm.
 */
#include <stdlib.h>
#include <time.h>

#include "backend.h"
#include "error.h"
#include "log.h"
#include "waitable.h"

/* Letting messages gather, see gather(). */
#define GATHER_RATE_NS 250  /* only of a stream that is faster than a message in this time */
#define GATHER_LEAST_NS 250
#define GATHER_MOST_NS 4000

#define LAPS_MOST 64	/* times a lossy reader is lapped before it gives up a try */
#define ACCESS_EVERY 32 /* messages between two readings of the clock for last_access_ns */

struct mqshm_consumer {
	const uint32_t *owner;
	struct mqshm_mapping *mapping;
	struct mqshm_reader reader;
	uint32_t accesses;
	uint32_t cancelled;
	bool resumed;
	struct mqshm_notifier *notifier; /* NULL: nobody has asked for a descriptor */

	size_t peeked; /* how many release may still move past ... */
	struct mqshm_found peek_end; /* ... and where it gets then */
	struct mqshm_patience patience;
	uint64_t empty_ns, empty_sequence; /* when and where the ring was last found empty */
	uint64_t gather_ns;
};

static int child(void)
{
	return mqshm_error(-ECHILD, "the handle belongs to a parent process");
}

static int ready(void *handle);

/* Now and then: say that we still read. And when somebody polls for us: does its descriptor tell the truth? */
static void touch(struct mqshm_consumer *c)
{
	struct timespec now;

	c->accesses = unlikely(c->notifier) ? ACCESS_EVERY - 1 : 0; /* each pop is to come here */
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	WRITE_ONCE(c->reader.area->last_access_ns, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
	if (unlikely(c->notifier) && !ready(c)) {
		struct mqshm_news news = { .own_state = c->reader.state,
					   .position = c->reader.position,
					   .retry_ns = MQSHM_FOREVER };

		mqshm_notifier_watch(c->notifier, &news);
	}
}

/* While waiting: is a producer alive, if the stream has one; are we still a consumer? */
static int check_producers(void *arg)
{
	return mqshm_check_producers(((struct mqshm_consumer *)arg)->mapping);
}

/* Has the stream ended? There may be messages left: tail is to be read after this (MO-12 acquire). */
static int stream_end(const struct mqshm_consumer *c)
{
	uint64_t state = MQSHM_EPOCH_STATE(smp_load_acquire(&c->reader.ring->info->producer_epoch));

	if (likely(state == MQSHM_EPOCH_ACTIVE || state == MQSHM_EPOCH_NONE))
		return 0;
	if (state == MQSHM_EPOCH_CLOSED)
		return mqshm_error(-ESHUTDOWN, "end of stream: the producer of queue '%s' has closed", c->mapping->name);
	return mqshm_error(-EOWNERDEAD, "the producer of queue '%s' died without closing, or failed", c->mapping->name);
}

static void wait_init(struct mqshm_wait *w, struct mqshm_consumer *c, int timeout_ms)
{
	*w = (struct mqshm_wait){
		.mapping = c->mapping,
		.patience = &c->patience,
		.armed = &c->mapping->ring.info->data,
		.watch = &c->mapping->ring.producer->tail,
		.for_data = true,
		.check = check_producers,
		.arg = c,
		.cancelled = &c->cancelled,
		.timeout_ms = timeout_ms,
	};
}

static __attribute__((noinline, cold)) int damaged(const struct mqshm_consumer *c, int rc)
{
	KEEP_ERRNO;

	if (rc == -ESTALE) {
		rc = c->mapping->backend->check_self(c->mapping);
		if (rc)
			return rc;
		/* Our state was another and is ours again: nobody but a peer that scribbles does that. */
		return mqshm_error(-ESTALE, "the role of this handle of queue '%s' was changed by another", c->mapping->name);
	}
	if (rc == -EBADMSG)
		mqshm_log(MQSHM_LOG_ERROR, c->mapping->name, "damaged at message %llu",
			  (unsigned long long)c->reader.sequence);
	return mqshm_error(rc, "queue '%s' is damaged at message %llu", c->mapping->name,
			   (unsigned long long)c->reader.sequence);
}

/* Is there a message to be had (1), or an error (-errno)? */
static int ready(void *handle)
{
	struct mqshm_consumer *c = handle;
	const struct mqshm_reader *rd = &c->reader;
	int rc;

	if (unlikely(!*c->owner))
		return child();
	if (unlikely(READ_ONCE(*rd->state_word) != rd->state) && !reader_demoted(&c->reader))
		return damaged(c, -ESTALE);
	rc = stream_end(c);
	if (smp_load_acquire(&rd->ring->producer->tail) != rd->position)
		return 1;
	return rc && READ_ONCE(rd->ring->info->dead) ? damaged(c, -ESTALE) : rc;
}

/*
 * The ring is empty. When the stream is fast, let some messages gather before looking again: each look takes the line
 * of tail away from the producer. Not when they come singly (a round trip), nor when we were told how long to spin.
 */
static bool gather(struct mqshm_consumer *c)
{
	uint64_t now = mqshm_now_ns(), count = c->reader.sequence - c->empty_sequence;

	if (count < 2 || now - c->empty_ns > count * GATHER_RATE_NS)
		c->gather_ns = 0;
	else if (count > c->reader.ring->node_count / 4)
		c->gather_ns /= 2; /* the producer shall not find the ring full meanwhile */
	else
		c->gather_ns = c->gather_ns < GATHER_LEAST_NS ? GATHER_LEAST_NS
			       : c->gather_ns < GATHER_MOST_NS ? 2 * c->gather_ns : c->gather_ns;
	c->empty_sequence = c->reader.sequence;
	c->empty_ns = now;
	while (mqshm_now_ns() - now < c->gather_ns)
		cpu_relax();
	return c->gather_ns;
}

/* Not enough there when tail was seen: 0 try again, else why not. */
static __attribute__((noinline)) int wait_for_data(struct mqshm_consumer *c, struct mqshm_wait *w, uint64_t seen, int timeout_ms)
{
	int rc;

	if (unlikely(READ_ONCE(*c->reader.state_word) != c->reader.state) && !reader_demoted(&c->reader))
		return damaged(c, -ESTALE); /* removed by force: no end of stream */
	rc = stream_end(c);
	if (rc && smp_load_acquire(&c->reader.ring->producer->tail) == c->reader.position)
		return READ_ONCE(c->reader.ring->info->dead) ? damaged(c, -ESTALE) : rc;
	if (!w->mapping) {
		wait_init(w, c, timeout_ms);
		touch(c); /* and the descriptor */
		if (timeout_ms && c->patience.adapt && c->patience.spin_most_ns && gather(c))
			return 0;
	}
	w->until = seen + 1;
	return mqshm_wait(w);
}

/* The cursor has moved: what is to be done besides. */
static inline void moved(struct mqshm_consumer *c, uint64_t next, uint64_t next_offset, uint64_t sequence)
{
	c->peeked = 0;
	c->reader.laps = 0;
	if (unlikely(reader_advance(&c->reader, next, next_offset, sequence)))
		mqshm_wake(c->mapping, &c->mapping->ring.info->room);
	if (unlikely(++c->accesses >= ACCESS_EVERY))
		touch(c);
}

static inline void copy_out(const struct mqshm_reader *rd, void *to, const struct mqshm_found *f)
{
	if (unlikely(rd->racy))
		racy_copy(to, f->payload, f->size);
	else if (likely(f->size))
		memcpy(to, f->payload, f->size);
}

/*
 * What comes after trying to read at the cursor gave rc: rc if it stands; -ERESTART when a lossy reader was lapped and
 * has been moved on (-EAGAIN when that happens time and again); else the error.
 */
static inline int settle(struct mqshm_consumer *c, int rc)
{
	int valid;

	if (rc == -EAGAIN && !c->reader.lossy)
		return rc;
	valid = reader_validate(&c->reader);
	if (unlikely(valid == -EAGAIN)) {
		rc = reader_resync(&c->reader);
		if (rc)
			return damaged(c, rc);
		if (READ_ONCE(c->reader.ring->info->room.word) & 1) /* somebody may wait until all is read */
			mqshm_wake(c->mapping, &c->mapping->ring.info->room);
		return c->reader.laps < LAPS_MOST ? -ERESTART : -EAGAIN; /* let the caller look at its time */
	}
	if (unlikely(valid))
		return damaged(c, valid);
	if (unlikely(rc == -EBADMSG))
		return damaged(c, rc);
	return rc;
}

static __attribute__((cold)) int too_small(size_t size, size_t capacity)
{
	return mqshm_error(-EMSGSIZE, "the message has %zu bytes, the buffer %zu", size, capacity);
}

/* One try, without waiting: the size, -EAGAIN, -ERESTART, or why not. */
static inline __attribute__((always_inline)) ssize_t try_pop(struct mqshm_consumer *c, void *buffer, size_t capacity,
							     struct mqshm_message *message)
{
	struct mqshm_reader *rd = &c->reader;
	struct mqshm_found f;
	int rc = reader_find(rd, rd->position, rd->offset, rd->sequence, &f);

	if (unlikely(rc))
		return settle(c, rc);
	if (likely(f.size <= capacity))
		copy_out(rd, buffer, &f);
	else
		buffer = NULL;
	rc = settle(c, 0);
	if (unlikely(rc))
		return rc;
	if (message)
		*message = (struct mqshm_message){ buffer, f.size, f.sequence, f.timestamp_ns };
	if (unlikely(f.size > capacity))
		return too_small(f.size, capacity);
	moved(c, f.next, f.next_offset, f.sequence + 1);
	return f.size;
}

static __attribute__((noinline)) ssize_t pop_slowly(struct mqshm_consumer *c, void *buffer, size_t capacity,
						    struct mqshm_message *message, int timeout_ms)
{
	struct mqshm_wait w = { .mapping = NULL };

	for (;;) {
		ssize_t rc = wait_for_data(c, &w, c->reader.tail, timeout_ms);

		if (rc)
			return rc;
		do
			rc = try_pop(c, buffer, capacity, message);
		while (rc == -ERESTART);
		if (rc != -EAGAIN)
			return rc;
	}
}

ssize_t mqshm_consumer_pop(struct mqshm_consumer *c, void *buffer, size_t capacity, struct mqshm_message *message,
			   int timeout_ms)
{
	ssize_t rc;

	if (unlikely(!*c->owner))
		return child();
	do
		rc = try_pop(c, buffer, capacity, message);
	while (unlikely(rc == -ERESTART));
	return likely(rc != -EAGAIN) ? rc : pop_slowly(c, buffer, capacity, message, timeout_ms);
}

/*
 * Find up to max messages from the cursor on; to, if not NULL, gets copies, each aligned to 8. Nothing is moved. at
 * becomes the position behind the last. Returns how many, or -EAGAIN, -EMSGSIZE (the first did not fit; size in
 * messages[0]), -EBADMSG.
 */
static int collect(struct mqshm_consumer *c, struct mqshm_message *messages, size_t max, unsigned char *to,
		   size_t capacity, struct mqshm_found *at)
{
	struct mqshm_reader *rd = &c->reader;
	uint64_t position = rd->position, offset = rd->offset, sequence = rd->sequence;
	size_t n = 0, used = 0;

	while (n < max) {
		struct mqshm_found f;
		int rc = reader_find(rd, position, offset, sequence, &f);

		if (rc) {
			if (n && rc == -EAGAIN)
				break;
			return rc;
		}
		messages[n] = (struct mqshm_message){ f.payload, f.size, f.sequence, f.timestamp_ns };
		if (to) {
			if (f.size > capacity - used) {
				if (n)
					break;
				messages[0].data = NULL;
				return -EMSGSIZE;
			}
			copy_out(rd, to + used, &f);
			messages[n].data = to + used;
			used += (f.size + 7u) & ~7u;
			if (used > capacity)
				used = capacity;
		}
		n++;
		position = f.next;
		offset = f.next_offset;
		sequence = f.sequence + 1;
		*at = f;
	}
	return (int)n;
}

/* How many messages are there? Exact: from the record of tail. */
static uint64_t available(const struct mqshm_reader *rd)
{
	uint64_t tail, sequence;

	return ring_read_tail(rd->ring, &tail, &sequence) || sequence < rd->sequence ? 0 : sequence - rd->sequence;
}

/*
 * Wait until min are there, then collect. When time runs out or the stream ends, take what there is. Returns how many,
 * at least 1.
 */
static int wait_and_collect(struct mqshm_consumer *c, struct mqshm_message *messages, size_t min, size_t max,
			    unsigned char *to, size_t capacity, int timeout_ms, struct mqshm_found *at)
{
	struct mqshm_wait w = { .mapping = NULL };
	uint64_t seen, sequence;
	int rc, last = 0; /* last: no more will come, for this reason */

	if (unlikely(!*c->owner))
		return child();
	if (!messages || max == 0)
		return mqshm_error(-EINVAL, "no place for messages");
	if (min == 0 || min > max || min > c->reader.ring->node_count)
		return mqshm_error(-EINVAL, "min is %zu, not 1..%zu (at most max, and node_count)", min, max);
	if (max > INT32_MAX)
		max = INT32_MAX;
	for (;;) {
		if (min > 1) {
			if (!last)
				last = stream_end(c);
			if (ring_read_tail(c->reader.ring, &seen, &sequence))
				return damaged(c, -EBADMSG);
		}
		if (min <= 1 || last || (int64_t)(sequence - c->reader.sequence) >= (int64_t)min) {
			rc = settle(c, collect(c, messages, max, to, capacity, at));
			if (rc == -ERESTART)
				continue;
			if (rc == -EMSGSIZE)
				return too_small(messages[0].size, capacity);
			if (rc != -EAGAIN)
				return rc;
			if (last)
				return READ_ONCE(c->reader.ring->info->dead) ? damaged(c, -ESTALE) : last;
			seen = c->reader.tail;
		}
		rc = wait_for_data(c, &w, seen, timeout_ms);
		if (rc == -EAGAIN || rc == -ETIMEDOUT || rc == -ESHUTDOWN || rc == -EOWNERDEAD)
			last = rc;
		else if (rc < 0)
			return rc;
	}
}

int mqshm_consumer_pop_batch(struct mqshm_consumer *c, struct mqshm_message *messages, size_t min, size_t max,
			     void *buffer, size_t capacity, int timeout_ms)
{
	struct mqshm_found at;
	int n;

	if (!buffer)
		return mqshm_error(-EINVAL, "no buffer");
	n = wait_and_collect(c, messages, min, max, buffer, capacity, timeout_ms, &at);
	if (likely(n > 0))
		moved(c, at.next, at.next_offset, at.sequence + 1);
	return n;
}

int mqshm_consumer_peek(struct mqshm_consumer *c, struct mqshm_message *messages, size_t max, int timeout_ms)
{
	int n = wait_and_collect(c, messages, 1, max, NULL, 0, timeout_ms, &c->peek_end);

	c->peeked = n > 0 ? (size_t)n : 0;
	return n;
}

int mqshm_consumer_release(struct mqshm_consumer *c, size_t count)
{
	struct mqshm_reader *rd = &c->reader;
	struct mqshm_found at = c->peek_end;
	uint64_t position = rd->position, offset = rd->offset, sequence = rd->sequence;
	int rc = 0;

	if (unlikely(!*c->owner))
		return child();
	if (unlikely(count > c->peeked))
		return mqshm_error(-EINVAL, "%zu messages are more than the %zu last looked at", count, c->peeked);
	if (count == 0)
		return 0;
	for (size_t i = 0; count < c->peeked && i < count && !rc; i++) { /* not all of them: find the end again */
		rc = reader_find(rd, position, offset, sequence, &at);
		position = at.next;
		offset = at.next_offset;
		sequence++;
	}
	if (rc == -EAGAIN)
		rc = -EBADMSG; /* they were there */
	rc = settle(c, rc);
	if (unlikely(rc == -ERESTART || rc == -EAGAIN)) {
		c->peeked = 0;
		return mqshm_error(-ESTALE, "the producer of queue '%s' has overtaken this lossy read",
				   c->mapping->name);
	}
	if (likely(!rc)) {
		size_t left = c->peeked - count;

		moved(c, at.next, at.next_offset, at.sequence + 1);
		c->peeked = left;
	}
	return rc;
}

int64_t mqshm_consumer_lag(const struct mqshm_consumer *c)
{
	return *c->owner ? (int64_t)available(&c->reader) : child();
}

int64_t mqshm_consumer_missed(const struct mqshm_consumer *c)
{
	return *c->owner ? (int64_t)c->reader.missed : child();
}

int mqshm_consumer_demoted(const struct mqshm_consumer *c)
{
	return *c->owner ? MQSHM_SLOT_STATE(READ_ONCE(*c->reader.state_word)) == MQSHM_SLOT_DEMOTED : child();
}

int mqshm_consumer_resumed(const struct mqshm_consumer *c)
{
	return *c->owner ? c->resumed : child();
}

void mqshm_consumer_cancel(struct mqshm_consumer *c)
{
	__atomic_store_n(&c->cancelled, 1, __ATOMIC_RELAXED);
	smp_mb(); /* MO-2: the word is out before we look whether it sleeps */
	mqshm_disturb(c->mapping, &c->mapping->ring.info->data);
	if (smp_load_acquire(&c->notifier))
		mqshm_notifier_set(c->notifier);
}

int mqshm_consumer_device_fd(struct mqshm_consumer *c)
{
	KEEP_ERRNO;

	return *c->owner ? mqshm_device_fd(c->mapping) : child();
}

int mqshm_consumer_fd(struct mqshm_consumer *c)
{
	KEEP_ERRNO;
	struct mqshm_notifier *n;
	int rc;

	if (!*c->owner)
		return child();
	if (!c->notifier) {
		rc = mqshm_notifier_open(&n, c->mapping, &c->mapping->ring.info->data);
		if (rc)
			return rc;
		__atomic_store_n(&c->notifier, n, __ATOMIC_RELEASE);
	}
	touch(c);
	return mqshm_notifier_fd(c->notifier);
}

static int watch(void *handle)
{
	return mqshm_consumer_fd(handle);
}

void mqshm_consumer_waitable(struct mqshm_consumer *c, struct mqshm_waitable *w)
{
	*w = (struct mqshm_waitable){
		.mapping = c->mapping,
		.armed = &c->mapping->ring.info->data,
		.patience = &c->patience,
		.cancelled = &c->cancelled,
		.handle = c,
		.ready = ready,
		.check = check_producers,
		.watch = watch,
	};
}

int mqshm_consumer_id(const struct mqshm_consumer *c)
{
	return *c->owner ? (int)c->reader.slot : child();
}

int mqshm_consumer_info(const struct mqshm_consumer *c, struct mqshm_queue_info *info)
{
	if (!*c->owner)
		return child();
	mqshm_fill_info(&c->mapping->ring, c->mapping->name, info);
	return 0;
}

int mqshm_consumer_open(struct mqshm_consumer **out, const char *name, const struct mqshm_queue_options *queue,
			const struct mqshm_consumer_options *options)
{
	KEEP_ERRNO;
	struct mqshm_attach how = { .name = name, .role = MQSHM_ROLE_CONSUMER };
	struct mqshm_queue_options read;
	struct mqshm_consumer *c;
	int rc;

	*out = NULL;
	rc = mqshm_attach_begin(&how, queue, &read);
	if (rc)
		return rc;
	if (options && options->size != sizeof *options)
		return mqshm_error(-EINVAL, "struct mqshm_consumer_options says its size is %zu, not %zu",
				   options->size, sizeof *options);
	if (options && options->flags & ~(uint32_t)(MQSHM_LOSSY | MQSHM_PREFAULT | MQSHM_MLOCK))
		return mqshm_error(-EINVAL, "unknown flags 0x%x", options->flags);
	if (options && (options->start < MQSHM_FROM_LATEST || options->start > MQSHM_FROM_BEGINNING))
		return mqshm_error(-EINVAL, "start is %d, not one of MQSHM_FROM_...", options->start);
	c = calloc(1, sizeof *c);
	if (!c)
		return mqshm_error(-ENOMEM, "no memory for a handle");
	rc = mqshm_patience_init(&c->patience, options ? options->spin_us : 0);
	if (options) {
		how.flags = options->flags;
		how.start = options->start;
		how.wait_ms = options->wait_ms;
		how.consumer_name = options->name;
		how.lease_ms = options->lease_ms;
		how.resumed = &c->resumed;
	}
	if (!rc && options)
		rc = mqshm_check_consumer_name(options->name, options->lease_ms);
	if (!rc)
		rc = mqshm_attach(&how, &c->mapping, NULL, &c->reader);
	if (rc) {
		free(c);
		return rc;
	}
	c->owner = c->mapping->owner;
	touch(c);
	*out = c;
	return 0;
}

static int leave(struct mqshm_consumer *c, uint32_t how)
{
	KEEP_ERRNO;
	int rc;

	if (!c)
		return 0;
	mqshm_notifier_close(c->notifier);
	rc = c->mapping->backend->detach(c->mapping, how);
	free(c);
	return rc;
}

int mqshm_consumer_close(struct mqshm_consumer *c)
{
	return leave(c, MQSHM_EPOCH_CLOSED);
}

int mqshm_consumer_leave(struct mqshm_consumer *c)
{
	return leave(c, MQSHM_EPOCH_NONE);
}
