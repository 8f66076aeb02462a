/* SPDX-License-Identifier: MIT */
/* Shows that every argument out of its range is refused with its errno and a sentence, and that nothing is made then. */
#include "conformance/peers.h"

#define LONG "123456789012345678901234567890123456789012345678901234567890123"

TEST(names)
{
	static const char *const bad[] = { NULL, "", ".", "..", ".hidden", "a/b", "../x", "control", "a b", "a\n", "\xc3\xa4",
					   "a*", LONG "4" };

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct mqshm_producer *p = (void *)1;
		struct mqshm_consumer *c = (void *)1;
		struct mqshm_stat *stat = (void *)1;

		EXPECT(mqshm_queue_create(bad[i], NULL), -EINVAL);
		CHECK(strlen(mqshm_last_error()) > 10);
		EXPECT(mqshm_queue_remove(bad[i], 0), -EINVAL);
		EXPECT(mqshm_queue_stat(bad[i], &stat), -EINVAL);
		EXPECT(mqshm_producer_open(&p, bad[i], NULL, NULL), -EINVAL);
		EXPECT(mqshm_consumer_open(&c, bad[i], NULL, NULL), -EINVAL);
		CHECK(!p && !c && !stat);
		if (bad[i])
			EXPECT(mqshm_queue_gc(bad[i], NULL, NULL), -EINVAL);
	}
	EXPECT(mqshm_queue_create(LONG, NULL), 0); /* the longest */
	EXPECT(mqshm_queue_remove(LONG, 0), 0);
}

TEST(queue_options)
{
	const char *name = test_queue("options");
	const struct {
		struct mqshm_queue_options options;
		const char *sentence;
	} cases[] = {
		{ { .size = 0 }, "size" },
		{ { .size = sizeof(struct mqshm_queue_options) - 8 }, "size" },
		{ { .size = sizeof(struct mqshm_queue_options), .node_count = MQSHM_NODES_MAX + 1 }, "node_count" },
		{ { .size = sizeof(struct mqshm_queue_options), .block_size = MQSHM_BLOCK_MAX + 1 }, "block_size" },
		{ { .size = sizeof(struct mqshm_queue_options), .max_consumers = 257 }, "max_consumers" },
		{ { .size = sizeof(struct mqshm_queue_options), .align = 4 }, "align" },
		{ { .size = sizeof(struct mqshm_queue_options), .align = 24 }, "align" },
		{ { .size = sizeof(struct mqshm_queue_options), .align = 128 }, "align" },
		{ { .size = sizeof(struct mqshm_queue_options), .flags = 0x80000000 }, "flags" },
		{ { .size = sizeof(struct mqshm_queue_options), .mode = 01000 }, "mode" },
		{ { .size = sizeof(struct mqshm_queue_options), .metadata = "x", .metadata_size = 257 }, "metadata_size" },
		{ { .size = sizeof(struct mqshm_queue_options), .metadata_size = 1 }, "metadata" },
		{ { .size = sizeof(struct mqshm_queue_options), .flags = MQSHM_HOLD | MQSHM_OVERWRITE }, "hold" },
		{ { .size = sizeof(struct mqshm_queue_options), .flags = MQSHM_TIMESTAMP_OFF | MQSHM_TIMESTAMP_OWN },
		  "timestamps" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mqshm_producer *p = (void *)1;

		EXPECT(mqshm_queue_create(name, &cases[i].options), -EINVAL);
		CHECK_STR(mqshm_last_error(), cases[i].sentence);
		EXPECT(mqshm_producer_open(&p, name, &cases[i].options, NULL), -EINVAL);
		CHECK(!p);
		check_gone(name);
	}
}

TEST(too_large_for_any_machine)
{
	struct mqshm_queue_options q = { .size = sizeof q, .node_count = MQSHM_NODES_MAX, .block_size = MQSHM_BLOCK_MAX };
	const char *name = test_queue("huge");
	int rc = CALL(mqshm_queue_create(name, &q));

	CHECK(rc == -ENOMEM || rc == -ENOSPC || rc == -EFBIG);
	CHECK_STR(mqshm_last_error(), name);
	check_gone(name);
}

TEST(handle_options)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	const char *name = test_queue("handles");
	const struct mqshm_producer_options producers[] = {
		{ .size = 0 }, { .size = sizeof(struct mqshm_producer_options), .flags = MQSHM_LOSSY },
		{ .size = sizeof(struct mqshm_producer_options), .flags = 0x100 },
		{ .size = sizeof(struct mqshm_producer_options), .spin_us = -2 },
		{ .size = sizeof(struct mqshm_producer_options), .spin_us = MQSHM_SPIN_MAX + 1 },
	};
	const struct mqshm_consumer_options consumers[] = {
		{ .size = 0 }, { .size = sizeof(struct mqshm_consumer_options), .flags = 0x100 },
		{ .size = sizeof(struct mqshm_consumer_options), .start = -1 },
		{ .size = sizeof(struct mqshm_consumer_options), .start = 3 },
		{ .size = sizeof(struct mqshm_consumer_options), .spin_us = -2 },
	};
	struct mqshm_producer *p;
	struct mqshm_consumer *c;

	for (size_t i = 0; i < sizeof producers / sizeof *producers; i++) {
		p = (void *)1;
		EXPECT(mqshm_producer_open(&p, name, &q, &producers[i]), -EINVAL);
		CHECK(!p);
	}
	for (size_t i = 0; i < sizeof consumers / sizeof *consumers; i++) {
		c = (void *)1;
		EXPECT(mqshm_consumer_open(&c, name, &q, &consumers[i]), -EINVAL);
		CHECK(!c);
	}
	check_gone(name);
}

TEST(of_calls)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	const char *name = test_queue("calls");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	struct iovec huge[2] = { { "x", SIZE_MAX }, { "x", 2 } };
	struct mqshm_message m[2];
	char out[64];
	void *data = (void *)1;

	EXPECT(mqshm_producer_push(p, "123456789", 9, 0), -EMSGSIZE);
	EXPECT(mqshm_producer_push(p, "", SIZE_MAX, 0), -EMSGSIZE);
	EXPECT(mqshm_producer_pushv(p, huge, -1, 0), -EINVAL);
	EXPECT(mqshm_producer_pushv(p, huge, 1025, 0), -EINVAL);
	EXPECT(mqshm_producer_pushv(p, huge, 2, 0), -EMSGSIZE);
	EXPECT(mqshm_producer_push_batch(p, huge, 0, 0), 0);
	EXPECT(mqshm_producer_push_batch(p, huge, 1, 0), -EMSGSIZE);
	EXPECT(mqshm_producer_reserve(p, 9, &data, 0), -EMSGSIZE);
	CHECK(!data);
	EXPECT(mqshm_producer_commit(p, 0), -EINVAL);
	EXPECT(mqshm_producer_abort(p), -EINVAL);
	EXPECT(mqshm_producer_set_timestamp(p, 1), -EINVAL);
	EXPECT(mqshm_producer_wait_consumers(p, 1, 2, 0), -EINVAL);
	EXPECT(mqshm_consumer_pop_batch(c, m, 0, 2, out, sizeof out, 0), -EINVAL);
	EXPECT(mqshm_consumer_pop_batch(c, m, 2, 1, out, sizeof out, 0), -EINVAL);
	EXPECT(mqshm_consumer_pop_batch(c, m, 5, 5, out, sizeof out, 0), -EINVAL); /* node_count is 4 */
	EXPECT(mqshm_consumer_pop_batch(c, m, 1, 2, NULL, 0, 0), -EINVAL);
	EXPECT(mqshm_consumer_pop_batch(c, NULL, 1, 2, out, sizeof out, 0), -EINVAL);
	EXPECT(mqshm_consumer_peek(c, m, 0, 0), -EINVAL);
	EXPECT(mqshm_consumer_release(c, 1), -EINVAL);
	EXPECT(mqshm_queue_remove(name, 2), -EINVAL);
	CHECK_EQ(STAT(name, total_pushed), 0);
	EXPECT(mqshm_producer_close(NULL), 0);
	EXPECT(mqshm_consumer_close(NULL), 0);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}
