/* SPDX-License-Identifier: MIT */
/* What a manager gives out, shares, lists and closes; one thread. */
#include "conformance/peers.h"
#include "mqshm/manager.h"

static struct mqshm_manager *open_manager(void)
{
	struct mqshm_manager *m = (void *)1;

	MUST(mqshm_manager_open(&m), 0);
	REQUIRE(m != NULL);
	return m;
}

TEST(opened_once_and_shared)
{
	struct mqshm_queue_options q = geometry(16, 64, 0), other = geometry(16, 65, 0);
	struct mqshm_manager *m = open_manager();
	struct mqshm_shared *p = NULL, *p2 = NULL, *c = NULL, *c2 = (void *)1;
	const char *name = test_queue("shared");
	char buffer[64] = "";

	EXPECT(mqshm_manager_producer(m, &c2, name, NULL, NULL), -ENOENT);
	CHECK(c2 == NULL);
	EXPECT(mqshm_manager_producer(m, &c2, "../x", &q, NULL), -EINVAL);
	MUST(mqshm_manager_producer(m, &p, name, &q, NULL), 0);
	MUST(mqshm_manager_producer(m, &p2, name, NULL, NULL), 0);
	CHECK(p == p2);
	MUST(mqshm_manager_producer(m, &p2, name, &q, NULL), 0);
	CHECK(p == p2);
	EXPECT(mqshm_manager_producer(m, &p2, name, &other, NULL), -EEXIST);
	CHECK_STR(mqshm_last_error(), "block_size 64, not 65");
	CHECK(p2 == NULL);
	other = geometry(0, 0, MQSHM_SHARED);
	EXPECT(mqshm_manager_producer(m, &p2, name, &other, NULL), -EEXIST);
	MUST(mqshm_manager_consumer(m, &c, name, NULL, NULL), 0);
	MUST(mqshm_manager_consumer(m, &c2, name, NULL, NULL), 0);
	CHECK(c == c2 && c != p);
	CHECK_EQ(STAT(name, producer_count), 1);
	CHECK_EQ(STAT(name, consumer_count), 1);

	MUST(mqshm_shared_push(p, "hello", 5, 0), 0);
	EXPECT(mqshm_shared_pop(p, buffer, sizeof buffer, NULL, 0), -EINVAL);
	EXPECT(mqshm_shared_push(c, "hello", 5, 0), -EINVAL);
	MUST(mqshm_shared_pop(c, buffer, sizeof buffer, NULL, 0), 5);
	CHECK_STR(buffer, "hello");
	EXPECT(mqshm_shared_pop(c, buffer, sizeof buffer, NULL, 0), -EAGAIN);
	EXPECT(mqshm_shared_pop(c, buffer, sizeof buffer, NULL, 10), -ETIMEDOUT);

	/* Open though nobody has it. */
	for (int i = 0; i < 3; i++)
		mqshm_shared_put(p);
	mqshm_shared_put(c);
	mqshm_shared_put(c);
	mqshm_shared_put(NULL);
	CHECK_EQ(STAT(name, producer_count), 1);
	EXPECT(mqshm_manager_close_queue(m, name), 0);
	check_gone(name);
	EXPECT(mqshm_manager_close_queue(m, name), -ENOENT);
	EXPECT(mqshm_manager_close(m), 0);
	EXPECT(mqshm_manager_close(NULL), 0);
}

TEST(the_handle_itself)
{
	struct mqshm_queue_options q = geometry(16, 64, MQSHM_TIMESTAMP_OWN);
	struct mqshm_manager *m = open_manager();
	const char *name = test_queue("lock");
	struct mqshm_message message;
	struct mqshm_shared *p, *c;
	char buffer[64];
	void *data;

	MUST(mqshm_manager_producer(m, &p, name, &q, NULL), 0);
	MUST(mqshm_manager_consumer(m, &c, name, NULL, NULL), 0);
	MUST(mqshm_shared_lock(p, 0), 0);
	CHECK(mqshm_shared_consumer(p) == NULL);
	CHECK(mqshm_shared_merge(p) == NULL);
	MUST(mqshm_producer_set_timestamp(mqshm_shared_producer(p), 7), 0);
	MUST(mqshm_producer_reserve(mqshm_shared_producer(p), 3, &data, 0), 0);
	memcpy(data, "abc", 3);
	MUST(mqshm_producer_commit(mqshm_shared_producer(p), 3), 0);
	EXPECT(mqshm_shared_lock(p, 10), -EDEADLK);
	EXPECT(mqshm_shared_lock(p, -1), -EDEADLK);
	EXPECT(mqshm_shared_lock(p, 0), -EDEADLK);
	EXPECT(mqshm_shared_push(p, "x", 1, -1), -EDEADLK);
	/* Not while this thread has it; all others all the same. */
	EXPECT(mqshm_manager_close_handle(m, p), -EDEADLK);
	EXPECT(mqshm_manager_close_queue(m, name), -EDEADLK);
	EXPECT(mqshm_manager_close_all(m), -EDEADLK);
	EXPECT(mqshm_manager_close(m), -EDEADLK);
	CHECK_EQ(STAT(name, producer_count), 1);
	CHECK_EQ(STAT(name, consumer_count), 0);
	mqshm_shared_unlock(p);
	EXPECT(mqshm_shared_pop(c, buffer, sizeof buffer, &message, 0), -EBADF);
	CHECK_STR(mqshm_last_error(), name);
	mqshm_shared_put(c);
	MUST(mqshm_manager_consumer(m, &c, name, NULL,
				    &(struct mqshm_consumer_options){ .size = sizeof(struct mqshm_consumer_options),
								      .start = MQSHM_FROM_OLDEST }), 0);
	MUST(mqshm_shared_lock(c, -1), 0);
	MUST(mqshm_consumer_pop(mqshm_shared_consumer(c), buffer, sizeof buffer, &message, 0), 3);
	CHECK(mqshm_shared_producer(c) == NULL);
	mqshm_shared_unlock(c);
	CHECK_EQ(message.timestamp_ns, 7);
	mqshm_shared_put(p);
	mqshm_shared_put(c);
	EXPECT(mqshm_manager_close(m), 0);
	check_gone(name);
}

TEST(closed_and_opened_again)
{
	struct mqshm_queue_options q = geometry(16, 64, 0);
	struct mqshm_manager *m = open_manager();
	const char *name = test_queue("again");
	struct mqshm_shared *old, *new, *c;
	char buffer[64];

	MUST(mqshm_manager_producer(m, &old, name, &q, NULL), 0);
	MUST(mqshm_manager_consumer(m, &c, name, NULL, NULL), 0);
	MUST(mqshm_shared_push(old, "1", 1, 0), 0);
	EXPECT(mqshm_manager_close_handle(m, old), 0);
	EXPECT(mqshm_manager_close_handle(m, old), 0); /* it is closed */
	EXPECT(mqshm_shared_push(old, "2", 1, 0), -EBADF);
	EXPECT(mqshm_shared_lock(old, -1), -EBADF);
	CHECK_STR(mqshm_last_error(), name);
	MUST(mqshm_shared_pop(c, buffer, sizeof buffer, NULL, 0), 1);
	EXPECT(mqshm_shared_pop(c, buffer, sizeof buffer, NULL, 0), -ESHUTDOWN); /* its stream has ended */
	MUST(mqshm_manager_producer(m, &new, name, NULL, NULL), 0);
	CHECK(new != old);
	MUST(mqshm_shared_push(new, "3", 1, 0), 0);
	MUST(mqshm_shared_pop(c, buffer, sizeof buffer, NULL, 0), 1);
	EXPECT(mqshm_manager_close_all(m), 0);
	EXPECT(mqshm_manager_close_all(m), 0);
	check_gone(name);
	EXPECT(mqshm_shared_push(new, "4", 1, -1), -EBADF);
	EXPECT(mqshm_manager_close(m), 0);
	EXPECT(mqshm_shared_push(new, "4", 1, -1), -EBADF); /* outlives the manager */
	mqshm_shared_get(new);
	mqshm_shared_put(new);
	mqshm_shared_put(new);
	mqshm_shared_put(old);
	mqshm_shared_put(c);
}

TEST(merged)
{
	struct mqshm_queue_options q = geometry(16, 64, MQSHM_TIMESTAMP_OWN);
	struct mqshm_consumer_options from_oldest = { .size = sizeof from_oldest, .start = MQSHM_FROM_OLDEST };
	struct mqshm_manager *m = open_manager();
	struct mqshm_shared *p[2], *merge = (void *)1, *second, *c;
	const char *names[2] = { test_queue("m0"), test_queue("m1") }, *bad[2] = { names[0], "../x" };
	struct mqshm_message message;
	char buffer[64];

	EXPECT(mqshm_manager_merge(m, &merge, names, 2, -1, NULL), -ENOENT);
	CHECK(merge == NULL);
	EXPECT(mqshm_manager_merge(m, &merge, names, 0, -1, NULL), -EINVAL);
	EXPECT(mqshm_manager_merge(m, &merge, bad, 2, -1, NULL), -EINVAL);
	for (int i = 0; i < 2; i++)
		MUST(mqshm_manager_producer(m, &p[i], names[i], &q, NULL), 0);
	for (uint64_t t = 0; t < 10; t++) {
		struct mqshm_shared *to = p[t * t % 3 % 2];

		MUST(mqshm_shared_lock(to, 0), 0);
		MUST(mqshm_producer_set_timestamp(mqshm_shared_producer(to), t), 0);
		MUST(mqshm_producer_push(mqshm_shared_producer(to), &t, sizeof t, 0), 0);
		mqshm_shared_unlock(to);
	}
	MUST(mqshm_manager_merge(m, &merge, names, 2, -1, &from_oldest), 0);
	MUST(mqshm_manager_merge(m, &second, names, 2, 0, &from_oldest), 0);
	MUST(mqshm_manager_consumer(m, &c, names[0], NULL, &from_oldest), 0);
	CHECK(merge != second);
	for (int i = 0; i < 2; i++)
		MUST(mqshm_manager_close_handle(m, p[i]), 0);
	for (uint64_t t = 0; t < 10; t++) {
		MUST(mqshm_shared_pop(merge, buffer, sizeof buffer, &message, 0), 8);
		CHECK_EQ(message.timestamp_ns, t);
		MUST(mqshm_shared_pop(second, buffer, sizeof buffer, &message, 0), 8); /* each its own cursors */
		CHECK_EQ(message.timestamp_ns, t);
	}
	EXPECT(mqshm_shared_pop(merge, buffer, sizeof buffer, NULL, -1), -ESHUTDOWN);
	MUST(mqshm_shared_pop(c, buffer, sizeof buffer, &message, 0), 8); /* and the shared consumer has its own */
	MUST(mqshm_shared_lock(merge, 0), 0);
	CHECK(mqshm_shared_merge(merge) != NULL);
	CHECK(mqshm_shared_consumer(merge) == NULL);
	mqshm_shared_unlock(merge);
	EXPECT(mqshm_manager_close_handle(m, merge), 0);
	EXPECT(mqshm_shared_pop(merge, buffer, sizeof buffer, NULL, -1), -EBADF);
	EXPECT(mqshm_manager_close(m), 0);
	EXPECT(mqshm_shared_pop(second, buffer, sizeof buffer, NULL, -1), -EBADF);
	for (int i = 0; i < 2; i++) {
		mqshm_shared_put(p[i]);
		check_gone(names[i]);
	}
	mqshm_shared_put(merge);
	mqshm_shared_put(second);
	mqshm_shared_put(c);
}

struct seen {
	struct mqshm_manager *manager;
	int count;
	struct mqshm_managed at[8];
	uint64_t pushed[8];
};

static int note(const struct mqshm_managed *managed, void *arg)
{
	struct seen *seen = arg;

	seen->at[seen->count] = *managed;
	seen->pushed[seen->count++] = managed->stat ? managed->stat->total_pushed : UINT64_MAX;
	if (seen->count == 1) /* the manager can be called from here */
		MUST(mqshm_manager_close_queue(seen->manager, "t0-none"), -ENOENT);
	return 0;
}

static int stop(const struct mqshm_managed *managed, void *arg)
{
	(void)managed;
	(void)arg;
	return -7;
}

TEST(listed)
{
	struct mqshm_queue_options q = geometry(16, 64, 0);
	struct mqshm_manager *m = open_manager();
	struct seen seen = { .manager = m };
	struct mqshm_shared *a, *b, *c, *merge;
	const char *names[2] = { test_queue("la"), test_queue("lb") };

	EXPECT(mqshm_manager_list(m, note, &seen), 0);
	CHECK_EQ(seen.count, 0);
	MUST(mqshm_manager_producer(m, &b, names[1], &q, NULL), 0);
	MUST(mqshm_manager_producer(m, &a, names[0], &q, NULL), 0);
	MUST(mqshm_manager_merge(m, &merge, names, 2, -1, NULL), 0);
	MUST(mqshm_manager_consumer(m, &c, names[0], NULL, NULL), 0);
	MUST(mqshm_manager_consumer(m, &c, names[0], NULL, NULL), 0);
	for (int i = 0; i < 3; i++)
		MUST(mqshm_shared_push(a, "x", 1, 0), 0);
	mqshm_shared_put(b);
	EXPECT(mqshm_manager_list(m, note, &seen), 4);
	REQUIRE_EQ(seen.count, 4);
	CHECK_STR(seen.at[0].name, names[0]);
	CHECK_EQ(seen.at[0].kind, MQSHM_MANAGED_PRODUCER);
	CHECK_EQ(seen.at[0].users, 1);
	CHECK_EQ(seen.at[0].uses, 3);
	CHECK_EQ(seen.at[0].contended, 0);
	CHECK_EQ(seen.at[0].queues, 1);
	CHECK_EQ(seen.pushed[0], 3);
	CHECK_EQ(seen.at[1].kind, MQSHM_MANAGED_CONSUMER);
	CHECK_EQ(seen.at[1].users, 2);
	CHECK_EQ(seen.at[1].uses, 0);
	CHECK_STR(seen.at[2].name, names[1]);
	CHECK_EQ(seen.at[2].users, 0);
	CHECK_EQ(seen.pushed[2], 0);
	CHECK_EQ(seen.at[3].kind, MQSHM_MANAGED_MERGE);
	CHECK_EQ(seen.at[3].queues, 2);
	CHECK_EQ(seen.pushed[3], UINT64_MAX);
	EXPECT(mqshm_manager_list(m, stop, NULL), -7);
	mqshm_shared_put(a);
	mqshm_shared_put(merge);
	mqshm_shared_put(c);
	mqshm_shared_put(c);
	EXPECT(mqshm_manager_close(m), 0);
}

struct inherited {
	struct mqshm_manager *m;
	struct mqshm_shared *p, *c;
	const char *name;
};

static void child(void *arg)
{
	struct inherited *i = arg;
	struct mqshm_manager *own = NULL;
	struct mqshm_shared *s = NULL;
	char buffer[64];

	EXPECT(mqshm_shared_push(i->p, "x", 1, -1), -ECHILD);
	EXPECT(mqshm_shared_pop(i->c, buffer, sizeof buffer, NULL, -1), -ECHILD);
	EXPECT(mqshm_shared_lock(i->c, -1), -ECHILD);
	EXPECT(mqshm_manager_consumer(i->m, &s, i->name, NULL, NULL), -ECHILD);
	EXPECT(mqshm_manager_close_handle(i->m, i->p), -ECHILD);
	EXPECT(mqshm_manager_close_queue(i->m, i->name), -ECHILD);
	EXPECT(mqshm_manager_close_all(i->m), -ECHILD);
	EXPECT(mqshm_manager_list(i->m, stop, NULL), -ECHILD);
	EXPECT(mqshm_manager_close(i->m), -ECHILD);
	mqshm_shared_unlock(i->c);
	mqshm_shared_put(i->p);
	mqshm_shared_put(i->c);
	MUST(mqshm_manager_open(&own), 0);
	MUST(mqshm_manager_consumer(own, &s, i->name, NULL, NULL), 0);
	EXPECT(mqshm_shared_pop(s, buffer, sizeof buffer, NULL, 0), -EAGAIN);
	mqshm_shared_put(s);
	EXPECT(mqshm_manager_close(own), 0);
}

TEST(in_a_child)
{
	struct mqshm_queue_options q = geometry(16, 64, 0);
	struct inherited i = { .m = open_manager(), .name = test_queue("fork") };
	char buffer[64];

	MUST(mqshm_manager_producer(i.m, &i.p, i.name, &q, NULL), 0);
	MUST(mqshm_manager_consumer(i.m, &i.c, i.name, NULL, NULL), 0);
	join(spawn(child, &i));
	/* Locked at the moment of the fork: the child must not wait for it. */
	MUST(mqshm_shared_lock(i.p, 0), 0);
	MUST(mqshm_shared_lock(i.c, 0), 0);
	join(spawn(child, &i));
	mqshm_shared_unlock(i.p);
	mqshm_shared_unlock(i.c);
	MUST(mqshm_shared_push(i.p, "x", 1, 0), 0);
	MUST(mqshm_shared_pop(i.c, buffer, sizeof buffer, NULL, 0), 1);
	mqshm_shared_put(i.p);
	mqshm_shared_put(i.c);
	EXPECT(mqshm_manager_close(i.m), 0);
	check_gone(i.name);
}
