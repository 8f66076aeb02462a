/* SPDX-License-Identifier: MIT */
/* What the tests of merging share: queues whose messages carry timestamps of our own, and looks at what comes out. */
#ifndef MQSHM_TEST_MERGE_H
#define MQSHM_TEST_MERGE_H

#include "conformance/peers.h"
#include "mqshm/merge.h"

struct feed {
	char name[64];
	struct mqshm_producer *producer;
	struct mqshm_consumer *consumer;
};

static inline void feed_open_producer(struct feed *f, uint32_t nodes, uint32_t flags)
{
	struct mqshm_queue_options q = geometry(nodes, 64, MQSHM_TIMESTAMP_OWN | flags);

	f->producer = open_producer(f->name, &q);
}

static inline void feed_open_as(struct feed *f, const char *suffix, uint32_t nodes, uint32_t flags)
{
	struct mqshm_queue_options q = geometry(nodes, 64, MQSHM_TIMESTAMP_OWN | flags);

	*f = (struct feed){ .name = "" };
	snprintf(f->name, sizeof f->name, "%s", test_queue(suffix));
	f->consumer = open_consumer(f->name, &q, MQSHM_FROM_OLDEST, 0);
	feed_open_producer(f, nodes, flags);
}

static inline void feed_open(struct feed *f, const char *suffix)
{
	feed_open_as(f, suffix, 64, 0);
}

/* The payload is the timestamp too. */
static inline void feed_push(struct feed *f, uint64_t timestamp)
{
	MUST(mqshm_producer_set_timestamp(f->producer, timestamp), 0);
	MUST(mqshm_producer_push(f->producer, &timestamp, sizeof timestamp, 5000), 0);
}

static inline void feed_end(struct feed *f)
{
	EXPECT(mqshm_producer_close(f->producer), 0);
	f->producer = NULL;
}

static inline void feed_close(struct feed *f)
{
	if (f->producer)
		feed_end(f);
	EXPECT(mqshm_consumer_close(f->consumer), 0);
	check_gone(f->name);
}

static inline struct mqshm_merge *open_merge(int sync_timeout_ms, struct feed *feeds, int count)
{
	struct mqshm_merge *m = (void *)1;

	MUST(mqshm_merge_open(&m, sync_timeout_ms), 0);
	for (int i = 0; i < count; i++)
		MUST(mqshm_merge_add(m, feeds[i].consumer), 0);
	return m;
}

#define STATS(m, field)                                     \
	({                                                  \
		struct mqshm_merge_stats stats_;            \
		memset(&stats_, 0xa5, sizeof stats_);       \
		mqshm_merge_stats((m), &stats_);            \
		stats_.field;                               \
	})

/* The next message is this one, of this feed. */
#define GIVES(m, feed, wanted_timestamp, timeout_ms)                                                             \
	do {                                                                                                     \
		struct mqshm_message message_;                                                                   \
		struct mqshm_consumer *source_ = (void *)1;                                                      \
		uint64_t payload_ = 0xa5a5;                                                                      \
		memset(&message_, 0xa5, sizeof message_);                                                        \
		MUST(mqshm_merge_next((m), &payload_, sizeof payload_, &message_, &source_, (timeout_ms)), 8);   \
		CHECK_EQ(message_.timestamp_ns, (uint64_t)(wanted_timestamp));                                   \
		CHECK_EQ(payload_, (uint64_t)(wanted_timestamp));                                                \
		CHECK_EQ(message_.size, 8);                                                                      \
		CHECK(message_.data == &payload_);                                                               \
		CHECK(source_ == (feed)->consumer);                                                              \
	} while (0)

/* There is no message, for this reason. */
#define GIVES_NONE(m, reason, timeout_ms)                                                                     \
	do {                                                                                                  \
		struct mqshm_consumer *source_ = (void *)1;                                                   \
		uint64_t payload_;                                                                            \
		EXPECT(mqshm_merge_next((m), &payload_, sizeof payload_, NULL, &source_, (timeout_ms)), reason); \
		CHECK(source_ == NULL);                                                                       \
	} while (0)

#endif
