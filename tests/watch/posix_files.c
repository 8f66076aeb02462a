/* SPDX-License-Identifier: MIT */
/* What a watch says of files in /dev/shm that can't be read as a queue. */
#include <fcntl.h>
#include <sys/stat.h>

#include "watch/watch_test.h"

static const char *path_of(const char *name)
{
	static char path[100];

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", name);
	return path;
}

TEST(no_queue)
{
	const char *name = test_queue("foreign");
	struct mqshm_watch *w = open_watch(name, 0);
	int fd = open(path_of(name), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	REQUIRE(fd >= 0);
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	CHECK_EQ(NEXT(w, MQSHM_WATCH_UNREADABLE, QUEUE, -1)->error, -EBADMSG);
	take_event(w, 2500, -ETIMEDOUT); /* once, though it is tried again each second */
	close(fd);
	unlink(path_of(name));
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	MUST(mqshm_watch_close(w), 0);
}

/* Somebody cuts the object short: no SIGBUS, it is said, and the watch goes on with others. */
TEST(a_truncated_object)
{
	struct mqshm_queue_options options = geometry(NODES, BLOCK, 0);
	const char *names[] = { test_queue("cut"), test_queue("whole") };
	struct mqshm_watch *w = NULL;

	MUST(mqshm_watch_open(&w, names, 2, 0), 0);
	MUST(mqshm_queue_create(names[0], &options), 0);
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	REQUIRE_EQ(truncate(path_of(names[0]), 100), 0);
	CHECK_EQ(NEXT(w, MQSHM_WATCH_UNREADABLE, QUEUE, -1)->error, -EBADMSG);
	MUST(mqshm_queue_create(names[1], &options), 0);
	NEXT(w, MQSHM_WATCH_CREATED, QUEUE, -1);
	MUST(mqshm_queue_remove(names[0], MQSHM_FORCE), 0);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	MUST(mqshm_queue_remove(names[1], 0), 0);
	NEXT(w, MQSHM_WATCH_REMOVED, QUEUE, -1);
	MUST(mqshm_watch_close(w), 0);
}
