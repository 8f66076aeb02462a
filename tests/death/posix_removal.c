/* SPDX-License-Identifier: MIT */
/*
 * Shows what a death in the middle of a removal, or a standstill in the middle of attaching, means to the others: who
 * still uses the queue is told, and nobody innocent is blamed.
 */
#include "death/posix_window.h"

static void removed_but_nobody_told(struct mqshm_ring *ring)
{
	char path[100];

	smp_store_release(&ring->info->dead, 1);
	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", ring->info->name);
	REQUIRE_EQ(unlink(path), 0);
}

/* The producer never waits, so it must be told by those who do. */
TEST(of_who_removes_by_force)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_consumer *c;
	struct mqshm_producer *p;
	unsigned char out[BLOCK];

	s->name = test_queue("removed");
	s->window = removed_but_nobody_told;
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	p = open_producer(s->name, NULL);
	EXPECT(mqshm_producer_push(p, "", 0, 0), 0);
	die_in_it(s);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 0), 0);
	EXPECT(mqshm_consumer_pop(c, out, sizeof out, NULL, 1000), -ESTALE);
	EXPECT(mqshm_producer_push(p, "", 0, 0), -ESTALE);
	CHECK_STR(mqshm_last_error(), "was removed");
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
}

/* Who has the life-cycle byte and has not said so yet is not taken for the one before. */
TEST(nobody_is_blamed_for_the_one_before)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = MQSHM_LOCK_LIFECYCLE, .l_len = 1 };
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("blamed");
	struct mqshm_consumer *c = open_consumer(name, &q, MQSHM_FROM_OLDEST, 0);
	struct mqshm_producer *p = (void *)1;
	char path[100], me[24];
	int fd;

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", name);
	snprintf(me, sizeof me, "pid %d", (int)getpid());
	fd = open(path, O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0 && !fcntl(fd, F_OFD_SETLK, &lock));
	EXPECT(mqshm_producer_open(&p, name, NULL, NULL), -ETIMEDOUT);
	CHECK(p == NULL);
	CHECK_STR(mqshm_last_error(), "by a process, which doesn't get on");
	CHECK(!strstr(mqshm_last_error(), me));
	close(fd);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(name);
}
