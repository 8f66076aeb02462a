/* SPDX-License-Identifier: MIT */
/*
 * Shows what fork and exec do: a child can't use its parent's handles, and doesn't keep the parent's roles alive, not even
 * a child made by a bare clone() that no library was told of. exec ends all roles.
 */
#include <sys/syscall.h>

#include "death/recovery.h"

#define NODES 8

struct shared {
	const char *name;
	uint32_t ready, stop, leave;
	pid_t child;
	enum { BY_FORK, BY_CLONE, BY_EXEC } how;
};

TEST(a_child_gets_echild_from_every_call)
{
	struct mqshm_queue_options q = geometry(NODES, 64, MQSHM_TIMESTAMP_OWN);
	const char *name = test_queue("echild");
	struct mqshm_producer *p = open_producer(name, &q), *mine = NULL;
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	struct iovec iov = { &q, 1 };
	int status = -1;
	pid_t child;

	MUST(mqshm_producer_push(p, "a", 1, 0), 0);
	(void)fflush(stdout);
	child = fork();
	REQUIRE(child >= 0);
	if (child == 0) {
		struct mqshm_queue_info info;
		struct mqshm_message m;
		void *data = &info;
		char out[64];

		EXPECT(mqshm_producer_push(p, "b", 1, -1), -ECHILD);
		CHECK_STR(mqshm_last_error(), "parent");
		EXPECT(mqshm_producer_push(p, "b", 65, -1), -ECHILD);
		EXPECT(mqshm_producer_pushv(p, &iov, 1, -1), -ECHILD);
		EXPECT(mqshm_producer_push_batch(p, &iov, 1, -1), -ECHILD);
		EXPECT(mqshm_producer_reserve(p, 1, &data, -1), -ECHILD);
		CHECK(data == NULL);
		EXPECT(mqshm_producer_commit(p, 1), -ECHILD);
		EXPECT(mqshm_producer_abort(p), -ECHILD);
		EXPECT(mqshm_producer_set_timestamp(p, 1), -ECHILD);
		EXPECT(mqshm_producer_wait_consumers(p, 1, 0, -1), -ECHILD);
		EXPECT(mqshm_producer_wait_drained(p, -1), -ECHILD);
		EXPECT(mqshm_producer_info(p, &info), -ECHILD);
		EXPECT(mqshm_consumer_pop(c, out, sizeof out, &m, -1), -ECHILD);
		EXPECT(mqshm_consumer_pop_batch(c, &m, 1, 1, out, sizeof out, -1), -ECHILD);
		EXPECT(mqshm_consumer_peek(c, &m, 1, -1), -ECHILD);
		EXPECT(mqshm_consumer_release(c, 1), -ECHILD);
		EXPECT(mqshm_consumer_lag(c), -ECHILD);
		EXPECT(mqshm_consumer_missed(c), -ECHILD);
		EXPECT(mqshm_consumer_id(c), -ECHILD);
		EXPECT(mqshm_consumer_info(c, &info), -ECHILD);
		/* The queue is the parent's still, but for handles of our own. */
		EXPECT(mqshm_producer_open(&mine, name, NULL, NULL), -EBUSY);
		EXPECT(mqshm_producer_close(p), -ECHILD);
		EXPECT(mqshm_consumer_close(c), -ECHILD);
		c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
		EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 1);
		/* A child of this child. */
		child = fork();
		if (child == 0) {
			EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, -1), -ECHILD);
			EXPECT(mqshm_consumer_close(c), -ECHILD);
			_exit(test_failures != 0);
		}
		REQUIRE_EQ(waitpid(child, &status, 0), child);
		CHECK_EQ(status, 0);
		EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), -EAGAIN);
		EXPECT(mqshm_consumer_close(c), 0);
		(void)fflush(stdout);
		_exit(test_failures != 0);
	}
	REQUIRE_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	/* Nothing of what the child did has touched the parent's. */
	CHECK_EQ(CALL(mqshm_consumer_lag(c)), 1);
	MUST(mqshm_producer_push(p, "c", 1, 0), 0);
	EXPECT(mqshm_producer_open(&mine, name, NULL, NULL), -EBUSY);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}

/* The parent of the family: opens both roles, makes a child that outlives it, and waits to be killed. */
static void be_a_parent(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_LATEST, 0);
	pid_t child;

	CHECK(p && c);
	if (s->how == BY_EXEC) {
		SET(s->child, getpid());
		UNTIL(GET(s->leave));
		execl("/bin/sleep", "sleep", "600", (char *)NULL);
		_exit(1);
	}
	child = s->how == BY_FORK ? fork() : (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
	if (child == 0) {
		uint64_t give_up = test_now_ns() + 4 * (uint64_t)STALL_NS;

		SET(s->child, (pid_t)syscall(SYS_getpid));
		while (!GET(s->stop) && test_now_ns() < give_up)
			nap();
		_exit(0);
	}
	for (;;)
		pause();
}

static void family(int how)
{
	struct mqshm_queue_options q = geometry(NODES, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_consumer *c;
	struct mqshm_producer *p;
	pid_t parent;
	uint64_t value;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	s->name = test_queue("family");
	s->how = how;
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	parent = spawn(be_a_parent, s);
	UNTIL(GET(s->child));
	CHECK_EQ(STAT(s->name, producers[0].alive), 1);
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 10), -ETIMEDOUT);
	if (how == BY_EXEC)
		SET(s->leave, 1);
	else
		kill_now(parent);
	/* The child lives, with all that it inherited; its parent's roles do not. */
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), -EOWNERDEAD);
	CHECK_EQ(kill(GET(s->child), 0), 0);
	p = open_producer(s->name, NULL);
	for (uint64_t i = 0; i < 4 * NODES; i++) { /* further than the dead cursor */
		MUST(mqshm_producer_push(p, &i, sizeof i, stall_ms()), 0);
		MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, 0), 8);
		CHECK_EQ(value, i);
	}
	CHECK_EQ(STAT(s->name, consumer_count), 1);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
	SET(s->stop, 1);
	if (how == BY_EXEC)
		kill_now(parent);
	else
		while (waitpid(-1, NULL, 0) > 0)
			;
}

TEST(a_forked_child_does_not_keep_roles_alive)
{
	family(BY_FORK);
}

TEST(a_bare_clone_does_not_keep_roles_alive)
{
	family(BY_CLONE);
}

TEST(exec_ends_all_roles)
{
	family(BY_EXEC);
}

/* A child that closes, or just ends, must not take the parent's locks with it. */
TEST(a_child_that_ends_leaves_the_parent_alive)
{
	struct mqshm_queue_options q = geometry(NODES, 8, 0);
	const char *name = test_queue("parent");
	struct mqshm_producer *p = open_producer(name, &q), *second = (void *)1;

	for (int i = 0; i < 6; i++) {
		pid_t child = i % 2 ? fork() : (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);

		REQUIRE(child >= 0);
		if (child == 0) {
			if (i >= 2 && mqshm_producer_close(p) != -ECHILD)
				_exit(1);
			_exit(0);
		}
		join(child);
		CHECK_EQ(STAT(name, producers[0].alive), 1);
		CHECK_EQ(STAT(name, producers[0].pid), getpid());
		EXPECT(mqshm_producer_open(&second, name, NULL, NULL), -EBUSY);
		EXPECT(mqshm_queue_gc(name, NULL, NULL), 0);
		MUST(mqshm_producer_push(p, "x", 1, 0), 0);
	}
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}
