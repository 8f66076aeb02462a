/* SPDX-License-Identifier: MIT */
/* The kernel backend: its table, and what is a look or one call. See kernel.h. */
#include <fcntl.h>
#include <unistd.h>

#include "kernel.h"
#include "stat.h"
#include "watch.h"

static int stat_queue(const char *name, struct mqshm_stat **out)
{
	struct mqshm_look how = { .name = name, .backend = mqshm_backend_kernel.name };
	int rc;

	how.fd = kernel_open_node(name, O_RDONLY, &how.st);
	if (how.fd < 0)
		return how.fd;
	rc = mqshm_look(&how, out);
	close(how.fd);
	return rc;
}

/* The module leaves nothing behind that would have to be collected. */
static int gc(const char *name, void (*report)(const char *name, const char *what, void *arg), void *arg)
{
	struct stat st;
	int fd = kernel_open_node(name, O_RDONLY, &st);

	(void)report;
	(void)arg;
	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

/* mqshm_queue_evict() */
static int evict_from(const char *name, uint32_t slot)
{
	struct mqshm_ioc_end e = { .size = sizeof e, .why = MQSHM_WHY_BY_HAND };
	struct mqshm_info info;
	struct stat st;
	int rc, fd = kernel_open_node(name, O_RDONLY, &st);

	if (fd < 0)
		return fd;
	rc = mqshm_read_info(fd, name, 0, &info);
	if (!rc && slot >= info.max_consumers)
		rc = -ESRCH;
	if (!rc) {
		e.participant = info.max_producers + slot;
		rc = ioctl(fd, MQSHM_IOC_END, &e) ? mqshm_errno() : 0;
	}
	close(fd);
	if (rc == -ESRCH)
		return mqshm_error(rc, "queue '%s' has no consumer %u", name, slot);
	if (rc == -EPERM)
		return mqshm_error(rc, "consumers of queue '%s' can be evicted by its owner and by root only", name);
	if (rc)
		return rc == -ENODEV ? mqshm_error(-ENOENT, "there is no queue '%s'", name) : rc;
	mqshm_log(MQSHM_LOG_WARNING, name, "evicted consumer %u: by hand, by pid %d", slot, (int)getpid());
	return 0;
}

static int check(struct mqshm_mapping *m, uint32_t i)
{
	uint32_t word = smp_load_acquire(&m->ring.participants[i].state);

	return slot_is_live(word) || slot_is_joining(word) || MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LEASED;
}

static bool end(struct mqshm_mapping *m, uint32_t i, uint32_t word, uint32_t why, uint32_t flags)
{
	struct mqshm_ioc_end e = { .size = sizeof e, .participant = i, .state = word, .why = why, .flags = flags };
	int saved = errno, rc = ioctl(kernel(m)->fd, MQSHM_IOC_END, &e);
	char role[MQSHM_ROLE_TEXT];

	errno = saved;
	if (!rc && mqshm_log_wants(MQSHM_LOG_WARNING))
		mqshm_log(MQSHM_LOG_WARNING, m->name, "%s %s: %s", flags & MQSHM_IOC_DEMOTE ? "demoted" : "evicted",
			  mqshm_role_text(&m->ring, i, role),
			  why == MQSHM_WHY_SLOW ? "too slow" : "its cursor is out of bounds");
	return !rc;
}

static bool evict(struct mqshm_mapping *m, uint32_t i, uint32_t word, uint32_t why)
{
	return end(m, i, word, why, 0);
}

static bool demote(struct mqshm_mapping *m, uint32_t i, uint32_t word, uint32_t why)
{
	return end(m, i, word, why, MQSHM_IOC_DEMOTE);
}

static int check_self(struct mqshm_mapping *m)
{
	if (!mqshm_has_role(m) || READ_ONCE(m->ring.info->dead))
		return mqshm_lost_role(m);
	if (!kernel_has_fd(kernel(m)))
		return mqshm_error(-ESTALE, "the descriptor of queue '%s' was closed by this process (closefrom?)", m->name);
	return 0;
}

static int watch_begin(struct mqshm_watch *w)
{
	static const struct watch_place place = {
		.backend = &mqshm_backend_kernel,
		.told = true,
		.open_file = kernel_open_node,
	};

	return watch_files_begin(w, &place);
}

const struct mqshm_backend mqshm_backend_kernel = {
	.name = "kernel",
	.directory = KERNEL_DIR,
	.prefix = "",
	.ends_roles = true,
	.probe = kernel_probe,
	.create = kernel_create,
	.remove = kernel_remove,
	.gc = gc,
	.evict_from = evict_from,
	.stat = stat_queue,
	.watch_begin = watch_begin,
	.watch_look = watch_files_look,
	.watch_fd = watch_files_fd,
	.watch_end = watch_files_end,
	.attach = kernel_attach,
	.detach = kernel_detach,
	.arm = kernel_arm,
	.wake_armed = kernel_wake_armed,
	.sleep = kernel_sleep,
	.sleep_for_data = kernel_sleep_for_data,
	.wake = kernel_wake,
	.descriptor = kernel_descriptor,
	.check = check,
	.evict = evict,
	.demote = demote,
	.check_self = check_self,
	.forked = kernel_forked,
};
