/* SPDX-License-Identifier: MIT */
/*
 * Shows that a successor is not told "has a live producer" about a dead one whose role somebody is just ending: it waits
 * for that one to be done. A lock held by hand stands for the one who ends the role, so that it takes as long as we like.
 */
#include <fcntl.h>

#include "conformance/peers.h"
#include "posix.h"

struct shared {
	const char *name;
	uint32_t attached;
};

static void produce(void *arg)
{
	struct mqshm_queue_options q = geometry(4, 8, MQSHM_PERSISTENT);
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->name, &q);

	SET(s->attached, READ_ONCE(s->attached) + 1);
	mqshm_producer_push(p, "12345678", 8, 0);
	for (;;)
		pause();
}

TEST(a_successor_waits_for_who_ends_the_role)
{
	struct shared *s = shared_memory(sizeof *s);
	struct flock lock = { .l_type = F_WRLCK, .l_start = MQSHM_LOCK_REPAIR(0), .l_len = 1 };
	char path[128];
	pid_t pid;
	int fd;

	s->name = test_queue("repairer");
	pid = spawn(produce, s);
	UNTIL(GET(s->attached) == 1);
	kill_now(pid);
	snprintf(path, sizeof path, POSIX_DIR "/" POSIX_PREFIX "%s", s->name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0);
	REQUIRE_EQ(fcntl(fd, F_OFD_SETLK, &lock), 0);
	pid = spawn(produce, s);
	for (int i = 0; i < 50 && GET(s->attached) == 1; i++)
		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	CHECK_EQ(GET(s->attached), 1); /* nobody takes a slot that is being worked on */
	lock.l_type = F_UNLCK; /* not by close(): the child has a copy of fd */
	REQUIRE_EQ(fcntl(fd, F_OFD_SETLK, &lock), 0);
	UNTIL(GET(s->attached) == 2);
	kill_now(pid);
	MUST(mqshm_queue_remove(s->name, 0), 0);
	check_gone(s->name);
}
