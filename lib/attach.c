/* SPDX-License-Identifier: MIT */
/* Opening a role by name: on which backend the queue is, creating it where it is on none, and waiting for it. */
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "backend.h"
#include "error.h"

int mqshm_attach_begin(struct mqshm_attach *how, const struct mqshm_queue_options *queue,
		       struct mqshm_queue_options *read)
{
	int rc = mqshm_check_name(how->name);

	if (!rc && queue) {
		rc = mqshm_read_options(read, queue);
		how->queue = read;
	}
	return rc;
}

/* Is there a file of that name on any of the backends? */
static bool appeared(const struct mqshm_backend *const *list, int count, const char *name)
{
	char path[MQSHM_NAME_MAX + 32];

	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof path, "%s/%s%s", list[i]->directory, list[i]->prefix, name);
		if (!access(path, F_OK))
			return true;
	}
	return false;
}

/* Wait until a queue of that name appears. 0 -ENOENT (timed out) -EINTR */
static int wait_for_name(const struct mqshm_backend *const *list, int count, const char *name, uint64_t deadline)
{
	char events[4096] __attribute__((aligned(8)));
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), rc = 0;

	/* Without a watch (there are limits) we look again every 10 ms. */
	for (int i = 0; i < count && fd >= 0; i++)
		if (inotify_add_watch(fd, list[i]->directory, IN_CREATE | IN_MOVED_TO) < 0) {
			close(fd);
			fd = -1;
		}
	while (!appeared(list, count, name)) { /* watch first, then look: nothing is missed between */
		uint64_t now = mqshm_now_ns(), nap = fd >= 0 ? 1000000000u : 10000000u;
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		struct timespec ts;

		if (now >= deadline) {
			rc = mqshm_error(-ENOENT, "there is no queue '%s'", name);
			break;
		}
		if (nap > deadline - now)
			nap = deadline - now;
		ts = (struct timespec){ (time_t)(nap / 1000000000u), (long)(nap % 1000000000u) };
		if (ppoll(&poll_fd, 1, &ts, NULL) < 0) {
			rc = mqshm_error(mqshm_errno(), "waiting for queue '%s': %s", name, strerror(errno));
			break;
		}
		while (fd >= 0 && read(fd, events, sizeof events) > 0)
			;
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

int mqshm_attach(struct mqshm_attach *how, struct mqshm_mapping **out, struct mqshm_writer *writer,
		 struct mqshm_reader *reader)
{
	const struct mqshm_backend *list[MQSHM_BACKENDS];
	uint64_t wait_until = mqshm_deadline(how->wait_ms);
	int rc = -ENOENT, count = mqshm_backends(list);

	if (count < 0)
		return count;
	for (;;) {
		how->create = how->queue && count == 1;
		for (int i = 0; i < count; i++) {
			rc = list[i]->attach(how, out, writer, reader);
			if (rc != -ENOENT)
				return rc;
		}
		if (how->queue) { /* it is on none of them */
			how->create = true;
			return list[0]->attach(how, out, writer, reader);
		}
		if (how->wait_ms == 0)
			return rc;
		rc = wait_for_name(list, count, how->name, wait_until);
		if (rc)
			return rc;
	}
}
