/* SPDX-License-Identifier: MIT */
/*
 * Shows that a slot may be given to a successor while its owner is still leaving. The one who leaves stands still at some
 * instruction of its close, led there by ptrace: the successor attaches, others leave, then it goes on. Nothing of the
 * successor's is taken away, and a close is never told as a crash.
 */
#define TEST_SECONDS 200
#include <fcntl.h>

#include "death/recovery.h"
#include "death/step.h"
#include "posix.h"

#define NODES 4
#define BLOCK 8
#define STRIDE 3

struct shared {
	const char *name;
	uint32_t done;
};

/* The one who leaves may stand still with the life-cycle lock in its hands: then nobody can attach anyway. */
static bool life_cycle_is_free(const char *name)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = MQSHM_LOCK_LIFECYCLE, .l_len = 1 };
	char path[128];
	int fd;

	snprintf(path, sizeof path, POSIX_DIR "/" POSIX_PREFIX "%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	REQUIRE_EQ(fcntl(fd, F_OFD_GETLK, &lock), 0);
	close(fd);
	return lock.l_type == F_UNLCK;
}

static void close_producer(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);

	REQUIRE_EQ(mqshm_producer_push(p, "12345678", BLOCK, 0), 0);
	be_led();
	EXPECT(mqshm_producer_close(p), 0);
	SET(s->done, 1);
}

static void close_lossy(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->name, NULL, MQSHM_FROM_LATEST, MQSHM_LOSSY);

	be_led();
	EXPECT(mqshm_consumer_close(c), 0);
	SET(s->done, 1);
}

TEST(a_successor_keeps_its_queue_and_a_close_is_no_crash)
{
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	int k, handed_over = 0;

	s->name = test_queue("next");
	for (k = (int)(test_seed() % STRIDE); !GET(s->done); k += STRIDE) {
		struct mqshm_consumer *c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
		struct mqshm_producer *next = NULL;
		pid_t victim = lead(close_producer, s, k);
		char out[BLOCK];
		ssize_t n;
		int rc;

		if (!life_cycle_is_free(s->name)) { /* from here on it is the only one who acts */
			let_go(victim);
			join(victim);
			EXPECT(mqshm_consumer_close(c), 0);
			break;
		}
		MUST(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), BLOCK);
		n = mqshm_consumer_pop(c, out, sizeof out, NULL, 0);
		REQUIRE(n == -EAGAIN || n == -ESHUTDOWN);
		rc = mqshm_producer_open(&next, s->name, NULL, NULL);
		REQUIRE(rc == 0 || rc == -EBUSY);
		EXPECT(mqshm_consumer_close(c), 0);
		let_go(victim);
		join(victim);
		SET(s->done, 0);
		if (rc)
			continue;
		handed_over++;
		MUST(mqshm_producer_push(next, "12345678", BLOCK, 0), 0);
		CHECK_EQ(STAT(s->name, total_pushed), 2);
		EXPECT(mqshm_producer_close(next), 0);
		check_gone(s->name);
	}
	printf("# %d of %d times the slot was handed over\n", handed_over, k / STRIDE);
	CHECK(handed_over > 0);
	check_gone(s->name);
}

TEST(a_reliable_successor_of_a_lossy_consumer_holds_the_producer)
{
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	int k, handed_over = 0;

	s->name = test_queue("holds");
	q.max_consumers = 1;
	for (k = (int)(test_seed() % STRIDE);; k += STRIDE) {
		struct mqshm_producer *p = open_producer(s->name, &q);
		pid_t victim = lead(close_lossy, s, k);
		struct mqshm_consumer *next = NULL;
		struct mqshm_consumer_options options = { .size = sizeof options };
		bool free_to_act = life_cycle_is_free(s->name);
		int rc = free_to_act ? mqshm_consumer_open(&next, s->name, NULL, &options) : -EBUSY;

		REQUIRE(rc == 0 || rc == -EBUSY);
		let_go(victim);
		join(victim);
		if (!rc) {
			handed_over++;
			for (int i = 0; i < NODES; i++)
				MUST(mqshm_producer_push(p, "12345678", BLOCK, 0), 0);
			MUST(mqshm_producer_push(p, "12345678", BLOCK, 0), -EAGAIN);
			EXPECT(mqshm_consumer_close(next), 0);
		}
		EXPECT(mqshm_producer_close(p), 0);
		check_gone(s->name);
		if (!free_to_act)
			break;
	}
	printf("# %d of %d times the slot was handed over\n", handed_over, k / STRIDE);
	CHECK(handed_over > 0);
}
