/* SPDX-License-Identifier: MIT */
/*
 * Shows that the buffer of a stage keeps order and content in every layout, that its bounds are exact, by number and by
 * bytes, and that both sides leave when they are told to.
 */
#include "conformance/payload.h"
#include "conformance/peers.h"
#include "stage_buffer.h"

static struct stage_buffer b;

/* Put one message in; it shall fit. */
static void put(uint64_t key, size_t size)
{
	struct mqshm_message m = { .size = size, .sequence = key };
	size_t capacity = 0;
	void *place = NULL;

	MUST(stage_buffer_reserve(&b, size, &place, &capacity), 0);
	REQUIRE(capacity >= size);
	CHECK((uintptr_t)place % b.align == 0);
	CHECK((unsigned char *)place >= b.bytes &&
	      (unsigned char *)place + capacity <= b.bytes + b.most_bytes + b.block);
	payload_fill(place, size, key);
	m.data = place;
	stage_buffer_commit(&b, &m);
}

/* Take up to max messages out, which shall begin with key. */
static size_t get(uint64_t key, size_t max)
{
	struct mqshm_message m[64];
	int n;

	memset(m, 0xa5, sizeof m);
	n = stage_buffer_take(&b, m, max, 0);
	REQUIRE(n >= 0 && (size_t)n <= max);
	for (int i = 0; i < n; i++) {
		REQUIRE_EQ(m[i].sequence, key + (uint64_t)i);
		REQUIRE(payload_good(m[i].data, m[i].size, key + (uint64_t)i));
	}
	return (size_t)n;
}

/* Random sizes in and out against a model: nothing is refused below the bounds, nothing overlaps. */
TEST(every_layout)
{
	uint64_t random = test_seed();

	for (int round = 0; round < 2000; round++) {
		size_t align = (size_t)8 << test_random(&random) % 4, block = 1 + test_random(&random) % 200;
		size_t most = 1 + test_random(&random) % 20;
		size_t rounded = (block + align - 1) & ~(align - 1);
		size_t bytes = rounded + test_random(&random) % (6 * rounded), used = 0, sizes[64];
		uint64_t in = 0, out = 0;

		MUST(stage_buffer_init(&b, most, bytes, block, align), 0);
		bytes &= ~(align - 1);
		for (int step = 0; step < 200; step++) {
			size_t size = payload_size(in, block), need = (size + align - 1) & ~(align - 1);

			if (in - out < most && used + need <= bytes && test_random(&random) % 3) {
				put(in, size);
				sizes[in++ % 64] = need;
				used += need;
			} else if (in > out) {
				size_t n = get(out, 1 + test_random(&random) % 20);

				REQUIRE(n >= 1);
				n = 1 + test_random(&random) % n; /* not all that were taken */
				stage_buffer_release(&b, n, true);
				while (n--)
					used -= sizes[out++ % 64];
			}
			REQUIRE_EQ(b.used, used);
			REQUIRE_EQ(b.count, in - out);
			REQUIRE_EQ(b.in, in);
			REQUIRE_EQ(b.processed, out);
			if (in > out) /* all that is there is whole */
				REQUIRE_EQ(get(out, 64), in - out);
		}
		stage_buffer_destroy(&b);
	}
}

static uint32_t reserved;

static void *reserve_one(void *arg)
{
	size_t capacity;
	void *place;
	int rc = stage_buffer_reserve(&b, *(size_t *)arg, &place, &capacity);

	SET(reserved, 1);
	return (void *)(intptr_t)rc;
}

static bool waits_for_room(void)
{
	bool starved;

	pthread_mutex_lock(&b.mutex);
	starved = b.starved;
	pthread_mutex_unlock(&b.mutex);
	return starved;
}

/* Beside full, in a thread, until n are released. */
static void reserve_waits(size_t size, size_t n)
{
	pthread_t thread;
	void *rc;

	SET(reserved, 0);
	REQUIRE_EQ(pthread_create(&thread, NULL, reserve_one, &size), 0);
	UNTIL(waits_for_room());
	CHECK_EQ(GET(reserved), 0);
	if (n)
		stage_buffer_release(&b, n, true);
	else
		stage_buffer_abort(&b);
	REQUIRE_EQ(pthread_join(thread, &rc), 0);
	CHECK_EQ((intptr_t)rc, n ? 0 : -ECANCELED);
}

TEST(full_by_number)
{
	MUST(stage_buffer_init(&b, 3, 1000, 8, 8), 0);
	for (uint64_t key = 0; key < 3; key++)
		put(key, 0);
	reserve_waits(0, 1);
	put(3, 8);
	reserve_waits(8, 2);
	CHECK_EQ(b.depth_most, 3);
	stage_buffer_destroy(&b);
}

TEST(full_by_bytes)
{
	MUST(stage_buffer_init(&b, 100, 64, 32, 16), 0);
	put(0, 32);
	put(1, 17);
	put(2, 0); /* always has room */
	reserve_waits(1, 1);
	put(3, 16);
	put(4, 9);
	reserve_waits(1, 1);
	CHECK_EQ(b.used, 32);
	stage_buffer_destroy(&b);
}

TEST(abort_frees_both_sides)
{
	struct mqshm_message m;
	size_t capacity;
	void *place;

	MUST(stage_buffer_init(&b, 1, 8, 8, 8), 0);
	put(0, 8);
	reserve_waits(8, 0);
	EXPECT(stage_buffer_take(&b, &m, 1, 0), -ECANCELED);
	EXPECT(stage_buffer_take(&b, &m, 1, -1), -ECANCELED);
	EXPECT(stage_buffer_reserve(&b, 0, &place, &capacity), -ECANCELED);
	stage_buffer_release(&b, 1, false);
	CHECK_EQ(b.dropped, 1);
	CHECK_EQ(b.processed, 0);
	stage_buffer_destroy(&b);
}

static void *end(void *arg)
{
	(void)arg;
	stage_buffer_end(&b);
	return NULL;
}

TEST(end_comes_after_the_last)
{
	struct mqshm_message m[4];
	pthread_t thread;

	MUST(stage_buffer_init(&b, 4, 64, 8, 8), 0);
	put(0, 8);
	put(1, 8);
	REQUIRE_EQ(pthread_create(&thread, NULL, end, NULL), 0);
	EXPECT(stage_buffer_take(&b, m, 4, -1), 2); /* waits for 4, or the end */
	REQUIRE_EQ(pthread_join(thread, NULL), 0);
	stage_buffer_release(&b, 2, true);
	EXPECT(stage_buffer_take(&b, m, 4, -1), 0);
	EXPECT(stage_buffer_take(&b, m, 4, 0), 0);
	stage_buffer_destroy(&b);
}

TEST(arguments)
{
	size_t capacity;
	void *place;

	EXPECT(stage_buffer_init(&b, 4, 15, 9, 8), -EINVAL); /* 15 is one piece of 8 */
	CHECK_STR(mqshm_last_error(), "no room for a message of 9");
	EXPECT(stage_buffer_init(&b, 4, SIZE_MAX, 9, 8), -ENOMEM);
	EXPECT(stage_buffer_init(&b, 4, SIZE_MAX / 2, 9, 8), -ENOMEM);
	MUST(stage_buffer_init(&b, 4, 16, 9, 8), 0);
	EXPECT(stage_buffer_reserve(&b, 17, &place, &capacity), -EMSGSIZE);
	stage_buffer_destroy(&b);
}

#define STREAM 50000

static void *write_stream(void *arg)
{
	(void)arg;
	for (uint64_t key = 0; key < STREAM; key++) {
		struct mqshm_message m = { .size = payload_size(key, 100), .sequence = key };
		size_t capacity = 0;
		void *place;

		if (stage_buffer_reserve(&b, m.size, &place, &capacity) || capacity < m.size)
			return (void *)1;
		payload_fill(place, m.size, key);
		m.data = place;
		stage_buffer_commit(&b, &m);
	}
	stage_buffer_end(&b);
	return NULL;
}

TEST(two_threads)
{
	for (int wait_ms = -1; wait_ms <= 1; wait_ms++) {
		uint64_t key = 0;
		pthread_t thread;
		void *rc;

		MUST(stage_buffer_init(&b, 20, 300, 100, 8), 0);
		REQUIRE_EQ(pthread_create(&thread, NULL, write_stream, NULL), 0);
		for (;;) {
			struct mqshm_message m[7];
			int n = stage_buffer_take(&b, m, 7, wait_ms);

			REQUIRE(n >= 0);
			if (n == 0)
				break;
			for (int i = 0; i < n; i++, key++) {
				REQUIRE_EQ(m[i].sequence, key);
				REQUIRE(payload_good(m[i].data, m[i].size, key));
			}
			stage_buffer_release(&b, (size_t)n, true);
		}
		CHECK_EQ(key, STREAM);
		REQUIRE_EQ(pthread_join(thread, &rc), 0);
		CHECK(rc == NULL);
		CHECK(b.depth_most <= 20);
		stage_buffer_destroy(&b);
	}
}
