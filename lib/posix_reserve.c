/* SPDX-License-Identifier: MIT */
/*
 * Reserving all memory of a new queue at create, so that no later access can meet a full /dev/shm (SIGBUS) or the limit
 * of a control group (a kill). posix_fallocate() alone gets the process killed at such a limit, so every limit is
 * looked at first, and again before each step. What another process takes between a look and the step is the race that
 * remains.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "posix.h"

#define STEP (16u << 20)   /* bytes between looks */
#define SLACK (1u << 20)   /* left free in a control group for page tables and the like */

static int read_number(const char *directory, const char *file, uint64_t *value)
{
	char path[PATH_MAX + 64];
	FILE *f;
	int n;

	snprintf(path, sizeof path, "%s/%s", directory, file);
	f = fopen(path, "re");
	if (!f)
		return -1;
	n = fscanf(f, "%" SCNu64, value); /* "max": no number, no limit */
	fclose(f);
	return n == 1 ? 0 : -1;
}

/* Page cache of the group, which gives way; a queue's own pages are not among it. */
static uint64_t reclaimable(const char *directory, const char *prefix)
{
	char path[PATH_MAX + 64], key[64];
	uint64_t value, sum = 0;
	size_t skip = strlen(prefix);
	FILE *f;

	snprintf(path, sizeof path, "%s/memory.stat", directory);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fscanf(f, "%63s %" SCNu64, key, &value) == 2)
		if (!strncmp(key, prefix, skip) &&
		    (!strcmp(key + skip, "active_file") || !strcmp(key + skip, "inactive_file")))
			sum += value;
	fclose(f);
	return sum;
}

/* Look at one control group and every level above it, up to where the hierarchy is mounted. */
static int check_levels(const char *mount, char *directory, bool v2, uint64_t bytes, const char *name)
{
	for (;;) {
		uint64_t limit, used, cache;
		char *slash;

		if (!read_number(directory, v2 ? "memory.max" : "memory.limit_in_bytes", &limit) &&
		    !read_number(directory, v2 ? "memory.current" : "memory.usage_in_bytes", &used)) {
			cache = reclaimable(directory, v2 ? "" : "total_");
			used = used > cache ? used - cache : 0;
			if (used > limit || limit - used < bytes + SLACK)
				return mqshm_error(-ENOMEM,
						   "queue '%s' needs %" PRIu64 " bytes, the control group %s has %" PRIu64
						   " of %" PRIu64 " left", name, bytes,
						   *(directory + strlen(mount)) ? directory + strlen(mount) : "/",
						   used > limit ? 0 : limit - used, limit);
		}
		slash = strrchr(directory, '/');
		if (!slash || strlen(directory) <= strlen(mount))
			return 0;
		*slash = 0;
	}
}

/* Where a hierarchy is mounted, and what of it: from /proc/self/mountinfo. */
static bool find_mount(bool v2, char root[PATH_MAX], char mount[PATH_MAX])
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	while (f && !found && getline(&line, &size, f) > 0) {
		char *type = strstr(line, " - ");

		if (!type || sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount) != 2)
			continue;
		found = v2 ? !strncmp(type, " - cgroup2 ", 11)
			   : !strncmp(type, " - cgroup ", 10) && strstr(type + 10, "memory");
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

static int check_cgroups(uint64_t bytes, const char *name)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char *line = NULL, *root = malloc(PATH_MAX), *mount = malloc(PATH_MAX), *directory = malloc(2 * PATH_MAX);
	size_t size = 0;
	int rc = 0;

	while (f && root && mount && directory && !rc && getline(&line, &size, f) > 0) {
		char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
		size_t root_length;
		bool v2;

		if (!path)
			continue;
		*path++ = 0;
		path[strcspn(path, "\n")] = 0;
		v2 = !controllers[1];
		if ((!v2 && !strstr(controllers, "memory")) || !find_mount(v2, root, mount))
			continue;
		/* In a container the path may lie above what is mounted; then the mount is all we can see. */
		root_length = strcmp(root, "/") ? strlen(root) : 0;
		if (strncmp(path, root, root_length) || strstr(path, "/.."))
			path = "", root_length = 0;
		snprintf(directory, 2 * PATH_MAX, "%s%s", mount, path + root_length);
		if (directory[strlen(directory) - 1] == '/')
			directory[strlen(directory) - 1] = 0;
		rc = check_levels(mount, directory, v2, bytes, name);
	}
	free(line);
	free(root);
	free(mount);
	free(directory);
	if (f)
		fclose(f);
	return rc;
}

static int check_file_system(int fd, const char *name, uint64_t bytes)
{
	struct statvfs fs;
	uint64_t room;

	if (fstatvfs(fd, &fs) || !fs.f_blocks) /* a tmpfs without a limit says 0 */
		return 0;
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (bytes > room)
		return mqshm_error(-ENOSPC,
				   "queue '%s' needs %" PRIu64 " bytes, " POSIX_DIR " has %" PRIu64 " of %" PRIu64
				   " left (Docker: --shm-size)", name, bytes, room,
				   (uint64_t)fs.f_blocks * fs.f_frsize);
	return 0;
}

/* With signals blocked, so that a handler can't cut it short, and SIGXFSZ taken out of the queue. */
static int allocate(int fd, uint64_t from, uint64_t bytes)
{
	struct timespec none = { 0, 0 };
	sigset_t all, before, pending, xfsz;
	bool was_pending;
	int rc;

	sigfillset(&all);
	sigemptyset(&xfsz);
	sigaddset(&xfsz, SIGXFSZ);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	sigpending(&pending);
	was_pending = sigismember(&pending, SIGXFSZ);
	rc = posix_fallocate(fd, (off_t)from, (off_t)bytes);
	if (rc == EFBIG && !was_pending)
		sigtimedwait(&xfsz, NULL, &none);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -rc;
}

int posix_reserve(int fd, const char *name, uint64_t bytes)
{
	struct rlimit limit;
	uint64_t done = 0;
	int rc;

	if (!getrlimit(RLIMIT_FSIZE, &limit) && limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur)
		return mqshm_error(-EFBIG, "queue '%s' needs %" PRIu64 " bytes, RLIMIT_FSIZE allows %" PRIu64, name, bytes,
				   (uint64_t)limit.rlim_cur);
	while (done < bytes) {
		uint64_t step = bytes - done < STEP ? bytes - done : STEP;

		if ((rc = check_file_system(fd, name, bytes - done)) || (rc = check_cgroups(bytes - done, name)))
			return rc;
		rc = allocate(fd, done, step);
		if (rc)
			return mqshm_error(rc, "queue '%s': no memory for %" PRIu64 " bytes: %s%s", name, bytes,
					   strerror(-rc), rc == -ENOSPC ? " in " POSIX_DIR " (Docker: --shm-size)" : "");
		done += step;
	}
	return 0;
}
