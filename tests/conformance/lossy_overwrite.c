/* SPDX-License-Identifier: MIT */
/*
 * Shows what those get who never hold the producer back: lossy consumers, and all consumers of an overwrite queue. They
 * are lapped, told how many messages they missed, and never see a torn or repeated message, however slow they are.
 */
#include "conformance/payload.h"
#include "conformance/peers.h"

#define BLOCK 256

static unsigned char in[BLOCK], out[16 * BLOCK];

static void push(struct mqshm_producer *p, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++) {
		payload_fill(in, payload_size(i, BLOCK), i);
		MUST(mqshm_producer_push(p, in, payload_size(i, BLOCK), 0), 0);
	}
}

/* The rule between two calls: what was missed and what was read add up to the sequence. */
static void lapped(uint32_t queue_flags, uint32_t consumer_flags)
{
	struct mqshm_queue_options q = geometry(16, BLOCK, queue_flags);
	const char *name = test_queue("lapped");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, consumer_flags);
	struct mqshm_message m;
	uint64_t got = 0, missed, pushed = 0;

	for (int round = 0; round < 50; round++) {
		uint64_t laps = (uint64_t)round * 7 % 100;

		push(p, pushed, pushed + laps);
		pushed += laps;
		memset(&m, 0xa5, sizeof m);
		while (CALL(mqshm_consumer_lag(c)) > 3) {
			MUST(mqshm_consumer_pop(c, out, BLOCK, &m, 0), payload_size(m.sequence, BLOCK));
			missed = (uint64_t)CALL(mqshm_consumer_missed(c));
			REQUIRE_EQ(m.sequence, got + missed);
			REQUIRE(payload_good(out, m.size, m.sequence));
			got++;
		}
	}
	missed = (uint64_t)CALL(mqshm_consumer_missed(c));
	CHECK(missed > 0);
	CHECK_EQ(STAT(name, overwrite_count), missed);
	CHECK_EQ(STAT(name, total_popped), got);
	CHECK_EQ(STAT(name, consumers[0].missed), missed);
	CHECK_EQ(STAT(name, consumers[0].popped), got);
	CHECK_EQ(STAT(name, consumers[0].lossy), 1);
	EXPECT(mqshm_consumer_close(c), 0);
	CHECK_EQ(STAT(name, overwrite_count), missed); /* those who left included */
	CHECK_EQ(STAT(name, total_popped), got);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

TEST(a_lossy_consumer_is_told_what_it_missed)
{
	lapped(0, MQSHM_LOSSY);
	lapped(MQSHM_SHARED, MQSHM_LOSSY);
}

TEST(all_consumers_of_an_overwrite_queue_are)
{
	lapped(MQSHM_OVERWRITE, 0);
	lapped(MQSHM_OVERWRITE | MQSHM_SHARED, MQSHM_LOSSY);
}

TEST(a_zero_copy_read_that_was_overtaken_is_not_confirmed)
{
	struct mqshm_queue_options q = geometry(8, BLOCK, 0);
	const char *name = test_queue("stale");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, MQSHM_LOSSY);
	struct mqshm_message m[8];

	push(p, 0, 4);
	MUST(mqshm_consumer_peek(c, m, 8, 0), 4);
	MUST(mqshm_consumer_release(c, 1), 0);
	push(p, 4, 8); /* still there: confirmed */
	MUST(mqshm_consumer_peek(c, m, 2, 0), 2);
	CHECK_EQ(m[0].sequence, 1);
	CHECK(payload_good(m[0].data, m[0].size, 1));
	MUST(mqshm_consumer_release(c, 2), 0);
	MUST(mqshm_consumer_peek(c, m, 2, 0), 2);
	push(p, 8, 40);
	EXPECT(mqshm_consumer_release(c, 2), -ESTALE);
	CHECK_STR(mqshm_last_error(), "overtaken");
	EXPECT(mqshm_consumer_release(c, 1), -EINVAL);
	MUST(mqshm_consumer_pop(c, out, BLOCK, m, 0), payload_size(m[0].sequence, BLOCK)); /* the handle is as good as before */
	CHECK_EQ(m[0].sequence, 3 + CALL(mqshm_consumer_missed(c)));
	CHECK(payload_good(out, m[0].size, m[0].sequence));
	EXPECT(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

TEST(a_lossy_consumer_does_not_hold_back_but_a_reliable_one_does)
{
	struct mqshm_queue_options q = geometry(8, BLOCK, 0);
	const char *name = test_queue("both");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *lossy = open_consumer(name, NULL, MQSHM_FROM_OLDEST, MQSHM_LOSSY);
	struct mqshm_consumer *reliable;

	push(p, 0, 100);
	reliable = open_consumer(name, NULL, MQSHM_FROM_LATEST, 0);
	push(p, 100, 108);
	EXPECT(mqshm_producer_push(p, in, 1, 0), -EAGAIN);
	for (uint64_t i = 100; i < 108; i++) {
		MUST(mqshm_consumer_pop(reliable, out, BLOCK, NULL, 0), payload_size(i, BLOCK));
		REQUIRE(payload_good(out, payload_size(i, BLOCK), i));
	}
	CHECK_EQ(CALL(mqshm_consumer_missed(reliable)), 0);
	CHECK_EQ(CALL(mqshm_consumer_missed(lossy)), 0); /* it has not looked yet */
	EXPECT(mqshm_consumer_close(lossy), 0);
	EXPECT(mqshm_consumer_close(reliable), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

struct race {
	const char *name;
	uint64_t seed, pushed, got[4], missed[4];
	uint32_t stop, attached;
};

struct racer {
	struct race *race;
	int number;
};

/* Reads in all ways, now and then standing still for a random time (in which nothing is waited for). */
static void read_racing(void *arg)
{
	struct racer *racer = arg;
	struct race *race = racer->race;
	struct mqshm_consumer *c = open_consumer(race->name, NULL, MQSHM_FROM_OLDEST, MQSHM_LOSSY);
	uint64_t random = race->seed + (uint64_t)racer->number, got = 0, last = 0, joined = 0;
	struct mqshm_message m[16];

	ADD(race->attached, 1);
	for (;;) {
		uint64_t r = test_random(&random);
		int n, way = (int)((r >> 32) % 3);

		if (r % 256 == 0)
			nanosleep(&(struct timespec){ 0, (long)((r >> 8) % 300000) }, NULL);
		memset(m, 0xa5, sizeof m);
		if (way == 0) {
			n = (int)CALL(mqshm_consumer_pop(c, out, BLOCK, m, stall_ms()));
			if (n >= 0) {
				REQUIRE_EQ(n, payload_size(m[0].sequence, BLOCK));
				n = 1;
			}
		} else if (way == 1) {
			n = CALL(mqshm_consumer_pop_batch(c, m, 1, 16, out, sizeof out, stall_ms()));
		} else {
			bool good = true;

			n = CALL(mqshm_consumer_peek(c, m, 16, stall_ms()));
			for (int i = 0; i < n; i++) /* advisory until confirmed */
				good &= m[i].size <= BLOCK && payload_good(m[i].data, m[i].size, m[i].sequence);
			if (n > 0) {
				int rc = CALL(mqshm_consumer_release(c, (size_t)n));

				if (rc == -ESTALE)
					continue;
				REQUIRE_EQ(rc, 0);
				REQUIRE(good);
			}
		}
		if (n == -ESHUTDOWN)
			break;
		REQUIRE(n > 0);
		for (int i = 0; i < n; i++) {
			if (got == 0)
				joined = m[i].sequence - (uint64_t)CALL(mqshm_consumer_missed(c));
			else if (m[i].sequence <= last)
				TEST_FAIL("sequence %" PRIu64 " after %" PRIu64, m[i].sequence, last);
			if (way != 2 && (m[i].size != payload_size(m[i].sequence, BLOCK) ||
					 !payload_good(m[i].data, m[i].size, m[i].sequence)))
				TEST_FAIL("way %d: message %d of %d, sequence %" PRIu64 " of %zu bytes is torn", way, i, n,
					  m[i].sequence, m[i].size);
			last = m[i].sequence;
			got++;
		}
		REQUIRE_EQ(last + 1 - joined, got + (uint64_t)CALL(mqshm_consumer_missed(c)));
	}
	CHECK_EQ(joined + got + (uint64_t)CALL(mqshm_consumer_missed(c)), GET(race->pushed)); /* all is accounted for */
	SET(race->got[racer->number], got);
	SET(race->missed[racer->number], (uint64_t)CALL(mqshm_consumer_missed(c)));
	EXPECT(mqshm_consumer_close(c), 0);
}

static void push_racing(void *arg)
{
	struct race *race = arg;
	struct mqshm_producer *p = open_producer(race->name, NULL);
	uint64_t messages = test_scaled(600000);

	UNTIL(GET(race->attached) == 4);
	for (uint64_t i = 0; i < messages; i++) {
		size_t size = payload_size(i, BLOCK);

		payload_fill(in, size, i);
		MUST(mqshm_producer_push(p, in, size, 0), 0);
		if (i % 4096 == 0)
			sched_yield();
	}
	SET(race->pushed, messages);
	EXPECT(mqshm_producer_close(p), 0);
}

static void race_through(uint32_t nodes)
{
	struct mqshm_queue_options q = geometry(nodes, BLOCK, MQSHM_OVERWRITE | MQSHM_PERSISTENT);
	uint64_t got = 0, missed = 0;
	struct race *race = shared_memory(sizeof *race);
	struct racer racers[4];
	pid_t producer, readers[4];

	race->name = test_queue("race");
	race->seed = test_seed();
	MUST(mqshm_queue_create(race->name, &q), 0);
	producer = spawn(push_racing, race);
	for (int i = 0; i < 4; i++) {
		racers[i] = (struct racer){ race, i };
		readers[i] = spawn(read_racing, &racers[i]);
	}
	join(producer);
	for (int i = 0; i < 4; i++) {
		join(readers[i]);
		printf("# %u nodes: consumer %d got %" PRIu64 " of %" PRIu64 "\n", nodes, i, race->got[i], race->pushed);
		got += race->got[i];
		missed += race->missed[i];
	}
	CHECK(missed > 0);
	CHECK_EQ(STAT(race->name, overwrite_count), missed);
	CHECK_EQ(STAT(race->name, total_popped), got);
	EXPECT(mqshm_queue_remove(race->name, 0), 0);
	check_gone(race->name);
}

TEST(never_a_torn_message_from_1_node)
{
	race_through(1);
}

TEST(never_a_torn_message_from_4_nodes)
{
	race_through(4);
}

TEST(never_a_torn_message_from_200_nodes)
{
	race_through(200);
}
