/* SPDX-License-Identifier: MIT */
/*
 * Shows that under load every consumer gets each message once, in order and intact: 1 producer with 1, 2, 8 and 32
 * consumer processes, sizes 0 to block_size at random, pushed and read in all ways.
 */
#include "conformance/payload.h"
#include "conformance/peers.h"

#define BLOCK 256
#define CONSUMERS_MOST 32

struct load {
	const char *name;
	uint64_t messages, seed, bytes[CONSUMERS_MOST];
	unsigned consumers;
	uint32_t nodes;
};

struct reader {
	struct load *load;
	unsigned number;
};

static void push_all(void *arg)
{
	struct load *load = arg;
	struct mqshm_producer *p = open_producer(load->name, NULL);
	static unsigned char in[16][BLOCK];
	struct iovec iov[16], halves[2];
	uint64_t random = load->seed;
	void *data;

	MUST(mqshm_producer_wait_consumers(p, load->consumers, 0, 10000), 0);
	for (uint64_t i = 0; i < load->messages;) {
		uint64_t r = test_random(&random), n = 1;
		size_t size = payload_size(i, BLOCK), half = size ? (r >> 16) % size : 0;

		switch (r % 4) {
		case 0:
			payload_fill(in[0], size, i);
			REQUIRE_EQ(mqshm_producer_push(p, in[0], size, 10000), 0);
			break;
		case 1:
			payload_fill(in[0], size, i);
			halves[0] = (struct iovec){ in[0], half };
			halves[1] = (struct iovec){ in[0] + half, size - half };
			REQUIRE_EQ(mqshm_producer_pushv(p, halves, 2, 10000), 0);
			break;
		case 2:
			REQUIRE_EQ(mqshm_producer_reserve(p, BLOCK, &data, 10000), 0);
			payload_fill(data, size, i);
			REQUIRE_EQ(mqshm_producer_commit(p, size), 0);
			break;
		default:
			n = 1 + (r >> 8) % 16;
			if (n > load->messages - i)
				n = load->messages - i;
			for (uint64_t j = 0; j < n; j++) {
				iov[j] = (struct iovec){ in[j], payload_size(i + j, BLOCK) };
				payload_fill(in[j], iov[j].iov_len, i + j);
			}
			REQUIRE_EQ(mqshm_producer_push_batch(p, iov, n, 10000), n);
		}
		i += n;
	}
	MUST(mqshm_producer_close(p), 0);
}

static void read_all(void *arg)
{
	struct reader *me = arg;
	struct load *load = me->load;
	struct mqshm_consumer *c = open_consumer(load->name, NULL, MQSHM_FROM_OLDEST, 0);
	static unsigned char out[16 * BLOCK];
	uint64_t random = load->seed + me->number + 1, next = 0, bytes = 0, most = load->nodes < 4 ? load->nodes : 4;
	struct mqshm_message m[16];

	for (;;) {
		uint64_t r = test_random(&random);
		int n, way = (int)(r % 3);

		if (way == 0) {
			ssize_t size = mqshm_consumer_pop(c, out, BLOCK, m, 10000);

			n = size < 0 ? (int)size : 1;
		} else if (way == 1) {
			n = mqshm_consumer_pop_batch(c, m, 1 + (r >> 8) % most, 16, out, sizeof out, 10000);
		} else {
			n = mqshm_consumer_peek(c, m, 1 + (r >> 8) % 16, 10000);
		}
		if (n == -ESHUTDOWN)
			break;
		REQUIRE(n > 0);
		for (int i = 0; i < n; i++, next++) {
			if (m[i].sequence != next || m[i].size != payload_size(next, BLOCK) ||
			    !payload_good(m[i].data, m[i].size, next)) {
				TEST_FAIL("way %d, message %d of %d: wanted %" PRIu64 ", is %" PRIu64 " of %zu bytes", way,
					  i, n, next, m[i].sequence, m[i].size);
				return;
			}
			bytes += m[i].size;
		}
		if (way == 2)
			REQUIRE_EQ(mqshm_consumer_release(c, (size_t)n), 0);
	}
	CHECK_EQ(next, load->messages);
	CHECK_EQ(CALL(mqshm_consumer_missed(c)), 0);
	SET(load->bytes[me->number], bytes);
	MUST(mqshm_consumer_close(c), 0);
}

static void run(unsigned consumers, uint32_t nodes, uint64_t messages)
{
	struct mqshm_queue_options q = geometry(nodes, BLOCK, 0);
	struct load *load = shared_memory(sizeof *load);
	struct reader readers[CONSUMERS_MOST];
	pid_t pids[CONSUMERS_MOST], producer;
	uint64_t start = test_now_ns();

	load->name = test_queue("load");
	load->seed = test_seed();
	load->messages = messages = test_scaled(messages);
	load->consumers = consumers;
	load->nodes = nodes;
	MUST(mqshm_queue_create(load->name, &q), 0);
	for (unsigned i = 0; i < consumers; i++) {
		readers[i] = (struct reader){ load, i };
		pids[i] = spawn(read_all, &readers[i]);
	}
	producer = spawn(push_all, load);
	join(producer);
	for (unsigned i = 0; i < consumers; i++) {
		join(pids[i]);
		CHECK_EQ(load->bytes[i], load->bytes[0]);
	}
	check_gone(load->name);
	printf("# %" PRIu64 " messages, %u nodes, %u consumers: %.1f s\n", messages, nodes, consumers,
	       (double)(test_now_ns() - start) / 1e9);
}

TEST(to_1_consumer)
{
	run(1, 1024, 3000000);
	run(1, 1, 100000);
	run(1, 2, 100000);
	run(1, 3, 100000);
}

TEST(to_2_consumers)
{
	run(2, 1024, 3000000);
	run(2, 1, 50000);
	run(2, 3, 50000);
}

TEST(to_8_consumers)
{
	run(8, 256, 2000000);
	run(8, 2, 10000);
}

TEST(to_32_consumers)
{
	run(32, 1024, test_scaled(1000000)); /* scaled twice: an emulated processor switches slowly between so many */
	run(32, 1, 1000);
}
