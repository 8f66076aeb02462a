/* SPDX-License-Identifier: MIT */
/*
 * The ring over a plain array, one thread, so that every interleaving that matters can be set up by hand: deaths at
 * the edges of publishing and of raising head, joins in between, hostile values in every field a peer can write.
 */
#include "layout.h"
#include "test.h"

#define CONSUMERS 4

static struct mqshm_ring ring;
static struct mqshm_writer writer;

static void make(uint32_t nodes, uint32_t block, uint64_t base)
{
	struct mqshm_queue_options options = { .size = sizeof options, .node_count = nodes, .block_size = block,
					       .max_consumers = CONSUMERS };
	struct mqshm_info plan;
	void *memory;

	mqshm_test_base_position = base;
	REQUIRE_EQ(mqshm_plan(&plan, "unit", &options, MQSHM_LINE), 0);
	memory = aligned_alloc(4096, (plan.total_bytes + 4095) / 4096 * 4096);
	memset(memory, 0, plan.total_bytes);
	mqshm_format(memory, &plan);
	REQUIRE_EQ(mqshm_check_info(memory, "unit", plan.total_bytes), 0);
	mqshm_ring_init(&ring, &plan, memory);
	memset(&writer, 0, sizeof writer);
	writer.ring = &ring;
	REQUIRE_EQ(writer_take_over(&writer), 0);
}

static void join(struct mqshm_reader *rd, uint32_t slot, int start, bool lossy)
{
	memset(rd, 0, sizeof *rd);
	rd->ring = &ring;
	rd->slot = slot;
	rd->lossy = lossy;
	ring_consumer(&ring, slot)->state = (1 << 8) | MQSHM_SLOT_JOINING;
	REQUIRE_EQ(reader_join(rd, start, false), 0);
}

/* Push a message whose bytes tell its sequence. */
static int push(uint32_t size)
{
	unsigned char *payload;
	int rc = writer_stage(&writer, size, &payload);

	if (rc)
		return rc;
	memset(payload, (int)(writer.sequence * 7 + size), size);
	writer_finish(&writer, size, writer.sequence + 1000);
	writer_publish(&writer);
	return 0;
}

/* Read one and check all of it. Its sequence, or -errno. */
static int64_t pop(struct mqshm_reader *rd)
{
	struct mqshm_found f;
	int rc = reader_find(rd, rd->position, rd->offset, rd->sequence, &f);

	if (rc)
		return rc;
	rc = reader_validate(rd);
	if (rc)
		return rc;
	CHECK_EQ(f.timestamp_ns, f.sequence + 1000);
	for (uint32_t i = 0; i < f.size; i++)
		if (f.payload[i] != (unsigned char)(f.sequence * 7 + f.size)) {
			TEST_FAIL("message %llu: byte %u of %u is wrong", (unsigned long long)f.sequence, i, f.size);
			break;
		}
	reader_advance(rd, f.next, f.next_offset, f.sequence + 1);
	return (int64_t)f.sequence;
}

TEST(every_alignment_of_the_wrap)
{
	for (uint32_t nodes = 1; nodes <= 5; nodes++)
		for (uint32_t size = 0; size <= 120; size++) {
			struct mqshm_reader rd;

			make(nodes, 120, 0);
			join(&rd, 0, 0, false);
			for (int64_t i = 0; i < 400; i++) {
				REQUIRE_EQ(push((uint32_t)(size + i) % 121), 0);
				REQUIRE_EQ(pop(&rd), i);
			}
			CHECK_EQ(pop(&rd), -EAGAIN);
			free(ring.info);
		}
}

TEST(takes_exactly_node_count_of_the_largest_at_every_offset)
{
	for (uint32_t nodes = 1; nodes <= 20; nodes++)
		for (uint32_t shift = 0; shift < 40; shift++) {
			struct mqshm_reader rd;
			int64_t sequence = 0;

			make(nodes, 1000, 0);
			join(&rd, 0, 0, false);
			for (uint32_t i = 0; i < shift; i++) {
				REQUIRE_EQ(push(i * 37 % 1001), 0);
				REQUIRE_EQ(pop(&rd), sequence++);
			}
			for (uint32_t i = 0; i < nodes; i++)
				REQUIRE_EQ(push(1000), 0);
			CHECK_EQ(push(1000), -EAGAIN);
			CHECK_EQ(push(0), -EAGAIN);
			CHECK_EQ(writer.slowest, 0);
			CHECK_EQ(pop(&rd), sequence++);
			REQUIRE_EQ(push(1000), 0); /* one out, one in */
			CHECK_EQ(push(0), -EAGAIN);
			for (uint32_t i = 0; i < nodes; i++)
				CHECK_EQ(pop(&rd), sequence++);
			CHECK_EQ(pop(&rd), -EAGAIN);
			free(ring.info);
		}
}

TEST(keeps_seven_eighths_as_history)
{
	for (uint32_t size = 0; size <= 1000; size += 200) {
		uint64_t least = UINT64_MAX;

		make(256, 1000, 0);
		for (int i = 0; i < 3000; i++) {
			REQUIRE_EQ(push(size), 0);
			if (i >= 1000 && writer.sequence - writer.head_sequence < least)
				least = writer.sequence - writer.head_sequence;
		}
		CHECK(least >= 256 * 7 / 8);
		free(ring.info);
	}
}

TEST(slowest_of_several_holds_the_writer)
{
	struct mqshm_reader a, b, lossy;

	make(64, 100, 0);
	join(&a, 0, 0, false);
	join(&b, 3, 0, false);
	join(&lossy, 1, 0, true);
	for (int i = 0; i < 64; i++)
		REQUIRE_EQ(push(100), 0);
	for (int i = 0; i < 64; i++)
		CHECK_EQ(pop(&a), i);
	CHECK_EQ(push(100), -EAGAIN);
	CHECK_EQ(writer.slowest, 3);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(pop(&b), i);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(push(100), 0);
	CHECK_EQ(push(100), -EAGAIN);
	/* b leaves: a, who has read all but ten, is next in the way */
	ring.info->reliable[0] &= ~8ull;
	for (int i = 0; i < 54; i++)
		CHECK_EQ(push(100), 0);
	CHECK_EQ(push(100), -EAGAIN);
	CHECK_EQ(writer.slowest, 0);
}

TEST(slot_given_to_a_consumer_further_back)
{
	struct mqshm_reader a, b;

	make(64, 100, 0);
	join(&a, 0, 0, false);
	for (int i = 0; i < 64; i++) {
		REQUIRE_EQ(push(100), 0);
		pop(&a);
	}
	REQUIRE_EQ(push(100), 0); /* the writer has now seen a far ahead */
	join(&b, 0, 1, false);	  /* the same slot, from the oldest */
	while (push(100) == 0)
		CHECK(writer.sequence <= b.sequence + 64);
	CHECK(pop(&b) >= 0); /* nothing of b's was overwritten */
}

TEST(join_between_store_of_head_and_look_at_cursors)
{
	struct mqshm_reader rd;
	uint64_t head;

	make(64, 100, 0);
	for (int i = 0; i < 70; i++)
		REQUIRE_EQ(push(100), 0);
	head = ring.producer->head;
	/* A consumer has stored its cursor and set its bit, and not looked at head yet. */
	ring_area(&ring, 2)->position = head;
	ring_consumer(&ring, 2)->state = (1 << 8) | MQSHM_SLOT_JOINING;
	ring.info->epoch++;
	ring.info->reliable[0] |= 4;
	while (push(100) == 0)
		;
	CHECK_EQ(ring.producer->head, head); /* was taken back, or never raised */
	CHECK_EQ(writer.slowest, 2);
	/* It goes on and finds all in place. */
	join(&rd, 2, 1, false);
	CHECK_EQ(rd.position, head);
	CHECK(pop(&rd) >= 0);
}

/* A take-over does not believe the cursor of one who joins, and says so; one who is LIVE is believed. */
TEST(a_take_over_passes_over_who_joins)
{
	uint64_t head, below;

	make(64, 100, 0);
	for (int i = 0; i < 70; i++)
		REQUIRE_EQ(push(100), 0);
	below = ring.producer->head;
	for (int i = 0; i < 30; i++)
		REQUIRE_EQ(push(100), 0);
	head = ring.producer->head;
	REQUIRE(below < head);
	below = head - ring_node_bytes(&ring, 100); /* nothing has been written over it yet */
	ring_area(&ring, 2)->position = below;
	ring_consumer(&ring, 2)->state = (1 << 8) | MQSHM_SLOT_JOINING;
	ring.info->epoch++;
	ring.info->reliable[0] |= 4;
	REQUIRE(ring.producer->tail - below <= ring.ring_bytes);
	REQUIRE_EQ(writer_take_over(&writer), 0);
	CHECK_EQ(ring_consumer(&ring, 2)->state, (1 << 8) | MQSHM_SLOT_PASSED);
	CHECK_EQ(ring.producer->head, head);
	REQUIRE_EQ(writer_take_over(&writer), 0); /* nor the next one */
	CHECK_EQ(ring.producer->head, head);
	ring_consumer(&ring, 2)->state = (1 << 8) | MQSHM_SLOT_LIVE;
	REQUIRE_EQ(writer_take_over(&writer), 0);
	CHECK_EQ(ring.producer->head, below);
}

TEST(join_behind_a_raised_head_tries_again)
{
	struct mqshm_reader rd;

	make(64, 100, 0);
	for (int i = 0; i < 200; i++)
		REQUIRE_EQ(push(100), 0);
	join(&rd, 0, 1, false);
	CHECK_EQ(rd.position, ring.producer->head);
	CHECK(rd.sequence > 0);
	CHECK_EQ(rd.missed, 0);
	join(&rd, 1, 2, false);
	CHECK_EQ(rd.missed, rd.sequence);
}

TEST(death_between_record_and_tail)
{
	struct mqshm_reader rd;

	make(8, 100, 0);
	join(&rd, 0, 0, false);
	for (int i = 0; i < 5; i++)
		REQUIRE_EQ(push(50), 0);
	/* The next message's record is there, half of it, then the producer dies. */
	ring.producer->record[writer.record].end = writer.position + 1000;
	memset(&writer, 0xee, sizeof writer);
	writer.ring = &ring;
	REQUIRE_EQ(writer_take_over(&writer), 0);
	CHECK_EQ(writer.sequence, 5);
	REQUIRE_EQ(push(60), 0);
	for (int i = 0; i < 6; i++)
		CHECK_EQ(pop(&rd), i);
}

TEST(death_between_store_of_head_and_look_at_cursors)
{
	struct mqshm_reader live, joining;
	uint64_t cursor;

	make(8, 100, 0);
	join(&live, 0, 0, false);
	for (int i = 0; i < 8; i++)
		REQUIRE_EQ(push(100), 0);
	pop(&live);
	cursor = live.position;
	/* head was stored past the cursor, nothing written, dead */
	ring.producer->head = writer.tail;
	memset(&writer, 0xee, sizeof writer);
	writer.ring = &ring;
	REQUIRE_EQ(writer_take_over(&writer), 0);
	CHECK_EQ(ring.producer->head, cursor);
	CHECK_EQ(writer.head_sequence, 1);
	CHECK_EQ(push(100), 0);
	CHECK_EQ(push(100), -EAGAIN);
	for (int i = 1; i < 9; i++)
		CHECK_EQ(pop(&live), i);

	/* The same with one that is still joining: it is not believed, and will see the new head itself. */
	make(8, 100, 0);
	join(&joining, 0, 0, false);
	for (int i = 0; i < 8; i++)
		REQUIRE_EQ(push(100), 0);
	ring_consumer(&ring, 0)->state = (1 << 8) | MQSHM_SLOT_JOINING;
	ring.producer->head = writer.tail;
	memset(&writer, 0xee, sizeof writer);
	writer.ring = &ring;
	REQUIRE_EQ(writer_take_over(&writer), 0);
	CHECK_EQ(ring.producer->head, writer.tail);
}

TEST(take_over_rejects_a_cursor_that_is_none)
{
	struct mqshm_reader rd;
	uint64_t head;

	make(8, 100, 0);
	join(&rd, 1, 0, false);
	for (int i = 0; i < 8; i++)
		REQUIRE_EQ(push(100), 0);
	for (int i = 0; i < 8; i++)
		pop(&rd);
	for (int i = 0; i < 4; i++)
		REQUIRE_EQ(push(100), 0);
	head = ring.producer->head;
	for (uint64_t wild = 0; wild < head; wild += 4) {
		ring_area(&ring, 1)->position = wild;
		memset(&writer, 0xee, sizeof writer);
		writer.ring = &ring;
		REQUIRE_EQ(writer_take_over(&writer), 0);
		CHECK(ring.producer->head == head || ring.producer->head == wild);
		ring.producer->head = head;
	}
}

TEST(cursor_past_tail_holds_nobody_and_is_told)
{
	struct mqshm_reader rd;

	make(8, 100, 0);
	join(&rd, 2, 0, false);
	ring_area(&ring, 2)->position = 1ull << 60;
	for (int i = 0; i < 100; i++)
		REQUIRE_EQ(push(100), 0);
	CHECK_EQ(writer.hostile, 2);
}

TEST(staged_is_invisible_until_published)
{
	struct mqshm_reader rd;
	unsigned char *payload = NULL;

	make(8, 100, 0);
	join(&rd, 0, 0, false);
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 3; i++) {
			REQUIRE_EQ(writer_stage(&writer, 100, &payload), 0);
			memset(payload, 0x5a, 100);
			writer_finish(&writer, 100, 0);
		}
		CHECK_EQ(pop(&rd), -EAGAIN);
		writer_abort(&writer);
		REQUIRE_EQ(push(33), 0);
		CHECK_EQ(pop(&rd), round);
	}
}

TEST(lossy_reader_is_moved_to_the_oldest)
{
	struct mqshm_reader rd;
	uint64_t got = 0;

	make(64, 100, 0);
	join(&rd, 0, 0, true);
	for (int i = 0; i < 1000; i++)
		REQUIRE_EQ(push(100), 0);
	/* reading without validation would be wrong */
	CHECK(pop(&rd) < 0);
	REQUIRE_EQ(reader_resync(&rd), 0);
	CHECK_EQ(rd.position, ring.producer->head);
	CHECK_EQ(rd.missed, rd.sequence);
	CHECK_EQ(rd.overwritten, rd.sequence);
	while (pop(&rd) >= 0)
		got++;
	CHECK_EQ(got + rd.missed, 1000);
	/* lapped twice without a message: half-way; three times: to the last */
	for (int i = 0; i < 1000; i++)
		REQUIRE_EQ(push(100), 0);
	rd.laps = 1;
	REQUIRE_EQ(reader_resync(&rd), 0);
	CHECK(rd.position > ring.producer->head && rd.position < writer.tail);
	CHECK(pop(&rd) >= 0);
	for (int i = 0; i < 1000; i++)
		REQUIRE_EQ(push(100), 0);
	rd.laps = 2;
	REQUIRE_EQ(reader_resync(&rd), 0);
	CHECK_EQ(rd.sequence, 2999); /* the last publication */
	CHECK_EQ(pop(&rd), 2999);
}

TEST(positions_end)
{
	struct mqshm_reader rd;
	int64_t sequence = 0;
	int rc;

	make(4, 100, MQSHM_POSITION_MAX - 64 * 64);
	join(&rd, 0, 0, false);
	while (!(rc = push(100)))
		CHECK_EQ(pop(&rd), sequence++);
	CHECK_EQ(rc, -EOVERFLOW);
	CHECK(sequence > 20);
	CHECK(ring.producer->tail <= MQSHM_POSITION_MAX);
	CHECK_EQ(pop(&rd), -EAGAIN);
}

/* Every u64 that a reader takes from producers, set to wild values: an error, never a wild access. */
TEST(hostile_nodes_and_positions)
{
	static const uint64_t wild[] = { 0, 1, 7, 100, 101, 1000, 0xffffffff, 1ull << 32, 2ull << 32, 3ull << 32,
					 (1ull << 32) + 101, (1ull << 32) + 0xffffffff, 1ull << 62, 1ull << 63,
					 UINT64_MAX, UINT64_MAX - 7 };
	size_t words = 0;

	make(4, 100, 0);
	words = (size_t)ring.ring_bytes / 8;
	free(ring.info);
	for (size_t w = 0; w < words + 5; w++)
		for (size_t v = 0; v < sizeof wild / sizeof *wild; v++) {
			struct mqshm_reader rd, late;
			uint64_t *target;
			int64_t n = 0;

			make(4, 100, 0);
			join(&rd, 0, 0, false);
			for (int i = 0; i < 3; i++)
				REQUIRE_EQ(push(40), 0);
			target = w < words ? (uint64_t *)ring.nodes + w : (uint64_t *)ring.producer + (w - words);
			*target = wild[v];
			for (int i = 0; i < 5 && n >= 0; i++) {
				struct mqshm_found f;

				n = reader_find(&rd, rd.position, rd.offset, rd.sequence, &f);
				if (n)
					break;
				REQUIRE(f.payload >= ring.nodes && f.size <= 100 &&
					f.payload + f.size <= ring.nodes + ring.ring_bytes);
				reader_advance(&rd, f.next, f.next_offset, f.sequence + 1);
			}
			CHECK(n == -EAGAIN || n == -EBADMSG);
			/* joining and taking over, too */
			memset(&late, 0, sizeof late);
			late.ring = &ring;
			late.slot = 1;
			ring_consumer(&ring, 1)->state = (1 << 8) | MQSHM_SLOT_JOINING;
			n = reader_join(&late, 1, false);
			CHECK(n == 0 || n == -EBADMSG);
			memset(&writer, 0, sizeof writer);
			writer.ring = &ring;
			n = writer_take_over(&writer);
			CHECK(n == 0 || n == -EBADMSG);
			free(ring.info);
		}
}
