/* SPDX-License-Identifier: MIT */
/*
 * Shows that the place of a dead process can be had while another process is just cleaning it up: who opens waits for
 * that one, as the dead owner is no reason for -EBUSY.
 */
#include <fcntl.h>

#include "death/posix_window.h"

static int open_queue(const char *name)
{
	char path[100];
	int fd;

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0);
	return fd;
}

static void lock_repair(int fd, int slot, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = MQSHM_LOCK_REPAIR(slot), .l_len = 1 };

	REQUIRE_EQ(fcntl(fd, F_OFD_SETLK, &lock), 0);
}

static void nothing(struct mqshm_ring *ring)
{
	(void)ring;
}

struct successor {
	const char *name;
	bool producer;
	int32_t opening, rc;
};

static void succeed(void *arg)
{
	struct successor *s = arg;
	struct mqshm_producer *p = NULL;
	struct mqshm_consumer *c = NULL;

	SET(s->opening, 1);
	s->rc = s->producer ? mqshm_producer_open(&p, s->name, NULL, NULL) : mqshm_consumer_open(&c, s->name, NULL, NULL);
	SET(s->opening, 2);
	if (s->rc)
		printf("# open: %d, %s\n", s->rc, mqshm_last_error());
	mqshm_producer_close(p);
	mqshm_consumer_close(c);
}

static void take_the_place(bool producer)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, MQSHM_PERSISTENT);
	const char *name = test_queue(producer ? "producer" : "consumer");
	struct shared *victim = shared_memory(sizeof *victim);
	struct successor *s = shared_memory(sizeof *s);
	pid_t pid;
	int fd;

	q.max_consumers = 1;
	MUST(mqshm_queue_create(name, &q), 0);
	*victim = (struct shared){ .name = name, .window = nothing, .producer = producer };
	die_in_it(victim);
	fd = open_queue(name);
	lock_repair(fd, producer ? 0 : 1, F_WRLCK);
	*s = (struct successor){ .name = name, .producer = producer };
	pid = spawn(succeed, s);
	UNTIL(GET(s->opening) == 2 || (GET(s->opening) == 1 && asleep(pid)));
	lock_repair(fd, producer ? 0 : 1, F_UNLCK);
	join(pid);
	CHECK_EQ(s->rc, 0);
	close(fd);
	MUST(mqshm_queue_remove(name, 0), 0);
}

TEST(of_a_producer)
{
	take_the_place(true);
}

TEST(of_a_consumer)
{
	take_the_place(false);
}
