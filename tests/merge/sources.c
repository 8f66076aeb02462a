/* SPDX-License-Identifier: MIT */
/* Sources that are silent, late, gone, back again, overtaken, broken; and what is counted. One process, no race. */
#include "merge_test.h"

static struct feed a, b, c;

TEST(a_silent_source_is_waited_for_that_long)
{
	uint64_t start;
	struct mqshm_merge *m;

	feed_open(&a, "a");
	feed_open(&b, "b");
	feed_push(&a, 10);
	feed_push(&a, 20);
	start = test_now_ns();
	m = open_merge(50, (struct feed[]){ a, b }, 2);
	GIVES_NONE(m, -EAGAIN, 0);
	CHECK_EQ(STATS(m, timeouts), 0);
	GIVES(m, &a, 10, -1);
	CHECK(test_now_ns() - start >= 50000000); /* not before */
	CHECK_EQ(STATS(m, timeouts), 1);
	CHECK_EQ(STATS(m, silent), 1);
	GIVES(m, &a, 20, 0); /* it is not waited for again */
	CHECK_EQ(STATS(m, timeouts), 1);
	feed_push(&b, 15); /* speaks again, too late */
	start = test_now_ns();
	GIVES(m, &b, 15, -1); /* a is waited for now */
	CHECK(test_now_ns() - start >= 50000000);
	CHECK_EQ(STATS(m, backward), 1);
	CHECK_EQ(STATS(m, source_backward), 0);
	CHECK_EQ(STATS(m, timeouts), 2);
	feed_push(&a, 30);
	start = test_now_ns();
	GIVES(m, &a, 30, -1); /* and b is again */
	CHECK(test_now_ns() - start >= 50000000);
	CHECK_EQ(STATS(m, timeouts), 3);
	CHECK_EQ(STATS(m, merged), 4);
	feed_push(&b, 35);
	feed_push(&a, 40);
	GIVES(m, &b, 35, 0);
	start = test_now_ns();
	UNTIL(mqshm_merge_next(m, &(uint64_t){ 0 }, 8, NULL, NULL, 0) == 8); /* the same for one who never waits */
	CHECK(test_now_ns() - start >= 50000000);
	mqshm_merge_close(m);
	feed_close(&a);
	feed_close(&b);
}

TEST(without_a_limit_it_is_waited_for)
{
	struct mqshm_merge *m;

	feed_open(&a, "a");
	feed_open(&b, "b");
	feed_push(&a, 10);
	m = open_merge(-1, (struct feed[]){ a, b }, 2);
	GIVES_NONE(m, -EAGAIN, 0);
	GIVES_NONE(m, -ETIMEDOUT, 20);
	CHECK_STR(mqshm_last_error(), b.name);
	feed_push(&b, 5);
	GIVES(m, &b, 5, 0);
	GIVES_NONE(m, -EAGAIN, 0); /* 6 could come yet */
	feed_push(&b, 6);
	GIVES(m, &b, 6, 0);
	feed_end(&b);
	GIVES(m, &a, 10, -1);
	GIVES_NONE(m, -ETIMEDOUT, 1);
	CHECK_EQ(STATS(m, timeouts), 0);
	CHECK_EQ(STATS(m, ended), 1);
	feed_end(&a);
	GIVES_NONE(m, -ESHUTDOWN, -1);
	GIVES_NONE(m, -ESHUTDOWN, -1); /* again */
	mqshm_merge_close(m);
	feed_close(&a);
	feed_close(&b);
}

/* Nobody is waited for: what is there comes in order; what comes later, later. */
TEST(at_once)
{
	struct feed feeds[20];
	struct mqshm_merge *m;

	for (int i = 0; i < 20; i++) {
		char suffix[32];

		snprintf(suffix, sizeof suffix, "f%d", i);
		feed_open(&feeds[i], suffix);
	}
	m = open_merge(0, feeds, 20);
	feed_push(&feeds[3], 7);
	feed_push(&feeds[4], 5);
	GIVES(m, &feeds[4], 5, 0);
	GIVES(m, &feeds[3], 7, 0);
	CHECK_EQ(STATS(m, silent), 19); /* the third was given just now, and not looked at since */
	GIVES_NONE(m, -EAGAIN, 0);
	CHECK_EQ(STATS(m, silent), 20);
	/* All is noticed when there is nothing else ... */
	for (int i = 0; i < 20; i++)
		feed_push(&feeds[i], (uint64_t)(100 - i));
	for (int i = 19; i >= 0; i--)
		GIVES(m, &feeds[i], 100 - i, -1);
	CHECK_EQ(STATS(m, backward), 0);
	/* ... and in turn while there is: after no more messages than there are silent ones. */
	GIVES_NONE(m, -EAGAIN, 0);
	for (int i = 0; i < 30; i++)
		feed_push(&feeds[0], (uint64_t)(200 + i));
	GIVES(m, &feeds[0], 200, 0);
	feed_push(&feeds[7], 150);
	for (int i = 1;; i++) {
		struct mqshm_consumer *source;
		uint64_t value;

		MUST(mqshm_merge_next(m, &value, sizeof value, NULL, &source, 0), 8);
		if (source == feeds[7].consumer)
			break;
		REQUIRE(i <= 20);
	}
	CHECK_EQ(STATS(m, backward), 1);
	mqshm_merge_close(m);
	for (int i = 0; i < 20; i++)
		feed_close(&feeds[i]);
}

TEST(an_ended_source_comes_back)
{
	struct mqshm_merge *m;

	feed_open(&a, "a");
	feed_open(&b, "b");
	m = open_merge(-1, (struct feed[]){ a, b }, 2);
	feed_push(&b, 1);
	feed_end(&b);
	feed_push(&a, 10);
	GIVES(m, &b, 1, -1);
	GIVES(m, &a, 10, -1);
	GIVES_NONE(m, -EAGAIN, 0);
	feed_open_producer(&b, 64, 0);
	feed_push(&a, 30);
	feed_push(&b, 20);
	GIVES(m, &b, 20, -1); /* in its place ... */
	GIVES_NONE(m, -EAGAIN, 0); /* ... and waited for again */
	CHECK_EQ(STATS(m, ended), 0);
	EXPECT(mqshm_producer_fail(b.producer), 0);
	GIVES(m, &a, 30, -1);
	CHECK_EQ(STATS(m, ended), 1);
	feed_end(&a);
	GIVES_NONE(m, -EOWNERDEAD, -1); /* one of them has failed */
	CHECK_STR(mqshm_last_error(), b.name);

	/* All had ended; one is back, and silent until it says something. */
	feed_open_producer(&b, 64, 0);
	GIVES_NONE(m, -EAGAIN, 0);
	CHECK_EQ(STATS(m, silent), 1);
	CHECK_EQ(STATS(m, ended), 1);
	feed_push(&b, 40);
	GIVES(m, &b, 40, -1);
	CHECK_EQ(STATS(m, timeouts), 0);
	CHECK_EQ(STATS(m, backward), 0);
	feed_end(&b);
	GIVES_NONE(m, -ESHUTDOWN, -1);
	mqshm_merge_close(m);
	feed_close(&a);
	feed_close(&b);
}

/* While the merge waits for a third. */
TEST(a_return_is_noticed_while_waiting)
{
	struct mqshm_merge *m;

	feed_open(&a, "a");
	feed_open(&b, "b");
	m = open_merge(0, (struct feed[]){ a, b }, 2);
	feed_end(&b);
	GIVES_NONE(m, -EAGAIN, 0);
	CHECK_EQ(STATS(m, ended), 1);
	feed_open_producer(&b, 64, 0);
	feed_push(&b, 3);
	GIVES(m, &b, 3, 5000);
	/* Also when it says nothing yet: then its first message will wake the merge. */
	feed_end(&b);
	GIVES_NONE(m, -EAGAIN, 0);
	CHECK_EQ(STATS(m, ended), 1);
	feed_open_producer(&b, 64, 0);
	GIVES_NONE(m, -ETIMEDOUT, 500);
	CHECK_EQ(STATS(m, ended), 0);
	CHECK_EQ(STATS(m, silent), 2);
	mqshm_merge_close(m);
	feed_close(&a);
	feed_close(&b);
}

TEST(any_timestamps)
{
	static const uint64_t t[] = { 5, UINT64_MAX, 0, UINT64_MAX - 1, 1ull << 63, (1ull << 63) - 1, 0 };
	struct mqshm_merge *m;

	feed_open(&a, "a");
	feed_open_as(&b, "b", 64, 0);
	m = open_merge(-1, (struct feed[]){ a, b }, 2);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
		feed_push(&a, t[i]);
	feed_push(&b, 6);
	feed_push(&b, UINT64_MAX);
	feed_end(&a);
	feed_end(&b);
	GIVES(m, &a, 5, -1);
	GIVES(m, &b, 6, -1);
	GIVES(m, &a, UINT64_MAX, -1); /* a tie: the order of adding */
	GIVES(m, &a, 0, -1);
	GIVES(m, &a, UINT64_MAX - 1, -1);
	GIVES(m, &a, 1ull << 63, -1);
	GIVES(m, &a, (1ull << 63) - 1, -1);
	GIVES(m, &a, 0, -1);
	GIVES(m, &b, UINT64_MAX, -1);
	GIVES_NONE(m, -ESHUTDOWN, -1);
	CHECK_EQ(STATS(m, source_backward), 4);
	CHECK_EQ(STATS(m, backward), 4);
	CHECK_EQ(STATS(m, merged), 9);
	mqshm_merge_close(m);
	feed_close(&a);
	feed_close(&b);
}

TEST(without_timestamps_at_once)
{
	struct mqshm_queue_options q = geometry(16, 64, MQSHM_TIMESTAMP_OFF);
	struct mqshm_message message;
	struct mqshm_consumer *off, *source;
	struct mqshm_producer *p;
	const char *name = test_queue("off");
	struct mqshm_merge *m;

	p = open_producer(name, &q);
	off = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	feed_open(&a, "a");
	m = open_merge(-1, &a, 1);
	MUST(mqshm_merge_add(m, off), 0);
	feed_push(&a, 1);
	MUST(mqshm_producer_push(p, NULL, 0, 0), 0);
	MUST(mqshm_merge_next(m, NULL, 0, &message, &source, 0), 0); /* a message of 0 bytes is a message */
	CHECK(source == off);
	CHECK_EQ(message.timestamp_ns, 0);
	CHECK_EQ(message.size, 0);
	EXPECT(mqshm_producer_close(p), 0);
	GIVES(m, &a, 1, -1);
	mqshm_merge_close(m);
	EXPECT(mqshm_consumer_close(off), 0);
	feed_close(&a);
}

TEST(too_small_a_buffer)
{
	struct mqshm_consumer *source = NULL;
	struct mqshm_message message;
	struct mqshm_merge *m;
	char small[4];

	feed_open(&a, "a");
	m = open_merge(-1, &a, 1);
	feed_push(&a, 3);
	for (int i = 0; i < 2; i++) {
		memset(&message, 0xa5, sizeof message);
		EXPECT(mqshm_merge_next(m, small, sizeof small, &message, &source, 0), -EMSGSIZE);
		CHECK_EQ(message.size, 8);
		CHECK(message.data == NULL);
		CHECK(source == a.consumer);
		CHECK_EQ(STATS(m, merged), 0);
	}
	GIVES(m, &a, 3, 0);
	mqshm_merge_close(m);
	feed_close(&a);
}

TEST(what_was_looked_at_is_not_lost)
{
	struct mqshm_message message;
	struct mqshm_consumer *source;
	struct mqshm_merge *m;
	uint64_t value = 0;

	feed_open(&a, "a");
	feed_open(&b, "b");
	m = open_merge(-1, (struct feed[]){ a, b }, 2);
	feed_push(&a, 1);
	feed_push(&b, 2);
	MUST(mqshm_merge_peek(m, &message, &source, 0), 0);
	CHECK(source == a.consumer);
	CHECK_EQ(*(const uint64_t *)message.data, 1);
	CHECK_EQ(STATS(m, ready), 2);
	EXPECT(mqshm_merge_remove(m, a.consumer), 0);
	EXPECT(mqshm_merge_remove(m, a.consumer), -ENOENT);
	EXPECT(mqshm_merge_release(m), -EINVAL);
	MUST(mqshm_consumer_pop(a.consumer, &value, sizeof value, NULL, 0), 8);
	CHECK_EQ(value, 1);
	mqshm_merge_close(m); /* with b's still in it */
	MUST(mqshm_consumer_pop(b.consumer, &value, sizeof value, NULL, 0), 8);
	CHECK_EQ(value, 2);
	feed_close(&a);
	feed_close(&b);
}

TEST(arguments)
{
	struct mqshm_message message;
	struct mqshm_merge *m;

	feed_open(&a, "a");
	m = open_merge(-1, NULL, 0);
	GIVES_NONE(m, -ESHUTDOWN, -1); /* nothing to wait for */
	EXPECT(mqshm_merge_add(m, NULL), -EINVAL);
	EXPECT(mqshm_merge_remove(m, NULL), -ENOENT);
	EXPECT(mqshm_merge_remove(m, a.consumer), -ENOENT);
	EXPECT(mqshm_merge_add(m, a.consumer), 0);
	EXPECT(mqshm_merge_add(m, a.consumer), -EEXIST);
	EXPECT(mqshm_merge_peek(m, NULL, NULL, 0), -EINVAL);
	EXPECT(mqshm_merge_peek(m, &message, NULL, 0), -EAGAIN);
	EXPECT(mqshm_merge_release(m), -EINVAL);
	EXPECT(mqshm_merge_next(m, NULL, 0, NULL, NULL, 0), -EAGAIN);
	CHECK_EQ(STATS(m, consumers), 1);
	mqshm_merge_close(m);
	mqshm_merge_close(NULL);
	feed_close(&a);
}

/* The head that was looked at is overwritten before its turn: the one that is there now takes part, with its time. */
static void overtaken(uint32_t queue_flags, uint32_t consumer_flags)
{
	struct mqshm_message message;
	struct mqshm_consumer *source;
	struct mqshm_merge *m;

	feed_open_as(&a, "a", 8, queue_flags);
	if (consumer_flags) {
		struct mqshm_consumer *lossy = open_consumer(a.name, NULL, MQSHM_FROM_OLDEST, consumer_flags);

		EXPECT(mqshm_consumer_close(a.consumer), 0);
		a.consumer = lossy;
	}
	feed_open(&b, "b");
	m = open_merge(-1, (struct feed[]){ a, b }, 2);
	feed_push(&a, 1);
	GIVES_NONE(m, -EAGAIN, 0);
	CHECK_EQ(STATS(m, ready), 1);
	for (uint64_t t = 2; t <= 100; t++)
		feed_push(&a, t);
	feed_push(&b, 20);
	MUST(mqshm_merge_peek(m, &message, &source, 0), 0); /* not known to be overtaken yet ... */
	CHECK(source == a.consumer);
	EXPECT(mqshm_merge_release(m), -ESTALE); /* ... but then */
	CHECK_EQ(STATS(m, merged), 0);
	GIVES(m, &b, 20, 0);
	feed_push(&b, 30);
	feed_push(&b, 96); /* a's oldest now is 93 or later: 8 nodes */
	GIVES(m, &b, 30, 0);
	MUST(mqshm_merge_peek(m, &message, &source, 0), 0);
	CHECK(source == a.consumer);
	CHECK(message.timestamp_ns > 90 && message.timestamp_ns < 96);
	CHECK_EQ(mqshm_consumer_missed(a.consumer), message.timestamp_ns - 1);
	for (uint64_t t = 101; t <= 200; t++)
		feed_push(&a, t);
	GIVES(m, &b, 96, 0); /* the same in a copying call */
	feed_end(&b);
	feed_end(&a);
	for (uint64_t t = 100 + (uint64_t)mqshm_consumer_missed(a.consumer) % 100 + 1; t <= 200; t++)
		GIVES(m, &a, t, 0);
	GIVES_NONE(m, -ESHUTDOWN, 0);
	CHECK_EQ(mqshm_consumer_missed(a.consumer) + (int64_t)STATS(m, merged) - 3, 200);
	CHECK_EQ(STATS(m, backward), 0);
	mqshm_merge_close(m);
	feed_close(&a);
	feed_close(&b);
}

TEST(overtaken_on_an_overwrite_queue)
{
	overtaken(MQSHM_OVERWRITE, 0);
}

TEST(overtaken_as_a_lossy_consumer)
{
	overtaken(0, MQSHM_LOSSY);
}

TEST(a_source_that_is_lost)
{
	struct mqshm_consumer *source = NULL;
	struct mqshm_merge *m;
	uint64_t value;

	feed_open(&a, "a");
	feed_open(&b, "b");
	feed_open(&c, "c");
	m = open_merge(-1, (struct feed[]){ a, b, c }, 3);
	feed_push(&a, 1);
	feed_push(&c, 3);
	feed_push(&c, 4);
	GIVES_NONE(m, -EAGAIN, 0);
	MUST(mqshm_queue_remove(b.name, MQSHM_FORCE), 0);
	for (int i = 0; i < 3; i++) {
		EXPECT(mqshm_merge_next(m, &value, sizeof value, NULL, &source, -1), -ESTALE);
		CHECK(source == b.consumer);
		CHECK_STR(mqshm_last_error(), b.name);
		source = NULL;
	}
	EXPECT(mqshm_merge_remove(m, b.consumer), 0); /* the others go on */
	GIVES(m, &a, 1, 0);
	feed_push(&a, 5);
	/* ... and one whose message was looked at already */
	MUST(mqshm_queue_remove(c.name, MQSHM_FORCE), 0);
	EXPECT(mqshm_merge_next(m, &value, sizeof value, NULL, &source, -1), -ESTALE);
	CHECK(source == c.consumer);
	EXPECT(mqshm_merge_remove(m, c.consumer), 0);
	GIVES(m, &a, 5, 0);
	mqshm_merge_close(m);
	mqshm_producer_close(b.producer);
	mqshm_consumer_close(b.consumer);
	mqshm_producer_close(c.producer);
	mqshm_consumer_close(c.consumer);
	feed_close(&a);
}

TEST(a_source_that_is_evicted)
{
	struct mqshm_consumer *source = NULL;
	struct mqshm_message message;
	struct mqshm_merge *m;

	feed_open(&a, "a");
	feed_open(&b, "b");
	m = open_merge(-1, (struct feed[]){ a, b }, 2);
	feed_push(&a, 1);
	feed_push(&b, 2);
	feed_push(&b, 3);
	MUST(mqshm_merge_peek(m, &message, &source, 0), 0); /* both are looked at */
	MUST(mqshm_queue_evict(a.name, (uint32_t)mqshm_consumer_id(a.consumer)), 0);
	EXPECT(mqshm_merge_release(m), -ECONNABORTED);
	EXPECT(mqshm_merge_peek(m, &message, &source, -1), -ECONNABORTED);
	CHECK(source == a.consumer);
	EXPECT(mqshm_merge_remove(m, a.consumer), 0);
	GIVES(m, &b, 2, 0);
	GIVES(m, &b, 3, 0);
	CHECK_EQ(STATS(m, merged), 2);
	mqshm_merge_close(m);
	feed_close(&a);
	feed_close(&b);
}

/* Reliable when it was added, lossy since the producer has waited too long: as any lossy one. */
TEST(a_source_that_is_demoted)
{
	struct mqshm_queue_options q = geometry(8, 64, MQSHM_TIMESTAMP_OWN);
	struct mqshm_merge *m;
	uint64_t value, last = 0, count = 0;

	q.slow_policy = MQSHM_SLOW_DEMOTE;
	q.slow_ms = 1;
	snprintf(a.name, sizeof a.name, "%s", test_queue("a"));
	a.consumer = open_consumer(a.name, &q, MQSHM_FROM_OLDEST, 0);
	a.producer = open_producer(a.name, &q);
	m = open_merge(-1, &a, 1);
	feed_push(&a, 1);
	MUST(mqshm_merge_peek(m, &(struct mqshm_message){ 0 }, NULL, 0), 0);
	for (uint64_t t = 2; t <= 50; t++)
		feed_push(&a, t); /* the producer waits, and then not any more */
	feed_end(&a);
	while (mqshm_merge_next(m, &value, sizeof value, NULL, NULL, 0) == 8) {
		REQUIRE(value > last);
		last = value;
		count++;
	}
	CHECK_EQ(last, 50);
	CHECK(mqshm_consumer_missed(a.consumer) > 0);
	CHECK_EQ(count + (uint64_t)mqshm_consumer_missed(a.consumer), 50);
	CHECK_EQ(STATS(m, merged), count);
	mqshm_merge_close(m);
	feed_close(&a);
}

TEST(cancelled)
{
	struct mqshm_merge *m;

	feed_open(&a, "a");
	feed_open(&b, "b");
	m = open_merge(-1, (struct feed[]){ a, b }, 2);
	mqshm_consumer_cancel(b.consumer);
	GIVES_NONE(m, -ECANCELED, -1);
	feed_push(&a, 1);
	feed_push(&b, 2);
	GIVES(m, &a, 1, -1);
	mqshm_merge_close(m);
	feed_close(&a);
	feed_close(&b);
}

static void child(void *arg)
{
	struct mqshm_merge *m = arg;
	struct mqshm_message message;
	uint64_t value;

	GIVES_NONE(m, -ECHILD, -1);
	GIVES_NONE(m, -ECHILD, 0);
	EXPECT(mqshm_merge_peek(m, &message, NULL, 0), -ECHILD);
	EXPECT(mqshm_merge_release(m), STATS(m, merged) ? -ECHILD : -EINVAL);
	EXPECT(mqshm_merge_add(m, c.consumer), -ECHILD);
	/* The child's own consumer beside what it inherited. */
	EXPECT(mqshm_merge_remove(m, a.consumer), 0);
	EXPECT(mqshm_merge_remove(m, b.consumer), 0);
	a.consumer = open_consumer(a.name, NULL, MQSHM_FROM_OLDEST, 0);
	EXPECT(mqshm_merge_add(m, a.consumer), 0);
	while (mqshm_consumer_lag(a.consumer) > 0)
		MUST(mqshm_merge_next(m, &value, sizeof value, NULL, NULL, 0), 8);
	GIVES_NONE(m, -EAGAIN, 0);
	EXPECT(mqshm_consumer_close(a.consumer), 0);
	mqshm_merge_close(m);
}

TEST(in_a_child)
{
	struct mqshm_message message;
	struct mqshm_merge *m;

	feed_open(&a, "a");
	feed_open(&b, "b");
	feed_open(&c, "c");
	m = open_merge(-1, (struct feed[]){ a, b }, 2);
	join(spawn(child, m)); /* nothing was looked at yet, a has nothing */
	feed_push(&a, 1);
	join(spawn(child, m));
	GIVES_NONE(m, -EAGAIN, 0);
	join(spawn(child, m)); /* a's is looked at */
	feed_push(&b, 2);
	GIVES(m, &a, 1, 0);
	feed_push(&a, 3);
	MUST(mqshm_merge_peek(m, &message, NULL, 0), 0);
	join(spawn(child, m)); /* b's is the next one */
	EXPECT(mqshm_merge_release(m), 0);
	mqshm_merge_close(m);
	feed_close(&a);
	feed_close(&b);
	feed_close(&c);
}
