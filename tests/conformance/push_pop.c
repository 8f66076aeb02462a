/* SPDX-License-Identifier: MIT */
/*
 * Shows what one producer and one consumer of one queue promise each other: sizes, errors that leave everything as it
 * was, and the order of messages. Batches, zero copy and timestamps have files of their own.
 */
#include "conformance/payload.h"
#include "conformance/peers.h"

#define BLOCK 100
#define NODES 8

struct pair {
	const char *name;
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
};

static struct pair open_pair(uint32_t flags)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, flags);
	struct pair pair = { .name = test_queue("pair") };

	pair.p = open_producer(pair.name, &q);
	pair.c = open_consumer(pair.name, NULL, MQSHM_FROM_OLDEST, 0);
	return pair;
}

static void close_pair(struct pair *pair)
{
	EXPECT(mqshm_producer_close(pair->p), 0);
	EXPECT(mqshm_consumer_close(pair->c), 0);
	check_gone(pair->name);
}

TEST(every_size_from_0_to_block_size)
{
	struct pair pair = open_pair(0);
	unsigned char in[BLOCK + 8], out[BLOCK + 8];

	for (int lap = 0; lap < 3; lap++) {
		for (size_t size = 0; size <= BLOCK; size++) {
			uint64_t sequence = (uint64_t)lap * (BLOCK + 1) + size;
			struct mqshm_message m;

			memset(&m, 0xa5, sizeof m);
			memset(out, 0xa5, sizeof out);
			payload_fill(in, size, sequence);
			MUST(mqshm_producer_push(pair.p, size ? in : NULL, size, 0), 0);
			CHECK_EQ(CALL(mqshm_consumer_lag(pair.c)), 1);
			MUST(mqshm_consumer_pop(pair.c, out, BLOCK, &m, 0), size);
			CHECK(payload_good(out, size, sequence));
			CHECK_EQ(out[size], 0xa5);
			CHECK(m.data == out);
			CHECK_EQ(m.size, size);
			REQUIRE_EQ(m.sequence, sequence);
			CHECK(m.timestamp_ns > 1600000000ull * 1000000000u && m.timestamp_ns < UINT64_MAX / 2);
		}
	}
	CHECK_EQ(CALL(mqshm_consumer_missed(pair.c)), 0);
	close_pair(&pair);
}

TEST(too_large_to_push_changes_nothing)
{
	struct pair pair = open_pair(0);
	unsigned char in[BLOCK + 1] = "x", out[BLOCK];
	struct iovec pieces[2] = { { in, BLOCK }, { in, 1 } }, overflow[2] = { { in, SIZE_MAX }, { in, 2 } };
	void *data = in;

	EXPECT(mqshm_producer_push(pair.p, in, BLOCK + 1, -1), -EMSGSIZE);
	CHECK_STR(mqshm_last_error(), "101 bytes are more than the block size");
	CHECK_STR(mqshm_last_error(), pair.name);
	EXPECT(mqshm_producer_push(pair.p, in, SIZE_MAX, -1), -EMSGSIZE);
	EXPECT(mqshm_producer_push(pair.p, in, (size_t)1 << 32, -1), -EMSGSIZE);
	EXPECT(mqshm_producer_pushv(pair.p, pieces, 2, -1), -EMSGSIZE);
	EXPECT(mqshm_producer_pushv(pair.p, overflow, 2, -1), -EMSGSIZE);
	EXPECT(mqshm_producer_pushv(pair.p, pieces, -1, 0), -EINVAL);
	EXPECT(mqshm_producer_pushv(pair.p, pieces, 1025, 0), -EINVAL);
	EXPECT(mqshm_producer_reserve(pair.p, BLOCK + 1, &data, 0), -EMSGSIZE);
	CHECK(data == NULL);
	EXPECT(mqshm_consumer_pop(pair.c, out, sizeof out, NULL, 0), -EAGAIN);
	MUST(mqshm_producer_push(pair.p, in, 1, 0), 0);
	MUST(mqshm_consumer_pop(pair.c, out, sizeof out, NULL, 0), 1);
	CHECK_EQ(out[0], 'x');
	close_pair(&pair);
}

TEST(too_small_a_buffer_keeps_the_message)
{
	struct pair pair = open_pair(0);
	unsigned char in[BLOCK], out[BLOCK];
	struct mqshm_message m;

	payload_fill(in, 50, 7);
	MUST(mqshm_producer_push(pair.p, in, 50, 0), 0);
	for (size_t capacity = 0; capacity < 50; capacity += 7) {
		memset(&m, 0xa5, sizeof m);
		memset(out, 0xa5, sizeof out);
		EXPECT(mqshm_consumer_pop(pair.c, out, capacity, &m, 0), -EMSGSIZE);
		CHECK_EQ(m.size, 50);
		CHECK_EQ(m.sequence, 0);
		for (size_t i = 0; i < sizeof out; i++)
			CHECK_EQ(out[i], 0xa5);
		CHECK_STR(mqshm_last_error(), "50 bytes");
	}
	EXPECT(mqshm_consumer_pop(pair.c, NULL, 0, NULL, 0), -EMSGSIZE);
	memset(&m, 0xa5, sizeof m);
	EXPECT(mqshm_consumer_pop_batch(pair.c, &m, 1, 1, out, 49, 0), -EMSGSIZE);
	CHECK_EQ(m.size, 50);
	CHECK_EQ(CALL(mqshm_consumer_lag(pair.c)), 1);
	MUST(mqshm_consumer_pop(pair.c, out, 50, NULL, 0), 50);
	CHECK(payload_good(out, 50, 7));
	MUST(mqshm_producer_push(pair.p, in, 0, 0), 0);
	EXPECT(mqshm_consumer_pop(pair.c, NULL, 0, &m, 0), 0);
	CHECK_EQ(m.sequence, 1);
	close_pair(&pair);
}

TEST(empty_and_full_do_not_wait_or_time_out)
{
	struct pair pair = open_pair(0);
	unsigned char byte = 1;
	struct mqshm_message m;
	void *data = &byte;

	EXPECT(mqshm_consumer_pop(pair.c, &byte, 1, &m, 0), -EAGAIN);
	EXPECT(mqshm_consumer_pop(pair.c, &byte, 1, &m, 30), -ETIMEDOUT);
	CHECK_STR(mqshm_last_error(), "timed out");
	EXPECT(mqshm_consumer_peek(pair.c, &m, 1, 0), -EAGAIN);
	EXPECT(mqshm_consumer_peek(pair.c, &m, 1, 30), -ETIMEDOUT);
	EXPECT(mqshm_consumer_pop_batch(pair.c, &m, 1, 1, &byte, 1, 0), -EAGAIN);
	EXPECT(mqshm_consumer_pop_batch(pair.c, &m, 1, 1, &byte, 1, 30), -ETIMEDOUT);
	for (int i = 0; i < NODES; i++)
		MUST(mqshm_producer_push(pair.p, &byte, 1, 0), 0);
	EXPECT(mqshm_producer_push(pair.p, &byte, 1, 0), -EAGAIN);
	EXPECT(mqshm_producer_push(pair.p, &byte, 1, 30), -ETIMEDOUT);
	CHECK_STR(mqshm_last_error(), "is full, waiting for consumer 0: pid ");
	EXPECT(mqshm_producer_reserve(pair.p, 1, &data, 0), -EAGAIN);
	CHECK(data == NULL);
	EXPECT(mqshm_producer_reserve(pair.p, 1, &data, 30), -ETIMEDOUT);
	EXPECT(mqshm_producer_wait_drained(pair.p, 0), -EAGAIN);
	EXPECT(mqshm_producer_wait_drained(pair.p, 30), -ETIMEDOUT);
	EXPECT(mqshm_producer_wait_consumers(pair.p, 2, 0, 0), -EAGAIN);
	EXPECT(mqshm_producer_wait_consumers(pair.p, 2, MQSHM_EVER, 30), -ETIMEDOUT);
	EXPECT(mqshm_producer_wait_consumers(pair.p, 1, 6, 0), -EINVAL);
	for (uint64_t i = 0; i < NODES; i++) {
		MUST(mqshm_consumer_pop(pair.c, &byte, 1, &m, 0), 1);
		REQUIRE_EQ(m.sequence, i);
	}
	EXPECT(mqshm_consumer_pop(pair.c, &byte, 1, &m, 0), -EAGAIN);
	close_pair(&pair);
}

TEST(pieces_are_one_message)
{
	struct pair pair = open_pair(0);
	unsigned char in[BLOCK], out[BLOCK];
	struct iovec pieces[4] = { { in, 33 }, { NULL, 0 }, { in + 33, 1 }, { in + 34, 66 } };

	payload_fill(in, sizeof in, 5);
	MUST(mqshm_producer_pushv(pair.p, pieces, 4, 0), 0);
	MUST(mqshm_producer_pushv(pair.p, NULL, 0, 0), 0);
	MUST(mqshm_consumer_pop(pair.c, out, sizeof out, NULL, 0), BLOCK);
	CHECK(payload_good(out, BLOCK, 5));
	MUST(mqshm_consumer_pop(pair.c, out, sizeof out, NULL, 0), 0);
	EXPECT(mqshm_consumer_pop(pair.c, out, sizeof out, NULL, 0), -EAGAIN);
	close_pair(&pair);
}

static void on_signal(int number)
{
	(void)number;
}

static void signal_parent(void *arg)
{
	(void)arg;
	while (getppid() != 1 && !kill(getppid(), SIGUSR1))
		nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
}

TEST(a_signal_handler_interrupts_every_wait)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct mqshm_consumer_options missing = { .size = sizeof missing, .wait_ms = -1 };
	struct mqshm_consumer *c = (void *)1;
	struct pair pair = open_pair(0);
	unsigned char byte = 0;
	struct mqshm_message m;
	pid_t signals;

	REQUIRE_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	signals = spawn(signal_parent, NULL);
	EXPECT(mqshm_consumer_pop(pair.c, &byte, 1, &m, -1), -EINTR);
	EXPECT(mqshm_consumer_peek(pair.c, &m, 1, -1), -EINTR);
	EXPECT(mqshm_consumer_pop_batch(pair.c, &m, 1, 1, &byte, 1, 10000), -EINTR);
	EXPECT(mqshm_producer_wait_consumers(pair.p, 2, 0, -1), -EINTR);
	EXPECT(mqshm_consumer_open(&c, test_queue("missing"), NULL, &missing), -EINTR);
	CHECK(c == NULL);
	for (int i = 0; i < NODES; i++)
		MUST(mqshm_producer_push(pair.p, &byte, 1, 0), 0);
	EXPECT(mqshm_producer_push(pair.p, &byte, 1, -1), -EINTR);
	EXPECT(mqshm_producer_wait_drained(pair.p, -1), -EINTR);
	kill_now(signals);
	CHECK_EQ(STAT(pair.name, total_pushed), NODES);
	close_pair(&pair);
}

TEST(info_and_metadata_are_as_created)
{
	struct mqshm_queue_options q = geometry(5, 33, MQSHM_TIMESTAMP_OFF);
	const char *name = test_queue("info");
	struct mqshm_queue_info info[2];
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	char text[MQSHM_METADATA_MAX];

	payload_fill(text, sizeof text, 3);
	q.metadata = text;
	q.metadata_size = sizeof text;
	q.max_consumers = 7;
	q.align = 32;
	p = open_producer(name, &q);
	c = open_consumer(name, NULL, MQSHM_FROM_LATEST, 0);
	memset(info, 0xa5, sizeof info);
	EXPECT(mqshm_producer_info(p, &info[0]), 0);
	EXPECT(mqshm_consumer_info(c, &info[1]), 0);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(strcmp(info[i].name, name), 0);
		CHECK_EQ(info[i].node_count, 5);
		CHECK_EQ(info[i].block_size, 33);
		CHECK_EQ(info[i].max_consumers, 7);
		CHECK_EQ(info[i].align, 32);
		CHECK_EQ(info[i].flags, MQSHM_TIMESTAMP_OFF);
		CHECK_EQ(info[i].metadata_size, sizeof text);
		CHECK_EQ(memcmp(info[i].metadata, text, sizeof text), 0);
		CHECK(info[i].ring_bytes >= 6 * 96);
		CHECK(info[i].created_at_ns > 1600000000ull * 1000000000u);
	}
	CHECK(CALL(mqshm_consumer_id(c)) >= 0 && CALL(mqshm_consumer_id(c)) < 7);
	EXPECT(mqshm_producer_close(NULL), 0);
	EXPECT(mqshm_consumer_close(NULL), 0);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}
