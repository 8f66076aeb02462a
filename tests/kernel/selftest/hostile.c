// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attempts by a hostile consumer, a hostile producer and another user, as root and as an ordinary user: each is refused, or
 * harms only who makes it.
 */
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "common.h"

/* ---- writing to what a role may only read ---- */

struct target {
	int fd;
	struct mqshm_info *info;
	volatile uint64_t *at, *view; /* mapped for reading: to attack, to look */
	size_t offset, bytes;  /* in the object */
};

typedef long (*attack)(struct target *t);

static long by_mprotect(struct target *t)
{
	return sys(mprotect((void *)t->at, PAGE, PROT_READ | PROT_WRITE));
}

static long by_mapping_it_for_writing(struct target *t)
{
	void *at = mmap(NULL, t->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, (off_t)t->offset);

	return at == MAP_FAILED ? -errno : 0;
}

static long by_a_private_mapping(struct target *t)
{
	void *at = mmap(NULL, t->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, t->fd, (off_t)t->offset);

	return at == MAP_FAILED ? -errno : 0;
}

static long by_proc_self_mem(struct target *t)
{
	uint64_t value = 0x5a5a;
	int fd = open("/proc/self/mem", O_RDWR);
	long rc = fd < 0 ? -errno : sys(pwrite(fd, &value, sizeof value, (off_t)(uintptr_t)t->at));

	close(fd);
	return rc;
}

static long by_process_vm_writev(struct target *t)
{
	uint64_t value = 0x5a5a;
	struct iovec from = { &value, sizeof value }, to = { (void *)t->at, sizeof value };

	return sys(process_vm_writev(getpid(), &from, 1, &to, 1, 0));
}

static int poke(void *argument)
{
	struct target *t = argument;
	pid_t pid = getppid();
	int status;
	long rc;

	if (ptrace(PTRACE_ATTACH, pid, 0, 0) || waitpid(pid, &status, __WALL) != pid)
		return 100;
	rc = sys(ptrace(PTRACE_POKEDATA, pid, t->at, 0x5a5a));
	ptrace(PTRACE_DETACH, pid, 0, 0);
	return rc ? 1 : 0;
}

static long by_ptrace(struct target *t)
{
	prctl(PR_SET_DUMPABLE, 1);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	return -reap(spawn(poke, t));
}

static long by_populating(struct target *t)
{
	return sys(madvise((void *)t->at, PAGE, MADV_POPULATE_WRITE));
}

static long by_reading_into_it(struct target *t)
{
	int fd = open("/dev/zero", O_RDONLY);
	long rc = sys(read(fd, (void *)t->at, 8));

	close(fd);
	return rc;
}

static long by_userfaultfd(struct target *t)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { (uintptr_t)t->at, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	long rc = fd < 0 ? -errno : sys(ioctl(fd, UFFDIO_API, &api));

	if (!rc)
		rc = sys(ioctl(fd, UFFDIO_REGISTER, &reg));
	close(fd);
	return rc;
}

static long by_growing_it(struct target *t)
{
	return mremap((void *)t->at, t->bytes, t->bytes + 64 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED ? -errno : 0;
}

static long by_a_second_mapping(struct target *t)
{
	return mremap((void *)t->at, 0, t->bytes, MREMAP_MAYMOVE) == MAP_FAILED ? -errno : 0;
}

static long by_remap_file_pages(struct target *t)
{
	/* To have other pages of the object at our address: those of a region that the role may map for reading can be had. */
	for (size_t page = 0; page < t->info->total_bytes / PAGE; page++)
		if (!syscall(SYS_remap_file_pages, t->at, PAGE, 0, page, 0) && touch(t->at, true) != SIGSEGV)
			return 0;
	return -EINVAL;
}

static long by_map_files(struct target *t)
{
	char path[96];
	long rc;
	int fd;

	snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (long)t->at, (long)t->at + t->bytes);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return -errno;
	rc = mmap(NULL, t->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)t->offset) == MAP_FAILED ? -errno : 0;
	close(fd);
	return rc;
}

static long by_reopening_the_descriptor(struct target *t)
{
	char path[64];
	long rc;
	int fd;

	snprintf(path, sizeof path, "/proc/self/fd/%d", t->fd);
	fd = open(path, O_RDWR);
	rc = mmap(NULL, t->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)t->offset) == MAP_FAILED ? -errno : 0;
	close(fd);
	return rc;
}

static int setup_ring(void)
{
	struct io_uring_params p = { 0 };

	return syscall(SYS_io_uring_setup, 4, &p);
}

static long register_buffer(void *at, size_t bytes)
{
	struct iovec iov = { at, bytes };
	int ring = setup_ring();
	long rc = ring < 0 ? -ENOSYS : sys(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1));

	close(ring);
	return rc;
}

static long by_a_registered_buffer(struct target *t)
{
	return register_buffer((void *)t->at, PAGE);
}

static void attack_all(struct __test_metadata *_metadata, FIXTURE_DATA(queue) *self, attack attempt)
{
	static const struct {
		uint32_t role;
		enum region region;
	} rows[] = {
		{ MQSHM_IOC_CONSUMER, INFO }, { MQSHM_IOC_CONSUMER, PRODUCER }, { MQSHM_IOC_CONSUMER, NODES },
		{ MQSHM_IOC_PRODUCER, INFO }, { MQSHM_IOC_PRODUCER, CONSUMERS },
	};
	int fds[3] = { -1, open_queue(self->name, O_RDWR), open_queue(self->name, O_RDWR) };

	ASSERT_EQ(0, attach_as(fds[MQSHM_IOC_PRODUCER], MQSHM_IOC_PRODUCER));
	ASSERT_EQ(0, attach_as(fds[MQSHM_IOC_CONSUMER], MQSHM_IOC_CONSUMER));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct target t = { .fd = fds[rows[i].role], .info = &self->info };
		uint64_t before;

		region(&self->info, rows[i].region, 0, &t.offset, &t.bytes);
		t.at = map_region(t.fd, &self->info, rows[i].region, 0, PROT_READ);
		t.view = map_region(t.fd, &self->info, rows[i].region, 0, PROT_READ);
		ASSERT_NE(MAP_FAILED, t.view);
		before = *t.view;
		EXPECT_GT(0, attempt(&t)) TH_LOG("role %u region %d", rows[i].role, rows[i].region);
		EXPECT_EQ(before, *t.view) TH_LOG("role %u region %d", rows[i].role, rows[i].region);
		EXPECT_EQ(SIGSEGV, touch(t.at + 1, true)) TH_LOG("role %u region %d", rows[i].role, rows[i].region);
	}
}

#define WRITE(attempt) TEST_F(queue, write_##attempt) { attack_all(_metadata, self, attempt); }
WRITE(by_mprotect)
WRITE(by_mapping_it_for_writing)
WRITE(by_a_private_mapping)
WRITE(by_proc_self_mem)
WRITE(by_process_vm_writev)
WRITE(by_ptrace)
WRITE(by_populating)
WRITE(by_reading_into_it)
WRITE(by_userfaultfd)
WRITE(by_growing_it)
WRITE(by_a_second_mapping)
WRITE(by_remap_file_pages)
WRITE(by_map_files)
WRITE(by_reopening_the_descriptor)
WRITE(by_a_registered_buffer)

TEST_F(queue, write_anothers_cursor)
{
	int one = open_queue(self->name, O_RDWR), other = open_queue(self->name, O_RDWR);
	char *own;

	ASSERT_EQ(0, attach_as(one, MQSHM_IOC_CONSUMER));
	ASSERT_EQ(0, attach_as(other, MQSHM_IOC_CONSUMER));
	EXPECT_EQ(-EINVAL, try_map(one, &self->info, OWN, 1, PROT_READ | PROT_WRITE));
	EXPECT_EQ(-EINVAL, try_map(one, &self->info, CONSUMERS, 0, PROT_READ | PROT_WRITE));
	own = map_region(one, &self->info, OWN, 0, PROT_READ | PROT_WRITE);
	ASSERT_NE(MAP_FAILED, own);
	EXPECT_EQ(MAP_FAILED, mremap(own, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
	EXPECT_GT(0, sys(syscall(SYS_remap_file_pages, own, PAGE, 0, self->info.consumers_offset / PAGE + 1, 0)));
}

/* A page that the kernel keeps for somebody is written to whoever owns it by then. */
TEST_F(queue, keep_a_page_beyond_the_role)
{
	int fd = open_queue(self->name, O_RDWR), null, pipes[2];
	struct iovec iov;
	char *own;

	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_CONSUMER));
	own = map_region(fd, &self->info, OWN, 0, PROT_READ | PROT_WRITE);
	ASSERT_EQ(0, touch(own, true));
	EXPECT_EQ(-EFAULT, register_buffer(own, PAGE));
	ASSERT_EQ(0, pipe(pipes));
	iov = (struct iovec){ own, PAGE };
	EXPECT_EQ(-EFAULT, sys(vmsplice(pipes[1], &iov, 1, 0)));
	null = open("/dev/zero", O_RDONLY);
	EXPECT_EQ(8, read(null, own, 8)); /* a copy is no reference */
}

/* ---- what an ended role can still do ---- */

TEST_F(queue, evicted_it_keeps_a_page_of_its_own)
{
	int fd = open_queue(self->name, O_RDWR), next = open_queue(self->name, O_RDWR);
	struct mqshm_consumer_area *mine, *theirs;
	struct mqshm_ioc_attach a = { .role = MQSHM_IOC_PRODUCER };
	uint64_t *nodes, *new_nodes;
	int producer = open_queue(self->name, O_RDWR), second = open_queue(self->name, O_RDWR);

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, attach_as(open_queue(self->name, O_RDWR), MQSHM_IOC_CONSUMER));
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_CONSUMER));
	mine = area_of(map_region(fd, &self->info, OWN, 3, PROT_READ | PROT_WRITE), 3);
	mine->position = 1234;
	ASSERT_EQ(0, end_role(self->fd, 4, MQSHM_WHY_BY_HAND, 0));
	ASSERT_EQ(0, attach_as(next, MQSHM_IOC_CONSUMER)); /* the slot is another's */
	theirs = area_of(map_region(next, &self->info, OWN, 3, PROT_READ | PROT_WRITE), 3);
	ASSERT_NE((void *)MAP_FAILED, (void *)theirs);
	EXPECT_EQ(0, touch(&mine->position, true));
	EXPECT_EQ(0, theirs->position);
	EXPECT_EQ(-ESTALE, try_map(fd, &self->info, OWN, 3, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, detach(fd, MQSHM_EPOCH_NONE)); /* of nothing */
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, 4));
	/* So with a producer and the nodes. */
	ASSERT_EQ(0, attach(producer, &a));
	nodes = map_region(producer, &self->info, NODES, 0, PROT_READ | PROT_WRITE);
	nodes[0] = 1;
	ASSERT_EQ(0, end_role(self->fd, 0, MQSHM_WHY_BY_HAND, 0));
	ASSERT_EQ(0, attach_as(second, MQSHM_IOC_PRODUCER));
	new_nodes = map_region(second, &self->info, NODES, 0, PROT_READ | PROT_WRITE);
	new_nodes[0] = 2;
	EXPECT_EQ(0, touch(nodes, true));
	EXPECT_EQ(2, new_nodes[0]);
}

/* ---- a passed or inherited descriptor ---- */

static int use_descriptor(void *argument)
{
	FIXTURE_DATA(queue) *self = ((void **)argument)[0];
	int fd = *(int *)((void **)argument)[1], bad = 0;
	uint32_t value;

	for (enum region r = 0; r < REGIONS; r++)
		bad += try_map(fd, &self->info, r, 0, PROT_READ) == 0;
	bad += arm(fd, MQSHM_WORD_DATA, &value) != -EPERM;
	bad += wake(fd, MQSHM_WORD_DATA) != -EPERM;
	bad += wait_word(fd, MQSHM_WORD_DATA, 0, 0) != -EPERM;
	bad += detach(fd, MQSHM_EPOCH_CLOSED) != -EPERM;
	bad += sys(ioctl(fd, MQSHM_IOC_SYNC)) != -EPERM;
	bad += end_role(fd, 1, MQSHM_WHY_SLOW, 0) != -EPERM;
	bad += end_role(fd, 1, MQSHM_WHY_HOSTILE, 0) != -EPERM;
	return bad;
}

TEST_F(queue, use_anothers_descriptor)
{
	int producer = open_queue(self->name, O_RDWR), consumer = open_queue(self->name, O_RDWR);
	void *arguments[2] = { self, &producer };

	ASSERT_EQ(0, attach_as(producer, MQSHM_IOC_PRODUCER));
	ASSERT_EQ(0, attach_as(consumer, MQSHM_IOC_CONSUMER));
	EXPECT_EQ(0, reap(spawn(use_descriptor, arguments)));
	arguments[1] = &consumer;
	EXPECT_EQ(0, reap(spawn(use_descriptor, arguments)));
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, 0));
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, 1));
}

/* ---- ending others' roles ---- */

TEST_F(queue, evict_whom_one_may_not)
{
	int producer = open_queue(self->name, O_RDWR), consumer = open_queue(self->name, O_RDWR), victim = open_queue(self->name, O_RDWR);
	struct mqshm_consumer_area *area;

	ASSERT_EQ(0, attach_as(producer, MQSHM_IOC_PRODUCER));
	ASSERT_EQ(0, attach_as(consumer, MQSHM_IOC_CONSUMER));
	ASSERT_EQ(0, attach_as(victim, MQSHM_IOC_CONSUMER));
	EXPECT_EQ(-EPERM, end_role(consumer, 2, MQSHM_WHY_SLOW, 0));
	EXPECT_EQ(-EPERM, end_role(consumer, 2, MQSHM_WHY_HOSTILE, 0));
	EXPECT_EQ(-EPERM, end_role(consumer, 0, MQSHM_WHY_HOSTILE, 0));
	EXPECT_EQ(-EPERM, end_role(producer, 2, MQSHM_WHY_SLOW, 0)); /* not this queue's policy */
	EXPECT_EQ(-EPERM, end_role(producer, 2, MQSHM_WHY_HOSTILE, 0)); /* its cursor is a good one */
	EXPECT_EQ(-EPERM, end_role(producer, 0, MQSHM_WHY_HOSTILE, 0));
	EXPECT_EQ(-ESRCH, end_role(producer, 3, MQSHM_WHY_HOSTILE, 0));
	EXPECT_EQ(-ESRCH, end_role(producer, ~0u, MQSHM_WHY_HOSTILE, 0));
	for (uint32_t why = MQSHM_WHY_REMOVED; why < 20; why++)
		EXPECT_GT(0, end_role(producer, 2, why, 0));
	area = area_of(map_region(victim, &self->info, OWN, 1, PROT_READ | PROT_WRITE), 1);
	area->position = 8; /* beyond tail */
	EXPECT_EQ(0, end_role(producer, 2, MQSHM_WHY_HOSTILE, 0));
	EXPECT_EQ(MQSHM_SLOT_ENDED, slot_state(self->fd, 2));
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, 1));
}

/*
 * Another user: at a queue that only its owner may open, at one that all may read, and at one that all may use. The queue is
 * root's or an ordinary user's. root, the test, only looks on, and changes the mode.
 */
struct owned {
	uid_t uid;
	char name[64];
	volatile int there, leave;
};

static int own_a_queue(void *argument)
{
	struct owned *o = argument;
	struct mqshm_ioc_create c = create_argument(o->name);
	struct mqshm_ioc_attach a;
	int control, fd, left, rc;

	become(o->uid);
	control = open_control();
	c.queue_flags = PERSISTENT;
	if (create(control, &c))
		return 1;
	fd = open_queue(o->name, O_RDWR);
	left = open_queue(o->name, O_RDWR);
	if (attach_named(fd, "mine", 1000, &a) || attach_named(left, "left", 3600000, &a) || detach(left, MQSHM_EPOCH_CLOSED))
		return 2;
	o->there = 1;
	while (!o->leave)
		usleep(1000);
	rc = slot_state(fd, 1) == MQSHM_SLOT_LIVE && slot_state(fd, 2) == MQSHM_SLOT_LEASED ? 0 : 3;
	return remove_queue(control, o->name, MQSHM_IOC_FORCE) ? 4 : rc;
}

/* What no other user may, whatever the node's mode. fd: without a role, or -errno. */
static int meddle(const char *name, int fd)
{
	struct mqshm_info info;
	char path[128];
	int control = open_control(), bad = 0, file;
	uint32_t value;

	bad += remove_queue(control, name, 0) != -EPERM;
	bad += remove_queue(control, name, MQSHM_IOC_FORCE) != -EPERM;
	snprintf(path, sizeof path, "/dev/mqshm/%s", name);
	bad += chmod(path, 0666) == 0 || unlink(path) == 0;
	snprintf(path, sizeof path, "/sys/class/mqshm/%s/consumers/0/evict", name);
	file = open(path, O_WRONLY);
	bad += file >= 0 && write(file, "1", 1) >= 0;
	if (fd < 0)
		return bad;
	bad += end_role(fd, 1, MQSHM_WHY_BY_HAND, 0) != -EPERM;
	bad += end_role(fd, 1, MQSHM_WHY_BY_HAND, MQSHM_IOC_DEMOTE) != -EPERM;
	bad += end_role(fd, 1, MQSHM_WHY_HOSTILE, 0) != -EPERM;
	bad += read_info(fd, &info) != 0;
	for (enum region r = 0; r < REGIONS; r++)
		bad += try_map(fd, &info, r, 0, PROT_READ) != -EPERM;
	bad += arm(fd, MQSHM_WORD_DATA, &value) != -EPERM;
	bad += wake(fd, MQSHM_WORD_DATA) != -EPERM;
	bad += wait_word(fd, MQSHM_WORD_DATA, 0, 0) != -EPERM;
	bad += detach(fd, MQSHM_EPOCH_CLOSED) != -EPERM;
	return bad;
}

static int as_another_user(void *argument)
{
	const char *name = argument;

	become(65534);
	if (open_queue(name, O_RDWR) != -EACCES || open_queue(name, O_RDONLY) != -EACCES)
		return 100;
	return meddle(name, -1);
}

static int as_a_reader(void *argument)
{
	const char *name = argument;
	int fd;

	become(65534);
	fd = open_queue(name, O_RDONLY);
	if (fd < 0 || open_queue(name, O_RDWR) != -EACCES || attach_as(fd, MQSHM_IOC_CONSUMER) != -EBADF)
		return 100;
	return meddle(name, fd);
}

/* It may have a role, as the mode says, and is then a hostile consumer or producer like any other. */
static int as_one_who_may(void *argument)
{
	const char *name = argument;
	struct mqshm_ioc_attach a;
	int fd, bad;

	become(65534);
	fd = open_queue(name, O_RDWR);
	if (fd < 0)
		return 100;
	bad = meddle(name, fd);
	bad += attach_named(fd, "mine", 1000, &a) != -EBUSY;
	bad += attach_named(fd, "left", 1000, &a) != -EPERM; /* another's cursor */
	if (attach_as(fd, MQSHM_IOC_PRODUCER))
		return 101;
	bad += end_role(fd, 1, MQSHM_WHY_BY_HAND, 0) != -EPERM;
	return bad;
}

static void attack_as_another(struct __test_metadata *_metadata, uid_t uid)
{
	struct owned *o = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char path[96];
	pid_t owner;

	ASSERT_EQ(0, chmod(CONTROL, 0666));
	o->uid = uid;
	snprintf(o->name, sizeof o->name, "t%d-q", getpid());
	owner = spawn(own_a_queue, o);
	eventually(o->there || waitpid(owner, NULL, WNOHANG) == owner);
	ASSERT_EQ(1, o->there);
	snprintf(path, sizeof path, "/dev/mqshm/%s", o->name);
	EXPECT_EQ(0, reap(spawn(as_another_user, o->name)));
	ASSERT_EQ(0, chmod(path, 0644));
	EXPECT_EQ(0, reap(spawn(as_a_reader, o->name)));
	ASSERT_EQ(0, chmod(path, 0666));
	EXPECT_EQ(0, reap(spawn(as_one_who_may, o->name)));
	o->leave = 1;
	EXPECT_EQ(0, reap(owner));
}

TEST(by_another_user_at_roots_queue)
{
	attack_as_another(_metadata, 0);
}

TEST(by_another_user_at_a_users_queue)
{
	attack_as_another(_metadata, USER);
}

/* ---- exhausting a queue ---- */

/* All places taken, and nothing read: the owner of the queue has a remedy, and who did it has lost them. */
TEST_F(queue, take_all_places)
{
	int fds[5], next = open_queue(self->name, O_RDWR);

	for (int i = 0; i < 4; i++) {
		fds[i] = open_queue(self->name, O_RDWR);
		ASSERT_EQ(0, attach_as(fds[i], MQSHM_IOC_CONSUMER));
	}
	EXPECT_EQ(-EBUSY, attach_as(next, MQSHM_IOC_CONSUMER));
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(-EALREADY, attach_as(fds[i], MQSHM_IOC_CONSUMER)); /* one role a file, ever */
		EXPECT_EQ(0, end_role(self->fd, 1 + i, MQSHM_WHY_BY_HAND, 0));
		EXPECT_EQ(-EALREADY, attach_as(fds[i], MQSHM_IOC_CONSUMER));
	}
	EXPECT_EQ(0, attach_as(next, MQSHM_IOC_CONSUMER));
	EXPECT_EQ(0, attach_as(open_queue(self->name, O_RDWR), MQSHM_IOC_PRODUCER));
}

/* ---- wild words in the pages that a role may write ---- */

TEST_F(queue, wild_words)
{
	static const uint64_t wild[] = { 1, 7, 8, 4096, 1ULL << 32, (1ULL << 63) - 8, 1ULL << 63, (1ULL << 63) + 8, ~0ULL, ~7ULL };
	int producer, consumer, joiner, slot;
	struct mqshm_producer_page *page;
	struct mqshm_consumer_area *area;
	struct mqshm_ioc_attach a;
	long rc;

	for (size_t t = 0; t < ARRAY_SIZE(wild); t++)
		for (size_t h = 0; h < ARRAY_SIZE(wild); h++) {
			producer = open_queue(self->name, O_RDWR);
			consumer = open_queue(self->name, O_RDWR);
			joiner = open_queue(self->name, O_RDWR);
			ASSERT_EQ(0, attach_as(producer, MQSHM_IOC_PRODUCER));
			page = map_region(producer, &self->info, PRODUCER, 0, PROT_READ | PROT_WRITE);
			memset((void *)page, 0, sizeof *page);
			a = (struct mqshm_ioc_attach){ .role = MQSHM_IOC_CONSUMER };
			ASSERT_EQ(0, attach(consumer, &a));
			slot = a.participant - 1;
			area = area_of(map_region(consumer, &self->info, OWN, slot, PROT_READ | PROT_WRITE), slot);
			page->tail = wild[t];
			page->head = wild[h];
			page->record[0].end = wild[t];
			page->record[0].next = wild[h];
			page->head_sequence = wild[t];
			page->lock = wild[h];
			page->blocked_on = ~0u;
			page->need = wild[t];
			memset((void *)area, 0xff, sizeof *area);
			area->position = wild[h];
			area->sequence = wild[t];
			poll_now(producer, POLLOUT);
			poll_now(consumer, POLLIN);
			/* A joiner gets a position that can be one, or none. */
			a = (struct mqshm_ioc_attach){ .role = MQSHM_IOC_CONSUMER };
			rc = attach(joiner, &a);
			EXPECT_TRUE(rc == 0 || rc == -EBADMSG);
			EXPECT_TRUE(rc || (a.position % 8 == 0 && a.position <= 1ULL << 63));
			EXPECT_EQ(rc ? -EBADMSG : -EALREADY, attach_as(joiner, MQSHM_IOC_CONSUMER));
			EXPECT_EQ(0, detach(consumer, MQSHM_EPOCH_CLOSED));
			close(joiner);
			close(producer);
			munmap((void *)page, self->info.consumers_offset - self->info.producer_offset);
			munmap((void *)((uintptr_t)area & ~(PAGE - 1)), PAGE);
			close(consumer);
			close(producer);
		}
	/* Its counters are shown, but bounded by what was pushed. */
	page = NULL;
	EXPECT_EQ(0, read_info(self->fd, &self->info));
}

/* ---- wild ioctls ---- */

/* How many were not refused. */
static int throw_wild_ioctls(int fd)
{
	static const unsigned int known[] = { MQSHM_IOC_CREATE, MQSHM_IOC_REMOVE, MQSHM_IOC_ATTACH, MQSHM_IOC_DETACH, MQSHM_IOC_ARM,
					      MQSHM_IOC_WAKE, MQSHM_IOC_WAIT, MQSHM_IOC_END };
	char *edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *const pointers[] = { NULL, bad_pointer, (void *)-1L, (void *)-4096L, (void *)(1UL << (sizeof(long) * 8 - 1)), edge + PAGE - 4 };
	uint8_t filling[512];
	int bad = munmap(edge + PAGE, PAGE) != 0;

	for (size_t c = 0; c < ARRAY_SIZE(known); c++)
		for (size_t p = 0; p < ARRAY_SIZE(pointers); p++) {
			long rc = sys(ioctl(fd, known[c], pointers[p]));

			bad += rc != -EFAULT && rc != -ENOTTY;
		}
	for (unsigned int nr = 0; nr < 256; nr++)
		for (unsigned int direction = 0; direction < 4; direction++)
			for (unsigned int size = 0; size < 400; size += size < 80 ? 8 : 148) {
				if (nr == 8 && !size)
					continue; /* SYNC */
				memset(filling, nr * 7 + size, sizeof filling);
				bad += sys(ioctl(fd, _IOC(direction, MQSHM_IOC_MAGIC, nr, size), filling)) >= 0;
			}
	munmap(edge, PAGE);
	return bad;
}

static int throw_them_as_another(void *argument)
{
	const char *name = argument;
	int fd;

	become(65534);
	fd = open_queue(name, O_RDWR);
	return fd < 0 ? 100 : throw_wild_ioctls(fd) + throw_wild_ioctls(open_control());
}

TEST(wild_ioctls_by_another_user)
{
	int control = open_control();
	struct mqshm_ioc_create c;
	char name[64];

	snprintf(name, sizeof name, "t%d-q", getpid());
	ASSERT_EQ(0, chmod(CONTROL, 0666));
	c = create_argument(name);
	c.mode = 0666;
	c.queue_flags = PERSISTENT;
	ASSERT_EQ(0, create(control, &c));
	EXPECT_EQ(0, reap(spawn(throw_them_as_another, name)));
	EXPECT_EQ(0, remove_queue(control, name, 0)); /* nobody has got a role by it */
}

TEST_F(queue, wild_ioctls)
{
	int consumer = open_queue(self->name, O_RDWR), producer = open_queue(self->name, O_RDWR), fd;
	struct mqshm_ioc_attach *only_read;

	ASSERT_EQ(0, attach_as(consumer, MQSHM_IOC_CONSUMER));
	ASSERT_EQ(0, attach_as(producer, MQSHM_IOC_PRODUCER));
	EXPECT_EQ(0, throw_wild_ioctls(self->control));
	EXPECT_EQ(0, throw_wild_ioctls(self->fd));
	EXPECT_EQ(0, throw_wild_ioctls(consumer));
	EXPECT_EQ(0, throw_wild_ioctls(producer));
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, 0));
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, 1));
	EXPECT_EQ(0, detach(producer, MQSHM_EPOCH_CLOSED));
	/* The answer can't be written: the role is given back. */
	only_read = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*only_read = (struct mqshm_ioc_attach){ .size = sizeof *only_read, .role = MQSHM_IOC_PRODUCER };
	mprotect(only_read, PAGE, PROT_READ);
	EXPECT_EQ(-EFAULT, sys(ioctl(self->fd, MQSHM_IOC_ATTACH, only_read)));
	EXPECT_NE(MQSHM_SLOT_LIVE, slot_state(self->fd, 0));
	fd = open_queue(self->name, O_RDWR);
	EXPECT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
}

TEST_F(queue, reserved_words_and_unknown_flags)
{
	int fd = open_queue(self->name, O_RDWR);
	uint32_t any[10];

#define REFUSED(command, ...) ({ \
	uint32_t words[] = { __VA_ARGS__ }; \
	memset(any, 0, sizeof any); \
	memcpy(any, words, sizeof words); \
	EXPECT_EQ(-EINVAL, sys(ioctl(fd, command, any))) TH_LOG(#command " " #__VA_ARGS__); })
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
	REFUSED(MQSHM_IOC_DETACH, 7, 2);
	REFUSED(MQSHM_IOC_DETACH, 8, 9);
	REFUSED(MQSHM_IOC_ARM, 16, 0, 1);
	REFUSED(MQSHM_IOC_ARM, 16, 0, 0, 1);
	REFUSED(MQSHM_IOC_ARM, 16, 4);
	REFUSED(MQSHM_IOC_ARM, 17, 0);
	REFUSED(MQSHM_IOC_WAKE, 16, 0, 1);
	REFUSED(MQSHM_IOC_WAKE, 16, 0, 0, 1);
	REFUSED(MQSHM_IOC_WAKE, 16, ~0u);
	REFUSED(MQSHM_IOC_WAIT, 40, 0, 0, 2);
	REFUSED(MQSHM_IOC_WAIT, 40, MQSHM_WORD_ROOM, 0, MQSHM_IOC_FOR_DATA);
	REFUSED(MQSHM_IOC_WAIT, 40, 0, 0, 0, 0, 0, 1); /* until, epoch without the flag */
	REFUSED(MQSHM_IOC_WAIT, 40, 0, 0, 0, 0, 0, 0, 0, 1);
	REFUSED(MQSHM_IOC_WAIT, 40, 0, 0, 0, 0, 0, 0, 0, 0, 1);
	REFUSED(MQSHM_IOC_WAIT, 40, ~0u);
	REFUSED(MQSHM_IOC_WAIT, 24, 0);
	REFUSED(MQSHM_IOC_WAIT, 0, 0);
	REFUSED(MQSHM_IOC_END, 24, 0, 0, MQSHM_WHY_BY_HAND, 2);
	REFUSED(MQSHM_IOC_END, 24, 0, 0, MQSHM_WHY_BY_HAND, 0, 1);
	REFUSED(MQSHM_IOC_END, 25, 0, 0, MQSHM_WHY_BY_HAND);
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, 0));
}

TEST_F(queue, huge_geometry)
{
	static const uint32_t sizes[] = { 1u << 20, (1u << 20) + 1, 1u << 29, 1u << 30 };
	struct mqshm_ioc_create c = create_argument(self->name);

	strcat((char *)c.name, "-2");
	for (size_t n = 0; n < ARRAY_SIZE(sizes); n++)
		for (size_t b = 0; b < ARRAY_SIZE(sizes); b++) {
			c.node_count = sizes[n];
			c.block_size = sizes[b];
			EXPECT_EQ(-EFBIG, create(self->control, &c));
		}
	/* Below the limit of a queue, above what a user may have; root may have what there is, and no more. */
	c.node_count = 1u << 19;
	c.block_size = 1900;
	if (variant->uid) {
		EXPECT_EQ(-EDQUOT, create(self->control, &c));
		return;
	}
	char last = 'a', first = last;

	for (;; last++) {
		int rc;

		c.name[strlen((char *)c.name) - 1] = last;
		rc = create(self->control, &c);
		if (rc) {
			EXPECT_EQ(-ENOMEM, rc);
			break;
		}
		ASSERT_LT(last, 'z');
	}
	while (last > first) {
		c.name[strlen((char *)c.name) - 1] = --last;
		EXPECT_EQ(0, remove_queue(self->control, (char *)c.name, 0));
	}
}

TEST_HARNESS_MAIN
