/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the module's selftests share: its ioctls without the library, processes that hold a role, and a fixture: one queue,
 * made by root or by an ordinary user. All call the kernel directly, so that what is tested is the module alone.
 */
#ifndef MQSHM_SELFTEST_H
#define MQSHM_SELFTEST_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <kselftest_harness.h>

#include "mqshm/abi.h"

/* The guest is emulated, and may be without a processor for a while. */
#ifndef SELFTEST_SECONDS
#define SELFTEST_SECONDS 60
#endif
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT SELFTEST_SECONDS

#define CONTROL "/dev/mqshm/control"
#define USER 1000
#define SHARED 0x0001 /* of mqshm.h */
#define OVERWRITE 0x0002
#define PERSISTENT 0x0008
#define PAGE 4096UL
#define FOREVER (~0ULL)

static void *volatile bad_pointer = (void *)8;

/* The result of a system call, -errno when it fails. */
#define sys(call) ({ long sys_rc = (long)(call); sys_rc == -1 ? -(long)errno : sys_rc; })

/* ---- ioctls ---- */

static inline int open_control(void)
{
	return open(CONTROL, O_RDWR | O_CLOEXEC);
}

static inline struct mqshm_ioc_create create_argument(const char *name)
{
	struct mqshm_ioc_create c = {
		.size = sizeof c, .node_count = 15, .block_size = 232, .max_producers = 1, .max_consumers = 4, .node_align = 8,
		.mode = 0600,
	};

	snprintf((char *)c.name, sizeof c.name, "%s", name);
	return c;
}

static inline int create(int control, const struct mqshm_ioc_create *c)
{
	return sys(ioctl(control, MQSHM_IOC_CREATE, c));
}

static inline int remove_queue(int control, const char *name, uint32_t flags)
{
	struct mqshm_ioc_remove r = { .size = sizeof r, .flags = flags };

	snprintf((char *)r.name, sizeof r.name, "%s", name);
	return sys(ioctl(control, MQSHM_IOC_REMOVE, &r));
}

static inline int open_queue(const char *name, int flags)
{
	char path[96];

	snprintf(path, sizeof path, "/dev/mqshm/%s", name);
	return sys(open(path, flags | O_CLOEXEC));
}

static inline int attach(int fd, struct mqshm_ioc_attach *a)
{
	a->size = sizeof *a;
	return sys(ioctl(fd, MQSHM_IOC_ATTACH, a));
}

/* A role with nothing special. */
static inline int attach_as(int fd, uint32_t role)
{
	struct mqshm_ioc_attach a = { .role = role };

	return attach(fd, &a);
}

static inline int attach_named(int fd, const char *name, uint32_t lease_ms, struct mqshm_ioc_attach *a)
{
	*a = (struct mqshm_ioc_attach){ .role = MQSHM_IOC_CONSUMER, .lease_ms = lease_ms };
	snprintf((char *)a->name, sizeof a->name, "%s", name);
	return attach(fd, a);
}

static inline int detach(int fd, uint32_t how)
{
	struct mqshm_ioc_detach d = { .size = sizeof d, .how = how };

	return sys(ioctl(fd, MQSHM_IOC_DETACH, &d));
}

static inline int arm(int fd, uint32_t word, uint32_t *value)
{
	struct mqshm_ioc_word w = { .size = sizeof w, .word = word };
	int rc = sys(ioctl(fd, MQSHM_IOC_ARM, &w));

	*value = w.value;
	return rc;
}

static inline int wake(int fd, uint32_t word)
{
	struct mqshm_ioc_word w = { .size = sizeof w, .word = word };

	return sys(ioctl(fd, MQSHM_IOC_WAKE, &w));
}

static inline int wait_word(int fd, uint32_t word, uint32_t value, uint64_t ns)
{
	struct mqshm_ioc_wait w = { .size = sizeof w, .word = word, .value = value, .ns = ns };

	return sys(ioctl(fd, MQSHM_IOC_WAIT, &w));
}

/* Arms, looks at tail and epoch, and sleeps. */
static inline int wait_for_data(int fd, uint32_t value, uint64_t until, uint32_t epoch)
{
	struct mqshm_ioc_wait w = { .size = sizeof w, .word = MQSHM_WORD_DATA, .flags = MQSHM_IOC_FOR_DATA, .value = value,
				    .until = until, .epoch = epoch, .ns = FOREVER };

	return sys(ioctl(fd, MQSHM_IOC_WAIT, &w));
}

static inline int end_role(int fd, uint32_t participant, uint32_t why, uint32_t flags)
{
	struct mqshm_ioc_end e = { .size = sizeof e, .participant = participant, .why = why, .flags = flags };

	return sys(ioctl(fd, MQSHM_IOC_END, &e));
}

/* ---- what a descriptor shows and maps ---- */

static inline int read_info(int fd, struct mqshm_info *info)
{
	return sys(pread(fd, info, sizeof *info, 0)) == sizeof *info ? 0 : -EIO;
}

static inline struct mqshm_participant participant(int fd, uint32_t i)
{
	struct mqshm_participant p = { 0 };

	if (pread(fd, &p, sizeof p, sizeof(struct mqshm_info) + i * sizeof p) != sizeof p)
		memset(&p, 0xff, sizeof p);
	return p;
}

static inline uint32_t slot_state(int fd, uint32_t i)
{
	return MQSHM_SLOT_STATE(participant(fd, i).state);
}

enum region { INFO, PRODUCER, CONSUMERS, OWN, NODES, REGIONS };

static inline void region(const struct mqshm_info *info, enum region r, uint32_t consumer, size_t *offset, size_t *bytes)
{
	switch (r) {
	case INFO: *offset = 0; *bytes = info->producer_offset; break;
	case PRODUCER: *offset = info->producer_offset; *bytes = info->consumers_offset - info->producer_offset; break;
	case CONSUMERS: *offset = info->consumers_offset; *bytes = info->nodes_offset - info->consumers_offset; break;
	case OWN: *offset = info->consumers_offset + (size_t)consumer * info->consumer_stride; *bytes = info->consumer_stride; break;
	default: *offset = info->nodes_offset; *bytes = info->ring_bytes; break;
	}
}

/* MAP_FAILED with errno. */
static inline void *map_region(int fd, const struct mqshm_info *info, enum region r, uint32_t consumer, int prot)
{
	size_t offset, bytes;

	region(info, r, consumer, &offset, &bytes);
	return mmap(NULL, bytes, prot, MAP_SHARED, fd, (off_t)offset);
}

static inline long try_map(int fd, const struct mqshm_info *info, enum region r, uint32_t consumer, int prot)
{
	return map_region(fd, info, r, consumer, prot) == MAP_FAILED ? -errno : 0;
}

static inline struct mqshm_consumer_area *area_of(void *page, uint32_t consumer)
{
	return (struct mqshm_consumer_area *)((char *)page + consumer % 64 * 64);
}

/* As a producer does after having written nodes. */
static inline void publish(struct mqshm_producer_page *p, uint64_t tail, uint64_t next)
{
	struct mqshm_record *r = &p->record[next & 1];

	r->next = next;
	r->end = tail;
	__atomic_store_n(&p->tail, tail, __ATOMIC_RELEASE);
}

static inline short poll_now(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static sigjmp_buf touch_back;

static inline void touch_failed(int signal)
{
	siglongjmp(touch_back, signal);
}

/* What touching this address gives: 0, or the signal. */
static inline int touch(volatile void *address, bool write)
{
	struct sigaction action = { .sa_handler = touch_failed }, bus, segv;
	volatile int got;

	sigaction(SIGBUS, &action, &bus);
	sigaction(SIGSEGV, &action, &segv);
	got = sigsetjmp(touch_back, 1);
	if (!got && write)
		*(volatile uint64_t *)address = 0x5a5a5a5a;
	else if (!got)
		(void)*(volatile uint64_t *)address;
	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &segv, NULL);
	return got;
}

/* ---- processes ---- */

/* A child that runs body(argument) and exits with what it gives, killed when we end. */
static inline pid_t spawn(int (*body)(void *), void *argument)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(body(argument));
	}
	return pid;
}

/* Its exit status, or 128 + the signal. */
static inline int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Asleep in the kernel, as /proc shows it. */
static inline bool sleeps(pid_t pid)
{
	char path[64], line[512] = "";
	int fd;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	if (fd >= 0 && read(fd, line, sizeof line - 1) < 0)
		line[0] = 0;
	close(fd);
	return strstr(line, ") S");
}

static inline void become(uid_t uid)
{
	if (uid && (setresgid(uid, uid, uid) || setresuid(uid, uid, uid)))
		_exit(99);
}

/* Until something has become true that the kernel does by itself, or the test's time is over. */
#define eventually(condition) ({ while (!(condition)) usleep(1000); true; })

/* ---- a queue, by root and by a user ---- */

FIXTURE(queue) {
	int control;
	int fd; /* without a role */
	char name[64];
	struct mqshm_info info;
};

FIXTURE_VARIANT(queue) {
	uid_t uid;
};

FIXTURE_VARIANT_ADD(queue, root) { .uid = 0 };
FIXTURE_VARIANT_ADD(queue, user) { .uid = USER };

FIXTURE_SETUP(queue)
{
	struct mqshm_ioc_create c;

	ASSERT_EQ(0, chmod(CONTROL, 0666));
	become(variant->uid);
	snprintf(self->name, sizeof self->name, "t%d-q", getpid());
	self->control = open_control();
	ASSERT_GE(self->control, 0);
	c = create_argument(self->name);
	c.queue_flags = PERSISTENT;
	ASSERT_EQ(0, create(self->control, &c));
	self->fd = open_queue(self->name, O_RDWR);
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(0, read_info(self->fd, &self->info));
}

FIXTURE_TEARDOWN(queue)
{
	EXPECT_EQ(0, remove_queue(self->control, self->name, MQSHM_IOC_FORCE));
	close(self->fd);
	close(self->control);
}

#endif
