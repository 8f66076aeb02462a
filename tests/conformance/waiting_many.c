/* SPDX-License-Identifier: MIT */
/*
 * Shows waiting for one of many, by mqshm_wait_any() and by descriptors: for messages, room, the end and errors; with
 * more handles than one system call takes, and on a kernel without that call; and that a wait can be cancelled.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "conformance/peers.h"

#define MANY 200 /* more than 128 */
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static struct mqshm_wait_item for_consumer(struct mqshm_consumer *c)
{
	return (struct mqshm_wait_item){ .consumer = c, .result = 77 };
}

static struct mqshm_wait_item for_producer(struct mqshm_producer *p)
{
	return (struct mqshm_wait_item){ .producer = p, .result = 77 };
}

static bool readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	int rc = poll(&poll_fd, 1, 0);

	REQUIRE(rc >= 0);
	return rc == 1 && poll_fd.revents == POLLIN;
}

static void push_number(struct mqshm_producer *p, uint64_t value)
{
	MUST(mqshm_producer_push(p, &value, sizeof value, stall_ms()), 0);
}

static uint64_t pop_number(struct mqshm_consumer *c)
{
	uint64_t value = 0;

	MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), 8);
	return value;
}

TEST(results_of_all_kinds)
{
	struct mqshm_queue_options q = geometry(2, 8, 0);
	struct mqshm_wait_item items[4];
	struct mqshm_producer *p[2];
	struct mqshm_consumer *c[2];

	for (int i = 0; i < 2; i++) {
		p[i] = open_producer(test_queue(i ? "b" : "a"), &q);
		c[i] = open_consumer(test_queue(i ? "b" : "a"), NULL, MQSHM_FROM_OLDEST, 0);
		items[i] = for_consumer(c[i]);
		items[2 + i] = for_producer(p[i]);
	}
	EXPECT(mqshm_wait_any(NULL, 1, 0), -EINVAL);
	EXPECT(mqshm_wait_any(items, 0, 0), -EINVAL);
	EXPECT(mqshm_wait_any(items, 2, 0), -EAGAIN);
	EXPECT(mqshm_wait_any(items, 2, 10), -ETIMEDOUT);
	CHECK_EQ(items[0].result, 0);
	EXPECT(mqshm_wait_any(items, 4, 0), 2); /* room in both */
	CHECK(items[0].result == 0 && items[1].result == 0 && items[2].result == 1 && items[3].result == 1);
	push_number(p[1], 1);
	push_number(p[1], 2);
	EXPECT(mqshm_wait_any(items, 4, -1), 2); /* room in a, messages in b */
	CHECK(items[0].result == 0 && items[1].result == 1 && items[2].result == 1 && items[3].result == 0);
	EXPECT(mqshm_wait_any(&items[3], 1, 10), -ETIMEDOUT); /* b is full */
	CHECK_EQ(pop_number(c[1]), 1);
	EXPECT(mqshm_wait_any(&items[3], 1, stall_ms()), 1);
	EXPECT(mqshm_producer_close(p[0]), 0);
	items[2].producer = NULL;
	EXPECT(mqshm_wait_any(items, 3, 0), 2);
	CHECK(items[0].result == -ESHUTDOWN && items[1].result == 1 && items[2].result == 0);
	items[0].consumer = NULL;
	EXPECT(mqshm_wait_any(items, 1, 0), -EINVAL);
	EXPECT(mqshm_queue_evict(test_queue("b"), 0), 0);
	EXPECT(mqshm_wait_any(items, 3, 0), 1);
	CHECK_EQ(items[1].result, -ECONNABORTED);
	items[1].producer = p[1];
	EXPECT(mqshm_wait_any(items, 3, 0), -EINVAL);
	for (int i = 0; i < 2; i++)
		EXPECT(mqshm_consumer_close(c[i]), 0);
	EXPECT(mqshm_producer_close(p[1]), 0);
}

struct shared {
	char names[MANY][40];
	int count;
	uint32_t round, chosen;
};

/* Each time it is told: a message into the queue that is chosen. */
static void push_when_told(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p[MANY];
	struct mqshm_queue_options q = geometry(4, 8, 0);

	for (int i = 0; i < s->count; i++)
		p[i] = open_producer(s->names[i], &q);
	for (uint32_t round = 1;; round++) {
		UNTIL(GET(s->round) == round);
		if (s->chosen == UINT32_MAX)
			break;
		push_number(p[s->chosen], round);
	}
	for (int i = 0; i < s->count; i++)
		EXPECT(mqshm_producer_close(p[i]), 0);
}

static void wait_for_the_chosen(int count, int rounds)
{
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_wait_item items[MANY];
	struct mqshm_queue_options q = geometry(4, 8, 0);
	uint64_t seed = test_seed();
	pid_t pid;

	s->count = count;
	for (int i = 0; i < count; i++) {
		snprintf(s->names[i], sizeof s->names[i], "%s-%d", test_queue("many"), i);
		items[i] = for_consumer(open_consumer(s->names[i], &q, MQSHM_FROM_OLDEST, 0));
	}
	pid = spawn(push_when_told, s);
	for (int round = 1; round <= rounds; round++) {
		s->chosen = (uint32_t)(test_random(&seed) % (uint64_t)count);
		SET(s->round, (uint32_t)round);
		MUST(mqshm_wait_any(items, (size_t)count, stall_ms()), 1);
		for (int i = 0; i < count; i++)
			CHECK_EQ(items[i].result, i == (int)s->chosen);
		CHECK_EQ(pop_number(items[s->chosen].consumer), round);
	}
	s->chosen = UINT32_MAX;
	SET(s->round, GET(s->round) + 1);
	join(pid);
	EXPECT(mqshm_wait_any(items, (size_t)count, stall_ms()), count); /* all have ended */
	for (int i = 0; i < count; i++) {
		CHECK_EQ(items[i].result, -ESHUTDOWN);
		EXPECT(mqshm_consumer_close(items[i].consumer), 0);
		check_gone(s->names[i]);
	}
}

TEST(one_of_a_few)
{
	wait_for_the_chosen(5, 2000);
}

TEST(one_of_as_many_as_one_call_takes)
{
	wait_for_the_chosen(128, 300);
}

TEST(one_of_more_than_one_call_takes)
{
	wait_for_the_chosen(MANY, 300);
}

/* As if the kernel had no futex_waitv(). */
static void forbid_waitv(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex_waitv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof code[0], code };

	REQUIRE(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
	REQUIRE(syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) == -1 && errno == ENOSYS);
}

TEST(on_a_kernel_without_futex_waitv)
{
	forbid_waitv();
	wait_for_the_chosen(20, 50);
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* There, too, it sleeps: some 40 naps, of 50 us of work or so each. Spinning takes a share of a processor, also of a busy one. */
TEST(without_futex_waitv_it_sleeps_too)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	struct mqshm_wait_item item;
	uint64_t begin;

	forbid_waitv();
	item = for_consumer(open_consumer(test_queue("sleeps"), &q, MQSHM_FROM_OLDEST, 0));
	begin = cpu_ns();
	EXPECT(mqshm_wait_any(&item, 1, 600), -ETIMEDOUT);
	CHECK(cpu_ns() - begin < 40000000u);
	EXPECT(mqshm_consumer_close(item.consumer), 0);
}

/* ---- descriptors ---- */

TEST(a_consumers_descriptor_is_level_triggered)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	const char *name = test_queue("level");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	struct mqshm_message m;
	uint64_t value;
	int fd;

	push_number(p, 1);
	fd = CALL(mqshm_consumer_fd(c));
	REQUIRE(fd > 2);
	EXPECT(mqshm_consumer_fd(c), fd);
	CHECK(readable(fd) && readable(fd));
	CHECK_EQ(pop_number(c), 1);
	CHECK(!readable(fd)); /* without a pop that fails */
	push_number(p, 2);
	push_number(p, 3);
	UNTIL(readable(fd));
	CHECK_EQ(pop_number(c), 2);
	CHECK(readable(fd));
	CHECK_EQ(pop_number(c), 3);
	CHECK(!readable(fd));
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -EAGAIN);
	CHECK(!readable(fd));
	push_number(p, 4);
	UNTIL(readable(fd));
	EXPECT(mqshm_consumer_peek(c, &m, 1, 0), 1);
	CHECK(readable(fd)); /* until it is released */
	EXPECT(mqshm_consumer_release(c, 1), 0);
	CHECK(!readable(fd));
	EXPECT(mqshm_producer_close(p), 0);
	UNTIL(readable(fd));
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -ESHUTDOWN);
	CHECK(readable(fd)); /* and stays so */
	p = open_producer(name, NULL);
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -EAGAIN);
	CHECK(!readable(fd));
	push_number(p, 5);
	UNTIL(readable(fd));
	CHECK_EQ(pop_number(c), 5);
	EXPECT(mqshm_queue_evict(name, 0), 0);
	UNTIL(readable(fd));
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -ECONNABORTED);
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
	CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
}

static void a_producers_descriptor(uint32_t flags)
{
	struct mqshm_queue_options q = geometry(4, 8, flags);
	const char *name = test_queue("room");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	uint64_t value = 0;
	int fd = CALL(mqshm_producer_fd(p));

	REQUIRE(fd > 2);
	for (int round = 0; round < 3; round++) {
		CHECK(readable(fd));
		for (value = 0; CALL(mqshm_producer_push(p, &value, sizeof value, 0)) == 0; value++)
			;
		CHECK_EQ(value, 4);
		CHECK(!readable(fd));
		CHECK_EQ(pop_number(c), 0);
		UNTIL(readable(fd));
		for (uint64_t i = 1; i < 4; i++)
			CHECK_EQ(pop_number(c), i);
	}
	for (value = 0; CALL(mqshm_producer_push(p, &value, sizeof value, 0)) == 0; value++)
		;
	CHECK(!readable(fd));
	EXPECT(mqshm_consumer_close(c), 0); /* nobody is in the way any more */
	UNTIL(readable(fd));
	push_number(p, 9);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

TEST(a_producers_descriptor_exclusive)
{
	a_producers_descriptor(0);
}

TEST(a_producers_descriptor_shared)
{
	a_producers_descriptor(MQSHM_SHARED);
}

TEST(a_held_lock_is_waited_for)
{
	struct mqshm_queue_options q = geometry(4, 8, MQSHM_SHARED);
	const char *name = test_queue("lock");
	struct mqshm_producer *a = open_producer(name, &q), *b = open_producer(name, &q);
	struct mqshm_wait_item item = for_producer(b);
	uint64_t value = 1;
	void *place;
	int fd = CALL(mqshm_producer_fd(b));

	CHECK(readable(fd));
	EXPECT(mqshm_producer_reserve(a, 8, &place, 0), 0);
	EXPECT(mqshm_producer_push(b, &value, sizeof value, 0), -EAGAIN);
	EXPECT(mqshm_wait_any(&item, 1, 20), -ETIMEDOUT);
	EXPECT(mqshm_producer_commit(a, 8), 0);
	EXPECT(mqshm_wait_any(&item, 1, stall_ms()), 1);
	UNTIL(readable(fd));
	push_number(b, 2);
	EXPECT(mqshm_producer_close(a), 0);
	EXPECT(mqshm_producer_close(b), 0);
}

static void die_when_told(void *arg)
{
	struct shared *s = arg;
	struct mqshm_queue_options q = geometry(4, 8, 0);
	struct mqshm_producer *p = open_producer(s->names[0], &q);

	push_number(p, 1);
	SET(s->round, 1);
	for (;;)
		pause();
}

TEST(a_death_is_told)
{
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_wait_item item;
	struct mqshm_consumer *c;
	uint64_t value;
	pid_t pid;
	int fd;

	snprintf(s->names[0], sizeof s->names[0], "%s", test_queue("death"));
	pid = spawn(die_when_told, s);
	UNTIL(GET(s->round) == 1);
	c = open_consumer(s->names[0], NULL, MQSHM_FROM_OLDEST, 0);
	item = for_consumer(c);
	CHECK_EQ(pop_number(c), 1);
	fd = CALL(mqshm_consumer_fd(c));
	CHECK(!readable(fd));
	kill_now(pid);
	UNTIL(readable(fd));
	EXPECT(mqshm_wait_any(&item, 1, stall_ms()), 1);
	CHECK_EQ(item.result, -EOWNERDEAD);
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -EOWNERDEAD);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->names[0]);
}

/* After a wait on many, which looks seldom, a wait on one looks as often as ever: here the other would take 800 ms. */
TEST(a_death_is_told_soon_after_a_wait_on_many)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_wait_item items[240];
	uint64_t value;
	pid_t pid;

	snprintf(s->names[0], sizeof s->names[0], "%s", test_queue("soon"));
	q.max_consumers = MQSHM_CONSUMERS_MAX;
	for (size_t i = 0; i < 240; i++)
		items[i] = for_consumer(open_consumer(s->names[0], &q, MQSHM_FROM_LATEST, 0));
	q.max_consumers = 0;
	pid = spawn(die_when_told, s);
	UNTIL(GET(s->round) == 1);
	for (size_t i = 0; i < 240; i++)
		CHECK_EQ(pop_number(items[i].consumer), 1);
	EXPECT(mqshm_wait_any(items, 240, 0), -EAGAIN); /* looks at all */
	kill_now(pid);
	EXPECT(mqshm_consumer_pop(items[0].consumer, &value, sizeof value, NULL, 400), -EOWNERDEAD);
	for (size_t i = 0; i < 240; i++)
		EXPECT(mqshm_consumer_close(items[i].consumer), 0);
	check_gone(s->names[0]);
}

/* The producer of a queue whose consumer is too slow is told to try again, which evicts it. */
TEST(a_slow_consumers_time_is_kept)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	const char *name = test_queue("slow");
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	uint64_t value = 0;
	int fd;

	q.slow_policy = MQSHM_SLOW_EVICT;
	q.slow_ms = 100;
	p = open_producer(name, &q);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	fd = CALL(mqshm_producer_fd(p));
	for (int i = 0; i < 4; i++)
		push_number(p, 1);
	EXPECT(mqshm_producer_push(p, &value, sizeof value, 0), -EAGAIN);
	while (CALL(mqshm_producer_push(p, &value, sizeof value, 0)) == -EAGAIN) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

		REQUIRE_EQ(poll(&poll_fd, 1, stall_ms()), 1);
	}
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -ECONNABORTED);
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

/* An echo by epoll in one process, by wait_any in the other: a lost wake-up ends in a time-out. */
struct echo {
	const char *there, *back;
	uint64_t rounds;
};

static void echo_by_epoll(void *arg)
{
	struct echo *e = arg;
	struct mqshm_consumer *c = open_consumer(e->there, NULL, MQSHM_FROM_OLDEST, 0);
	struct mqshm_queue_options q = geometry(2, 8, 0);
	struct mqshm_producer *p = open_producer(e->back, &q);
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	uint64_t value;
	ssize_t n;

	REQUIRE(!epoll_ctl(epoll, EPOLL_CTL_ADD, CALL(mqshm_consumer_fd(c)), &event));
	for (;;) {
		REQUIRE_EQ(epoll_wait(epoll, &event, 1, stall_ms()), 1);
		while ((n = CALL(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0))) == 8)
			push_number(p, value);
		if (n == -ESHUTDOWN)
			break;
		REQUIRE_EQ(n, -EAGAIN);
	}
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

TEST(no_wake_up_is_lost)
{
	struct echo e = { test_queue("there"), test_queue("back"), stall_ms() };
	struct mqshm_queue_options q = geometry(2, 8, 0);
	struct mqshm_producer *p = open_producer(e.there, &q);
	struct mqshm_wait_item item;
	pid_t pid = spawn(echo_by_epoll, &e);
	struct mqshm_consumer *c = open_consumer(e.back, NULL, MQSHM_FROM_OLDEST, 0);

	item = for_consumer(c);
	for (uint64_t i = 0; i < e.rounds; i++) {
		push_number(p, i);
		MUST(mqshm_wait_any(&item, 1, stall_ms()), 1);
		REQUIRE_EQ(pop_number(c), i);
	}
	EXPECT(mqshm_producer_close(p), 0);
	join(pid);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(e.there);
	check_gone(e.back);
}

/* ---- cancel ---- */

static struct mqshm_consumer *to_cancel;
static struct mqshm_producer *producer_to_cancel;

static void *cancel_soon(void *arg)
{
	(void)arg;
	while (!asleep(getpid())) /* the state of the process is that of its first thread */
		nap();
	if (to_cancel)
		mqshm_consumer_cancel(to_cancel);
	if (producer_to_cancel)
		mqshm_producer_cancel(producer_to_cancel);
	return NULL;
}

static void cancel_in_handler(int signal_number)
{
	(void)signal_number;
	mqshm_consumer_cancel(to_cancel);
}

TEST(cancel_from_a_thread_and_from_a_signal_handler)
{
	struct mqshm_queue_options q = geometry(2, 8, 0);
	const char *name = test_queue("cancel");
	struct mqshm_wait_item item, many[MANY];
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	uint64_t value = 0;
	pthread_t thread;
	void *place;

	q.max_consumers = 256;
	p = open_producer(name, &q);
	c = to_cancel = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	item = for_consumer(c);

	for (int i = 0; i < 3; i++) { /* asleep */
		REQUIRE(!pthread_create(&thread, NULL, cancel_soon, NULL));
		EXPECT(i == 1 ? mqshm_wait_any(&item, 1, stall_ms()) : mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()),
		       -ECANCELED);
		REQUIRE(!pthread_join(thread, NULL));
		EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 1), -ETIMEDOUT); /* once */
	}
	mqshm_consumer_cancel(c); /* before */
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -EAGAIN); /* is no wait */
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), -ECANCELED);
	signal(SIGUSR1, cancel_in_handler);
	raise(SIGUSR1); /* between two naps, so to speak */
	EXPECT(mqshm_wait_any(&item, 1, stall_ms()), -ECANCELED);
	EXPECT(mqshm_wait_any(&item, 1, 1), -ETIMEDOUT);
	for (int i = 0; i < MANY; i++)
		many[i] = for_consumer(i == 150 ? c : open_consumer(name, NULL, 0, MQSHM_LOSSY));
	REQUIRE(!pthread_create(&thread, NULL, cancel_soon, NULL));
	EXPECT(mqshm_wait_any(many, MANY, stall_ms()), -ECANCELED);
	REQUIRE(!pthread_join(thread, NULL));
	for (int i = 0; i < MANY; i++)
		if (i != 150)
			EXPECT(mqshm_consumer_close(many[i].consumer), 0);
	push_number(p, 1);
	push_number(p, 2);
	to_cancel = NULL;
	producer_to_cancel = p;
	for (int i = 0; i < 3; i++) {
		REQUIRE(!pthread_create(&thread, NULL, cancel_soon, NULL));
		EXPECT(i == 0   ? mqshm_producer_push(p, &value, sizeof value, stall_ms())
		       : i == 1 ? mqshm_producer_wait_drained(p, stall_ms())
				: mqshm_producer_wait_consumers(p, 2, 0, stall_ms()),
		       -ECANCELED);
		REQUIRE(!pthread_join(thread, NULL));
	}
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
	q.flags = MQSHM_SHARED; /* waiting for the lock */
	p = open_producer(name, &q);
	producer_to_cancel = open_producer(name, &q);
	EXPECT(mqshm_producer_reserve(p, 8, &place, 0), 0);
	REQUIRE(!pthread_create(&thread, NULL, cancel_soon, NULL));
	EXPECT(mqshm_producer_push(producer_to_cancel, &value, sizeof value, stall_ms()), -ECANCELED);
	REQUIRE(!pthread_join(thread, NULL));
	EXPECT(mqshm_producer_close(producer_to_cancel), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

/* A fork while descriptors are watched: the child can neither use nor break them. */
static void in_child(void *arg)
{
	struct mqshm_consumer *c = arg;
	struct mqshm_wait_item item = for_consumer(c);
	struct mqshm_queue_options q = geometry(2, 8, 0);
	struct mqshm_producer *p;
	struct mqshm_consumer *own;
	const char *name = "own";
	char queue[64];
	int fd;

	EXPECT(mqshm_consumer_fd(c), -ECHILD);
	EXPECT(mqshm_wait_any(&item, 1, 0), 1);
	CHECK_EQ(item.result, -ECHILD);
	EXPECT(mqshm_consumer_close(c), -ECHILD);
	snprintf(queue, sizeof queue, "t%d-%s", (int)getppid(), name);
	p = open_producer(queue, &q);
	own = open_consumer(queue, NULL, MQSHM_FROM_OLDEST, 0);
	fd = CALL(mqshm_consumer_fd(own)); /* with a thread of its own */
	CHECK(!readable(fd));
	push_number(p, 1);
	UNTIL(readable(fd));
	EXPECT(mqshm_consumer_close(own), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

TEST(fork_with_descriptors)
{
	struct mqshm_queue_options q = geometry(2, 8, 0);
	const char *name = test_queue("fork");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	int fd = CALL(mqshm_consumer_fd(c));

	CHECK(!readable(fd));
	join(spawn(in_child, c));
	CHECK(!readable(fd));
	push_number(p, 1);
	UNTIL(readable(fd));
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

/* Event loops that poll a copy must hear that its handle goes, though the descriptors behind it go with it. */
TEST(a_copy_of_the_descriptor_tells_of_the_end)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	const char *name = test_queue("copy");
	struct pollfd copy = { .events = POLLIN };
	struct mqshm_consumer *c;
	uint64_t value;

	MUST(mqshm_queue_create(name, &q), 0);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	copy.fd = dup(CALL(mqshm_consumer_fd(c)));
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), -EAGAIN);
	CHECK_EQ(poll(&copy, 1, 0), 0);
	mqshm_consumer_cancel(c);
	EXPECT(mqshm_consumer_close(c), 0);
	CHECK_EQ(poll(&copy, 1, 0), 1);
	close(copy.fd);
	check_gone(name);
}
