/* SPDX-License-Identifier: MIT */
/*
 * Shows streams near the end of positions, 2^63: they work up to the last byte, then the writer gets -EOVERFLOW and
 * goes on getting it, and readers read all there is.
 */
#include "conformance/payload.h"
#include "conformance/peers.h"
#include "layout.h"

#define BLOCK 64

static unsigned char in[BLOCK], out[BLOCK];

static void up_to_the_end(uint32_t nodes, uint64_t before_end, uint32_t flags)
{
	struct mqshm_queue_options q = geometry(nodes, BLOCK, flags);
	const char *name = test_queue("end");
	struct mqshm_consumer *c, *late;
	struct mqshm_producer *p;
	struct mqshm_message m;
	uint64_t pushed = 0, read = 0;
	void *data;
	int rc;

	mqshm_test_base_position = MQSHM_POSITION_MAX - before_end;
	p = open_producer(name, &q);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	for (;;) {
		size_t size = payload_size(pushed, BLOCK);

		payload_fill(in, size, pushed);
		rc = CALL(mqshm_producer_push(p, in, size, 0));
		if (rc == -EAGAIN || (!rc && ++pushed % 3 == 0)) { /* the reader is behind by a random amount */
			memset(&m, 0xa5, sizeof m);
			MUST(mqshm_consumer_pop(c, out, BLOCK, &m, 0), payload_size(read, BLOCK));
			REQUIRE_EQ(m.sequence, read);
			REQUIRE(payload_good(out, m.size, read));
			read++;
		} else if (rc) {
			break;
		}
		REQUIRE(pushed <= before_end / 24);
	}
	CHECK_EQ(rc, -EOVERFLOW);
	CHECK_STR(mqshm_last_error(), "2^63");
	CHECK_STR(mqshm_last_error(), name);
	CHECK((pushed + 2) * (24 + BLOCK) * 5 / 4 >= before_end); /* little is lost at wraps */
	EXPECT(mqshm_producer_push(p, in, BLOCK, -1), -EOVERFLOW);
	EXPECT(mqshm_producer_push(p, in, BLOCK, 10), -EOVERFLOW);
	EXPECT(mqshm_producer_reserve(p, BLOCK, &data, -1), -EOVERFLOW);
	CHECK_EQ(STAT(name, total_pushed), pushed);

	late = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	EXPECT(mqshm_producer_close(p), 0);
	p = open_producer(name, NULL); /* a take-over does not help */
	EXPECT(mqshm_producer_push(p, in, BLOCK, -1), -EOVERFLOW);
	EXPECT(mqshm_producer_close(p), 0);
	for (; read < pushed; read++) {
		MUST(mqshm_consumer_pop(c, out, BLOCK, &m, 0), payload_size(read, BLOCK));
		REQUIRE_EQ(m.sequence, read);
		REQUIRE(payload_good(out, m.size, read));
	}
	EXPECT(mqshm_consumer_pop(c, out, BLOCK, &m, -1), -ESHUTDOWN);
	MUST(mqshm_consumer_pop(late, out, BLOCK, &m, 0), payload_size(m.sequence, BLOCK));
	CHECK(payload_good(out, m.size, m.sequence));
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_consumer_close(late), 0);
	check_gone(name);
}

TEST(exclusive_up_to_the_end)
{
	for (uint64_t before_end = 64; before_end <= 64 * 40; before_end += 64)
		up_to_the_end(1 + (uint32_t)(before_end / 64) % 5, before_end, 0);
	up_to_the_end(100, 100 * 4096, 0);
}

TEST(shared_up_to_the_end)
{
	for (uint64_t before_end = 64; before_end <= 64 * 40; before_end += 64)
		up_to_the_end(1 + (uint32_t)(before_end / 64) % 5, before_end, MQSHM_SHARED);
}

TEST(overwriting_and_lossy_up_to_the_end)
{
	struct mqshm_queue_options q = geometry(3, BLOCK, MQSHM_OVERWRITE);
	const char *name = test_queue("over");
	struct mqshm_consumer *c;
	struct mqshm_producer *p;
	struct mqshm_message m;
	uint64_t pushed = 0, got = 0;
	int rc;

	mqshm_test_base_position = MQSHM_POSITION_MAX - 64 * 1000;
	p = open_producer(name, &q);
	c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
	for (;;) {
		payload_fill(in, BLOCK, pushed);
		rc = CALL(mqshm_producer_push(p, in, BLOCK, 0));
		if (rc)
			break;
		if (++pushed % 5 == 0) {
			MUST(mqshm_consumer_pop(c, out, BLOCK, &m, 0), BLOCK);
			REQUIRE(payload_good(out, BLOCK, m.sequence));
			got++;
		}
	}
	CHECK_EQ(rc, -EOVERFLOW);
	CHECK(pushed <= 64 * 1000 / 88 && pushed > 64 * 1000 / 88 * 7 / 8); /* little is lost at wraps */
	EXPECT(mqshm_producer_close(p), 0);
	while ((rc = (int)CALL(mqshm_consumer_pop(c, out, BLOCK, &m, -1))) == BLOCK) {
		REQUIRE(payload_good(out, BLOCK, m.sequence));
		got++;
	}
	CHECK_EQ(rc, -ESHUTDOWN);
	CHECK_EQ(got + (uint64_t)CALL(mqshm_consumer_missed(c)), pushed);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}
