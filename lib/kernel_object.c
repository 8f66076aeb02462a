/* SPDX-License-Identifier: MIT */
/* Queues of the module: found, created, removed. */
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"
#include "stat.h"

static int open_control_quietly(void)
{
	int fd = mqshm_above_standard(open(KERNEL_DIR "/control", O_RDWR | O_CLOEXEC));

	return fd < 0 ? mqshm_errno() : fd;
}

static int open_control(void)
{
	int fd = open_control_quietly();

	if (fd == -ENOENT || fd == -ENXIO || fd == -ENODEV)
		return mqshm_error(-ENODEV, "the kernel module is not loaded: no " KERNEL_DIR "/control");
	if (fd == -EACCES)
		return mqshm_error(fd, KERNEL_DIR "/control may not be opened: only by root and the group mqshm");
	return fd < 0 ? mqshm_error(fd, KERNEL_DIR "/control can't be opened: %s", strerror(-fd)) : fd;
}

int kernel_probe(bool say)
{
	int fd = say ? open_control() : open_control_quietly();

	if (fd == -EACCES)
		return 1; /* queues that others have created can be used: their nodes have rights of their own */
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int kernel_open_node(const char *name, int flags, struct stat *st)
{
	char path[sizeof KERNEL_DIR + MQSHM_NAME_MAX + 1], is[sizeof ((struct mqshm_info *)0)->name];
	int rc, fd;

	snprintf(path, sizeof path, KERNEL_DIR "/%s", name);
	fd = mqshm_above_standard(open(path, flags | O_CLOEXEC | O_NOFOLLOW));
	if (fd < 0) {
		rc = mqshm_errno();
		if (rc == -ENOENT || rc == -ENODEV || rc == -ENXIO) /* or it is just going */
			return mqshm_error(-ENOENT, "there is no queue '%s'", name);
		return mqshm_error(rc, "queue '%s' can't be opened: %s", name, strerror(-rc));
	}
	if (fstat(fd, st) || !S_ISCHR(st->st_mode)) {
		close(fd);
		return mqshm_error(-EBADMSG, "%s is not a queue: no device", path);
	}
	/* Between the look at the node and its opening the queue may have gone, and its number have been given away. */
	if (pread(fd, is, sizeof is, offsetof(struct mqshm_info, name)) == sizeof is && strncmp(is, name, sizeof is)) {
		close(fd);
		return mqshm_error(-ENOENT, "there is no queue '%s'", name);
	}
	return fd;
}

/* 0: fd has it until it is closed or somebody attaches; with to_attach false for good. */
static int create_new(int control, const char *name, const struct mqshm_queue_options *options, bool to_attach)
{
	struct mqshm_ioc_create c = { .size = sizeof c, .flags = to_attach ? MQSHM_IOC_TO_ATTACH : 0 };
	struct mqshm_info plan;
	int rc = mqshm_plan(&plan, name, options, (size_t)sysconf(_SC_PAGESIZE));

	if (rc)
		return rc;
	strcpy((char *)c.name, name);
	c.node_count = plan.node_count;
	c.block_size = plan.block_size;
	c.max_producers = plan.max_producers;
	c.max_consumers = plan.max_consumers;
	c.node_align = plan.node_align;
	c.queue_flags = plan.flags;
	c.slow_policy = plan.slow_policy;
	c.slow_ms = plan.slow_ms;
	c.mode = options->mode ? options->mode : 0600;
	c.base_position = plan.base_position;
	c.metadata_bytes = plan.metadata_bytes;
	memcpy(c.metadata, plan.metadata, sizeof c.metadata);
	if (!ioctl(control, MQSHM_IOC_CREATE, &c)) {
		mqshm_log(MQSHM_LOG_INFO, name, "created by pid %d: %u messages of up to %u bytes", (int)getpid(),
			  plan.node_count, plan.block_size);
		return 0;
	}
	rc = mqshm_errno();
	switch (rc) {
	case -EEXIST:
		return rc;
	case -ENOSPC:
		return mqshm_error(rc, "queue '%s' can't be created: there are as many queues as the kernel module allows", name);
	case -EDQUOT:
		return mqshm_error(rc, "queue '%s' can't be created: the user's share of queues and memory is used up", name);
	case -EFBIG:
		return mqshm_error(rc, "queue '%s' would have %llu bytes, more than the kernel module allows", name,
				   (unsigned long long)plan.total_bytes);
	case -ENOMEM:
		return mqshm_error(rc, "no memory for queue '%s' (%llu bytes)", name, (unsigned long long)plan.total_bytes);
	default:
		return mqshm_error(rc, "queue '%s' can't be created: %s", name, strerror(-rc));
	}
}

/* A queue that was there: is it what is wanted? */
static int check(const char *name, const struct mqshm_queue_options *options, const struct mqshm_info *info, bool fresh)
{
	if (!options || fresh)
		return 0;
	if (options->flags & MQSHM_CREATE_ONLY)
		return mqshm_error(-EEXIST, "queue '%s' exists", name);
	return mqshm_match(info, name, options);
}

int kernel_open(const char *name, const struct mqshm_queue_options *options, bool create, bool to_attach,
		struct kernel_queue *q)
{
	uint64_t deadline = mqshm_now_ns() + KERNEL_GIVE_UP_NS;
	bool fresh = false;
	struct stat st;
	int rc = 0;

	q->control = -1;
	for (;;) {
		q->fd = kernel_open_node(name, O_RDWR, &st);
		if (q->fd != -ENOENT || !create)
			break;
		if (q->control < 0)
			q->control = rc = open_control();
		if (rc >= 0)
			rc = create_new(q->control, name, options, to_attach);
		if (rc == -EEXIST && mqshm_now_ns() >= deadline)
			rc = mqshm_error(-EBUSY, "queue '%s' comes and goes too fast", name);
		if (rc && rc != -EEXIST)
			break;
		fresh = !rc;
		if (!fresh)
			nanosleep(&(struct timespec){ 0, KERNEL_NAP_NS }, NULL);
		rc = 0;
		if (fresh && !to_attach)
			break;
	}
	if (fresh && !to_attach) {
		kernel_close(q);
		return 0;
	}
	if (!rc && q->fd < 0)
		rc = q->fd;
	if (!rc)
		rc = mqshm_read_info(q->fd, name, 0, &q->info);
	if (!rc)
		rc = check(name, options, &q->info, fresh);
	if (rc)
		kernel_close(q);
	return rc ? rc : !fresh;
}

void kernel_close(struct kernel_queue *q)
{
	if (q->fd >= 0)
		close(q->fd);
	if (q->control >= 0)
		close(q->control);
}

int kernel_create(const char *name, const struct mqshm_queue_options *options, bool missing)
{
	struct kernel_queue q;
	int rc = kernel_open(name, options, missing, false, &q);

	if (rc == 1)
		kernel_close(&q);
	return rc;
}

struct mqshm_participant *kernel_table(int fd, const struct mqshm_info *info)
{
	size_t bytes = (info->max_producers + info->max_consumers) * sizeof(struct mqshm_participant);
	struct mqshm_participant *table = malloc(bytes);

	if (table && pread(fd, table, bytes, (off_t)info->participants_offset) != (ssize_t)bytes) {
		free(table);
		table = NULL;
	}
	return table;
}

/* -EBUSY: by whom. */
static int in_use(const char *name)
{
	struct mqshm_participant *table = NULL;
	struct mqshm_info info;
	char users[200] = "others";
	struct stat st;
	int fd = kernel_open_node(name, O_RDONLY, &st);

	if (fd >= 0 && !mqshm_read_info(fd, name, 0, &info))
		table = kernel_table(fd, &info);
	if (table)
		mqshm_name_users(table, info.max_producers + info.max_consumers, users, sizeof users);
	free(table);
	if (fd >= 0)
		close(fd);
	return mqshm_error(-EBUSY, "queue '%s' is in use by %s", name, users);
}

int kernel_remove(const char *name, unsigned flags)
{
	struct mqshm_ioc_remove r = { .size = sizeof r, .flags = flags & MQSHM_FORCE ? MQSHM_IOC_FORCE : 0 };
	int rc, control = open_control();
	struct stat st;

	if (control < 0) {
		rc = kernel_open_node(name, O_PATH, &st);
		if (rc >= 0)
			close(rc);
		return rc == -ENOENT ? rc : control;
	}
	strcpy((char *)r.name, name);
	rc = ioctl(control, MQSHM_IOC_REMOVE, &r) ? mqshm_errno() : 0;
	close(control);
	switch (rc) {
	case 0:
		mqshm_log(MQSHM_LOG_INFO, name, "removed by pid %d", (int)getpid());
		return 0;
	case -ENOENT:
	case -ENODEV:
		return mqshm_error(-ENOENT, "there is no queue '%s'", name);
	case -EBUSY:
		return in_use(name);
	case -EPERM:
		return mqshm_error(rc, "queue '%s' can be removed by its owner and by root only", name);
	default:
		return mqshm_error(rc, "queue '%s' can't be removed: %s", name, strerror(-rc));
	}
}
