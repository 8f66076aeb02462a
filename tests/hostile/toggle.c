/* SPDX-License-Identifier: MIT */
/*
 * A value that a peer changes all the time, so that it differs between two looks: calls end in time all the same, and
 * what they say is true. One field a test; tests/hostile/scribble.sh does it with all of them at random. At the end,
 * what one who was evicted is told.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "conformance/peers.h"
#include "layout.h"

#define TIMEOUT_MS 20
#define LASTING_NS 250000000u /* how long a value is toggled */

static struct mqshm_ring ring; /* a peer's own mapping of the queue */

static void map_queue(const char *name)
{
	struct mqshm_info info;
	char path[100];
	void *object;
	int fd;

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0);
	REQUIRE_EQ(read(fd, &info, sizeof info), sizeof info);
	object = mmap(NULL, info.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	REQUIRE(object != MAP_FAILED);
	close(fd);
	mqshm_ring_init(&ring, &info, object);
}

struct toggle {
	void *word;
	uint32_t value;
	bool count; /* never the same twice; else to and fro */
};

static uint64_t *toggled; /* how often */

static void toggle(void *arg)
{
	const struct toggle *t = arg;
	uint32_t before = GET(*(uint32_t *)t->word), value = t->value;

	for (;; value += t->count) {
		SET(*(uint32_t *)t->word, value);
		ADD(*toggled, 1); /* now it can be seen */
		if (!t->count)
			SET(*(uint32_t *)t->word, before);
		ADD(*toggled, 1);
	}
}

/* A peer that toggles; returns when it is at it. */
static pid_t start_toggle(void *word, uint32_t value, bool count)
{
	struct toggle t = { word, value, count };
	pid_t pid;

	if (!toggled)
		toggled = shared_memory(sizeof *toggled);
	SET(*toggled, 0);
	pid = spawn(toggle, &t);
	UNTIL(GET(*toggled) > 100);
	return pid;
}

/* An error that says nothing new would leave this. */
static void forget(void)
{
	struct mqshm_stat *s;

	CHECK_EQ(mqshm_queue_stat(".", &s), -EINVAL);
}

static void check_said(int rc)
{
	if (rc < 0 && rc != -EAGAIN && strstr(mqshm_last_error(), "starts with a dot"))
		TEST_FAIL("%d is given without a sentence", rc);
}

/* Until the time is over and something was seen: on a busy machine one of the two may not run for long. */
static bool goes_on(uint64_t until, int seen)
{
	uint64_t now = test_now_ns();

	return now < until || (!seen && now < until + 60000000000u);
}

/* A peer that sets the role of a consumer to another and back: a call fails, or has really got a message. */
TEST(the_state_of_a_consumer)
{
	struct mqshm_queue_options q = geometry(16, 8, MQSHM_PERSISTENT);
	const char *name = test_queue("state");
	struct mqshm_producer *p = open_producer(name, &q);
	int stale = 0;
	pid_t pid;

	map_queue(name);
	for (int round = 0; round < 4; round++) {
		uint64_t until = test_now_ns() + LASTING_NS;
		struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_LATEST, round & 1 ? MQSHM_LOSSY : 0);
		uint32_t *state = &ring_consumer(&ring, (uint32_t)mqshm_consumer_id(c))->state;

		pid = start_toggle(state, *state ^ 0x100, false);
		for (int i = 0; goes_on(until, stale) && test_failures < 5; i++) {
			struct mqshm_message m = { .size = 77 };
			char out[8];
			int rc;

			if (i % 4 == 0)
				CHECK(mqshm_producer_push(p, "x", 1, 0) <= 0);
			forget();
			rc = i % 2 ? (int)mqshm_consumer_pop(c, out, sizeof out, &m, 0) : mqshm_consumer_peek(c, &m, 1, 0);
			check_said(rc);
			stale += rc == -ESTALE;
			if (rc != -ESTALE && rc != -EAGAIN && rc != -EBADMSG && rc != 1)
				TEST_FAIL("%s gives %d (%s)", i % 2 ? "pop" : "peek", rc, mqshm_last_error());
			if (rc == 1)
				CHECK_EQ(m.size, 1);
		}
		kill_now(pid);
		CHECK_EQ(mqshm_consumer_close(c), 0);
		CHECK(mqshm_queue_gc(name, NULL, NULL) >= 0);
	}
	CHECK(stale > 0); /* else nothing was seen */
	CHECK_EQ(mqshm_producer_close(p), 0);
	CHECK_EQ(mqshm_queue_remove(name, MQSHM_FORCE), 0);
}

/* The same with a producer: 0 means that the message is in the queue. */
TEST(the_state_of_a_producer)
{
	struct mqshm_queue_options q = geometry(16, 8, MQSHM_PERSISTENT | MQSHM_OVERWRITE);
	const char *name = test_queue("state");
	struct mqshm_producer *p = open_producer(name, &q);
	uint32_t *state;
	uint64_t pushed = 0, until = test_now_ns() + 2 * LASTING_NS;
	int stale = 0;
	pid_t pid;

	map_queue(name);
	state = &ring.participants[0].state;
	pid = start_toggle(state, *state ^ 0x100, false);
	for (int i = 0; goes_on(until, stale) && test_failures < 5; i++) {
		void *room;
		int rc;

		forget();
		if (i % 2) {
			rc = mqshm_producer_push(p, "x", 1, 0);
		} else {
			rc = mqshm_producer_reserve(p, 1, &room, 0);
			if (!rc) {
				*(char *)room = 'x';
				rc = mqshm_producer_commit(p, 1);
			}
		}
		check_said(rc);
		stale += rc == -ESTALE;
		pushed += rc == 0;
		if (rc != 0 && rc != -ESTALE)
			TEST_FAIL("%s gives %d (%s)", i % 2 ? "push" : "commit", rc, mqshm_last_error());
	}
	kill_now(pid);
	CHECK(stale > 0);
	CHECK_EQ(ring.producer->record[ring.producer->record[0].end == ring.producer->tail ? 0 : 1].next, pushed);
	CHECK_EQ(mqshm_producer_close(p), 0);
	CHECK_EQ(mqshm_queue_remove(name, MQSHM_FORCE), 0);
}

/* The lock of a shared queue names another holder each time one looks: a push with a timeout ends. */
TEST(the_lock_word)
{
	struct mqshm_queue_options q = geometry(16, 8, MQSHM_SHARED | MQSHM_OVERWRITE);
	const char *name = test_queue("lock");
	struct mqshm_producer *p = open_producer(name, &q);
	uint64_t until = test_now_ns() + 2 * LASTING_NS;
	pid_t pid;

	map_queue(name);
	pid = start_toggle(&ring.producer->lock, 0x3f00, true);
	for (int i = 0; test_now_ns() < until; i++) {
		int rc;

		forget();
		rc = mqshm_producer_push(p, "x", 1, i % 2 ? TIMEOUT_MS : 0);
		check_said(rc);
		if (rc != 0 && rc != -EAGAIN && rc != -ETIMEDOUT && rc != -EBADMSG)
			TEST_FAIL("push gives %d (%s)", rc, mqshm_last_error());
	}
	kill_now(pid);
	for (int i = 0; i < 3; i++) { /* whatever was left there */
		int rc = mqshm_producer_push(p, "x", 1, 5000);

		CHECK(rc == 0);
	}
	CHECK_EQ(mqshm_producer_close(p), 0);
}

/* It names us, who do not hold it: nobody else will ever give it back. */
TEST(the_lock_word_names_ourselves)
{
	struct mqshm_queue_options q = geometry(16, 8, MQSHM_SHARED);
	const char *name = test_queue("lock");
	struct mqshm_producer *p = open_producer(name, &q);

	map_queue(name);
	for (uint32_t waiters = 0; waiters < 2; waiters++) {
		SET(ring.producer->lock, 1 | MQSHM_SLOT_GENERATION(ring.participants[0].state) << 8 |
						 (waiters ? MQSHM_LOCK_WAITERS : 0));
		EXPECT(mqshm_producer_push(p, "x", 1, 5000), 0);
		EXPECT(mqshm_producer_push(p, "x", 1, 0), 0);
	}
	CHECK_EQ(mqshm_producer_close(p), 0);
}

/* The words that are slept on, and what else a wait looks at. */
static void waits_end(void *word, const char *name)
{
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	pid_t pid;

	MUST(mqshm_producer_open(&p, name, NULL, NULL), 0);
	c = open_consumer(name, NULL, MQSHM_FROM_LATEST, 0);
	for (int i = 0; i < 2; i++) {
		pid = start_toggle(word, i ? 1 : UINT32_MAX - 1000, i);
		for (int k = 0; k < 3; k++) {
			char out[8];

			for (int n = 0; n < 20; n++)
				(void)mqshm_producer_push(p, "x", 1, 0);
			(void)mqshm_producer_push(p, "x", 1, TIMEOUT_MS);
			(void)mqshm_producer_wait_drained(p, TIMEOUT_MS);
			(void)mqshm_producer_wait_consumers(p, 3, 0, TIMEOUT_MS);
			for (int n = 0; n < 20; n++)
				(void)mqshm_consumer_pop(c, out, sizeof out, NULL, 0);
			(void)mqshm_consumer_pop(c, out, sizeof out, NULL, TIMEOUT_MS);
		}
		kill_now(pid);
	}
	CHECK_EQ(mqshm_consumer_close(c), 0);
	CHECK_EQ(mqshm_producer_close(p), 0);
}

TEST(what_a_wait_looks_at)
{
	struct mqshm_queue_options q = geometry(16, 8, MQSHM_PERSISTENT);
	const char *name = test_queue("wait");

	MUST(mqshm_queue_create(name, &q), 0);
	map_queue(name);
	waits_end(&ring.info->data.word, name);
	waits_end(&ring.info->room.word, name);
	waits_end(&ring.info->event.word, name);
	waits_end(&ring.info->epoch, name);
	waits_end(&ring.info->hold, name);
	waits_end(&ring.info->producer_epoch, name);
	waits_end(&ring.info->reliable, name);
	waits_end(&ring.producer->blocked_on, name);
	waits_end(&ring.producer->need, name);
	MUST(mqshm_queue_remove(name, MQSHM_FORCE), 0);
}

/* Positions: whatever they are, a call finds its way out. */
static void pops_end(void *word)
{
	static const uint32_t wild[] = { 0, 64, 0x10000, 0x7fffffc0, 0xffffffc0 };
	struct mqshm_queue_options q = geometry(16, 8, MQSHM_OVERWRITE | MQSHM_PERSISTENT);
	const char *name = test_queue("positions");
	struct mqshm_producer *p;
	uint64_t until, offset = (uint64_t)((char *)word - (char *)ring.info);
	char out[8];

	for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
		struct mqshm_consumer *c;
		pid_t pid;

		p = open_producer(name, &q);
		c = open_consumer(name, NULL, MQSHM_FROM_OLDEST, 0);
		map_queue(name);
		until = test_now_ns() + LASTING_NS / 10;
		pid = start_toggle((char *)ring.info + offset, wild[i], false);
		for (int k = 0; test_now_ns() < until; k++) {
			struct mqshm_consumer *late = NULL;

			(void)mqshm_producer_push(p, "x", 1, 0);
			(void)mqshm_consumer_pop(c, out, sizeof out, NULL, 0);
			if (k % 50 == 0 && !mqshm_consumer_open(&late, name, NULL, NULL))
				CHECK_EQ(mqshm_consumer_close(late), 0);
			CHECK(mqshm_consumer_lag(c) >= 0 && mqshm_consumer_missed(c) >= 0);
		}
		kill_now(pid);
		CHECK_EQ(mqshm_consumer_close(c), 0);
		CHECK_EQ(mqshm_producer_close(p), 0);
		CHECK_EQ(mqshm_queue_remove(name, MQSHM_FORCE), 0);
	}
}

TEST(positions)
{
	struct mqshm_queue_options q = geometry(16, 8, MQSHM_OVERWRITE | MQSHM_PERSISTENT);
	const char *name = test_queue("plan");

	MUST(mqshm_queue_create(name, &q), 0);
	map_queue(name);
	pops_end(&ring.producer->tail);
	pops_end(&ring.producer->head);
	pops_end(&ring.producer->record[0].end);
	pops_end(&ring.producer->record[0].next);
	pops_end(&ring.producer->mark[3].position);
	pops_end((char *)&ring.producer->head + 4);
	MUST(mqshm_queue_remove(name, 0), 0);
}

/* A cursor beyond all messages: a producer that looks for room ends that role, and every call of its owner says so. */
TEST(a_cursor_out_of_bounds)
{
	struct mqshm_queue_options q = geometry(4, 8, MQSHM_PERSISTENT);
	const char *name = test_queue("cursor");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c = open_consumer(name, NULL, MQSHM_FROM_LATEST, 0);
	struct mqshm_consumer *other = open_consumer(name, NULL, MQSHM_FROM_LATEST, 0);
	struct mqshm_wait_item item = { .consumer = c };
	struct mqshm_message m[2];
	char out[64];

	map_queue(name);
	MUST(mqshm_producer_push(p, "x", 1, 0), 0);
	MUST(mqshm_producer_push(p, "x", 1, 0), 0);
	MUST(mqshm_consumer_peek(c, m, 2, 0), 2);
	SET(ring_area(&ring, (uint32_t)mqshm_consumer_id(c))->position, UINT64_MAX / 4);
	MUST(mqshm_producer_push(p, "x", 1, 0), 0);
	MUST(mqshm_producer_push(p, "x", 1, 0), 0);
	EXPECT(mqshm_producer_push(p, "x", 1, 0), -EAGAIN); /* the other one is in the way */
	EXPECT(mqshm_consumer_release(c, 1), -ECONNABORTED);
	EXPECT(mqshm_consumer_release(c, 2), -ECONNABORTED);
	CHECK_STR(mqshm_last_error(), "out of bounds");
	EXPECT(mqshm_consumer_peek(c, m, 2, 0), -ECONNABORTED);
	EXPECT(mqshm_consumer_peek(c, m, 2, TIMEOUT_MS), -ECONNABORTED);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), -ECONNABORTED);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, TIMEOUT_MS), -ECONNABORTED);
	EXPECT(mqshm_consumer_pop_batch(c, m, 1, 2, out, sizeof out, TIMEOUT_MS), -ECONNABORTED);
	EXPECT(mqshm_consumer_pop_batch(c, m, 2, 2, out, sizeof out, TIMEOUT_MS), -ECONNABORTED);
	CHECK_EQ(mqshm_wait_any(&item, 1, TIMEOUT_MS), 1);
	CHECK_EQ(item.result, -ECONNABORTED);
	CHECK_EQ(mqshm_consumer_close(c), 0);
	EXPECT(mqshm_consumer_pop(other, out, sizeof out, NULL, 0), 1); /* and it goes on */
	CHECK_EQ(mqshm_consumer_close(other), 0);
	CHECK_EQ(mqshm_producer_close(p), 0);
	CHECK_EQ(mqshm_queue_remove(name, 0), 0);
}

/* Nobody evicts a producer, whatever its slot says: no call gives an error that is for consumers. */
static void no_eviction(uint32_t flags)
{
	struct mqshm_queue_options q = geometry(4, 8, MQSHM_PERSISTENT | flags);
	const char *name = test_queue("reason");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_wait_item item = { .producer = p };
	void *room;

	map_queue(name);
	MUST(mqshm_producer_reserve(p, 1, &room, 0), 0);
	for (uint32_t why = MQSHM_WHY_DIED; why <= MQSHM_WHY_LEASE; why++) {
		SET(ring.participants[0].why, why);
		SET(ring.participants[0].state, (GET(ring.participants[0].state) & ~0xffu) | MQSHM_SLOT_ENDED);
		if (why == MQSHM_WHY_DIED)
			EXPECT(mqshm_producer_commit(p, 1), -ESTALE);
		for (int timeout_ms = 0; timeout_ms <= TIMEOUT_MS; timeout_ms += TIMEOUT_MS) {
			EXPECT(mqshm_producer_push(p, "x", 1, timeout_ms), -ESTALE);
			EXPECT(mqshm_producer_reserve(p, 1, &room, timeout_ms), -ESTALE);
			EXPECT(mqshm_producer_wait_consumers(p, 1, 0, timeout_ms), -ESTALE);
			EXPECT(mqshm_producer_wait_drained(p, timeout_ms), -ESTALE);
			CHECK_EQ(mqshm_wait_any(&item, 1, timeout_ms), 1);
			CHECK_EQ(item.result, -ESTALE);
		}
	}
	CHECK_EQ(mqshm_producer_close(p), 0);
	CHECK_EQ(mqshm_queue_remove(name, MQSHM_FORCE), 0);
}

TEST(why_a_producer_lost_its_role)
{
	no_eviction(0);
	no_eviction(MQSHM_SHARED);
}

/* Nobody can have missed more messages than there were before the one it stands at. */
TEST(missed_of_a_named_consumer)
{
	struct mqshm_queue_options q = geometry(4, 8, MQSHM_PERSISTENT);
	struct mqshm_consumer_options how = { .size = sizeof how, .name = "plot", .lease_ms = 60000, .flags = MQSHM_LOSSY };
	const char *name = test_queue("missed");
	struct mqshm_producer *p = open_producer(name, &q);
	struct mqshm_consumer *c;
	char out[8];

	MUST(mqshm_consumer_open(&c, name, NULL, &how), 0);
	for (int i = 0; i < 3; i++)
		MUST(mqshm_producer_push(p, "x", 1, 0), 0);
	MUST(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 1);
	map_queue(name);
	for (int i = 0; i < 2; i++) {
		struct mqshm_consumer_area *area = ring_area(&ring, (uint32_t)mqshm_consumer_id(c));

		CHECK_EQ(mqshm_consumer_close(c), 0);
		SET(area->missed, i ? UINT64_MAX - 5 : 2);
		SET(area->overwritten, i ? UINT64_MAX - 5 : 2);
		MUST(mqshm_consumer_open(&c, name, NULL, &how), 0);
		CHECK_EQ(CALL(mqshm_consumer_missed(c)), 1);
	}
	MUST(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 1);
	CHECK_EQ(CALL(mqshm_consumer_missed(c)), 1);
	CHECK_EQ(mqshm_consumer_close(c), 0);
	CHECK_EQ(mqshm_producer_close(p), 0);
	CHECK_EQ(mqshm_queue_remove(name, MQSHM_FORCE), 0);
}
