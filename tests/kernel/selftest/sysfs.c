// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/class/mqshm/<name>/: every attribute, what scribbled pages can do to it (nothing but wrong numbers in bounds), eviction
 * by who may and who may not, directories that come and go; uevents and tracepoints.
 */
#include <setjmp.h>

#include "common.h"

#include <dirent.h>
#include <linux/netlink.h>

#define CLASS "/sys/class/mqshm"

/* One file below the queue's directory, as text; -errno. */
static long read_value(const char *queue, const char *file, char *to, size_t room)
{
	char path[256];
	long n;
	int fd;

	snprintf(path, sizeof path, CLASS "/%s/%s", queue, file);
	memset(to, 0x5a, room);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = sys(read(fd, to, room - 1));
	close(fd);
	if (n >= 0)
		to[n] = '\0';
	return n;
}

/* As a number that is all of the file but its end of line; -1: it is none, or negative. */
static long long number(const char *queue, const char *file)
{
	char text[64], *end;
	long n = read_value(queue, file, text, sizeof text);
	unsigned long long value;

	if (n < 2 || text[n - 1] != '\n' || text[0] < '0' || text[0] > '9')
		return -1;
	value = strtoull(text, &end, 10);
	return end == text + n - 1 && value <= INT64_MAX ? (long long)value : -1;
}

static long long consumer_number(const char *queue, unsigned id, const char *file)
{
	char path[64];

	snprintf(path, sizeof path, "consumers/%u/%s", id, file);
	return number(queue, path);
}

static bool has(const char *queue, const char *file)
{
	char path[256];

	snprintf(path, sizeof path, CLASS "/%s/%s", queue, file);
	return access(path, F_OK) == 0;
}

static int open_file(const char *queue, const char *file, int flags)
{
	char path[256];

	snprintf(path, sizeof path, CLASS "/%s/%s", queue, file);
	return sys(open(path, flags | O_CLOEXEC));
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* With one producer in slot 0: consumer c's index in the participants' table. */
#define SLOT(c) (1 + (c))

static int producer_of(const char *name, const struct mqshm_info *info, struct mqshm_producer_page **page)
{
	int fd = open_queue(name, O_RDWR);
	int rc = attach_as(fd, MQSHM_IOC_PRODUCER);

	*page = rc ? MAP_FAILED : map_region(fd, info, PRODUCER, 0, PROT_READ | PROT_WRITE);
	return *page == MAP_FAILED ? -1 : fd;
}

static int consumer_of(const char *name, const struct mqshm_info *info, unsigned id, struct mqshm_consumer_area **area)
{
	int fd = open_queue(name, O_RDWR);
	int rc = attach_as(fd, MQSHM_IOC_CONSUMER);
	void *page = rc ? MAP_FAILED : map_region(fd, info, OWN, id, PROT_READ | PROT_WRITE);

	*area = page == MAP_FAILED ? NULL : area_of(page, id);
	return page == MAP_FAILED ? -1 : fd;
}

TEST_F(queue, a_queue_without_anyone)
{
	struct stat st;
	char text[100];

	EXPECT_EQ(15, number(self->name, "node_count"));
	EXPECT_EQ(232, number(self->name, "block_size"));
	EXPECT_EQ(self->info.ring_bytes, number(self->name, "ring_bytes"));
	EXPECT_EQ(self->info.created_at_ns, number(self->name, "created_at"));
	EXPECT_LE(number(self->name, "created_at"), now());
	EXPECT_EQ(0, number(self->name, "producer_pid"));
	EXPECT_EQ(1, read_value(self->name, "producer_comm", text, sizeof text));
	EXPECT_STREQ("\n", text);
	EXPECT_EQ(0, number(self->name, "producer_active"));
	EXPECT_EQ(0, number(self->name, "consumer_count"));
	EXPECT_EQ(0, number(self->name, "total_pushed"));
	EXPECT_EQ(0, number(self->name, "total_popped"));
	EXPECT_EQ(0, number(self->name, "overwrite_count"));
	EXPECT_EQ(0, number(self->name, "depth"));
	EXPECT_EQ(3, read_value(self->name, "blocked_by", text, sizeof text));
	EXPECT_STREQ("-1\n", text);
	EXPECT_TRUE(has(self->name, "consumers"));
	EXPECT_FALSE(has(self->name, "consumers/0"));
	EXPECT_FALSE(has(self->name, "power")); /* nothing to be written by the owner */
	snprintf(text, sizeof text, CLASS "/%s/uevent", self->name);
	ASSERT_EQ(0, stat(text, &st));
	EXPECT_EQ(0, st.st_uid);
	EXPECT_EQ(0, st.st_mode & 022);
}

TEST_F(queue, what_roles_do_is_seen)
{
	struct mqshm_producer_page *page;
	struct mqshm_consumer_area *area;
	char text[64];
	int producer, consumer;

	prctl(PR_SET_NAME, "a\nb\x01 c");
	producer = producer_of(self->name, &self->info, &page);
	consumer = consumer_of(self->name, &self->info, 0, &area);
	ASSERT_GE(producer, 0);
	ASSERT_GE(consumer, 0);
	EXPECT_EQ(getpid(), number(self->name, "producer_pid"));
	EXPECT_EQ(7, read_value(self->name, "producer_comm", text, sizeof text));
	EXPECT_STREQ("a?b? c\n", text);
	EXPECT_EQ(1, number(self->name, "producer_active"));
	EXPECT_EQ(1, number(self->name, "consumer_count"));
	EXPECT_EQ(getpid(), consumer_number(self->name, 0, "pid"));
	EXPECT_EQ(7, read_value(self->name, "consumers/0/comm", text, sizeof text));
	EXPECT_STREQ("a?b? c\n", text);
	EXPECT_EQ(0, consumer_number(self->name, 0, "lossy"));
	EXPECT_EQ(0, consumer_number(self->name, 0, "lease"));
	EXPECT_EQ(0, consumer_number(self->name, 0, "lag"));
	EXPECT_EQ(0, consumer_number(self->name, 0, "missed"));
	EXPECT_EQ(0, consumer_number(self->name, 0, "last_access_ns"));

	publish(page, 10 * 256, 10); /* ten messages, of which the consumer reads four */
	area->sequence = 4;
	area->position = 4 * 256;
	area->last_access_ns = 1234567;
	EXPECT_EQ(10, number(self->name, "total_pushed"));
	EXPECT_EQ(4, number(self->name, "total_popped"));
	EXPECT_EQ(6, number(self->name, "depth"));
	EXPECT_EQ(6, consumer_number(self->name, 0, "lag"));
	EXPECT_EQ(1234567, consumer_number(self->name, 0, "last_access_ns"));
	area->missed = 3;
	area->overwritten = 1;
	EXPECT_EQ(3, consumer_number(self->name, 0, "missed"));
	EXPECT_EQ(1, number(self->name, "overwrite_count"));
	EXPECT_EQ(3, number(self->name, "total_popped"));
	page->need = 5 * 256;
	page->blocked_on = 1;
	EXPECT_EQ(0, number(self->name, "blocked_by"));
	area->position = 5 * 256;
	EXPECT_EQ(3, read_value(self->name, "blocked_by", text, sizeof text));

	/* What it has read is not forgotten. */
	EXPECT_EQ(0, detach(consumer, MQSHM_EPOCH_NONE));
	EXPECT_FALSE(has(self->name, "consumers/0"));
	EXPECT_EQ(0, number(self->name, "consumer_count"));
	EXPECT_EQ(3, number(self->name, "total_popped"));
	EXPECT_EQ(1, number(self->name, "overwrite_count"));
	EXPECT_EQ(0, detach(producer, MQSHM_EPOCH_CLOSED));
	EXPECT_EQ(0, number(self->name, "producer_active"));
	EXPECT_EQ(0, number(self->name, "producer_pid"));
	EXPECT_EQ(10, number(self->name, "total_pushed"));
}

/* Whatever users write into their pages, what is shown stays in bounds. */
TEST_F(queue, scribbled_pages)
{
	static const uint64_t patterns[] = { ~0ull, 1ull << 63, (1ull << 63) - 1, 0x0101010101010101, 1 };
	struct mqshm_producer_page *page;
	struct mqshm_consumer_area *area;
	int producer = producer_of(self->name, &self->info, &page);
	int consumer = consumer_of(self->name, &self->info, 0, &area);

	ASSERT_GE(producer, 0);
	ASSERT_GE(consumer, 0);
	for (int i = 0; i < 5; i++)
		for (int j = 0; j < 5; j++) {
			long long pushed, popped, depth, lag, missed, overwritten;
			char text[64];

			for (size_t k = 0; k < sizeof *page / 8; k++)
				((volatile uint64_t *)page)[k] = patterns[i];
			for (size_t k = 0; k < sizeof *area / 8; k++)
				((volatile uint64_t *)area)[k] = patterns[j];
			pushed = number(self->name, "total_pushed");
			popped = number(self->name, "total_popped");
			depth = number(self->name, "depth");
			overwritten = number(self->name, "overwrite_count");
			lag = consumer_number(self->name, 0, "lag");
			missed = consumer_number(self->name, 0, "missed");
			EXPECT_TRUE(pushed >= 0 && pushed <= (long long)((1ull << 63) / 24));
			EXPECT_TRUE(popped >= 0 && popped <= pushed);
			EXPECT_TRUE(overwritten >= 0 && overwritten <= pushed);
			EXPECT_TRUE(depth >= 0 && depth <= 15);
			EXPECT_TRUE(lag >= 0 && lag <= pushed);
			EXPECT_TRUE(missed >= 0 && missed <= pushed);
			EXPECT_LE(consumer_number(self->name, 0, "last_access_ns"), now());
			EXPECT_GE(consumer_number(self->name, 0, "last_access_ns"), 0);
			EXPECT_LE(2, read_value(self->name, "blocked_by", text, sizeof text));
			EXPECT_TRUE(!strcmp(text, "-1\n") || !strcmp(text, "0\n"));
			/* and none of it reaches what the module says */
			EXPECT_EQ(15, number(self->name, "node_count"));
			EXPECT_EQ(1, number(self->name, "consumer_count"));
			EXPECT_EQ(getpid(), consumer_number(self->name, 0, "pid"));
		}
	/* Nor do counters of the dead grow beyond what was pushed. */
	memset(page, 0, sizeof *page);
	publish(page, 10 * 256, 10);
	memset(area, 0xff, sizeof *area);
	area->joined = 0;
	EXPECT_EQ(0, detach(consumer, MQSHM_EPOCH_NONE));
	EXPECT_EQ(10, number(self->name, "total_popped") + number(self->name, "overwrite_count"));
}

/* While a producer publishes without a pause, what was pushed never goes back, nor is it lost when a consumer leaves. */
TEST_F(queue, counters_under_way)
{
	struct mqshm_producer_page *page;
	struct mqshm_consumer_area *area;
	int consumer, producer;
	long long last = 0;
	pid_t pid;

	int push(void *unused)
	{
		producer = producer_of(self->name, &self->info, &page);
		if (producer < 0)
			return 1;
		for (uint64_t i = 1;; i++)
			publish(page, i * 256, i);
	}
	pid = spawn(push, NULL);
	eventually(number(self->name, "total_pushed") > 1000);
	for (int i = 0; i < 200; i++) {
		long long pushed = number(self->name, "total_pushed");

		ASSERT_GE(pushed, last);
		last = pushed;
	}
	consumer = consumer_of(self->name, &self->info, 0, &area);
	ASSERT_GE(consumer, 0);
	area->joined = 0;
	area->sequence = 500; /* all long there */
	EXPECT_EQ(500, number(self->name, "total_popped"));
	EXPECT_EQ(0, detach(consumer, MQSHM_EPOCH_NONE));
	EXPECT_EQ(500, number(self->name, "total_popped"));
	kill(pid, SIGKILL);
	reap(pid);
	EXPECT_EQ(0, number(self->name, "producer_active"));
	EXPECT_EQ(0, number(self->name, "producer_pid"));
}

TEST_F(queue, a_lease_keeps_its_directory)
{
	struct mqshm_ioc_attach a;
	int fd = open_queue(self->name, O_RDWR), successor = open_queue(self->name, O_RDWR), held;
	char text[64];

	ASSERT_EQ(0, attach_named(fd, "reader", 3600000, &a));
	EXPECT_EQ(3600000, consumer_number(self->name, 0, "lease"));
	EXPECT_EQ(getpid(), consumer_number(self->name, 0, "pid"));
	held = open_file(self->name, "consumers/0/lag", O_RDONLY);
	ASSERT_GE(held, 0);
	EXPECT_EQ(0, detach(fd, MQSHM_EPOCH_CLOSED));
	EXPECT_EQ(1, number(self->name, "consumer_count"));
	EXPECT_EQ(0, consumer_number(self->name, 0, "pid"));
	EXPECT_LE(consumer_number(self->name, 0, "lease"), 3600000);
	EXPECT_GT(consumer_number(self->name, 0, "lease"), 3000000);
	EXPECT_EQ(2, sys(pread(held, text, sizeof text, 0))); /* it is still that consumer's */
	ASSERT_EQ(0, attach_named(successor, "reader", 3600000, &a));
	EXPECT_EQ(1, a.resumed);
	EXPECT_EQ(-ENODEV, sys(pread(held, text, sizeof text, 0)));
	EXPECT_EQ(getpid(), consumer_number(self->name, 0, "pid"));
	EXPECT_EQ(0, detach(successor, MQSHM_EPOCH_NONE));
	EXPECT_FALSE(has(self->name, "consumers/0"));
}

TEST_F(queue, lossy_and_demoted)
{
	struct mqshm_ioc_attach a = { .role = MQSHM_IOC_CONSUMER, .flags = MQSHM_ROLE_LOSSY };
	int lossy = open_queue(self->name, O_RDWR), reliable = open_queue(self->name, O_RDWR);

	ASSERT_EQ(0, attach(lossy, &a));
	ASSERT_EQ(0, attach_as(reliable, MQSHM_IOC_CONSUMER));
	EXPECT_EQ(1, consumer_number(self->name, 0, "lossy"));
	EXPECT_EQ(0, consumer_number(self->name, 1, "lossy"));
	EXPECT_EQ(0, end_role(self->fd, SLOT(1), MQSHM_WHY_BY_HAND, MQSHM_IOC_DEMOTE));
	EXPECT_EQ(1, consumer_number(self->name, 1, "lossy"));
}

TEST_F(queue, eviction_by_the_owner)
{
	struct mqshm_consumer_area *area;
	int consumer = consumer_of(self->name, &self->info, 0, &area), fd, stale;
	struct stat st;
	char path[256];

	ASSERT_GE(consumer, 0);
	snprintf(path, sizeof path, CLASS "/%s/consumers/0/evict", self->name);
	ASSERT_EQ(0, stat(path, &st));
	EXPECT_EQ(S_IFREG | 0200, st.st_mode);
	EXPECT_EQ(variant->uid, st.st_uid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	stale = open(path, O_WRONLY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-EINVAL, sys(write(fd, "0", 1)));
	EXPECT_EQ(-EINVAL, sys(write(fd, "now", 3)));
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, SLOT(0)));
	EXPECT_EQ(2, sys(write(fd, "1\n", 2)));
	EXPECT_EQ(MQSHM_SLOT_ENDED, slot_state(self->fd, SLOT(0)));
	EXPECT_EQ(MQSHM_WHY_BY_HAND, participant(self->fd, SLOT(0)).why);
	EXPECT_EQ(getpid(), participant(self->fd, SLOT(0)).ended_by);
	EXPECT_EQ(0, number(self->name, "consumer_count"));
	EXPECT_TRUE(poll_now(consumer, POLLIN) & POLLERR);
	EXPECT_EQ(-ENODEV, sys(write(fd, "1\n", 2)));
	eventually(!has(self->name, "consumers/0"));

	/* Who comes next in that slot is not reached by what was opened for the one before. */
	for (unsigned id = 0; id < 4; id++)
		ASSERT_EQ(0, attach_as(open_queue(self->name, O_RDWR), MQSHM_IOC_CONSUMER));
	EXPECT_EQ(4, number(self->name, "consumer_count"));
	EXPECT_EQ(-ENODEV, sys(write(stale, "1\n", 2)));
	EXPECT_EQ(4, number(self->name, "consumer_count"));
}

/* A user's queue and consumer, root's test. */
TEST(eviction_by_others)
{
	struct mqshm_ioc_create c = create_argument("t-evict");
	int ready[2], fd, held;
	pid_t user, nobody;

	int use(void *unused)
	{
		int control, queue;

		become(USER);
		control = open_control();
		c.queue_flags = PERSISTENT;
		queue = create(control, &c) ? -1 : open_queue("t-evict", O_RDWR);
		if (attach_as(queue, MQSHM_IOC_CONSUMER) || write(ready[1], "", 1) != 1)
			return 1;
		poll(&(struct pollfd){ .fd = queue, .events = POLLERR }, 1, -1); /* evicted */
		return 0;
	}
	int try(void *unused)
	{
		become(65534);
		if (open_file("t-evict", "consumers/0/evict", O_WRONLY) != -EACCES)
			return 1;
		if (open_file("t-evict", "metadata", O_RDONLY) != -EACCES)
			return 2;
		if (sys(write(held, "1", 1)) != -EPERM) /* root has opened it */
			return 3;
		return number("t-evict", "consumer_count") == 1 ? 0 : 4;
	}
	ASSERT_EQ(0, chmod(CONTROL, 0666));
	ASSERT_EQ(0, pipe(ready));
	user = spawn(use, NULL);
	ASSERT_EQ(1, read(ready[0], &c.mode, 1));
	held = open_file("t-evict", "consumers/0/evict", O_WRONLY);
	ASSERT_GE(held, 0);
	nobody = spawn(try, NULL);
	EXPECT_EQ(0, reap(nobody));
	EXPECT_EQ(1, write(held, "1", 1));
	EXPECT_EQ(0, reap(user));
	eventually(!has("t-evict", "consumers/0"));
	fd = open_control();
	EXPECT_EQ(0, remove_queue(fd, "t-evict", 0));
}

/* The last user of a queue that goes with it: evicted, it takes the queue along; the writer is not caught in that. */
TEST(eviction_of_the_last_user)
{
	struct mqshm_ioc_create c = create_argument("t-last");
	int control = open_control(), fd, evict;

	c.flags = MQSHM_IOC_TO_ATTACH;
	ASSERT_EQ(0, create(control, &c));
	fd = open_queue("t-last", O_RDWR);
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_CONSUMER));
	evict = open_file("t-last", "consumers/0/evict", O_WRONLY);
	ASSERT_GE(evict, 0);
	EXPECT_EQ(1, write(evict, "1", 1));
	eventually(access(CLASS "/t-last", F_OK) != 0);
	EXPECT_EQ(-ENODEV, sys(write(evict, "1", 1)));
}

TEST(attributes_held_open)
{
	static const char *const files[] = { "node_count", "total_pushed", "blocked_by", "metadata", "consumers/0/lag",
					     "consumers/0/pid" };
	struct mqshm_ioc_create c = create_argument("t-held");
	int control = open_control(), fd, held[6];
	char text[64];

	c.queue_flags = PERSISTENT;
	c.metadata_bytes = 1;
	for (int again = 0; again < 2; again++) {
		ASSERT_EQ(0, create(control, &c));
		fd = open_queue("t-held", O_RDWR);
		ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_CONSUMER));
		for (int i = 0; i < 6; i++) {
			if (again) /* one of the same name does not revive it */
				EXPECT_EQ(-ENODEV, sys(pread(held[i], text, sizeof text, 0)));
			held[i] = open_file("t-held", files[i], O_RDONLY);
			ASSERT_GE(held[i], 0);
			EXPECT_LT(0, sys(pread(held[i], text, sizeof text, 0)));
		}
		EXPECT_EQ(0, remove_queue(control, "t-held", MQSHM_IOC_FORCE));
		for (int i = 0; i < 6; i++)
			EXPECT_EQ(-ENODEV, sys(pread(held[i], text, sizeof text, 0)));
		close(fd);
	}
}

TEST(metadata_is_bytes)
{
	struct mqshm_ioc_create c = create_argument("t-meta");
	int control = open_control(), fd;
	uint8_t got[300];
	struct stat st;

	for (int i = 0; i < 256; i++)
		c.metadata[i] = i;
	c.metadata_bytes = 256;
	c.mode = 0640;
	ASSERT_EQ(0, create(control, &c));
	EXPECT_EQ(0, stat(CLASS "/t-meta/metadata", &st));
	EXPECT_EQ(S_IFREG | 0440, st.st_mode);
	fd = open_file("t-meta", "metadata", O_RDONLY);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(256, read(fd, got, sizeof got));
	EXPECT_EQ(0, memcmp(got, c.metadata, 256));
	EXPECT_EQ(0, read(fd, got, sizeof got));
	EXPECT_EQ(6, pread(fd, got, 100, 250));
	EXPECT_EQ(250, got[0]);
	EXPECT_EQ(0, remove_queue(control, "t-meta", 0));
}

/* A process of another pid namespace: there it has the number that this one shows, or none. */
TEST(pids_are_the_readers)
{
	struct mqshm_ioc_create c = create_argument("t-pid");
	int control = open_control(), fd;
	pid_t pid;

	int look(void *unused)
	{
		int queue = open_queue("t-pid", O_RDWR);

		if (number("t-pid", "producer_pid") != 0)
			return 1;
		if (attach_as(queue, MQSHM_IOC_CONSUMER) || getpid() != 1)
			return 2;
		return consumer_number("t-pid", 0, "pid") == 1 ? 0 : 3;
	}
	c.queue_flags = PERSISTENT;
	ASSERT_EQ(0, create(control, &c));
	fd = open_queue("t-pid", O_RDWR);
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
	ASSERT_EQ(0, unshare(CLONE_NEWPID));
	pid = spawn(look, NULL);
	EXPECT_EQ(0, reap(pid));
	EXPECT_EQ(getpid(), number("t-pid", "producer_pid"));
	EXPECT_EQ(0, remove_queue(control, "t-pid", MQSHM_IOC_FORCE));
}

/* ---- uevents ---- */

static int listen_for_events(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	struct timeval limit = { .tv_sec = 60 };
	int size = 1 << 20, fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	return bind(fd, (struct sockaddr *)&address, sizeof address) ? -1 : fd;
}

/* The next event of our queue shall have all of these variables. */
static bool next_event(int fd, const char *queue, const char *const *wanted)
{
	char event[4096], header[256];
	ssize_t n;

	do {
		n = recv(fd, event, sizeof event - 1, 0);
		if (n <= 0) {
			printf("# no event with %s\n", wanted[0]);
			return false;
		}
		event[n] = '\0';
		snprintf(header, sizeof header, "@/devices/virtual/mqshm/%s", queue);
	} while (!strstr(event, header));
	for (; *wanted; wanted++) {
		bool found = false;

		for (char *at = event; at < event + n; at += strlen(at) + 1)
			found |= !strcmp(at, *wanted);
		if (!found) {
			printf("# not in '%s': %s\n", event, *wanted);
			return false;
		}
	}
	return true;
}
#define NEXT(fd, queue, ...) next_event(fd, queue, (const char *const[]){ __VA_ARGS__, NULL })

TEST(uevents)
{
	struct mqshm_ioc_create c = create_argument("t-event");
	int events = listen_for_events(), control = open_control(), fd;
	char pid_is[32];
	pid_t pid;

	int hold(void *argument)
	{
		return attach_as(open_queue("t-event", O_RDWR), *(uint32_t *)argument) ? 1 : pause();
	}
	ASSERT_GE(events, 0);
	c.queue_flags = PERSISTENT;
	ASSERT_EQ(0, create(control, &c));
	EXPECT_TRUE(NEXT(events, "t-event", "ACTION=add", "SUBSYSTEM=mqshm", "DEVNAME=mqshm/t-event", "DEVTYPE=queue"));

	pid = spawn(hold, &(uint32_t){ MQSHM_IOC_PRODUCER });
	eventually(number("t-event", "producer_pid") == pid);
	kill(pid, SIGKILL);
	reap(pid);
	snprintf(pid_is, sizeof pid_is, "MQSHM_PID=%d", pid);
	EXPECT_TRUE(NEXT(events, "t-event", "ACTION=change", "MQSHM_EVENT=died", pid_is, "MQSHM_ROLE=producer", "MQSHM_ID=0"));

	pid = spawn(hold, &(uint32_t){ MQSHM_IOC_CONSUMER });
	eventually(consumer_number("t-event", 0, "pid") == pid);
	fd = open_file("t-event", "consumers/0/evict", O_WRONLY);
	EXPECT_EQ(1, write(fd, "1", 1));
	snprintf(pid_is, sizeof pid_is, "MQSHM_PID=%d", pid);
	EXPECT_TRUE(NEXT(events, "t-event", "ACTION=change", "MQSHM_EVENT=evicted", pid_is, "MQSHM_ROLE=consumer", "MQSHM_ID=0",
			 "MQSHM_WHY=by_hand"));
	kill(pid, SIGKILL);
	reap(pid);

	/* An orderly end is none, nor the death of one that was evicted: the next is the end of the queue. */
	fd = open_queue("t-event", O_RDWR);
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_CONSUMER));
	EXPECT_EQ(0, detach(fd, MQSHM_EPOCH_NONE));
	EXPECT_EQ(0, remove_queue(control, "t-event", 0));
	EXPECT_TRUE(NEXT(events, "t-event", "ACTION=remove"));
}

/* The death of the last user ends the queue: it is told before. */
TEST(uevent_of_the_last_death)
{
	struct mqshm_ioc_create c = create_argument("t-gone");
	int events = listen_for_events(), control = open_control();
	pid_t pid;

	int hold(void *argument)
	{
		return attach_as(open_queue("t-gone", O_RDWR), MQSHM_IOC_CONSUMER) ? 1 : pause();
	}
	ASSERT_GE(events, 0);
	ASSERT_EQ(0, create(control, &c));
	pid = spawn(hold, NULL);
	eventually(consumer_number("t-gone", 0, "pid") == pid);
	kill(pid, SIGKILL);
	reap(pid);
	EXPECT_TRUE(NEXT(events, "t-gone", "ACTION=add"));
	EXPECT_TRUE(NEXT(events, "t-gone", "ACTION=change", "MQSHM_EVENT=died"));
	EXPECT_TRUE(NEXT(events, "t-gone", "ACTION=remove"));
}

/* ---- tracepoints ---- */

#define TRACING "/sys/kernel/tracing/"

static void set(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		printf("# %s: %s\n", file, strerror(errno));
	close(fd);
}

TEST(tracepoints)
{
	static const char *const names[] = { "attach", "detach", "death", "wait", "wake", "evict" };
	static char trace[1 << 16];
	struct mqshm_ioc_create c = create_argument("t-trace");
	int control = open_control(), fd, evicted;
	char line[128];
	uint32_t word;
	size_t at = 0;
	ssize_t n;
	pid_t pid;

	int die(void *unused)
	{
		int queue = open_queue("t-trace", O_RDWR);

		return attach_as(queue, MQSHM_IOC_PRODUCER);
	}
	for (int i = 0; i < 6; i++) {
		snprintf(line, sizeof line, TRACING "events/mqshm/mqshm_%s/format", names[i]);
		EXPECT_EQ(0, access(line, R_OK));
	}
	set(TRACING "trace", "");
	set(TRACING "events/mqshm/enable", "1");
	c.queue_flags = PERSISTENT;
	ASSERT_EQ(0, create(control, &c));
	fd = open_queue("t-trace", O_RDWR);
	evicted = open_queue("t-trace", O_RDWR);
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_CONSUMER));
	ASSERT_EQ(0, attach_as(evicted, MQSHM_IOC_CONSUMER));
	EXPECT_EQ(0, arm(fd, MQSHM_WORD_DATA, &word));
	EXPECT_EQ(0, wait_word(fd, MQSHM_WORD_DATA, word + 1, 0));
	EXPECT_EQ(0, wake(fd, MQSHM_WORD_DATA));
	EXPECT_EQ(0, end_role(fd, SLOT(1), MQSHM_WHY_BY_HAND, 0));
	EXPECT_EQ(0, detach(fd, MQSHM_EPOCH_NONE));
	pid = spawn(die, NULL);
	EXPECT_EQ(0, reap(pid));
	EXPECT_EQ(0, remove_queue(control, "t-trace", MQSHM_IOC_FORCE));
	set(TRACING "events/mqshm/enable", "0");

	fd = open(TRACING "trace", O_RDONLY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	while (at < sizeof trace - 1 && (n = read(fd, trace + at, sizeof trace - 1 - at)) > 0)
		at += n;
	snprintf(line, sizeof line, "mqshm_attach: queue=t-trace participant=1 pid=%d\n", getpid());
	EXPECT_NE(NULL, strstr(trace, line));
	snprintf(line, sizeof line, "mqshm_wait: queue=t-trace word=data value=%u\n", word + 1);
	EXPECT_NE(NULL, strstr(trace, line));
	snprintf(line, sizeof line, "mqshm_wake: queue=t-trace word=data value=%u\n", word + 1);
	EXPECT_NE(NULL, strstr(trace, line));
	snprintf(line, sizeof line, "mqshm_evict: queue=t-trace participant=2 pid=%d why=by_hand\n", getpid());
	EXPECT_NE(NULL, strstr(trace, line));
	snprintf(line, sizeof line, "mqshm_detach: queue=t-trace participant=1 pid=%d\n", getpid());
	EXPECT_NE(NULL, strstr(trace, line));
	snprintf(line, sizeof line, "mqshm_death: queue=t-trace participant=0 pid=%d\n", pid);
	EXPECT_NE(NULL, strstr(trace, line));
	set(TRACING "trace", "");
}

/* ---- all at once: readers, roles that come and go, evictions, the end ---- */

TEST(readers_beside_changes)
{
	struct mqshm_ioc_create c = create_argument("t-race");
	const char *scale = getenv("MQSHM_TEST_SCALE");
	int rounds = 400 / (scale && atoi(scale) > 0 ? atoi(scale) : 1) + 20, control = open_control();
	pid_t readers[2];

	int read_all(void *argument)
	{
		static const char *const files[] = { "total_popped", "consumer_count", "producer_pid", "consumers/0/lag",
						     "consumers/1/pid", "consumers/0/comm" };
		char text[64];

		for (unsigned i = 0;; i++) {
			long n = read_value("t-race", files[i % 6], text, sizeof text);

			if (n <= 0 && n != -ENODEV && n != -ENOENT)
				return 1;
			if (argument && i % 32 == 0) {
				int fd = open_file("t-race", "consumers/0/evict", O_WRONLY);

				if (fd >= 0) {
					n = sys(write(fd, "1", 1));
					close(fd);
					if (n != 1 && n != -ENODEV)
						return 2;
				}
			}
		}
	}
	for (int i = 0; i < 2; i++)
		readers[i] = spawn(read_all, i ? &c : NULL);
	for (int i = 0; i < rounds; i++) {
		int a, b;

		c.queue_flags = i % 2 ? PERSISTENT : 0;
		if (i % 8 == 0)
			create(control, &c);
		a = open_queue("t-race", O_RDWR);
		b = open_queue("t-race", O_RDWR);
		if (a >= 0)
			attach_as(a, MQSHM_IOC_CONSUMER);
		if (b >= 0 && attach_as(b, MQSHM_IOC_CONSUMER) == 0 && i % 3)
			detach(b, MQSHM_EPOCH_NONE);
		if (i % 8 == 7)
			remove_queue(control, "t-race", MQSHM_IOC_FORCE);
		close(a);
		close(b);
	}
	remove_queue(control, "t-race", MQSHM_IOC_FORCE);
	for (int i = 0; i < 2; i++) {
		kill(readers[i], SIGKILL);
		EXPECT_EQ(128 + SIGKILL, reap(readers[i]));
	}
	EXPECT_EQ(-1, access(CLASS "/t-race", F_OK));
}

TEST_HARNESS_MAIN
