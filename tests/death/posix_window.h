/* SPDX-License-Identifier: MIT */
/*
 * Dying between two stores that belong together: a process opens its role, makes by hand in the shared memory what a
 * death in such a window leaves there, and dies. For the windows that are too small for a random kill to hit.
 */
#ifndef MQSHM_TEST_POSIX_WINDOW_H
#define MQSHM_TEST_POSIX_WINDOW_H

#include <fcntl.h>
#include <sys/stat.h>

#include "death/recovery.h"
#include "layout.h"

#define NODES 16
#define BLOCK 64

struct shared {
	const char *name;
	void (*window)(struct mqshm_ring *ring);
	bool producer;
	uint64_t pushed;
};

static inline void map_ring(const char *name, struct mqshm_ring *ring)
{
	struct mqshm_info info;
	char path[100];
	struct stat st;
	void *object;
	int fd;

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	REQUIRE(fd >= 0 && !fstat(fd, &st));
	REQUIRE_EQ(pread(fd, &info, sizeof info, 0), sizeof info);
	REQUIRE_EQ(mqshm_check_info(&info, name, (uint64_t)st.st_size), 0);
	object = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	REQUIRE(object != MAP_FAILED);
	close(fd);
	mqshm_ring_init(ring, &info, object);
}

static inline void fall_into_it(void *arg)
{
	struct shared *s = arg;
	struct mqshm_ring ring;

	map_ring(s->name, &ring);
	if (s->producer) {
		struct mqshm_producer *p = open_producer(s->name, NULL);
		unsigned char in[BLOCK];

		for (uint64_t i = GET(s->pushed); i < 5 * NODES; i++) { /* the survivor blocks it, nearly */
			payload_fill(in, BLOCK, i);
			if (mqshm_producer_push(p, in, BLOCK, 0))
				break;
			SET(s->pushed, i + 1);
		}
	} else {
		open_consumer(s->name, NULL, MQSHM_FROM_OLDEST, 0);
	}
	s->window(&ring);
	raise(SIGKILL);
}

static inline void die_in_it(struct shared *s)
{
	pid_t victim = spawn(fall_into_it, s);
	int status = 0;

	REQUIRE_EQ(waitpid(victim, &status, 0), victim);
	REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static inline void read_some(struct mqshm_consumer *c, uint64_t *next, uint64_t count)
{
	unsigned char out[BLOCK];
	struct mqshm_message m;

	for (uint64_t i = 0; i < count; i++, ++*next) {
		MUST(mqshm_consumer_pop(c, out, sizeof out, &m, 0), BLOCK);
		REQUIRE_EQ(m.sequence, *next);
		REQUIRE(payload_good(out, BLOCK, *next));
	}
}

#endif
