/* SPDX-License-Identifier: MIT */
/*
 * The public functions on queues by name: each checks its arguments and hands over to the backends, in their order, until one
 * knows the name.
 */
#include <stdlib.h>

#include "backend.h"
#include "error.h"
#include "stat.h"

/* How many backends, or -errno. */
static int prepare(const char *name, const struct mqshm_backend *list[MQSHM_BACKENDS])
{
	int rc = mqshm_check_name(name);

	return rc < 0 ? rc : mqshm_backends(list);
}

int mqshm_queue_create(const char *name, const struct mqshm_queue_options *given)
{
	KEEP_ERRNO;
	const struct mqshm_backend *list[MQSHM_BACKENDS];
	struct mqshm_queue_options options;
	int count = prepare(name, list), rc = count < 0 ? count : mqshm_read_options(&options, given);

	if (rc)
		return rc;
	rc = -ENOENT;
	for (int i = 0; i < count && count > 1 && rc == -ENOENT; i++)
		rc = list[i]->create(name, &options, false);
	return rc == -ENOENT ? list[0]->create(name, &options, true) : rc;
}

int mqshm_queue_remove(const char *name, unsigned flags)
{
	KEEP_ERRNO;
	const struct mqshm_backend *list[MQSHM_BACKENDS];
	int count = prepare(name, list), rc = -ENOENT;

	if (count >= 0 && flags & ~(unsigned)MQSHM_FORCE)
		return mqshm_error(-EINVAL, "unknown flags 0x%x", flags);
	for (int i = 0; i < count && rc == -ENOENT; i++)
		rc = list[i]->remove(name, flags);
	return count < 0 ? count : rc;
}

int mqshm_queue_evict(const char *name, uint32_t consumer_id)
{
	KEEP_ERRNO;
	const struct mqshm_backend *list[MQSHM_BACKENDS];
	int count = prepare(name, list), rc = -ENOENT;

	for (int i = 0; i < count && rc == -ENOENT; i++)
		rc = list[i]->evict_from(name, consumer_id);
	return count < 0 ? count : rc;
}

/* Of one backend: all its queues. */
static int gc_all(const struct mqshm_backend *backend, void (*report)(const char *name, const char *what, void *arg),
		  void *arg)
{
	char(*names)[MQSHM_NAME_MAX + 1];
	int count = mqshm_names(backend, &names), removed = 0;

	for (int i = 0; i < count; i++)
		removed += backend->gc(names[i], report, arg) > 0;
	if (count >= 0)
		free(names);
	return count < 0 ? count : removed;
}

int mqshm_queue_gc(const char *name, void (*report)(const char *name, const char *what, void *arg), void *arg)
{
	KEEP_ERRNO;
	const struct mqshm_backend *list[MQSHM_BACKENDS];
	int count = name ? prepare(name, list) : mqshm_backends(list), rc = name ? -ENOENT : 0;

	for (int i = 0; i < count && name && rc == -ENOENT; i++)
		rc = list[i]->gc(name, report, arg);
	for (int i = 0; i < count && !name && rc >= 0; i++) {
		int removed = gc_all(list[i], report, arg);

		rc = removed < 0 ? removed : rc + removed;
	}
	return count < 0 ? count : rc;
}

int mqshm_queue_stat(const char *name, struct mqshm_stat **out)
{
	KEEP_ERRNO;
	const struct mqshm_backend *list[MQSHM_BACKENDS];
	int count = prepare(name, list), rc = -ENOENT;

	*out = NULL;
	for (int i = 0; i < count && rc == -ENOENT; i++)
		rc = list[i]->stat(name, out);
	return count < 0 ? count : rc;
}

void mqshm_stat_free(struct mqshm_stat *stat)
{
	if (!stat)
		return;
	free(stat->producers);
	free(stat->consumers);
	free(stat);
}
