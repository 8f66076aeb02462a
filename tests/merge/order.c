/* SPDX-License-Identifier: MIT */
/*
 * What comes out is in order of time: against a sort, and against a scan of all queues, with random timestamps, while
 * consumers come and go.
 */
#include "merge_test.h"

#define MOST 40
#define PUSHES 60

struct expected {
	uint64_t timestamp;
	int feed, sequence;
};

static uint64_t random_state;

static uint64_t some(uint64_t below)
{
	return test_random(&random_state) % below;
}

static uint64_t some_timestamp(uint64_t range)
{
	return range ? some(range) : test_random(&random_state);
}

static int by_time(const void *a, const void *b)
{
	const struct expected *x = a, *y = b;

	if (x->timestamp != y->timestamp)
		return x->timestamp < y->timestamp ? -1 : 1;
	return x->feed != y->feed ? x->feed - y->feed : x->sequence - y->sequence;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void check_next(struct mqshm_merge *m, struct feed *feeds, const struct expected *wanted)
{
	struct mqshm_consumer *source = NULL;
	struct mqshm_message message;
	uint64_t payload = 0;

	MUST(mqshm_merge_next(m, &payload, sizeof payload, &message, &source, 0), sizeof payload);
	REQUIRE_EQ(message.timestamp_ns, wanted->timestamp);
	REQUIRE(source == feeds[wanted->feed].consumer);
	REQUIRE_EQ(message.sequence, wanted->sequence);
	CHECK_EQ(payload, wanted->timestamp);
}

/* Each queue in order of time: the merge is the sorted union, ties in order of adding. */
static void sorted_feeds(int count, uint64_t range)
{
	static struct expected expected[MOST * PUSHES];
	struct feed feeds[MOST];
	struct mqshm_merge *m;
	size_t total = 0;

	for (int i = 0; i < count; i++) {
		int pushes = (int)some(PUSHES);
		uint64_t timestamps[PUSHES];
		char suffix[32];

		snprintf(suffix, sizeof suffix, "sort%d", i);
		feed_open(&feeds[i], suffix);
		for (int k = 0; k < pushes; k++)
			timestamps[k] = some_timestamp(range);
		qsort(timestamps, (size_t)pushes, sizeof timestamps[0], by_number);
		for (int k = 0; k < pushes; k++) {
			feed_push(&feeds[i], timestamps[k]);
			expected[total++] = (struct expected){ timestamps[k], i, k };
		}
		feed_end(&feeds[i]);
	}
	qsort(expected, total, sizeof expected[0], by_time);
	m = open_merge(-1, feeds, count);
	for (size_t i = 0; i < total; i++)
		check_next(m, feeds, &expected[i]);
	GIVES_NONE(m, -ESHUTDOWN, 0);
	CHECK_EQ(STATS(m, merged), total);
	CHECK_EQ(STATS(m, backward), 0);
	CHECK_EQ(STATS(m, source_backward), 0);
	CHECK_EQ(STATS(m, timeouts), 0);
	CHECK_EQ(STATS(m, ended), count);
	mqshm_merge_close(m);
	for (int i = 0; i < count; i++)
		feed_close(&feeds[i]);
}

TEST(as_a_sort)
{
	random_state = test_seed();
	sorted_feeds(1, 0);
	for (int i = 0; i < 15; i++) {
		sorted_feeds((int)some(MOST) + 1, 0);	 /* all 64 bits */
		sorted_feeds((int)some(MOST) + 1, 20);	 /* many ties */
		sorted_feeds((int)some(MOST) + 1, 1);	 /* ties only: order of adding */
	}
}

/* The same by the simplest means: what each queue has, who is in the merge and since when, and a scan. */
struct model {
	struct feed feed;
	uint64_t timestamps[PUSHES];
	int pushed, popped;
	uint64_t added; /* 0: not in the merge */
	bool ended;
};

static int looked_at; /* stays the next one until it is taken, or taken out; -1: none */

/* Index of the next one; -EAGAIN, -ESHUTDOWN. */
static int model_next(const struct model *models, int count)
{
	int first = -ESHUTDOWN;

	if (looked_at >= 0)
		return looked_at;
	for (int i = 0; i < count; i++) {
		const struct model *x = &models[i], *y = first < 0 ? NULL : &models[first];

		if (!x->added)
			continue;
		if (x->popped == x->pushed) {
			if (!x->ended)
				return -EAGAIN;
			continue;
		}
		if (!y || x->timestamps[x->popped] < y->timestamps[y->popped] ||
		    (x->timestamps[x->popped] == y->timestamps[y->popped] && x->added < y->added))
			first = i;
	}
	return first;
}

static void act(struct mqshm_merge *m, struct model *models, int count, uint64_t *added, uint64_t range)
{
	struct model *x = &models[some((uint64_t)count)];
	struct mqshm_consumer *source = (void *)1;
	struct mqshm_message message;
	uint64_t payload = 0, timestamp;
	int next;

	switch (some(12)) {
	case 0:
		EXPECT(mqshm_merge_add(m, x->feed.consumer), x->added ? -EEXIST : 0);
		if (!x->added)
			x->added = ++*added;
		return;
	case 1:
		EXPECT(mqshm_merge_remove(m, x->feed.consumer), x->added ? 0 : -ENOENT);
		x->added = 0;
		if (looked_at == x - models)
			looked_at = -1;
		return;
	case 2:
	case 3:
	case 4:
	case 5:
	case 6:
		if (x->pushed == PUSHES) {
			if (!x->ended)
				feed_end(&x->feed);
			x->ended = true;
		} else {
			timestamp = some_timestamp(range);
			feed_push(&x->feed, timestamp);
			x->timestamps[x->pushed++] = timestamp;
		}
		return;
	case 7: /* what is looked at and not taken, stays */
		next = model_next(models, count);
		EXPECT(mqshm_merge_peek(m, &message, &source, 0), next < 0 ? next : 0);
		if (next >= 0)
			REQUIRE_EQ(message.timestamp_ns, models[next].timestamps[models[next].popped]);
		REQUIRE(source == (next < 0 ? NULL : models[next].feed.consumer));
		looked_at = next < 0 ? -1 : next;
		return;
	case 8:
		EXPECT(mqshm_merge_release(m), looked_at < 0 ? -EINVAL : 0);
		if (looked_at >= 0)
			models[looked_at].popped++;
		looked_at = -1;
		return;
	default:
		next = model_next(models, count);
		if (next < 0) {
			GIVES_NONE(m, next, 0);
			return;
		}
		MUST(mqshm_merge_next(m, &payload, sizeof payload, &message, &source, 0), sizeof payload);
		REQUIRE(source == models[next].feed.consumer);
		REQUIRE_EQ(payload, models[next].timestamps[models[next].popped]);
		REQUIRE_EQ(message.sequence, models[next].popped);
		models[next].popped++;
		looked_at = -1;
		return;
	}
}

/* Timestamps in any order within a queue, consumers in and out, streams that end. */
static void as_a_model(int count, uint64_t range)
{
	static struct model models[MOST];
	struct mqshm_merge *m = open_merge(-1, NULL, 0);
	uint64_t added = 0;

	memset(models, 0, sizeof models);
	looked_at = -1;
	for (int i = 0; i < count; i++) {
		char suffix[32];

		snprintf(suffix, sizeof suffix, "model%d", i);
		feed_open(&models[i].feed, suffix);
	}
	for (int i = 0; i < count * 400; i++)
		act(m, models, count, &added, range);
	mqshm_merge_close(m);
	for (int i = 0; i < count; i++)
		feed_close(&models[i].feed);
}

TEST(as_a_scan)
{
	random_state = test_seed();
	for (int i = 0; i < 8; i++) {
		as_a_model((int)some(6) + 1, 0);
		as_a_model((int)some(12) + 1, 5);
		as_a_model((int)some(MOST) + 1, 1000);
	}
}
