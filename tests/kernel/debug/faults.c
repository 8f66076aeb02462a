// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocations and copies that fail: each operation is done with its first, second, third... one failing, until it needs no
 * more. It gives -ENOMEM or -EFAULT and leaves nothing, or it does what it does; and works at once when tried again. The
 * kernel's fault injection makes them fail (failslab, fail_page_alloc, fail_usercopy; /proc/PID/fail-nth), so this runs on
 * the kernels of this directory alone, whose kmemleak then looks for what was lost on the way.
 */
#include <sys/epoll.h>

#include "../selftest/common.h"

static void set(const char *file, const char *value)
{
	char path[96];
	int fd;

	snprintf(path, sizeof path, "/sys/kernel/debug/%s", file);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, value, strlen(value)) < 0) {
		fprintf(stderr, "# %s: %s\n", path, strerror(errno));
		_exit(99);
	}
	close(fd);
}

/* Allocations that may sleep fail, too, and of one page, too. */
static void __attribute__((constructor)) fail_all_kinds(void)
{
	set("failslab/ignore-gfp-wait", "N");
	set("fail_page_alloc/ignore-gfp-wait", "N");
	set("fail_page_alloc/ignore-gfp-highmem", "N");
	set("fail_page_alloc/min-order", "0");
	set("failslab/verbose", "0");
	set("fail_page_alloc/verbose", "0");
	set("fail_usercopy/verbose", "0");
}

static int nth_fd = -1;

static void will_fail(int nth)
{
	char text[16];
	int n = snprintf(text, sizeof text, "%d", nth);

	if (nth_fd < 0) {
		prctl(PR_SET_DUMPABLE, 1); /* else /proc/self is root's, after setuid() */
		nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	}
	while (pwrite(nth_fd, text, n, 0) != n) /* one that is left from before may hit this */
		if (errno != EFAULT)
			_exit(99);
}

/* Whether what will_fail() asked for has happened; no more failures from here on. */
static bool has_failed(void)
{
	char text[16] = "";
	/* The one that is left may hit this very copy. */
	bool happened = pread(nth_fd, text, sizeof text - 1, 0) > 0 && atoi(text) == 0;

	will_fail(0);
	return happened;
}

#define CLEAN(rc) ((rc) == -ENOMEM || (rc) == -EFAULT)

TEST_F(queue, create)
{
	struct mqshm_ioc_create c = create_argument(self->name);
	struct mqshm_info info;
	char path[96];
	int n, refused = 0;
	bool hit = true;

	strcat((char *)c.name, "-2");
	c.queue_flags = PERSISTENT;
	snprintf(path, sizeof path, "/sys/class/mqshm/%s/consumers", c.name);
	for (n = 1; hit; n++) {
		will_fail(n);
		int rc = create(self->control, &c);
		hit = has_failed();
		if (rc) {
			ASSERT_TRUE(CLEAN(rc)) TH_LOG("failure %d: %d", n, rc);
			refused++;
			EXPECT_EQ(-ENOENT, open_queue((char *)c.name, O_RDWR));
			EXPECT_NE(0, access(path, F_OK));
			ASSERT_EQ(0, create(self->control, &c));
		}
		int fd = open_queue((char *)c.name, O_RDWR);
		ASSERT_LE(0, fd) TH_LOG("failure %d: created with %d, opened with %d", n, rc, fd);
		EXPECT_EQ(0, read_info(fd, &info));
		EXPECT_EQ(0, access(path, F_OK)) TH_LOG("failure %d", n);
		EXPECT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
		close(fd);
		ASSERT_EQ(0, remove_queue(self->control, (char *)c.name, MQSHM_IOC_FORCE));
	}
	TH_LOG("%d failures, %d refused", n - 2, refused);
	EXPECT_LT(10, refused);
}

TEST_F(queue, remove)
{
	struct mqshm_ioc_create c = create_argument(self->name);
	bool hit = true;
	int n;

	strcat((char *)c.name, "-2");
	c.queue_flags = PERSISTENT;
	for (n = 1; hit; n++) {
		ASSERT_EQ(0, create(self->control, &c)) TH_LOG("after %d", n - 1);
		will_fail(n);
		int rc = remove_queue(self->control, (char *)c.name, 0);
		hit = has_failed();
		if (rc) {
			ASSERT_TRUE(CLEAN(rc)) TH_LOG("failure %d: %d", n, rc);
			ASSERT_EQ(0, remove_queue(self->control, (char *)c.name, 0));
		}
		EXPECT_EQ(-ENOENT, open_queue((char *)c.name, O_RDWR));
	}
	TH_LOG("%d failures", n - 2);
	EXPECT_LT(2, n);
}

TEST_F(queue, open_and_close)
{
	bool hit = true;
	int n;

	for (n = 1; hit; n++) {
		will_fail(n);
		int fd = open_queue(self->name, O_RDWR);
		if (fd >= 0)
			close(fd);
		hit = has_failed();
		if (fd < 0)
			ASSERT_TRUE(CLEAN(fd)) TH_LOG("failure %d: %d", n, fd);
	}
	TH_LOG("%d failures", n - 2);
	EXPECT_LT(2, n);
}

/* -EFAULT may come after the deed, when its result can't be told: the role is then ended, and the descriptor of no more use. */
TEST_F(queue, attach_and_detach)
{
	for (uint32_t role = MQSHM_IOC_PRODUCER; role <= MQSHM_IOC_CONSUMER; role++) {
		bool hit = true;
		int n, refused = 0;

		for (n = 1; hit; n++) {
			struct mqshm_ioc_attach a = { .role = role }, again = a;
			int fd = open_queue(self->name, O_RDWR);

			ASSERT_LE(0, fd);
			will_fail(n);
			int rc = attach(fd, &a);
			hit = has_failed();
			if (rc) {
				ASSERT_TRUE(CLEAN(rc)) TH_LOG("role %u, failure %d: %d", role, n, rc);
				refused++;
				for (uint32_t i = 0; i < self->info.max_producers + self->info.max_consumers; i++)
					EXPECT_NE(MQSHM_SLOT_LIVE, slot_state(self->fd, i)) TH_LOG("role %u, failure %d", role, n);
				rc = attach(fd, &again);
				if (rc) {
					EXPECT_EQ(-EALREADY, rc) TH_LOG("role %u, failure %d", role, n);
					close(fd);
					fd = open_queue(self->name, O_RDWR);
					ASSERT_LE(0, fd);
					ASSERT_EQ(0, attach(fd, &again)) TH_LOG("role %u, failure %d", role, n);
				}
				a = again;
			}
			EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, a.participant)) TH_LOG("role %u, failure %d", role, n);
			will_fail(n);
			rc = detach(fd, MQSHM_EPOCH_CLOSED);
			if (has_failed())
				hit = true;
			if (rc) {
				ASSERT_TRUE(CLEAN(rc)) TH_LOG("role %u, detach, failure %d: %d", role, n, rc);
				EXPECT_EQ(0, detach(fd, MQSHM_EPOCH_CLOSED));
			}
			EXPECT_EQ(MQSHM_SLOT_FREE, slot_state(self->fd, a.participant));
			close(fd);
		}
		TH_LOG("role %u: %d failures, %d refused", role, n - 2, refused);
		EXPECT_LT(0, refused);
	}
}

TEST_F(queue, mmap)
{
	static const int rights[REGIONS] = { PROT_READ, PROT_READ, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ };
	struct mqshm_ioc_attach a = { .role = MQSHM_IOC_CONSUMER };

	ASSERT_EQ(0, attach(self->fd, &a));
	for (enum region r = 0; r < REGIONS; r++) {
		bool hit = true;
		size_t offset, bytes;
		int n, refused = 0;

		if (r == CONSUMERS) /* a producer's */
			continue;
		region(&self->info, r, 0, &offset, &bytes);
		for (n = 1; hit; n++) {
			will_fail(n);
			char *p = map_region(self->fd, &self->info, r, 0, rights[r]);
			int rc = p == MAP_FAILED ? -errno : 0;
			hit = has_failed();
			if (rc) {
				ASSERT_EQ(-ENOMEM, rc) TH_LOG("region %d, failure %d", r, n);
				refused++;
				continue;
			}
			EXPECT_EQ(0, touch(p, false));
			EXPECT_EQ(0, touch(p + bytes - 8, false));
			munmap(p, bytes);
		}
		TH_LOG("region %d: %d failures, %d refused", r, n - 2, refused);
		EXPECT_LT(0, refused);
	}
}

TEST_F(queue, wait)
{
	const uint32_t word = MQSHM_WORD_DATA;
	uint32_t value;
	bool hit = true;
	int n, refused = 0;

	ASSERT_EQ(0, attach_as(self->fd, MQSHM_IOC_CONSUMER));
	for (n = 1; hit; n++) {
		ASSERT_EQ(0, arm(self->fd, word, &value));
		will_fail(n);
		int rc = wait_word(self->fd, word, value, 1000 * 1000);
		hit = has_failed();
		if (rc) {
			ASSERT_TRUE(CLEAN(rc)) TH_LOG("failure %d: %d", n, rc);
			refused++;
			EXPECT_EQ(0, wait_word(self->fd, word, value, 1000)); /* 0 as well when the time is over */
		}
		will_fail(n);
		rc = arm(self->fd, word, &value);
		if (has_failed())
			hit = true;
		EXPECT_TRUE(rc == 0 || CLEAN(rc)) TH_LOG("arm, failure %d: %d", n, rc);
		will_fail(n);
		rc = wake(self->fd, word);
		if (has_failed())
			hit = true;
		EXPECT_TRUE(rc >= 0 || CLEAN(rc)) TH_LOG("wake, failure %d: %d", n, rc);
	}
	TH_LOG("%d failures, %d refused", n - 2, refused);
	EXPECT_LT(0, refused);
}

TEST_F(queue, epoll)
{
	struct epoll_event event = { .events = EPOLLIN };
	int set = epoll_create1(EPOLL_CLOEXEC);
	bool hit = true;
	int n, refused = 0;

	ASSERT_EQ(0, attach_as(self->fd, MQSHM_IOC_CONSUMER));
	for (n = 1; hit; n++) {
		will_fail(n);
		int rc = sys(epoll_ctl(set, EPOLL_CTL_ADD, self->fd, &event));
		hit = has_failed();
		if (rc) {
			ASSERT_TRUE(CLEAN(rc)) TH_LOG("failure %d: %d", n, rc);
			refused++;
			continue;
		}
		EXPECT_EQ(0, epoll_wait(set, &event, 1, 0));
		EXPECT_EQ(0, epoll_ctl(set, EPOLL_CTL_DEL, self->fd, NULL));
	}
	TH_LOG("%d failures, %d refused", n - 2, refused);
	EXPECT_LT(0, refused);
	close(set);
}

struct dying {
	const char *name;
	uint32_t role;
	int nth;
};

static int dies(void *argument)
{
	struct dying *d = argument;
	int fd = open_queue(d->name, O_RDWR);

	if (attach_as(fd, d->role))
		return 1;
	nth_fd = -1; /* the parent's */
	will_fail(d->nth);
	kill(getpid(), SIGKILL);
	return 2;
}

/* The end of a role may need nothing that can be missing. */
TEST_F(queue, death)
{
	for (uint32_t role = MQSHM_IOC_PRODUCER; role <= MQSHM_IOC_CONSUMER; role++)
		for (int n = 1; n < 40; n++) {
			struct dying d = { self->name, role, n };

			ASSERT_EQ(128 + SIGKILL, reap(spawn(dies, &d))) TH_LOG("role %u, failure %d", role, n);
			EXPECT_NE(MQSHM_SLOT_LIVE, slot_state(self->fd, role == MQSHM_IOC_PRODUCER ? 0 : self->info.max_producers))
				TH_LOG("role %u, failure %d", role, n);
		}
}

TEST_HARNESS_MAIN
