/* SPDX-License-Identifier: MIT */
/* The public functions on queues by name: each checks its arguments and hands over to the backend. */
#include <stdlib.h>

#include "backend.h"
#include "error.h"

static int prepare(const char *name, const struct mqshm_backend **backend)
{
	int rc = mqshm_check_name(name);

	return rc ? rc : mqshm_backend_get(backend);
}

int mqshm_queue_create(const char *name, const struct mqshm_queue_options *given)
{
	KEEP_ERRNO;
	const struct mqshm_backend *backend;
	struct mqshm_queue_options options;
	int rc = prepare(name, &backend);

	if (!rc)
		rc = mqshm_read_options(&options, given);
	return rc ? rc : backend->create(name, &options);
}

int mqshm_queue_remove(const char *name, unsigned flags)
{
	KEEP_ERRNO;
	const struct mqshm_backend *backend;
	int rc = prepare(name, &backend);

	if (!rc && flags & ~(unsigned)MQSHM_FORCE)
		rc = mqshm_error(-EINVAL, "unknown flags 0x%x", flags);
	return rc ? rc : backend->remove(name, flags);
}

int mqshm_queue_evict(const char *name, uint32_t consumer_id)
{
	KEEP_ERRNO;
	const struct mqshm_backend *backend;
	int rc = prepare(name, &backend);

	return rc ? rc : backend->evict_from(name, consumer_id);
}

int mqshm_queue_gc(const char *name, void (*report)(const char *name, const char *what, void *arg), void *arg)
{
	KEEP_ERRNO;
	const struct mqshm_backend *backend;
	int rc = name ? prepare(name, &backend) : mqshm_backend_get(&backend);

	return rc ? rc : backend->gc(name, report, arg);
}

int mqshm_queue_stat(const char *name, struct mqshm_stat **out)
{
	KEEP_ERRNO;
	const struct mqshm_backend *backend;
	int rc = prepare(name, &backend);

	*out = NULL;
	return rc ? rc : backend->stat(name, out);
}

void mqshm_stat_free(struct mqshm_stat *stat)
{
	if (!stat)
		return;
	free(stat->producers);
	free(stat->consumers);
	free(stat);
}

int mqshm_queue_list(int (*each)(const struct mqshm_stat *stat, void *arg), void *arg)
{
	KEEP_ERRNO;
	const struct mqshm_backend *backend;
	int rc = mqshm_backend_get(&backend);

	return rc ? rc : backend->list(each, arg);
}
