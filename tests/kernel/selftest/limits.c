// SPDX-License-Identifier: GPL-2.0-only
/* Limits: of the module, of a user, of a cgroup; thousands of queues; and that the module stays while it is in use. */
#include "common.h"

#define PARAMETERS "/sys/module/mqshm/parameters/"

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "# %s: %s\n", path, strerror(errno));
	close(fd);
}

static int set_parameter(const char *name, const char *value, char *old)
{
	char path[96];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, PARAMETERS "%s", name);
	fd = open(path, O_RDONLY);
	n = fd < 0 ? -1 : read(fd, old, 31);
	close(fd);
	if (n < 0)
		return -errno;
	old[n] = 0;
	write_file(path, value);
	return 0;
}

#define WITH(name, value, body) ({ \
	char old[32], now[32]; \
	ASSERT_EQ(0, set_parameter(name, value, old)); \
	body; \
	ASSERT_EQ(0, set_parameter(name, old, now)); })

static struct mqshm_ioc_create numbered(int i)
{
	char name[64];

	snprintf(name, sizeof name, "t%d-n%d", getpid(), i);
	return create_argument(name);
}

static void remove_numbered(int control, int n)
{
	for (int i = 0; i < n; i++)
		remove_queue(control, (char *)numbered(i).name, MQSHM_IOC_FORCE);
}

/* How many queues can be made, and what the next one says. */
static int create_many(int control, int most, int *error)
{
	struct mqshm_ioc_create c;
	int n;

	for (n = 0; n < most; n++) {
		c = numbered(n);
		*error = create(control, &c);
		if (*error)
			break;
	}
	return n;
}

TEST(most_queues)
{
	int control = open_control(), error = 0, n = 0;

	WITH("max_queues", "5", n = create_many(control, 10, &error));
	EXPECT_EQ(5, n);
	EXPECT_EQ(-ENOSPC, error);
	remove_numbered(control, n);
}

TEST(most_bytes_of_a_queue)
{
	struct mqshm_ioc_create c = numbered(0);
	int control = open_control(), rc = 0;

	WITH("max_queue_bytes", "20000", rc = create(control, &c));
	EXPECT_EQ(-EFBIG, rc);
	WITH("max_queue_bytes", "40000", rc = create(control, &c));
	EXPECT_EQ(0, rc);
	remove_numbered(control, 1);
}

TEST(most_consumers)
{
	struct mqshm_ioc_create c = numbered(0);
	int control = open_control(), rc = 0;

	WITH("max_consumers", "3", rc = create(control, &c)); /* for 4 */
	EXPECT_EQ(-EDQUOT, rc);
}

static int create_as_user(void *argument)
{
	int control, error = 0, n;

	become(USER);
	control = open_control();
	n = create_many(control, 20, &error);
	remove_numbered(control, n);
	return error == -EDQUOT ? n : 100 - error;
}

TEST(the_share_of_a_user)
{
	int n = 0;

	chmod(CONTROL, 0666);
	WITH("max_user_queues", "3", n = reap(spawn(create_as_user, NULL)));
	EXPECT_EQ(3, n);
	/* 7 pages each: info, producer, 4 areas, nodes */
	WITH("max_user_bytes", "100000", n = reap(spawn(create_as_user, NULL)));
	EXPECT_EQ(3, n);
	WITH("max_user_bytes", "100000", n = reap(spawn(create_as_user, NULL))); /* what was removed counts no more */
	EXPECT_EQ(3, n);
}

#define GROUP "/sys/fs/cgroup/mqshm-test"

static int create_in_group(void *argument)
{
	int control = open_control(), error = 0, n;

	write_file(GROUP "/cgroup.procs", "0");
	n = create_many(control, 4000, &error);
	remove_numbered(control, n);
	return error == -ENOMEM && n > 20 ? 0 : 1;
}

TEST(a_cgroups_limit_is_a_clean_error)
{
	char limit[32];

	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	ASSERT_EQ(0, mkdir(GROUP, 0755));
	/* By each of these another page is the first that is not to be had. */
	for (int kib = 4096; kib > 4096 - 16 * 4; kib -= 4) {
		snprintf(limit, sizeof limit, "%dK", kib);
		write_file(GROUP "/memory.max", limit);
		EXPECT_EQ(0, reap(spawn(create_in_group, NULL))) TH_LOG("limit %s", limit); /* and not killed */
	}
	eventually(rmdir(GROUP) == 0);
}

/* Minutes, in a kernel with KASAN. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 600
TEST(four_thousand_queues)
{
	int control = open_control(), error = 0, fd;
	struct mqshm_ioc_create c;
	struct mqshm_info info;

	for (int i = 0; i < 4096; i++) {
		c = numbered(i);
		c.node_count = c.max_consumers = 1;
		ASSERT_EQ(0, create(control, &c)) TH_LOG("queue %d", i);
	}
	EXPECT_EQ(0, error);
	c = numbered(4096);
	EXPECT_EQ(-ENOSPC, create(control, &c));
	for (int i = 0; i < 4096; i += 455) {
		c = numbered(i);
		fd = open_queue((char *)c.name, O_RDWR);
		ASSERT_EQ(0, read_info(fd, &info));
		EXPECT_STREQ((char *)c.name, (char *)info.name);
		EXPECT_EQ(0, attach_as(fd, MQSHM_IOC_CONSUMER));
		close(fd);
	}
	remove_numbered(control, 4096);
}

static int unload(void)
{
	return sys(syscall(SYS_delete_module, "mqshm", O_NONBLOCK));
}

TEST(the_module_stays_while_it_is_used)
{
	struct mqshm_ioc_create c = numbered(0);
	int control = open_control(), fd;

	ASSERT_EQ(0, create(control, &c));
	close(control);
	EXPECT_EQ(-EAGAIN, unload()); /* a queue */
	fd = open_queue((char *)c.name, O_RDWR);
	control = open_control();
	ASSERT_EQ(0, remove_queue(control, (char *)c.name, 0));
	EXPECT_EQ(-EAGAIN, unload());
	close(control);
	EXPECT_EQ(-EAGAIN, unload()); /* a file of a queue that is gone */
	close(fd);
	control = open_control();
	EXPECT_EQ(-EAGAIN, unload()); /* control */
}

TEST_HARNESS_MAIN
