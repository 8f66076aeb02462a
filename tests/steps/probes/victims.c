/* SPDX-License-Identifier: MIT */
/* What victims do: short programs, each about one thing, with steps counted (and one of them the last) while armed. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "mqshm/abi.h"
#include "mqshm/watch.h"
#include "world.h"

#define SOON_MS 60000 /* what is waited for comes */

static bool odd(struct world *w)
{
	return payload_mix(w->config.seed) & 1;
}

static struct mqshm_producer *producer(struct world *w, struct peer *me, uint32_t flags)
{
	struct mqshm_producer_options o = { .size = sizeof o, .flags = flags };
	struct mqshm_producer *p;
	int rc;

	do /* the others come and go, too */
		rc = mqshm_producer_open(&p, w->name, &w->options, &o);
	while (rc == -ETIMEDOUT);
	if (rc)
		complain(me, "producer_open: %d %s", rc, mqshm_last_error());
	return p;
}

static struct mqshm_consumer *consumer(struct world *w, struct peer *me, uint32_t flags, int start, int wait_ms)
{
	struct mqshm_consumer_options o = { .size = sizeof o, .flags = flags, .start = start, .wait_ms = wait_ms };
	struct mqshm_consumer *c;
	int rc;

	do
		rc = mqshm_consumer_open(&c, w->name, wait_ms ? NULL : &w->options, &o);
	while (rc == -ETIMEDOUT);
	if (rc)
		complain(me, "consumer_open: %d %s", rc, mqshm_last_error());
	return c;
}

static void push_some(struct world *w, struct peer *me, struct mqshm_producer *p, int how, int count)
{
	while (count--) {
		int rc = push_one(w, me, p, how, SOON_MS);

		if (rc)
			complain(me, "push: %d %s", rc, mqshm_last_error());
	}
}

/* Up to count messages; the end of the stream ends it. how: 0 pop, 1 pop_batch, 2 peek and release */
static void pop_some(struct world *w, struct peer *me, struct mqshm_consumer *c, int how, int count, int timeout_ms)
{
	unsigned char buffer[3 * (BLOCK + 8)];
	struct mqshm_message m[3];

	while (count > 0) {
		ssize_t rc;

		if (how == 0) {
			rc = mqshm_consumer_pop(c, buffer, sizeof buffer, m, timeout_ms);
			if (rc >= 0) {
				message_check(w, me, buffer, m);
				rc = 1;
			}
		} else if (how == 1) {
			rc = mqshm_consumer_pop_batch(c, m, 1 + (size_t)(count & 1), 3, buffer, sizeof buffer, timeout_ms);
			for (ssize_t i = 0; i < rc; i++)
				message_check(w, me, m[i].data, &m[i]);
		} else {
			rc = mqshm_consumer_peek(c, m, 3, timeout_ms);
			for (ssize_t i = 0; i < rc && !me->lossy; i++) /* a lossy one could not be sure */
				message_check(w, me, m[i].data, &m[i]);
			for (ssize_t left = rc; left > 0; left--) {
				int released = mqshm_consumer_release(c, 1);

				if (released == -ESTALE && me->lossy)
					break;
				if (released)
					complain(me, "release: %s", mqshm_last_error());
			}
		}
		if (stream_over(rc) || rc == -ETIMEDOUT)
			return;
		if (rc < 0)
			complain(me, "pop: %zd %s", rc, mqshm_last_error());
		count -= (int)rc;
	}
}

static void leave_p(struct peer *me, struct mqshm_producer *p)
{
	if (mqshm_producer_close(p))
		complain(me, "producer_close: %s", mqshm_last_error());
}

static void leave_c(struct peer *me, struct mqshm_consumer *c)
{
	if (mqshm_consumer_close(c))
		complain(me, "consumer_close: %s", mqshm_last_error());
}

static void attach_producer(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_producer *p;

	close(0); /* a descriptor that is low is moved up */
	steps_arm(control);
	p = producer(w, me, odd(w) ? MQSHM_PREFAULT | MQSHM_MLOCK : 0);
	push_some(w, me, p, 0, 1);
	steps_disarm();
	leave_p(me, p);
}

static void pushes(struct world *w, struct peer *me, struct control *control, int how, int count)
{
	struct mqshm_producer *p = producer(w, me, 0);

	steps_arm(control);
	push_some(w, me, p, how, count);
	steps_disarm();
	leave_p(me, p);
}

static void push(struct world *w, struct peer *me, struct control *control)
{
	pushes(w, me, control, 0, LAP);
}

static void pushv(struct world *w, struct peer *me, struct control *control)
{
	pushes(w, me, control, 1, LAP);
}

static void reserve(struct world *w, struct peer *me, struct control *control)
{
	pushes(w, me, control, 2, LAP);
}

static void batch(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_producer *p = producer(w, me, 0);
	unsigned char messages[6][BLOCK];
	struct iovec list[6];
	int rc = 0;

	steps_arm(control);
	for (int i = 0; i < 4; i++) {
		for (int k = 0; k < 6; k++)
			list[k] = (struct iovec){ messages[k], message_make(w, me, me->acked + (uint64_t)k, messages[k]) };
		rc = mqshm_producer_push_batch(p, list, 6, SOON_MS);
		if (rc <= 0)
			complain(me, "push_batch: %d %s", rc, mqshm_last_error());
		me->acked += (uint64_t)rc;
	}
	steps_disarm();
	leave_p(me, p);
}

static void abort_it(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_producer *p = producer(w, me, 0);

	steps_arm(control);
	for (int i = 0; i < 4; i++) {
		void *to;

		if (mqshm_producer_reserve(p, BLOCK, &to, SOON_MS))
			complain(me, "reserve: %s", mqshm_last_error());
		memset(to, 0xee, BLOCK);
		if (mqshm_producer_abort(p))
			complain(me, "abort: %s", mqshm_last_error());
		push_some(w, me, p, 2, 1);
	}
	steps_disarm();
	leave_p(me, p);
}

static void drain(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_producer *p = producer(w, me, 0);
	int rc;

	push_some(w, me, p, 0, 1);
	steps_arm(control);
	rc = mqshm_producer_wait_consumers(p, (unsigned)w->config.consumers, 0, SOON_MS);
	if (!rc && w->config.others == 0) /* others would push on */
		rc = mqshm_producer_wait_drained(p, SOON_MS);
	steps_disarm();
	if (rc)
		complain(me, "wait: %d %s", rc, mqshm_last_error());
	leave_p(me, p);
}

/* There are not enough, for ever: sleeps on the third word. */
static void expect_consumers(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_producer *p = producer(w, me, 0);
	int rc;

	steps_arm(control);
	rc = mqshm_producer_wait_consumers(p, 40, 0, 20);
	steps_disarm();
	if (rc != -ETIMEDOUT)
		complain(me, "wait_consumers: %d %s", rc, mqshm_last_error());
	leave_p(me, p);
}

static void close_producer(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_producer *p = producer(w, me, 0);
	void *to;

	push_some(w, me, p, 0, 1);
	if (odd(w) && mqshm_producer_reserve(p, BLOCK, &to, SOON_MS))
		complain(me, "reserve: %s", mqshm_last_error());
	steps_arm(control);
	if (payload_mix(w->config.seed + 1) & 1 ? mqshm_producer_fail(p) : mqshm_producer_close(p))
		complain(me, "close: %s", mqshm_last_error());
	steps_disarm();
}

/* It gave up on a full queue, and leaves. */
static void close_blocked(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_producer *p = producer(w, me, 0);
	int rc;

	do
		rc = push_one(w, me, p, 0, 2);
	while (!rc && me->acked < LAP);
	steps_arm(control);
	if (mqshm_producer_close(p))
		complain(me, "close: %s", mqshm_last_error());
	steps_disarm();
}

static void join_consumer(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c;
	uint64_t r = payload_mix(w->config.seed);

	me->lossy = r % 5 == 0;
	if (r & 1)
		close(0);
	steps_arm(control);
	c = consumer(w, me, (me->lossy ? MQSHM_LOSSY : 0) | (r & 2 ? MQSHM_PREFAULT | MQSHM_MLOCK : 0), (int)((r >> 8) % 3), 0);
	steps_disarm();
	pop_some(w, me, c, 0, 3, 100);
	leave_c(me, c);
}

/* The first reliable one: it gets what the queue has held. */
static void adopt(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c;

	steps_arm(control);
	c = consumer(w, me, 0, MQSHM_FROM_LATEST, 0);
	steps_disarm();
	pop_some(w, me, c, 0, 3, 100);
	leave_c(me, c);
}

/* Somebody else is just attaching, until the victim has found that out, or for a second. */
static void attach_later(struct world *w, struct peer *me, struct control *control)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = MQSHM_LOCK_LIFECYCLE, .l_len = 1 };
	struct mqshm_consumer *c;
	char path[100];
	pid_t pid;
	int fd;

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", w->name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock))
		complain(me, "the life cycle's lock is not free");
	pid = fork();
	if (pid == 0) {
		uint32_t found = point_find("posix_lifecycle_lock: nanosleep(&(struct timespec){ 0, LIFECYCLE_NAP_NS }, NULL) | before");

		for (int i = 0; i < 10000 && !GET(control->counts[found]); i++)
			nap_us(100);
		_exit(0);
	}
	close(fd);
	steps_arm(control);
	c = consumer(w, me, 0, MQSHM_FROM_OLDEST, 0);
	steps_disarm();
	leave_c(me, c);
	waitpid(pid, NULL, 0);
}

/* Children that are not to get the role: one made by fork(), one past its handlers. Their deaths are nobody's. */
static void fork_children(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c = consumer(w, me, 0, MQSHM_FROM_OLDEST, 0);
	pid_t children[2];
	int status;

	steps_arm(control);
	children[0] = fork();
	if (children[0] == 0)
		_exit(0);
	waitpid(children[0], &status, WUNTRACED);
	children[1] = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (children[1] == 0) {
		mqshm_consumer_close(c);
		_exit(0);
	}
	waitpid(children[1], &status, WUNTRACED);
	steps_disarm();
	pop_some(w, me, c, 0, 3, 100);
	leave_c(me, c);
	for (int i = 0; i < 2; i++) /* if it is stopped; else there is none */
		if (!waitpid(children[i], &status, WNOHANG)) {
			kill(children[i], SIGKILL);
			waitpid(children[i], &status, 0);
		}
}

static void stat_it(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_stat *stat;
	int rc;

	steps_arm(control);
	do
		rc = mqshm_queue_stat(w->name, &stat);
	while (rc == -ETIMEDOUT);
	steps_disarm();
	if (rc)
		complain(me, "queue_stat: %d %s", rc, mqshm_last_error());
	mqshm_stat_free(stat);
}

/* What has the name is no queue: it is told, and removed by force. */
static void broken(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c;
	char path[100];
	int rc;

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", w->name);
	if (odd(w))
		rc = mkfifo(path, 0600);
	else
		rc = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (rc < 0)
		complain(me, "%s: %s", path, strerror(errno));
	steps_arm(control);
	rc = mqshm_consumer_open(&c, w->name, NULL, NULL);
	if (rc == -EBADMSG)
		rc = mqshm_queue_remove(w->name, MQSHM_FORCE);
	steps_disarm();
	if (rc)
		complain(me, "a broken queue: %d %s", rc, mqshm_last_error());
}

static void push_amid(struct world *w, struct peer *me, struct control *control)
{
	control->pause = 1 + point_find("writer_make_room: r->producer->head = release to.position | before");
	pushes(w, me, control, 0, LAP);
}

static void pops(struct world *w, struct peer *me, struct control *control, int how)
{
	struct mqshm_consumer *c = consumer(w, me, 0, MQSHM_FROM_OLDEST, 0);

	steps_arm(control);
	pop_some(w, me, c, how, LAP, 100);
	steps_disarm();
	leave_c(me, c);
}

static void pop(struct world *w, struct peer *me, struct control *control)
{
	pops(w, me, control, 0);
}

static void pop_batch(struct world *w, struct peer *me, struct control *control)
{
	pops(w, me, control, 1);
}

static void peek(struct world *w, struct peer *me, struct control *control)
{
	pops(w, me, control, 2);
}

static void close_consumer(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c = consumer(w, me, 0, MQSHM_FROM_OLDEST, 0);

	pop_some(w, me, c, 0, 1, 10);
	steps_arm(control);
	leave_c(me, c);
	steps_disarm();
}

/* A lossy consumer that is a lap behind: by a producer of its own. */
static void lapped(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c;
	struct mqshm_producer *p;

	me->lossy = true;
	c = consumer(w, me, MQSHM_LOSSY, MQSHM_FROM_OLDEST, 0);
	p = producer(w, me, 0);
	for (int turn = 0; turn < 2; turn++) {
		push_some(w, me, p, 0, LAP);
		steps_arm(control);
		pop_some(w, me, c, 2 * turn, 2, 100);
		steps_disarm();
	}
	leave_p(me, p);
	leave_c(me, c);
}

static void await(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c;

	steps_arm(control);
	c = consumer(w, me, 0, MQSHM_FROM_OLDEST, SOON_MS);
	steps_disarm();
	pop_some(w, me, c, 0, 2, 100);
	leave_c(me, c);
}

static void make(struct world *w, struct peer *me, struct control *control)
{
	int rc;

	steps_arm(control);
	do
		rc = mqshm_queue_create(w->name, &w->options);
	while (rc == -ETIMEDOUT);
	steps_disarm();
	if (rc < 0)
		complain(me, "queue_create: %d %s", rc, mqshm_last_error());
}

static void collect(struct world *w, struct peer *me, struct control *control)
{
	int rc;

	steps_arm(control);
	do
		rc = mqshm_queue_gc(w->name, NULL, NULL);
	while (rc == -ETIMEDOUT);
	steps_disarm();
	if (rc < 0 && rc != -ENOENT)
		complain(me, "queue_gc: %d %s", rc, mqshm_last_error());
}

static void remove_it(struct world *w, struct peer *me, struct control *control)
{
	bool force = programs[w->config.program].flags & REMOVES;
	int rc;

	steps_arm(control);
	do
		rc = mqshm_queue_remove(w->name, force ? MQSHM_FORCE : 0);
	while (rc == -ETIMEDOUT);
	steps_disarm();
	if (rc && rc != -ENOENT && !(rc == -EBUSY && !force))
		complain(me, "queue_remove: %d %s", rc, mqshm_last_error());
}

/* Somebody removes the object by hand; whoever waits next finds out. */
static void unlinked(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c = consumer(w, me, 0, MQSHM_FROM_LATEST, 0);
	unsigned char buffer[BLOCK];
	char path[100];
	ssize_t rc;

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", w->name);
	unlink(path);
	steps_arm(control);
	do
		rc = mqshm_consumer_pop(c, buffer, sizeof buffer, NULL, 200);
	while (rc >= 0);
	steps_disarm();
	if (rc != -ESTALE && rc != -ETIMEDOUT && !stream_over(rc))
		complain(me, "pop of an unlinked queue: %zd %s", rc, mqshm_last_error());
	leave_c(me, c);
}

/* ---- slow consumers, leases ---- */

/* NULL: its heir has been faster. */
static struct mqshm_consumer *named_consumer(struct world *w, struct peer *me)
{
	struct mqshm_consumer_options o = { .size = sizeof o, .start = MQSHM_FROM_OLDEST, .name = HEIR, .lease_ms = LEASE_MS };
	struct mqshm_consumer *c;
	int rc;

	do
		rc = mqshm_consumer_open(&c, w->name, &w->options, &o);
	while (rc == -ETIMEDOUT);
	if (rc && rc != -EBUSY)
		complain(me, "consumer_open: %d %s", rc, mqshm_last_error());
	return rc ? NULL : c;
}

static void take_on(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c;

	steps_arm(control);
	c = named_consumer(w, me);
	steps_disarm();
	if (!c)
		return;
	if (mqshm_consumer_resumed(c) != 1)
		complain(me, "there was no cursor to take on");
	me->next_sequence = w->peers[AWAY].next_sequence;
	pop_some(w, me, c, 0, 3, 100);
	leave_c(me, c);
}

static void attach_named(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c;

	steps_arm(control);
	c = named_consumer(w, me);
	steps_disarm();
	if (!c)
		return;
	pop_some(w, me, c, 0, 3, 100);
	leave_c(me, c);
}

static void close_named(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c = named_consumer(w, me);

	SET(me->ready, 1); /* from here on there is a cursor */
	pop_some(w, me, c, 0, 1, 10);
	steps_arm(control);
	leave_c(me, c);
	steps_disarm();
}

static void pop_named(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c = named_consumer(w, me);

	SET(me->ready, 1);
	steps_arm(control);
	pop_some(w, me, c, 0, LAP, 100);
	steps_disarm();
	leave_c(me, c);
}

/* While it is stopped it is evicted, or demoted; what it has got is right all the same. */
static void pop_too_slowly(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c = consumer(w, me, 0, MQSHM_FROM_OLDEST, 0);
	unsigned char buffer[BLOCK];
	struct mqshm_message m;
	ssize_t rc = 0;

	steps_arm(control);
	for (int i = 0; i < LAP && rc >= 0; i++) {
		rc = mqshm_consumer_pop(c, buffer, sizeof buffer, &m, 100);
		me->lossy |= mqshm_consumer_demoted(c);
		if (rc >= 0)
			message_check(w, me, buffer, &m);
	}
	steps_disarm();
	if (rc < 0 && rc != -ETIMEDOUT && !stream_over(rc) &&
	    !(rc == -ECONNABORTED && programs[w->config.program].flags & EVICTS))
		complain(me, "pop: %zd %s", rc, mqshm_last_error());
	leave_c(me, c);
}

/* Bytes of locks that somebody else has for a while. */
static pid_t hold_bytes(struct world *w, struct peer *me, int64_t start, int64_t count)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = count };
	char path[100];
	pid_t pid;
	int fd;

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", w->name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		complain(me, "%s: %s", path, strerror(errno));
	for (int i = 0; fcntl(fd, F_OFD_SETLK, &lock) && i < 100; i++) /* somebody looks */
		nap_us(500);
	pid = fork();
	if (pid == 0) {
		nap_us(5000);
		_exit(0);
	}
	close(fd);
	return pid;
}

static void attach_repaired(struct world *w, struct peer *me, struct control *control)
{
	uint32_t producers = w->config.shared ? MQSHM_PRODUCER_SLOTS_SHARED : 1;
	pid_t pid = hold_bytes(w, me, MQSHM_LOCK_REPAIR(producers), w->options.max_consumers);
	struct mqshm_consumer *c;

	steps_arm(control);
	c = consumer(w, me, 0, MQSHM_FROM_OLDEST, 0);
	steps_disarm();
	leave_c(me, c);
	waitpid(pid, NULL, 0);
}

static void evict_it(struct world *w, struct peer *me, struct control *control)
{
	uint32_t producers = w->config.shared ? MQSHM_PRODUCER_SLOTS_SHARED : 1;
	pid_t pid = odd(w) ? hold_bytes(w, me, MQSHM_LOCK_REPAIR(producers), w->options.max_consumers) : 0;
	int rc;

	steps_arm(control);
	do
		rc = mqshm_queue_evict(w->name, w->peers[AWAY].id);
	while (rc == -ETIMEDOUT);
	steps_disarm();
	if (rc)
		complain(me, "queue_evict: %d %s", rc, mqshm_last_error());
	if (pid)
		waitpid(pid, NULL, 0);
}

/* ---- waiting on many, descriptors, watching ---- */

/* More items than one call can sleep on are waited for by descriptors: here the same one again and again. */
static void wait_for(struct world *w, struct peer *me, struct control *control, size_t count)
{
	struct mqshm_consumer *c = consumer(w, me, 0, MQSHM_FROM_OLDEST, 0);
	struct mqshm_wait_item items[200];
	unsigned char buffer[BLOCK];
	struct mqshm_message m;
	ssize_t rc = 0;

	for (size_t i = 0; i < count; i++)
		items[i] = (struct mqshm_wait_item){ .consumer = c };
	steps_arm(control);
	for (int i = 0; i < LAP && rc >= 0; i++) {
		rc = mqshm_wait_any(items, count, 100);
		if (rc > 0)
			rc = mqshm_consumer_pop(c, buffer, sizeof buffer, &m, 0);
		if (rc >= 0)
			message_check(w, me, buffer, &m);
	}
	if (count > 1) /* the descriptor and its thread go, too */
		leave_c(me, c);
	steps_disarm();
	if (rc < 0 && rc != -ETIMEDOUT && !stream_over(rc))
		complain(me, "wait_any: %zd %s", rc, mqshm_last_error());
	if (count == 1)
		leave_c(me, c);
}

static void wait_any(struct world *w, struct peer *me, struct control *control)
{
	wait_for(w, me, control, 1);
}

static void wait_many(struct world *w, struct peer *me, struct control *control)
{
	wait_for(w, me, control, 200);
}

static void poll_consumer(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c = consumer(w, me, 0, MQSHM_FROM_OLDEST, 0);
	struct pollfd fd = { .events = POLLIN };
	unsigned char buffer[BLOCK];
	struct mqshm_message m;
	ssize_t rc = 0;

	steps_arm(control);
	fd.fd = mqshm_consumer_fd(c);
	if (fd.fd < 0)
		complain(me, "consumer_fd: %d %s", fd.fd, mqshm_last_error());
	for (int i = 0; i < LAP && !stream_over(rc) && poll(&fd, 1, 100) > 0; i++) {
		rc = mqshm_consumer_pop(c, buffer, sizeof buffer, &m, 0);
		if (rc >= 0)
			message_check(w, me, buffer, &m);
		else if (rc != -EAGAIN && !stream_over(rc))
			complain(me, "pop: %zd %s", rc, mqshm_last_error());
	}
	leave_c(me, c);
	steps_disarm();
}

static void poll_producer(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_producer *p = producer(w, me, 0);
	struct pollfd fd = { .events = POLLIN };
	int rc;

	steps_arm(control);
	fd.fd = mqshm_producer_fd(p);
	if (fd.fd < 0)
		complain(me, "producer_fd: %d %s", fd.fd, mqshm_last_error());
	for (int i = 0; i < LAP && poll(&fd, 1, 100) >= 0; i++) {
		rc = push_one(w, me, p, 0, 0);
		if (rc && rc != -EAGAIN)
			complain(me, "push: %d %s", rc, mqshm_last_error());
	}
	leave_p(me, p);
	steps_disarm();
}

static void cancel_consumer(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_consumer *c = consumer(w, me, 0, MQSHM_FROM_OLDEST, 0);
	unsigned char buffer[BLOCK];
	struct mqshm_message m;
	ssize_t rc = 0;

	if (odd(w))
		mqshm_consumer_fd(c);
	steps_arm(control);
	for (int i = 0; i < 2 * NODES && !stream_over(rc); i++) {
		mqshm_consumer_cancel(c);
		rc = mqshm_consumer_pop(c, buffer, sizeof buffer, &m, SOON_MS);
		if (rc >= 0)
			message_check(w, me, buffer, &m);
		else if (rc != -ECANCELED && !stream_over(rc))
			complain(me, "pop: %zd %s", rc, mqshm_last_error());
	}
	steps_disarm();
	leave_c(me, c);
}

static void cancel_producer(struct world *w, struct peer *me, struct control *control)
{
	struct mqshm_producer *p = producer(w, me, 0);
	int rc;

	steps_arm(control);
	for (int i = 0; i < 2 * NODES; i++) {
		mqshm_producer_cancel(p);
		rc = push_one(w, me, p, 0, SOON_MS);
		if (rc && rc != -ECANCELED)
			complain(me, "push: %d %s", rc, mqshm_last_error());
	}
	steps_disarm();
	leave_p(me, p);
}

static void watch_it(struct world *w, struct peer *me, struct control *control)
{
	const char *names[] = { w->name };
	struct mqshm_watch_event event;
	struct mqshm_watch *watch;
	int rc;

	steps_arm(control);
	rc = mqshm_watch_open(&watch, names, 1, 0);
	if (rc)
		complain(me, "watch_open: %d %s", rc, mqshm_last_error());
	for (int turn = 0; turn < 3; turn++) {
		leave_c(me, consumer(w, me, 0, MQSHM_FROM_OLDEST, 0));
		while (!(rc = mqshm_watch_next(watch, &event, 30)))
			;
		if (rc != -ETIMEDOUT)
			complain(me, "watch_next: %d %s", rc, mqshm_last_error());
	}
	mqshm_watch_close(watch);
	steps_disarm();
}

const struct program programs[] = {
	{ "create, as producer", PRODUCER, attach_producer, LATE },
	{ "create, as consumer", CONSUMER, join_consumer, LATE },
	{ "create", KEEPER, make, LATE },
	{ "attach as producer", PRODUCER, attach_producer, 0 },
	{ "attach as consumer", CONSUMER, join_consumer, 0 },
	{ "attach as consumer beside pushes", CONSUMER, join_consumer, OPEN_GATE | OTHERS_NEEDED },
	{ "adopt what is held", CONSUMER, adopt, HELD | OTHERS_NEEDED },
	{ "attach behind another", CONSUMER, attach_later, 0 },
	{ "fork", CONSUMER, fork_children, 0 },
	{ "wait for a queue", CONSUMER, await, LATE },
	{ "push", PRODUCER, push, 0 },
	{ "push beside others", PRODUCER, push, OPEN_GATE | OTHERS_NEEDED | SHARED_ONLY },
	{ "pushv", PRODUCER, pushv, 0 },
	{ "push to a queue that holds", PRODUCER, push, HELD | OTHERS_NEEDED },
	{ "push, and one joins", PRODUCER, push_amid, JOIN_AMID },
	{ "push, overwriting", PRODUCER, push, OVERWRITES },
	{ "push_batch", PRODUCER, batch, 0 },
	{ "reserve, commit", PRODUCER, reserve, 0 },
	{ "reserve, commit beside others", PRODUCER, reserve, OPEN_GATE | OTHERS_NEEDED | SHARED_ONLY },
	{ "reserve, abort", PRODUCER, abort_it, 0 },
	{ "wait until drained", PRODUCER, drain, 0 },
	{ "wait for consumers", PRODUCER, expect_consumers, 0 },
	{ "close a producer", PRODUCER, close_producer, 0 },
	{ "close a producer that is blocked", PRODUCER, close_blocked, 0 },
	{ "pop", CONSUMER, pop, 0 },
	{ "pop beside pushes", CONSUMER, pop, OPEN_GATE | OTHERS_NEEDED },
	{ "pop_batch", CONSUMER, pop_batch, OTHERS_NEEDED },
	{ "peek, release", CONSUMER, peek, 0 },
	{ "pop, lapped", CONSUMER, lapped, SHARED_ONLY | OPEN_GATE },
	{ "close a consumer", CONSUMER, close_consumer, 0 },
	{ "push, evicting", PRODUCER, push, OPEN_GATE | IDLE | EVICTS },
	{ "push, evicting alone", PRODUCER, push, OPEN_GATE | IDLE | EVICTS | ALONE },
	{ "push, demoting", PRODUCER, push, OPEN_GATE | IDLE | DEMOTES },
	{ "pop, evicted", CONSUMER, pop_too_slowly, OPEN_GATE | OTHERS_NEEDED | EVICTS },
	{ "pop, demoted", CONSUMER, pop_too_slowly, OPEN_GATE | OTHERS_NEEDED | DEMOTES },
	{ "attach as named consumer", CONSUMER, attach_named, NAMED },
	{ "close a named consumer", CONSUMER, close_named, NAMED },
	{ "pop, named", CONSUMER, pop_named, NAMED },
	{ "take on a cursor", CONSUMER, take_on, NAMED | FORMER },
	{ "gc beside a lease", KEEPER, collect, NAMED | FORMER },
	{ "push, a lease ends", PRODUCER, push, EXPIRES },
	{ "evict by hand", KEEPER, evict_it, IDLE | BY_HAND },
	{ "attach, a place is repaired", CONSUMER, attach_repaired, 0 },
	{ "wait for any", CONSUMER, wait_any, 0 },
	{ "wait for many", CONSUMER, wait_many, 0 },
	{ "poll a consumer", CONSUMER, poll_consumer, 0 },
	{ "poll a producer", PRODUCER, poll_producer, 0 },
	{ "cancel a consumer", CONSUMER, cancel_consumer, 0 },
	{ "cancel a producer", PRODUCER, cancel_producer, 0 },
	{ "watch", KEEPER, watch_it, 0 },
	{ "take over as producer", PRODUCER, attach_producer, AFTER_DEATH | ALONE },
	{ "take over the lock", PRODUCER, push, AFTER_DEATH | SHARED_ONLY },
	{ "attach beside a dead one", CONSUMER, join_consumer, AFTER_DEATH },
	{ "pop beside a dead one", CONSUMER, pop, AFTER_DEATH },
	{ "close beside a dead one", CONSUMER, close_consumer, AFTER_DEATH },
	{ "gc", KEEPER, collect, AFTER_DEATH },
	{ "gc beside an orphan", KEEPER, collect, ORPHAN },
	{ "stat", KEEPER, stat_it, 0 },
	{ "remove what is no queue", KEEPER, broken, LATE | BROKEN },
	{ "gc of a zombie", KEEPER, collect, LATE | ZOMBIE | SWEEPS },
	{ "create over a zombie", PRODUCER, attach_producer, LATE | ZOMBIE },
	{ "remove", KEEPER, remove_it, LATE | UNUSED },
	{ "remove by force", KEEPER, remove_it, REMOVES },
	{ "find it unlinked", CONSUMER, unlinked, REMOVES | OTHERS_NEEDED },
};
const int program_count = sizeof programs / sizeof *programs;

int program_find(const char *name)
{
	for (int i = 0; i < program_count; i++)
		if (!strcmp(programs[i].name, name))
			return i;
	return -1;
}
