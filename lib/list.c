/* SPDX-License-Identifier: MIT */
/* All queues there are, on all backends. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "error.h"
#include "stat.h"

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

int mqshm_names(const struct mqshm_backend *backend, char (**names)[MQSHM_NAME_MAX + 1])
{
	DIR *directory = opendir(backend->directory);
	size_t prefix = strlen(backend->prefix);
	int count = 0, room = 0;
	struct dirent *entry;

	*names = NULL;
	if (!directory)
		return mqshm_error(mqshm_errno(), "%s: %s", backend->directory, strerror(errno));
	while ((entry = readdir(directory))) {
		const char *name = entry->d_name + prefix;

		if (strncmp(entry->d_name, backend->prefix, prefix) || mqshm_check_name(name))
			continue;
		if (count == room) {
			void *more = realloc(*names, sizeof **names * (size_t)(room = room ? 2 * room : 64));

			if (!more) {
				free(*names);
				closedir(directory);
				return mqshm_error(-ENOMEM, "no memory");
			}
			*names = more;
		}
		strcpy((*names)[count++], name);
	}
	closedir(directory);
	if (count)
		qsort(*names, (size_t)count, sizeof **names, by_name);
	return count;
}

/* One queue. -ENOENT: gone meanwhile; every other trouble becomes part of the answer. */
static int tell(const struct mqshm_backend *backend, const char *name,
		int (*each)(const struct mqshm_stat *stat, void *arg), void *arg)
{
	struct mqshm_stat *s, failed = { .blocked_by = -1 };
	int rc = backend->stat(name, &s);

	if (rc == -ENOENT)
		return rc;
	if (!rc) {
		rc = each(s, arg);
		mqshm_stat_free(s);
		return rc;
	}
	snprintf(failed.name, sizeof failed.name, "%s", name);
	snprintf(failed.backend, sizeof failed.backend, "%s", backend->name);
	snprintf(failed.error_text, sizeof failed.error_text, "%s", mqshm_last_error());
	failed.error = rc;
	return each(&failed, arg);
}

int mqshm_queue_list(int (*each)(const struct mqshm_stat *stat, void *arg), void *arg)
{
	KEEP_ERRNO;
	const struct mqshm_backend *list[MQSHM_BACKENDS];
	char(*names[MQSHM_BACKENDS])[MQSHM_NAME_MAX + 1] = { NULL };
	int at[MQSHM_BACKENDS] = { 0 }, counts[MQSHM_BACKENDS] = { 0 }, count = mqshm_backends(list), seen = 0, rc = 0;

	if (count < 0)
		return count;
	for (int i = 0; i < count && rc >= 0; i++)
		rc = counts[i] = mqshm_names(list[i], &names[i]);
	if (rc > 0)
		rc = 0;
	while (!rc) {
		int next = -1;

		for (int i = 0; i < count; i++)
			if (at[i] < counts[i] && (next < 0 || strcmp(names[i][at[i]], names[next][at[next]]) < 0))
				next = i;
		if (next < 0)
			break;
		rc = tell(list[next], names[next][at[next]], each, arg);
		at[next]++;
		if (rc == -ENOENT)
			rc = 0;
		else
			seen++;
	}
	for (int i = 0; i < count; i++)
		free(names[i]);
	return rc ? rc : seen;
}
