/* SPDX-License-Identifier: MIT */
/*
 * The object of a queue: found, made, mapped, removed. A new one is complete before it gets its name (an unnamed file,
 * then a link), so nobody ever sees half a queue, and a creator that dies leaves nothing.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "posix.h"
#include "stat.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define RETRIES 100 /* times that a queue may vanish or appear under us before we give up */

void posix_path(char path[64 + sizeof POSIX_DIR + sizeof POSIX_PREFIX], const char *name)
{
	snprintf(path, 64 + sizeof POSIX_DIR + sizeof POSIX_PREFIX, POSIX_DIR "/" POSIX_PREFIX "%.63s", name);
}

int posix_open_object(const char *name, int flags, struct stat *st)
{
	char path[64 + sizeof POSIX_DIR + sizeof POSIX_PREFIX];
	int fd;

	posix_path(path, name);
	/* Before any lock: a duplicate would share it. */
	fd = mqshm_above_standard(open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
	if (fd < 0) {
		int rc = mqshm_errno();

		if (rc == -ENOENT)
			return mqshm_error(rc, "there is no queue '%s'", name);
		if (rc == -ELOOP || rc == -ENXIO || rc == -EISDIR)
			return mqshm_error(-EBADMSG, "%s is not a queue: not a regular file", path);
		return mqshm_error(rc, "queue '%s' can't be opened: %s", name, strerror(-rc));
	}
	if (fstat(fd, st) || !S_ISREG(st->st_mode)) {
		close(fd);
		return mqshm_error(-EBADMSG, "%s is not a queue: not a regular file", path);
	}
	return fd;
}

/* Its lock descriptor, another open file description of the object open as fd. */
static int open_lock(struct mqshm_mapping *m, int fd)
{
	struct posix_mapping *p = posix(m);
	char path[32];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	p->lock_fd = mqshm_above_standard(open(path, O_RDWR | O_CLOEXEC));
	if (p->lock_fd < 0)
		return mqshm_error(mqshm_errno(), "queue '%s': no lock descriptor: %s (is /proc mounted?)", m->name,
				   strerror(errno));
	return 0;
}

/* It is closed, not unlocked: that would take the parent's lock. Only what still is ours: others may have reused the number. */
void posix_forked(struct mqshm_mapping *m)
{
	struct posix_mapping *p = posix(m);
	struct stat st;

	if (posix_has_lock_fd(p, &st))
		close(p->lock_fd);
	p->lock_fd = -1;
}

void posix_close(struct posix_mapping *p)
{
	bool lifecycle = p->lifecycle;
	struct stat st;

	mqshm_unregister(&p->base);
	if (lifecycle && p->address)
		WRITE_ONCE(p->base.ring.info->lifecycle_pid, 0); /* as posix_lifecycle_unlock() */
	if (p->address)
		munmap(p->address, p->length);
	if (posix_has_lock_fd(p, &st)) {
		/* Unlock by hand: a child made without fork handlers may hold the description open. */
		struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = MQSHM_LOCK_LIFECYCLE };

		fcntl(p->lock_fd, F_OFD_SETLK, &all);
		close(p->lock_fd);
	}
	free(p);
	if (lifecycle)
		mqshm_log_deliver();
}

static struct posix_mapping *new_mapping(const char *name)
{
	struct posix_mapping *p = calloc(1, sizeof *p);

	if (!p) {
		mqshm_error(-ENOMEM, "no memory for a handle");
		return NULL;
	}
	p->base.backend = &mqshm_backend_posix;
	p->lock_fd = -1;
	pthread_mutex_init(&p->repairs, NULL);
	p->pid_namespace = posix_pid_namespace();
	snprintf(p->base.name, sizeof p->base.name, "%s", name);
	return p;
}

static int map(struct posix_mapping *p, int fd, uint64_t bytes, uint32_t flags)
{
	struct stat st;

	p->length = (size_t)bytes;
	p->address = mmap(NULL, p->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p->address == MAP_FAILED) {
		int rc = mqshm_errno();

		p->address = NULL;
		return mqshm_error(rc, "queue '%s' can't be mapped (%" PRIu64 " bytes): %s", p->base.name, bytes,
				   strerror(-rc));
	}
	madvise(p->address, p->length, MADV_DONTFORK);
	if (flags & MQSHM_MLOCK && mlock(p->address, p->length)) {
		int rc = mqshm_errno();

		return mqshm_error(rc, "queue '%s' can't be locked in memory: %s (RLIMIT_MEMLOCK)", p->base.name,
				   strerror(-rc));
	}
	if (flags & MQSHM_PREFAULT)
		madvise(p->address, p->length, MADV_POPULATE_WRITE); /* only a hint: older kernels fault as they go */
	if (fstat(fd, &st))
		return mqshm_errno();
	p->device = st.st_dev;
	p->inode = st.st_ino;
	return mqshm_register(&p->base, open_lock, fd);
}

/* Map an existing object. */
static int open_existing(const char *name, uint32_t flags, struct posix_mapping **out)
{
	struct mqshm_info info;
	struct posix_mapping *p;
	struct stat st;
	int rc, fd = posix_open_object(name, O_RDWR, &st);

	if (fd < 0)
		return fd;
	rc = mqshm_read_info(fd, name, (uint64_t)st.st_size, &info);
	if (rc) {
		close(fd);
		if (rc == -EBADMSG)
			mqshm_log(MQSHM_LOG_ERROR, name, "damaged, or no queue");
		return rc;
	}
	p = new_mapping(name);
	rc = p ? map(p, fd, info.total_bytes, flags) : -ENOMEM;
	close(fd);
	if (rc) {
		if (p)
			posix_close(p);
		return rc;
	}
	mqshm_ring_init(&p->base.ring, &info, p->address);
	*out = p;
	return 0;
}

/* Make a new object and give it its name; the life-cycle byte is ours before anybody can see it. */
static int create_new(const char *name, const struct mqshm_queue_options *options, uint32_t flags,
		      struct posix_mapping **out)
{
	char path[64 + sizeof POSIX_DIR + sizeof POSIX_PREFIX], self[32];
	struct mqshm_info plan;
	struct posix_mapping *p;
	int rc, fd;

	rc = mqshm_plan(&plan, name, options, MQSHM_LINE);
	if (rc)
		return rc;
	fd = open(POSIX_DIR, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return mqshm_error(mqshm_errno(), "queue '%s' can't be created in " POSIX_DIR ": %s", name, strerror(errno));
	p = new_mapping(name);
	rc = p ? map(p, fd, plan.total_bytes, 0) : -ENOMEM; /* first: address space is cheaper to find short */
	if (!rc)
		rc = posix_reserve(fd, name, plan.total_bytes);
	if (!rc) {
		if (flags & MQSHM_MLOCK && mlock(p->address, p->length))
			rc = mqshm_error(mqshm_errno(), "queue '%s' can't be locked in memory: %s (RLIMIT_MEMLOCK)", name,
					 strerror(errno));
		if (flags & MQSHM_PREFAULT)
			madvise(p->address, p->length, MADV_POPULATE_WRITE);
	}
	if (!rc) {
		plan.used = !!(flags & POSIX_TO_ATTACH); /* should we die before we are in */
		mqshm_format(p->address, &plan);
		mqshm_ring_init(&p->base.ring, &plan, p->address);
		rc = posix_lifecycle_lock(p, 0);
	}
	if (!rc && fchmod(fd, options->mode ? options->mode : 0600))
		rc = mqshm_error(mqshm_errno(), "queue '%s': mode %o: %s", name, options->mode, strerror(errno));
	if (!rc) {
		posix_path(path, name);
		snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
		if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW))
			rc = errno == EEXIST ? -EEXIST
					     : mqshm_error(mqshm_errno(), "queue '%s' can't be created: %s", name,
							   strerror(errno));
	}
	close(fd);
	if (!rc)
		mqshm_log(MQSHM_LOG_INFO, name, "created by pid %d: %u messages of up to %u bytes", (int)getpid(),
			  plan.node_count, plan.block_size);
	if (rc && p)
		posix_close(p);
	else
		*out = p;
	return rc;
}

static bool name_is_ours(const struct posix_mapping *p)
{
	char path[64 + sizeof POSIX_DIR + sizeof POSIX_PREFIX];
	struct stat st;

	posix_path(path, p->base.name);
	return !lstat(path, &st) && st.st_dev == p->device && st.st_ino == p->inode;
}

int posix_unlink(struct posix_mapping *p)
{
	char path[64 + sizeof POSIX_DIR + sizeof POSIX_PREFIX];

	smp_store_release(&p->base.ring.info->dead, 1);
	posix_path(path, p->base.name);
	if (name_is_ours(p) && unlink(path) && errno != ENOENT)
		return mqshm_error(mqshm_errno(), "queue '%s' is dead, but only its owner can remove it: %s", p->base.name,
				   strerror(errno));
	return 0;
}

/* Life-cycle byte held: is it a queue to join, or what is left of one? */
static bool is_zombie(struct posix_mapping *p)
{
	struct mqshm_info *info = p->base.ring.info;

	if (READ_ONCE(info->dead))
		return true;
	if (p->base.ring.flags & MQSHM_PERSISTENT)
		return false;
	return READ_ONCE(info->used) && !posix_anybody(p);
}

int posix_open(const char *name, const struct mqshm_queue_options *options, uint32_t flags, uint64_t deadline,
	       struct posix_mapping **out, bool *created)
{
	for (int tries = 0; tries < RETRIES; tries++) {
		struct posix_mapping *p = NULL;
		int rc = open_existing(name, flags, &p);

		if (rc == -ENOENT && flags & POSIX_CREATE) {
			rc = create_new(name, options, flags, out);
			if (created)
				*created = !rc;
			if (rc == -EEXIST)
				continue; /* somebody was faster */
			return rc;
		}
		if (rc)
			return rc;
		rc = posix_lifecycle_lock(p, deadline);
		if (rc) {
			posix_close(p);
			return rc;
		}
		if (!name_is_ours(p)) { /* removed, or replaced, since we opened it */
			posix_close(p);
			continue;
		}
		if (is_zombie(p)) {
			rc = posix_unlink(p);
			if (!rc)
				mqshm_log(MQSHM_LOG_INFO, name, "removed: nobody who used it is left");
			posix_close(p);
			if (rc)
				return rc;
			continue;
		}
		if (options && options->flags & MQSHM_CREATE_ONLY)
			rc = mqshm_error(-EEXIST, "queue '%s' exists", name);
		else if (options)
			rc = mqshm_match(p->base.ring.info, name, options);
		if (rc) {
			posix_close(p);
			return rc;
		}
		if (created)
			*created = false;
		*out = p;
		return 0;
	}
	return mqshm_error(-EBUSY, "queue '%s' comes and goes too fast", name);
}
