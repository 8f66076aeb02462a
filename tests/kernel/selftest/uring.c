// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waiting by io_uring: MQSHM_URING_WAIT and POLL_ADD. One process has both roles in most tests, so that what has completed and
 * what has not is known without any waiting: a wake adds the completion to our own task, which sees it at its next call.
 */
#include "common.h"

#include <linux/io_uring.h>
#include <sys/resource.h>

#define NODE 256 /* bytes of a message of the fixture's queue */
#define NOTHING 1 /* no result has this value */

/* ---- a ring, without liburing ---- */

struct ring {
	int fd;
	unsigned entries, flags, queued;
	unsigned *sq_head, *sq_tail, *sq_mask, *sq_array, *sq_flags, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	void *rings;
	size_t ring_bytes, sqe_bytes;
};

static int ring_open(struct ring *r, unsigned entries, unsigned flags)
{
	struct io_uring_params p = { .flags = flags, .sq_thread_idle = 100 };
	char *at;

	memset(r, 0, sizeof *r);
	r->fd = sys(syscall(__NR_io_uring_setup, entries, &p));
	if (r->fd < 0)
		return r->fd;
	fcntl(r->fd, F_SETFD, FD_CLOEXEC);
	r->entries = p.sq_entries;
	r->flags = flags;
	r->ring_bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	if (r->ring_bytes < p.sq_off.array + p.sq_entries * sizeof(unsigned))
		r->ring_bytes = p.sq_off.array + p.sq_entries * sizeof(unsigned);
	r->sqe_bytes = p.sq_entries * sizeof(struct io_uring_sqe);
	r->rings = mmap(NULL, r->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, r->sqe_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	if (r->rings == MAP_FAILED || r->sqes == MAP_FAILED)
		return -errno;
	at = r->rings;
	r->sq_head = (void *)(at + p.sq_off.head);
	r->sq_tail = (void *)(at + p.sq_off.tail);
	r->sq_mask = (void *)(at + p.sq_off.ring_mask);
	r->sq_array = (void *)(at + p.sq_off.array);
	r->sq_flags = (void *)(at + p.sq_off.flags);
	r->cq_head = (void *)(at + p.cq_off.head);
	r->cq_tail = (void *)(at + p.cq_off.tail);
	r->cq_mask = (void *)(at + p.cq_off.ring_mask);
	r->cqes = (void *)(at + p.cq_off.cqes);
	return 0;
}

static void ring_close(struct ring *r)
{
	munmap(r->rings, r->ring_bytes);
	munmap(r->sqes, r->sqe_bytes);
	close(r->fd);
}

static struct io_uring_sqe *ring_sqe(struct ring *r)
{
	unsigned tail = *r->sq_tail, i = tail & *r->sq_mask;

	memset(&r->sqes[i], 0, sizeof r->sqes[i]);
	r->sq_array[i] = i;
	r->queued++;
	return &r->sqes[i];
}

/* Hand over what ring_sqe() gave last, and run what is due; wait for so many completions. */
static int ring_enter(struct ring *r, unsigned wait)
{
	unsigned flags = IORING_ENTER_GETEVENTS, queued = r->queued;

	__atomic_store_n(r->sq_tail, *r->sq_tail + queued, __ATOMIC_SEQ_CST);
	r->queued = 0;
	if (r->flags & IORING_SETUP_SQPOLL)
		flags |= IORING_ENTER_SQ_WAKEUP;
	return sys(syscall(__NR_io_uring_enter, r->fd, queued, wait, flags, NULL, 0));
}

static struct io_uring_sqe *prepare(struct ring *r, int fd, uint32_t count, uint64_t data)
{
	struct io_uring_sqe *sqe = ring_sqe(r);
	struct mqshm_uring_wait w = { .count = count };

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = MQSHM_URING_WAIT;
	sqe->user_data = data;
	memcpy(sqe->cmd, &w, sizeof w);
	return sqe;
}

static int submit(struct ring *r, int fd, uint32_t count)
{
	prepare(r, fd, count, 0);
	return ring_enter(r, 0);
}

/* The next completion: its result, or NOTHING if there is none yet. */
static int completed(struct ring *r, uint64_t *data, uint32_t *flags)
{
	unsigned head = *r->cq_head;
	const struct io_uring_cqe *cqe = &r->cqes[head & *r->cq_mask];
	int result;

	if (!(r->flags & IORING_SETUP_SQPOLL))
		ring_enter(r, 0);
	if (head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE))
		return NOTHING;
	result = cqe->res;
	if (data)
		*data = cqe->user_data;
	if (flags)
		*flags = cqe->flags;
	__atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
	return result;
}

static int result(struct ring *r)
{
	return completed(r, NULL, NULL);
}

static int wait_result(struct ring *r)
{
	int rc;

	do {
		rc = ring_enter(r, 1);
	} while (rc == -EINTR);
	return rc < 0 ? rc - 1000 : result(r);
}

/* Submit and take the result that comes at once. */
static int at_once(struct ring *r, int fd, uint32_t count)
{
	int rc = submit(r, fd, count);

	return rc == 1 ? result(r) : rc - 1000;
}

/* ---- roles of our own ---- */

struct pair {
	int p, c;
	const struct mqshm_info *shared;
	struct mqshm_producer_page *page;
	struct mqshm_consumer_area *area;
	uint64_t tail, next;
	uint32_t slot;
	const struct mqshm_info *info;
};

static int open_producer(struct pair *x, const char *name, const struct mqshm_info *info)
{
	x->p = open_queue(name, O_RDWR);
	if (x->p < 0 || attach_as(x->p, MQSHM_IOC_PRODUCER))
		return -1;
	x->info = info;
	x->page = map_region(x->p, info, PRODUCER, 0, PROT_READ | PROT_WRITE);
	x->shared = map_region(x->p, info, INFO, 0, PROT_READ);
	return x->page == MAP_FAILED || x->shared == MAP_FAILED ? -1 : 0;
}

static int open_consumer(struct pair *x, const char *name, const struct mqshm_info *info)
{
	struct mqshm_ioc_attach a = { .role = MQSHM_IOC_CONSUMER };
	void *area;

	x->c = open_queue(name, O_RDWR);
	if (x->c < 0 || attach(x->c, &a))
		return -1;
	x->info = info;
	x->slot = a.participant - info->max_producers;
	area = map_region(x->c, info, OWN, x->slot, PROT_READ | PROT_WRITE);
	if (!x->page) {
		x->page = map_region(x->c, info, PRODUCER, 0, PROT_READ);
		x->shared = map_region(x->c, info, INFO, 0, PROT_READ);
	}
	x->area = area_of(area, x->slot);
	return area == MAP_FAILED || x->page == MAP_FAILED || x->shared == MAP_FAILED ? -1 : 0;
}

static int open_pair(struct pair *x, const char *name, const struct mqshm_info *info)
{
	memset(x, 0, sizeof *x);
	return open_producer(x, name, info) || open_consumer(x, name, info) ? -1 : 0;
}

/* Close without a word: the mappings would keep the file. Those of info and producer are the producer's, if there is one. */
static void close_producer(struct pair *x)
{
	munmap(x->page, x->info->consumers_offset - x->info->producer_offset);
	munmap((void *)x->shared, x->info->producer_offset);
	close(x->p);
}

static void close_consumer(struct pair *x)
{
	munmap((void *)((uintptr_t)x->area & ~(PAGE - 1)), PAGE);
	close(x->c);
}

static void close_pair(struct pair *x)
{
	close_producer(x);
	close_consumer(x);
}

/* As the library does: publish, fence, wake who sleeps. */
static void push(struct pair *x, unsigned count)
{
	while (count--) {
		x->tail += NODE;
		publish(x->page, x->tail, ++x->next);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (__atomic_load_n(&x->shared->data.word, __ATOMIC_RELAXED) & 1)
			wake(x->p, MQSHM_WORD_DATA);
	}
}

/* The same; a producer that waits for room says when it wants to be woken. */
static void pop(struct pair *x, unsigned count)
{
	while (count--) {
		__atomic_store_n(&x->area->sequence, x->area->sequence + 1, __ATOMIC_RELAXED);
		__atomic_store_n(&x->area->position, x->area->position + NODE, __ATOMIC_RELEASE);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!(__atomic_load_n(&x->shared->room.word, __ATOMIC_RELAXED) & 1))
			continue;
		if ((__atomic_load_n(&x->page->blocked_on, __ATOMIC_RELAXED) == x->slot + 1 &&
		     x->area->position >= __atomic_load_n(&x->page->need, __ATOMIC_RELAXED)) ||
		    x->area->position == __atomic_load_n(&x->page->tail, __ATOMIC_ACQUIRE))
			wake(x->c, MQSHM_WORD_ROOM);
	}
}

#define OPEN_PAIR(x) ASSERT_EQ(0, open_pair(x, self->name, &self->info))
#define OPEN_RING(r, flags) ASSERT_EQ(0, ring_open(r, 64, flags))

static const unsigned modes[] = {
	0, IORING_SETUP_COOP_TASKRUN, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	IORING_SETUP_SQPOLL, /* not where all is known without waiting */
};
#define MODES 4

/* ---- messages ---- */

TEST_F(queue, messages)
{
	for (unsigned m = 0; m < 3; m++) {
		struct ring r;
		struct pair x;

		OPEN_PAIR(&x);
		x.tail = x.page->tail;
		x.next = x.area->sequence;
		OPEN_RING(&r, modes[m]);
		ASSERT_EQ(1, submit(&r, x.c, 1));
		EXPECT_EQ(NOTHING, result(&r));
		push(&x, 1);
		EXPECT_EQ(0, result(&r));
		EXPECT_EQ(0, at_once(&r, x.c, 1)) TH_LOG("already there");
		ASSERT_EQ(1, submit(&r, x.c, 4));
		push(&x, 2);
		EXPECT_EQ(NOTHING, result(&r)) TH_LOG("3 of 4");
		push(&x, 1);
		EXPECT_EQ(0, result(&r));
		pop(&x, 4);
		ASSERT_EQ(1, submit(&r, x.c, 15));
		push(&x, 14);
		EXPECT_EQ(NOTHING, result(&r));
		push(&x, 1);
		EXPECT_EQ(0, result(&r)) TH_LOG("all that fits");
		EXPECT_EQ(NOTHING, result(&r));
		pop(&x, 15);
		ring_close(&r);
		close_pair(&x);
	}
}

TEST_F(queue, messages_by_worker)
{
	struct ring r;
	struct pair x;

	OPEN_PAIR(&x);
	OPEN_RING(&r, 0);
	prepare(&r, x.c, 2, 0)->flags = IOSQE_ASYNC;
	ASSERT_EQ(1, ring_enter(&r, 0));
	push(&x, 2);
	EXPECT_EQ(0, wait_result(&r));
	close_pair(&x);
	ring_close(&r);
}

TEST_F(queue, messages_by_poll_thread)
{
	struct ring r;
	struct pair x;

	OPEN_PAIR(&x);
	OPEN_RING(&r, IORING_SETUP_SQPOLL);
	prepare(&r, x.c, 2, 0);
	ring_enter(&r, 0);
	push(&x, 2);
	EXPECT_EQ(0, wait_result(&r));
	close_pair(&x);
	ring_close(&r);
}

TEST_F(queue, several_of_one_handle)
{
	struct ring r;
	struct pair x;
	uint64_t data = 0;

	OPEN_PAIR(&x);
	OPEN_RING(&r, 0);
	for (unsigned i = 8; i > 0; i--) {
		prepare(&r, x.c, i, i);
		ASSERT_EQ(1, ring_enter(&r, 0));
	}
	EXPECT_EQ(-EBUSY, at_once(&r, x.c, 1));
	for (unsigned i = 1; i <= 8; i++) {
		EXPECT_EQ(NOTHING, result(&r));
		push(&x, 1);
		EXPECT_EQ(0, completed(&r, &data, NULL));
		EXPECT_EQ(i, data);
	}
	EXPECT_EQ(NOTHING, result(&r));
	close_pair(&x);
	ring_close(&r);
}

/* ---- room ---- */

TEST_F(queue, room)
{
	for (unsigned m = 0; m < 3; m++) {
		for (unsigned count = 1; count <= 15; count += 7) {
			struct ring r;
			struct pair x;

			OPEN_PAIR(&x);
			x.tail = x.page->tail;
			x.next = x.area->sequence;
			OPEN_RING(&r, modes[m]);
			EXPECT_EQ(0, at_once(&r, x.p, 15));
			push(&x, 15);
			ASSERT_EQ(1, submit(&r, x.p, count));
			EXPECT_EQ(NOTHING, result(&r));
			pop(&x, count - 1);
			EXPECT_EQ(NOTHING, result(&r)) TH_LOG("room for one less than %u", count);
			pop(&x, 1);
			EXPECT_EQ(0, result(&r)) TH_LOG("room for %u", count);
			pop(&x, 15 - count);
			ring_close(&r);
			close_pair(&x);
		}
	}
}

/* The one who waits for less is not made to wait for what the other needs. */
TEST_F(queue, room_for_two_waiters)
{
	struct ring r;
	struct pair x;
	uint64_t data = 0;

	OPEN_PAIR(&x);
	OPEN_RING(&r, 0);
	push(&x, 15);
	prepare(&r, x.p, 1, 1);
	ASSERT_EQ(1, ring_enter(&r, 0));
	prepare(&r, x.p, 10, 10);
	ASSERT_EQ(1, ring_enter(&r, 0));
	pop(&x, 1);
	EXPECT_EQ(0, completed(&r, &data, NULL));
	EXPECT_EQ(1, data);
	pop(&x, 8);
	EXPECT_EQ(NOTHING, result(&r));
	pop(&x, 1);
	EXPECT_EQ(0, completed(&r, &data, NULL));
	EXPECT_EQ(10, data);
	close_pair(&x);
	ring_close(&r);
}

TEST_F(queue, room_when_the_slow_one_leaves)
{
	struct ring r;
	struct pair x;

	OPEN_PAIR(&x);
	OPEN_RING(&r, 0);
	push(&x, 15);
	ASSERT_EQ(1, submit(&r, x.p, 1));
	EXPECT_EQ(NOTHING, result(&r));
	close_consumer(&x);
	EXPECT_EQ(0, wait_result(&r));
	close_producer(&x);
	ring_close(&r);
}

/* ---- ends ---- */

TEST_F(queue, end_of_stream)
{
	struct ring r;
	struct pair x;

	OPEN_PAIR(&x);
	OPEN_RING(&r, 0);
	ASSERT_EQ(1, submit(&r, x.c, 5));
	push(&x, 1);
	EXPECT_EQ(NOTHING, result(&r));
	ASSERT_EQ(0, detach(x.p, MQSHM_EPOCH_CLOSED));
	EXPECT_EQ(0, result(&r));
	EXPECT_EQ(0, at_once(&r, x.c, 5));
	close_pair(&x);
	ring_close(&r);
}

TEST_F(queue, producer_crash)
{
	struct ring r;
	struct pair x;

	OPEN_PAIR(&x);
	OPEN_RING(&r, 0);
	ASSERT_EQ(1, submit(&r, x.c, 5));
	close_producer(&x);
	EXPECT_EQ(0, wait_result(&r));
	close_consumer(&x);
	ring_close(&r);
}

TEST_F(queue, end_of_role)
{
	for (int how = 0; how < 3; how++) {
		struct ring r;
		struct pair x;

		OPEN_PAIR(&x);
		OPEN_RING(&r, modes[how]);
		ASSERT_EQ(1, submit(&r, x.c, 5));
		EXPECT_EQ(NOTHING, result(&r));
		ASSERT_EQ(0, how == 0 ? end_role(self->fd, 1 + x.slot, MQSHM_WHY_BY_HAND, 0) :
			     how == 1 ? detach(x.c, MQSHM_EPOCH_NONE) :
					remove_queue(self->control, self->name, MQSHM_IOC_FORCE));
		EXPECT_EQ(how == 2 ? 0 : -ECONNABORTED, result(&r)); /* removal ends the stream first */
		EXPECT_EQ(-ECONNABORTED, at_once(&r, x.c, 1));
		ring_close(&r);
		close_pair(&x);
	}
	/* for the tear-down */
	close(self->fd);
	struct mqshm_ioc_create c = create_argument(self->name);

	ASSERT_EQ(0, create(self->control, &c));
	self->fd = open_queue(self->name, O_RDWR);
}

/* A pending command keeps the file, and so the role, though its descriptor is closed. */
TEST_F(queue, closed_descriptor)
{
	struct ring r;
	struct pair x;

	OPEN_PAIR(&x);
	OPEN_RING(&r, 0);
	ASSERT_EQ(1, submit(&r, x.c, 1));
	close_consumer(&x);
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, 1 + x.slot));
	push(&x, 1);
	EXPECT_EQ(0, result(&r));
	EXPECT_TRUE(eventually(slot_state(self->fd, 1 + x.slot) == MQSHM_SLOT_ENDED));
	close_producer(&x);
	ring_close(&r);
}

TEST_F(queue, ring_exit)
{
	for (unsigned m = 0; m < 3; m++) {
		struct ring r;
		struct pair x;

		OPEN_PAIR(&x);
		OPEN_RING(&r, modes[m]);
		for (int i = 0; i < 3; i++)
			ASSERT_EQ(1, submit(&r, x.c, 5));
		ring_close(&r);
		close_consumer(&x);
		/* Nothing else can end it: the commands are gone, and the file with them. */
		EXPECT_TRUE(eventually(slot_state(self->fd, 1 + x.slot) == MQSHM_SLOT_ENDED));
		close_producer(&x);
	}
}

struct child {
	const char *name;
	const struct mqshm_info *info;
	struct ring *ring; /* the parent's, or NULL */
	unsigned mode;
	bool exec;
	int ready;
};

static int body(void *argument)
{
	struct child *k = argument;
	struct ring own, *r = k->ring ? k->ring : &own;
	struct pair x = { 0 };

	if (open_consumer(&x, k->name, k->info) || (!k->ring && ring_open(&own, 8, k->mode)))
		return 90;
	prepare(r, x.c, 3, 0);
	if (ring_enter(r, 0) < 0)
		return 91;
	while (__atomic_load_n(r->sq_head, __ATOMIC_ACQUIRE) != *r->sq_tail)
		usleep(1000); /* a ring with a thread of its own takes its time */
	if (write(k->ready, "", 1) != 1)
		return 92;
	if (k->exec) {
		execl("/bin/busybox", "true", NULL);
		return 93;
	}
	for (;;)
		pause();
}

/* Once its command waits. */
static pid_t waiting_child(struct child *k)
{
	int ready[2];
	pid_t pid;
	char byte;

	if (pipe(ready))
		return -1;
	k->ready = ready[1];
	pid = spawn(body, k);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		pid = -1;
	close(ready[0]);
	return pid;
}

TEST_F(queue, task_kill)
{
	for (unsigned m = 0; m < MODES; m++) {
		struct child k = { .name = self->name, .info = &self->info, .mode = modes[m] };
		pid_t pid = waiting_child(&k);

		ASSERT_GT(pid, 0);
		EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, 1 + m)); /* a free one, rather than one that has ended */
		kill(pid, SIGKILL);
		EXPECT_EQ(128 + SIGKILL, reap(pid));
		EXPECT_TRUE(eventually(slot_state(self->fd, 1 + m) == MQSHM_SLOT_ENDED)) TH_LOG("mode %u", m);
	}
}

/*
 * Also where io_uring waits for all commands before a process may execute, and can't cancel them, and where the thread of a ring
 * waits for them while the process waits for the thread.
 */
TEST_F(queue, task_exec)
{
	for (unsigned m = 0; m < MODES; m++) {
		struct child k = { .name = self->name, .info = &self->info, .mode = modes[m], .exec = true };
		pid_t pid = waiting_child(&k);

		ASSERT_GT(pid, 0);
		EXPECT_EQ(0, reap(pid)) TH_LOG("mode %u", m);
		EXPECT_TRUE(eventually(slot_state(self->fd, 1 + m) == MQSHM_SLOT_ENDED)) TH_LOG("mode %u", m);
	}
}

/* The ring lives on, in another process, and gets the completion. */
TEST_F(queue, owner_death)
{
	struct ring r;
	struct child k = { .name = self->name, .info = &self->info, .ring = &r };
	pid_t pid;
	int got;

	OPEN_RING(&r, 0);
	pid = waiting_child(&k);
	ASSERT_GT(pid, 0);
	EXPECT_EQ(NOTHING, result(&r));
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, reap(pid));
	got = wait_result(&r);
	EXPECT_TRUE(got == -ECONNABORTED || got == -ECANCELED) TH_LOG("got %d", got);
	EXPECT_TRUE(eventually(slot_state(self->fd, 1) == MQSHM_SLOT_ENDED));
	ring_close(&r);
}

/* ---- refused ---- */

TEST_F(queue, refused)
{
	struct ring r;
	struct pair x;
	struct io_uring_sqe *sqe;

	OPEN_PAIR(&x);
	OPEN_RING(&r, 0);
	EXPECT_EQ(-EINVAL, at_once(&r, x.c, 0));
	EXPECT_EQ(-EINVAL, at_once(&r, x.c, 16));
	EXPECT_EQ(-EINVAL, at_once(&r, x.c, ~0u));
	EXPECT_EQ(-EINVAL, at_once(&r, x.p, 0));
	EXPECT_EQ(-EINVAL, at_once(&r, x.p, 16));
	for (int i = 4; i < 16; i++) {
		sqe = prepare(&r, x.c, 1, 0);
		sqe->cmd[i] = 1;
		ring_enter(&r, 0);
		EXPECT_EQ(-EINVAL, result(&r)) TH_LOG("byte %d", i);
	}
	prepare(&r, x.c, 1, 0)->cmd_op = MQSHM_IOC_SYNC;
	ring_enter(&r, 0);
	EXPECT_EQ(-ENOTTY, result(&r));
	prepare(&r, x.c, 1, 0)->rw_flags = 1; /* uring_cmd_flags: a fixed buffer */
	ring_enter(&r, 0);
	EXPECT_GT(0, result(&r));
	prepare(&r, x.c, 1, 0)->rw_flags = 1 << 30; /* a flag of the kernel's own */
	ring_enter(&r, 0);
	EXPECT_EQ(-EINVAL, result(&r));
	EXPECT_EQ(-EPERM, at_once(&r, self->fd, 1)) TH_LOG("no role");
	EXPECT_EQ(-EOPNOTSUPP, at_once(&r, self->control, 1));
	EXPECT_EQ(NOTHING, result(&r));
	close_pair(&x);
	ring_close(&r);
}

struct stranger {
	struct ring *r;
	int fd;
};

static int strange(void *argument)
{
	struct stranger *s = argument;
	struct ring own;

	if (ring_open(&own, 8, 0) || at_once(&own, s->fd, 1) != -EPERM)
		return 1;
	return at_once(s->r, s->fd, 1) == -EPERM ? 0 : 2;
}

TEST_F(queue, not_the_owner)
{
	struct ring r;
	struct pair x;
	struct stranger s = { .r = &r };

	OPEN_PAIR(&x);
	OPEN_RING(&r, 0);
	s.fd = x.c;
	EXPECT_EQ(0, reap(spawn(strange, &s)));
	s.fd = x.p;
	EXPECT_EQ(0, reap(spawn(strange, &s)));
	close_pair(&x);
	ring_close(&r);
}

TEST_F(queue, busy_polling_ring)
{
	struct ring r;
	struct pair x;
	int rc;

	OPEN_PAIR(&x);
	ASSERT_EQ(0, ring_open(&r, 8, IORING_SETUP_IOPOLL));
	rc = at_once(&r, x.c, 1);
	if (rc == NOTHING) { /* newer kernels take it in such a ring, as one that is not polled for */
		push(&x, 1);
		EXPECT_EQ(0, wait_result(&r));
	} else {
		EXPECT_EQ(-EOPNOTSUPP, rc);
	}
	close_pair(&x);
	ring_close(&r);
}

/* Anything in the SQE: it completes with something, or waits and goes with the ring. */
TEST_F(queue, wild)
{
	uint64_t seed = 88172645463325252u + variant->uid;
	struct ring r;
	struct pair x;

	OPEN_PAIR(&x);
	OPEN_RING(&r, 0);
	for (int i = 0; i < 2000; i++) {
		struct io_uring_sqe *sqe = ring_sqe(&r);

		for (size_t k = 0; k < sizeof *sqe / 8; k++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			if (seed >> 60 < 6)
				((uint64_t *)sqe)[k] = seed >> (seed >> 58);
		}
		sqe->opcode = IORING_OP_URING_CMD;
		sqe->flags &= ~(IOSQE_FIXED_FILE | IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK);
		sqe->fd = seed & 1 ? x.p : seed & 2 ? x.c : self->fd;
		if (seed & 4)
			sqe->cmd_op = MQSHM_URING_WAIT;
		ASSERT_LE(0, ring_enter(&r, 0));
		while (result(&r) != NOTHING)
			;
	}
	ring_close(&r);
	close_pair(&x);
}

/* ---- POLL_ADD ---- */

static void prepare_poll(struct ring *r, int fd, unsigned events, bool multishot)
{
	struct io_uring_sqe *sqe = ring_sqe(r);

	sqe->opcode = IORING_OP_POLL_ADD;
	sqe->fd = fd;
	sqe->poll32_events = events;
	sqe->len = multishot ? IORING_POLL_ADD_MULTI : 0;
}

TEST_F(queue, poll_multishot)
{
	for (unsigned m = 0; m < 3; m++) {
		struct ring r;
		struct pair x;
		uint32_t flags = 0;

		OPEN_PAIR(&x);
		x.tail = x.page->tail;
		x.next = x.area->sequence;
		OPEN_RING(&r, modes[m]);
		prepare_poll(&r, x.c, POLLIN, true);
		ASSERT_EQ(1, ring_enter(&r, 0));
		for (int i = 0; i < 5; i++) {
			EXPECT_EQ(NOTHING, result(&r));
			push(&x, 1);
			EXPECT_EQ(POLLIN, completed(&r, NULL, &flags));
			EXPECT_TRUE(flags & IORING_CQE_F_MORE);
			pop(&x, 1);
		}
		ASSERT_EQ(0, detach(x.p, MQSHM_EPOCH_CLOSED));
		EXPECT_TRUE(completed(&r, NULL, NULL) & POLLHUP);
		ASSERT_EQ(0, end_role(self->fd, 1 + x.slot, MQSHM_WHY_BY_HAND, 0));
		EXPECT_TRUE(completed(&r, NULL, NULL) & POLLERR);
		ring_close(&r);
		close_pair(&x);
	}
}

TEST_F(queue, poll_room)
{
	struct ring r;
	struct pair x;

	OPEN_PAIR(&x);
	OPEN_RING(&r, 0);
	push(&x, 15);
	prepare_poll(&r, x.p, POLLOUT, false);
	ASSERT_EQ(1, ring_enter(&r, 0));
	EXPECT_EQ(NOTHING, result(&r));
	pop(&x, 1);
	EXPECT_EQ(POLLOUT, result(&r)) TH_LOG("room for one");
	close_pair(&x);
	ring_close(&r);
}

/* ---- load ---- */

#define MESSAGES 4000

static int produce(void *argument)
{
	struct child *k = argument;
	struct ring r;
	struct pair x = { 0 };
	unsigned step = 1;

	if (ring_open(&r, 8, modes[2]) || open_producer(&x, k->name, k->info) || write(k->ready, "", 1) != 1)
		return 1;
	while (x.next < MESSAGES) {
		int rc = at_once(&r, x.p, step);

		if (rc == NOTHING)
			rc = wait_result(&r);
		if (rc)
			return 2;
		push(&x, step);
		step = (step * 5 + 3) % 8 + 1;
	}
	return detach(x.p, MQSHM_EPOCH_CLOSED) ? 3 : 0;
}

/* Two processes that sleep on each other all the time: a wake that is lost stops both. */
TEST_F(queue, to_and_fro)
{
	struct ring r;
	struct pair x = { 0 };
	int ready[2];
	struct child k = { .name = self->name, .info = &self->info };
	pid_t pid;
	char byte;
	unsigned step = 1, read_all = 0;

	ASSERT_EQ(0, open_consumer(&x, self->name, &self->info));
	OPEN_RING(&r, 0);
	ASSERT_EQ(0, pipe(ready));
	k.ready = ready[1];
	pid = spawn(produce, &k);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	while (read_all < MESSAGES) {
		int rc = at_once(&r, x.c, step);
		uint64_t there;

		if (rc == NOTHING)
			rc = wait_result(&r);
		ASSERT_EQ(0, rc);
		there = (__atomic_load_n(&x.page->tail, __ATOMIC_ACQUIRE) - x.area->position) / NODE;
		if (there < step)
			ASSERT_EQ(MQSHM_EPOCH_CLOSED, MQSHM_EPOCH_STATE(x.shared->producer_epoch));
		pop(&x, there);
		read_all += there;
		step = (step * 3 + 1) % 8 + 1;
	}
	EXPECT_EQ(0, reap(pid));
	close(x.c);
	ring_close(&r);
	close(ready[0]);
	close(ready[1]);
}

#define MANY 1000

TEST_F(queue, thousand_queues_one_ring)
{
	static struct pair x[MANY];
	static struct mqshm_info info[MANY];
	static bool seen[MANY];
	struct rlimit files;
	struct ring r;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &files));
	files.rlim_cur = files.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	ASSERT_EQ(0, ring_open(&r, 1024, modes[2]));
	for (int i = 0; i < MANY; i++) {
		char name[64];
		struct mqshm_ioc_create c;

		snprintf(name, sizeof name, "t%d-m%d", getpid(), i);
		c = create_argument(name);
		c.max_consumers = 1;
		ASSERT_EQ(0, create(self->control, &c));
		x[i].p = open_queue(name, O_RDWR);
		ASSERT_EQ(0, read_info(x[i].p, &info[i]));
		close(x[i].p);
		ASSERT_EQ(0, open_pair(&x[i], name, &info[i]));
		prepare(&r, x[i].c, 1, i);
		ASSERT_EQ(1, ring_enter(&r, 0));
	}
	EXPECT_EQ(NOTHING, result(&r));
	for (int i = 0; i < MANY; i++) {
		uint64_t data = MANY;

		push(&x[i * 7 % MANY], 1);
		ASSERT_EQ(0, completed(&r, &data, NULL));
		ASSERT_EQ(i * 7 % MANY, data);
		EXPECT_FALSE(seen[data]);
		seen[data] = true;
	}
	EXPECT_EQ(NOTHING, result(&r));
	for (int i = 0; i < MANY; i++) {
		ASSERT_EQ(0, detach(x[i].p, MQSHM_EPOCH_CLOSED));
		ASSERT_EQ(0, detach(x[i].c, MQSHM_EPOCH_NONE)); /* transient: gone with its last user */
		close_pair(&x[i]);
	}
	ring_close(&r);
}

TEST_HARNESS_MAIN
