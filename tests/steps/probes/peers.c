/* SPDX-License-Identifier: MIT */
/*
 * Survivors: consumers and producers that work while their gate is open and check all they see. Messages tell who pushed
 * them and the how-many-eth of that one they are, and each byte follows from that.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>

#include "world.h"

uint64_t hang_ns = 20000000000ull;

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void nap_us(unsigned us)
{
	nanosleep(&(struct timespec){ 0, us * 1000l }, NULL);
}

void peer_init(struct peer *me)
{
	me->next_sequence = UINT64_MAX;
	for (int i = 0; i < PEERS; i++)
		me->next_count[i] = UINT64_MAX;
}

void complain(struct peer *me, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(me->complaint, sizeof me->complaint, format, args);
	va_end(args);
	_exit(1);
}

size_t message_make(const struct world *w, const struct peer *me, uint64_t count, unsigned char *to)
{
	uint64_t key = (uint64_t)(me - w->peers) << 32 | count;
	size_t size = sizeof key + payload_size(key, BLOCK - sizeof key);

	memcpy(to, &key, sizeof key);
	payload_fill(to + sizeof key, size - sizeof key, key);
	return size;
}

void message_check(const struct world *w, struct peer *me, const void *data, const struct mqshm_message *m)
{
	uint64_t key, count;
	uint32_t from;

	if (m->size < sizeof key)
		complain(me, "a message of %zu bytes", m->size);
	memcpy(&key, data, sizeof key);
	from = (uint32_t)(key >> 32);
	count = key & UINT32_MAX;
	if (from >= PEERS || m->size != sizeof key + payload_size(key, BLOCK - sizeof key) ||
	    !payload_good((const char *)data + sizeof key, m->size - sizeof key, key))
		complain(me, "message %llu is not whole (key %llx, %zu bytes)", (unsigned long long)m->sequence,
			 (unsigned long long)key, m->size);
	if (me->may_skip && m->sequence == me->next_sequence + 1)
		me->next_sequence++;
	me->may_skip = false;
	if (me->next_sequence != UINT64_MAX &&
	    (me->lossy ? m->sequence < me->next_sequence : m->sequence != me->next_sequence))
		complain(me, "sequence %llu, not %llu", (unsigned long long)m->sequence,
			 (unsigned long long)me->next_sequence);
	if (me->next_count[from] == UINT64_MAX && me->since_start && !me->lossy && count)
		complain(me, "the first message of peer %u is its number %llu", from, (unsigned long long)count);
	if (me->next_count[from] != UINT64_MAX &&
	    (me->lossy ? count < me->next_count[from] : count != me->next_count[from]))
		complain(me, "message %llu of peer %u, not %llu", (unsigned long long)count, from,
			 (unsigned long long)me->next_count[from]);
	me->next_sequence = m->sequence + 1;
	me->next_count[from] = count + 1;
	(void)w;
}

bool stream_over(ssize_t rc)
{
	return rc == -ESHUTDOWN || rc == -EOWNERDEAD;
}

int push_one(struct world *w, struct peer *me, struct mqshm_producer *p, int how, int timeout_ms)
{
	unsigned char message[BLOCK];
	size_t size = message_make(w, me, me->acked, message);
	struct iovec pieces[2] = { { message, size / 3 }, { message + size / 3, size - size / 3 } };
	void *to;
	int rc;

	if (how == 0) {
		rc = mqshm_producer_push(p, message, size, timeout_ms);
	} else if (how == 1) {
		rc = mqshm_producer_pushv(p, pieces, 2, timeout_ms);
	} else {
		rc = mqshm_producer_reserve(p, BLOCK, &to, timeout_ms);
		if (!rc) {
			fill_reservation(to, message, size);
			if (me->acked % 4 == 2)
				nap_us(200); /* others come and wait for the lock */
			rc = mqshm_producer_commit(p, size);
		}
	}
	if (!rc)
		me->acked++;
	return rc;
}

static void good(struct peer *me)
{
	SET(me->good, me->good + 1);
}

/* A timeout is no error; what it said is kept. */
static void timed_out(struct peer *me)
{
	snprintf(me->error, sizeof me->error, "%s", mqshm_last_error());
	SET(me->timeouts, me->timeouts + 1);
}

static bool is_heir(const struct world *w, const struct peer *me)
{
	return programs[w->config.program].flags & NAMED && me == &w->peers[NEW_CONSUMER];
}

/* It goes on where the one before has stopped: who was killed in a pop may have moved the cursor and not got the message. */
static void inherit(struct world *w, struct peer *me, const struct mqshm_consumer *c)
{
	const struct peer *before = &w->peers[VICTIM];

	if (mqshm_consumer_resumed(c) != 1 && (GET(before->ready) || GET(w->peers[AWAY].ready)))
		complain(me, "there was no cursor to take on");
	if (before->next_sequence == UINT64_MAX)
		before = &w->peers[AWAY];
	me->next_sequence = before->next_sequence;
	me->may_skip = before == &w->peers[VICTIM] && w->control.hit && w->control.action == SIGKILL;
}

static struct mqshm_consumer *enter_consumer(struct world *w, struct peer *me)
{
	struct mqshm_consumer_options o = { .size = sizeof o, .start = MQSHM_FROM_OLDEST, .flags = me->lossy ? MQSHM_LOSSY : 0 };
	struct mqshm_consumer *c;

	if (is_heir(w, me)) {
		o.name = HEIR;
		o.lease_ms = LEASE_MS;
	}

	while (!GET(me->quit)) {
		int rc = mqshm_consumer_open(&c, w->name, &w->options, &o);

		if (!rc) {
			if (is_heir(w, me))
				inherit(w, me, c);
			SET(me->ready, 1);
			return c;
		}
		if (rc != -ETIMEDOUT && rc != -EBUSY)
			complain(me, "consumer_open: %d %s", rc, mqshm_last_error());
		timed_out(me);
		nap_us(1000);
	}
	_exit(0);
}

void consumer_life(struct world *w, struct peer *me)
{
	bool removes = programs[w->config.program].flags & REMOVES, slow = programs[w->config.program].flags & (EVICTS | DEMOTES);
	struct mqshm_consumer *c = enter_consumer(w, me);
	unsigned char buffer[BLOCK];
	struct mqshm_message m[3];

	if (me->lossy && me->next_sequence == UINT64_MAX)
		me->since_start = false;
	for (uint64_t turn = 0;; turn++) {
		ssize_t rc;

		if (!GET(me->gate) && !GET(me->quit)) {
			SET(me->paused, 1);
			nap_us(1000);
			continue;
		}
		SET(me->paused, 0);
		if (turn & 1 || slow) { /* who may be evicted or demoted while it looks is not sure of what it sees */
			rc = mqshm_consumer_pop(c, buffer, sizeof buffer, m, 30);
			me->lossy |= mqshm_consumer_demoted(c);
			if (rc >= 0) {
				message_check(w, me, buffer, m);
				good(me);
			}
		} else {
			rc = mqshm_consumer_peek(c, m, 3, 30);
			for (ssize_t i = 0; i < rc && !me->lossy; i++) {
				message_check(w, me, m[i].data, &m[i]);
				good(me);
			}
			if (rc > 0 && me->lossy) /* what it saw holds once it is released */
				rc = 0;
			if (rc > 0 && mqshm_consumer_release(c, (size_t)rc))
				rc = -ESTALE;
		}
		if (rc == -ETIMEDOUT) {
			timed_out(me);
			if (GET(me->quit) > 1)
				break;
		} else if (stream_over(rc)) {
			SET(me->ended, me->ended + 1);
			if (GET(me->quit))
				break;
			nap_us(500);
		} else if ((rc == -ESTALE && removes) || (rc == -ECONNABORTED && slow)) { /* on a busy machine we are slow */
			mqshm_consumer_close(c);
			me->since_start = false;
			peer_init(me);
			c = enter_consumer(w, me);
		} else if (rc < 0) {
			complain(me, "pop or peek: %zd %s", rc, mqshm_last_error());
		}
	}
	if (mqshm_consumer_leave(c)) /* without a lease */
		complain(me, "consumer_leave: %s", mqshm_last_error());
}

static struct mqshm_producer *enter_producer(struct world *w, struct peer *me)
{
	struct mqshm_producer *p;

	while (!GET(me->quit)) {
		int rc = mqshm_producer_open(&p, w->name, &w->options, NULL);

		if (!rc) {
			SET(me->ready, 1);
			return p;
		}
		if (rc != -ETIMEDOUT && rc != -EBUSY)
			complain(me, "producer_open: %d %s", rc, mqshm_last_error());
		timed_out(me);
		nap_us(1000);
	}
	_exit(0);
}

void producer_life(struct world *w, struct peer *me)
{
	bool removes = programs[w->config.program].flags & REMOVES;
	struct mqshm_producer *p = enter_producer(w, me);

	while (!GET(me->quit)) {
		int rc;

		if (!GET(me->gate)) {
			SET(me->paused, 1);
			nap_us(1000);
			continue;
		}
		SET(me->paused, 0);
		rc = push_one(w, me, p, (int)(me->acked % 3), 30);
		if (!rc) {
			good(me);
			nap_us(100);
		} else if (rc == -ETIMEDOUT) {
			timed_out(me);
		} else if (rc == -ESTALE && removes) {
			mqshm_producer_close(p);
			p = enter_producer(w, me);
		} else {
			complain(me, "push: %d %s", rc, mqshm_last_error());
		}
	}
	if (mqshm_producer_close(p))
		complain(me, "producer_close: %s", mqshm_last_error());
}
