// SPDX-License-Identifier: GPL-2.0-only
/* What each ioctl, mmap(), poll() and pread() does when nobody means harm. */
#include "common.h"

/* ---- create and remove ---- */

TEST_F(queue, a_new_queue)
{
	struct stat st;
	char path[96];

	EXPECT_EQ(MQSHM_MAGIC, self->info.magic);
	EXPECT_EQ(MQSHM_ABI_VERSION, self->info.abi_version);
	EXPECT_EQ(15, self->info.node_count);
	EXPECT_EQ(232, self->info.block_size);
	EXPECT_EQ(4, self->info.max_consumers);
	EXPECT_EQ(PAGE, self->info.consumer_stride);
	EXPECT_EQ(0, self->info.producer_epoch);
	EXPECT_STREQ(self->name, (char *)self->info.name);
	snprintf(path, sizeof path, "/dev/mqshm/%s", self->name);
	ASSERT_EQ(0, stat(path, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0600, st.st_mode & 07777);
	EXPECT_EQ(variant->uid, st.st_uid);
	EXPECT_EQ(variant->uid, st.st_gid);
}

TEST_F(queue, create_refuses_a_name_that_is_there)
{
	struct mqshm_ioc_create c = create_argument(self->name);

	EXPECT_EQ(-EEXIST, create(self->control, &c));
}

TEST_F(queue, create_refuses_what_makes_no_queue)
{
	static const char *const names[] = { "", ".", "..", ".hidden", "a/b", "control", "sp ace", "uml\xc3\xa4ut", "new\nline", "a!b" };
	struct mqshm_ioc_create good, c;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		c = create_argument(names[i]);
		EXPECT_EQ(-EINVAL, create(self->control, &c)) TH_LOG("name '%s'", names[i]);
	}
	snprintf((char *)c.name, sizeof c.name, "t%d-bad", getpid());
	good = create_argument((char *)c.name);
#define REFUSED(change) ({ c = good; change; EXPECT_EQ(-EINVAL, create(self->control, &c)) TH_LOG("%s", #change); })
	REFUSED(memset(c.name, 'a', sizeof c.name));
	REFUSED(c.name[sizeof c.name - 1] = 'x');
	REFUSED(c.size--);
	REFUSED(c.size++);
	REFUSED(c.size = 0);
	REFUSED(c.flags = 2);
	REFUSED(c.node_count = 0);
	REFUSED(c.node_count = (1u << 30) + 1);
	REFUSED(c.block_size = 0);
	REFUSED(c.block_size = (1u << 30) + 1);
	REFUSED(c.max_producers = 0);
	REFUSED(c.max_producers = 2);
	REFUSED(c.queue_flags = SHARED);
	REFUSED(c.max_consumers = 0);
	REFUSED(c.max_consumers = 257);
	REFUSED(c.node_align = 0);
	REFUSED(c.node_align = 12);
	REFUSED(c.node_align = 128);
	REFUSED(c.queue_flags = 0x40);
	REFUSED(c.queue_flags = OVERWRITE | 0x4); /* HOLD */
	REFUSED(c.queue_flags = 0x30);
	REFUSED(c.slow_policy = 3; c.slow_ms = 1);
	REFUSED(c.slow_policy = 1);
	REFUSED(c.slow_ms = 1);
	REFUSED(c.queue_flags = OVERWRITE; c.slow_policy = 1; c.slow_ms = 1);
	REFUSED(c.mode = 01777);
	REFUSED(c.metadata_bytes = 257);
	REFUSED(c.metadata_bytes = 1; c.metadata[1] = 1);
	REFUSED(c.base_position = 8);
	REFUSED(c.base_position = 1ULL << 63);
	EXPECT_EQ(0, create(self->control, &good));
	EXPECT_EQ(0, remove_queue(self->control, (char *)good.name, 0));
}

TEST_F(queue, remove_says_why_not)
{
	struct mqshm_ioc_remove r = { .size = sizeof r };
	int fd = open_queue(self->name, O_RDWR);

	EXPECT_EQ(-ENOENT, remove_queue(self->control, "t-no-such-queue", 0));
	EXPECT_EQ(-ENOENT, remove_queue(self->control, "control", MQSHM_IOC_FORCE));
	EXPECT_EQ(-EINVAL, remove_queue(self->control, self->name, 2));
	snprintf((char *)r.name, sizeof r.name, "%s", self->name);
	r.name[sizeof r.name - 1] = 1;
	EXPECT_EQ(-EINVAL, sys(ioctl(self->control, MQSHM_IOC_REMOVE, &r)));
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
	EXPECT_EQ(-EBUSY, remove_queue(self->control, self->name, 0));
}

TEST_F(queue, a_removed_queue_is_gone_for_all_who_have_it_open)
{
	struct mqshm_ioc_create c = create_argument(self->name);
	struct mqshm_info info;
	int fd = open_queue(self->name, O_RDWR), other = open_queue(self->name, O_RDWR);
	uint64_t *page;

	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
	page = map_region(fd, &self->info, NODES, 0, PROT_READ | PROT_WRITE);
	ASSERT_NE(MAP_FAILED, page);
	*page = 1;
	EXPECT_EQ(0, remove_queue(self->control, self->name, MQSHM_IOC_FORCE));
	EXPECT_EQ(-ENOENT, open_queue(self->name, O_RDWR));
	EXPECT_EQ(-ENODEV, attach_as(other, MQSHM_IOC_PRODUCER));
	EXPECT_EQ(POLLERR | POLLHUP, poll_now(other, POLLIN | POLLOUT));
	EXPECT_TRUE(poll_now(fd, POLLOUT) & POLLERR);
	EXPECT_EQ(0, touch(page, true));
	ASSERT_EQ(0, read_info(other, &info));
	EXPECT_EQ(1, info.dead);
	EXPECT_EQ(MQSHM_WHY_REMOVED, participant(other, 0).why);
	/* One of the same name is another queue. */
	c.queue_flags = PERSISTENT;
	ASSERT_EQ(0, create(self->control, &c));
	EXPECT_EQ(-ENODEV, attach_as(other, MQSHM_IOC_PRODUCER));
	ASSERT_EQ(0, read_info(self->fd, &info));
	EXPECT_EQ(1, info.dead);
}

TEST_F(queue, a_transient_queue_goes_with_its_last_user)
{
	struct mqshm_ioc_create c = create_argument(self->name);
	int producer, consumer;

	strcat((char *)c.name, "-2");
	ASSERT_EQ(0, create(self->control, &c));
	producer = open_queue((char *)c.name, O_RDWR);
	consumer = open_queue((char *)c.name, O_RDWR);
	ASSERT_EQ(0, attach_as(producer, MQSHM_IOC_PRODUCER));
	ASSERT_EQ(0, attach_as(consumer, MQSHM_IOC_CONSUMER));
	EXPECT_EQ(0, detach(producer, MQSHM_EPOCH_CLOSED));
	EXPECT_EQ(-EEXIST, create(self->control, &c));
	EXPECT_EQ(0, close(consumer));
	EXPECT_EQ(-ENOENT, open_queue((char *)c.name, O_RDWR));
	EXPECT_EQ(-ENOENT, remove_queue(self->control, (char *)c.name, 0));
}

TEST_F(queue, created_to_attach_goes_with_control_if_nobody_came)
{
	struct mqshm_ioc_create c = create_argument(self->name);
	int control = open_control(), fd;

	strcat((char *)c.name, "-2");
	c.flags = MQSHM_IOC_TO_ATTACH;
	ASSERT_EQ(0, create(control, &c));
	close(control);
	EXPECT_EQ(-ENOENT, open_queue((char *)c.name, O_RDWR));
	control = open_control();
	ASSERT_EQ(0, create(control, &c));
	fd = open_queue((char *)c.name, O_RDWR);
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_CONSUMER));
	close(control);
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(fd, 1));
	close(fd);
	EXPECT_EQ(-ENOENT, open_queue((char *)c.name, O_RDWR));
}

/* ---- attach and detach ---- */

TEST_F(queue, attach_says_why_not)
{
	struct mqshm_ioc_attach good = { .size = sizeof good, .role = MQSHM_IOC_CONSUMER }, a;
	int fd = open_queue(self->name, O_RDWR), only_read = open_queue(self->name, O_RDONLY), second;

#undef REFUSED
#define REFUSED(change) ({ a = good; change; EXPECT_EQ(-EINVAL, sys(ioctl(fd, MQSHM_IOC_ATTACH, &a))) TH_LOG("%s", #change); })
	REFUSED(a.size = 0);
	REFUSED(a.size++);
	REFUSED(a.role = 0);
	REFUSED(a.role = 3);
	REFUSED(a.flags = 2);
	REFUSED(a.start = 3);
	REFUSED(a.lease_ms = 5);
	REFUSED(a.name[0] = 'x');
	REFUSED(a.name[0] = 'x'; a.lease_ms = 86400001);
	REFUSED(a.name[0] = 'x'; a.lease_ms = 1; a.name[5] = 'y');
	REFUSED(memset(a.name, 'x', sizeof a.name); a.lease_ms = 1);
	REFUSED(a.role = MQSHM_IOC_PRODUCER; a.flags = MQSHM_ROLE_LOSSY);
	REFUSED(a.role = MQSHM_IOC_PRODUCER; a.start = 1);
	REFUSED(a.role = MQSHM_IOC_PRODUCER; a.name[0] = 'x'; a.lease_ms = 1);
	REFUSED(a.participant = 1);
	REFUSED(a.state = 1);
	REFUSED(a.resumed = 1);
	REFUSED(a.position = 1);
	EXPECT_EQ(-EBADF, attach_as(only_read, MQSHM_IOC_CONSUMER));
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
	EXPECT_EQ(-EALREADY, attach_as(fd, MQSHM_IOC_CONSUMER));
	second = open_queue(self->name, O_RDWR);
	EXPECT_EQ(-EBUSY, attach_as(second, MQSHM_IOC_PRODUCER));
	EXPECT_EQ(0, attach_as(second, MQSHM_IOC_CONSUMER));
}

TEST_F(queue, a_role_is_shown_and_ends_with_detach)
{
	int fd = open_queue(self->name, O_RDWR);
	struct mqshm_ioc_attach a = { .role = MQSHM_IOC_CONSUMER };
	struct mqshm_participant p;
	struct mqshm_info info;

	ASSERT_EQ(0, attach(fd, &a));
	EXPECT_EQ(1, a.participant);
	EXPECT_EQ(MQSHM_SLOT_LIVE, MQSHM_SLOT_STATE(a.state));
	EXPECT_EQ(0, a.resumed);
	p = participant(self->fd, a.participant);
	EXPECT_EQ(a.state, p.state);
	EXPECT_EQ(getpid(), p.pid);
	EXPECT_EQ(variant->uid, p.uid);
	ASSERT_EQ(0, read_info(self->fd, &info));
	EXPECT_EQ(1, info.reliable[0]);
	EXPECT_EQ(1, info.consumers_ever);
	EXPECT_NE(self->info.epoch, info.epoch);
	EXPECT_EQ(-EINVAL, detach(fd, MQSHM_EPOCH_ACTIVE));
	EXPECT_EQ(-EINVAL, detach(fd, 4));
	EXPECT_EQ(0, detach(fd, MQSHM_EPOCH_CLOSED));
	EXPECT_EQ(MQSHM_SLOT_FREE, slot_state(self->fd, a.participant));
	ASSERT_EQ(0, read_info(self->fd, &info));
	EXPECT_EQ(0, info.reliable[0]);
	EXPECT_EQ(-EALREADY, attach_as(fd, MQSHM_IOC_CONSUMER)); /* one role in the life of a descriptor */
	EXPECT_EQ(0, detach(fd, MQSHM_EPOCH_CLOSED));
}

TEST_F(queue, how_a_producer_leaves_is_how_the_stream_ends)
{
	struct mqshm_info info;
	uint64_t before;
	int fd;

	for (uint32_t how = MQSHM_EPOCH_CLOSED; how <= MQSHM_EPOCH_CRASHED; how++) {
		fd = open_queue(self->name, O_RDWR);
		ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
		read_info(self->fd, &info);
		EXPECT_EQ(MQSHM_EPOCH_ACTIVE, MQSHM_EPOCH_STATE(info.producer_epoch));
		before = info.producer_epoch;
		EXPECT_EQ(-EINVAL, detach(fd, MQSHM_EPOCH_NONE));
		EXPECT_EQ(0, detach(fd, how));
		read_info(self->fd, &info);
		EXPECT_EQ(how, MQSHM_EPOCH_STATE(info.producer_epoch));
		EXPECT_EQ(before & ~3ULL, info.producer_epoch & ~3ULL);
		close(fd);
	}
}

TEST_F(queue, consumers_slots_run_out)
{
	int fd[5];

	for (int i = 0; i < 5; i++) {
		fd[i] = open_queue(self->name, O_RDWR);
		EXPECT_EQ(i < 4 ? 0 : -EBUSY, attach_as(fd[i], MQSHM_IOC_CONSUMER));
	}
	EXPECT_EQ(0, detach(fd[2], MQSHM_EPOCH_CLOSED));
	EXPECT_EQ(0, attach_as(fd[4], MQSHM_IOC_CONSUMER));
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, 3));
}

TEST_F(queue, a_shared_queue_has_64_producers)
{
	struct mqshm_ioc_create c = create_argument(self->name);
	struct mqshm_info info;
	int fd[65];

	strcat((char *)c.name, "-2");
	c.queue_flags = SHARED;
	c.max_producers = MQSHM_PRODUCER_SLOTS_SHARED;
	ASSERT_EQ(0, create(self->control, &c));
	for (int i = 0; i < 65; i++) {
		fd[i] = open_queue((char *)c.name, O_RDWR);
		ASSERT_EQ(i < 64 ? 0 : -EBUSY, attach_as(fd[i], MQSHM_IOC_PRODUCER));
	}
	for (int i = 0; i < 63; i++)
		ASSERT_EQ(0, detach(fd[i], i % 2 ? MQSHM_EPOCH_CLOSED : MQSHM_EPOCH_CRASHED));
	read_info(fd[64], &info);
	EXPECT_EQ(MQSHM_EPOCH_ACTIVE, MQSHM_EPOCH_STATE(info.producer_epoch));
	EXPECT_EQ(0, detach(fd[63], MQSHM_EPOCH_CLOSED)); /* the last one says how the stream ends */
	read_info(fd[64], &info);
	EXPECT_EQ(MQSHM_EPOCH_CLOSED, MQSHM_EPOCH_STATE(info.producer_epoch));
	EXPECT_EQ(1, info.dead);
}

/* ---- mmap: each region with exactly the rights of the role ---- */

TEST_F(queue, rights_of_each_role)
{
	static const struct {
		uint32_t role;
		enum region region;
		bool mapped, writable;
	} table[] = {
		{ MQSHM_IOC_PRODUCER, INFO, true, false },	{ MQSHM_IOC_CONSUMER, INFO, true, false },
		{ MQSHM_IOC_PRODUCER, PRODUCER, true, true },	{ MQSHM_IOC_CONSUMER, PRODUCER, true, false },
		{ MQSHM_IOC_PRODUCER, CONSUMERS, true, false }, { MQSHM_IOC_CONSUMER, CONSUMERS, false, false },
		{ MQSHM_IOC_PRODUCER, OWN, false, false },	{ MQSHM_IOC_CONSUMER, OWN, true, true },
		{ MQSHM_IOC_PRODUCER, NODES, true, true },	{ MQSHM_IOC_CONSUMER, NODES, true, false },
	};
	int fd = open_queue(self->name, O_RDWR), producer = open_queue(self->name, O_RDWR), consumer = open_queue(self->name, O_RDWR);
	struct mqshm_ioc_attach a = { .role = MQSHM_IOC_CONSUMER };
	volatile uint64_t *at;

	/* The consumer in slot 1, so that its own area is not where all areas begin. */
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_CONSUMER));
	ASSERT_EQ(0, attach(consumer, &a));
	ASSERT_EQ(0, attach_as(producer, MQSHM_IOC_PRODUCER));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		int of = table[i].role == MQSHM_IOC_PRODUCER ? producer : consumer, rw = PROT_READ | PROT_WRITE;

		EXPECT_EQ(table[i].mapped ? 0 : -EINVAL, try_map(of, &self->info, table[i].region, 1, PROT_READ)) TH_LOG("row %zu", i);
		EXPECT_EQ(!table[i].mapped ? -EINVAL : table[i].writable ? 0 : -EACCES,
			  try_map(of, &self->info, table[i].region, 1, rw)) TH_LOG("row %zu", i);
		if (!table[i].mapped)
			continue;
		EXPECT_EQ(-EACCES, try_map(of, &self->info, table[i].region, 1, PROT_READ | PROT_EXEC)) TH_LOG("row %zu", i);
		at = map_region(of, &self->info, table[i].region, 1, table[i].writable ? rw : PROT_READ);
		EXPECT_EQ(0, touch(at, false));
		EXPECT_EQ(table[i].writable ? 0 : SIGSEGV, touch(at + PAGE / 8 - 1, true)) TH_LOG("row %zu", i);
		EXPECT_EQ(table[i].writable ? 0 : -EACCES, sys(mprotect((void *)at, PAGE, rw))) TH_LOG("row %zu", i);
	}
	/* All see the same pages. */
	at = map_region(producer, &self->info, NODES, 0, PROT_READ | PROT_WRITE);
	for (size_t i = 0; i < self->info.ring_bytes / 8; i++)
		at[i] = i * 7;
	at = map_region(consumer, &self->info, NODES, 0, PROT_READ);
	for (size_t i = 0; i < self->info.ring_bytes / 8; i++)
		ASSERT_EQ(i * 7, at[i]);
}

TEST_F(queue, mmap_takes_one_region_exactly)
{
	int fd = open_queue(self->name, O_RDWR);
	size_t total = self->info.total_bytes;

#define MAPS(of, flags, offset, bytes) (mmap(NULL, bytes, PROT_READ, flags, of, offset) == MAP_FAILED ? -errno : 0)
	EXPECT_EQ(-EPERM, MAPS(fd, MAP_SHARED, 0, self->info.producer_offset)); /* without a role */
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
	EXPECT_EQ(0, MAPS(fd, MAP_SHARED, 0, self->info.producer_offset));
	EXPECT_EQ(-EINVAL, MAPS(fd, MAP_PRIVATE, 0, self->info.producer_offset));
	EXPECT_EQ(-EINVAL, MAPS(fd, MAP_SHARED, 0, total));
	EXPECT_EQ(-EINVAL, MAPS(fd, MAP_SHARED, 0, self->info.consumers_offset));
	EXPECT_EQ(-EINVAL, MAPS(fd, MAP_SHARED, self->info.nodes_offset, self->info.ring_bytes + PAGE));
	EXPECT_EQ(-EINVAL, MAPS(fd, MAP_SHARED, self->info.nodes_offset + PAGE, self->info.ring_bytes - PAGE));
	EXPECT_EQ(-EINVAL, MAPS(fd, MAP_SHARED, total, PAGE));
	EXPECT_EQ(-EINVAL, MAPS(fd, MAP_SHARED, (off_t)1 << 40, PAGE));
	EXPECT_EQ(0, detach(fd, MQSHM_EPOCH_CLOSED));
	EXPECT_EQ(-ESTALE, MAPS(fd, MAP_SHARED, 0, self->info.producer_offset));
}

TEST_F(queue, a_forked_child_has_no_mapping)
{
	int fd = open_queue(self->name, O_RDWR);
	void *at;
	pid_t child;

	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
	at = map_region(fd, &self->info, NODES, 0, PROT_READ | PROT_WRITE);
	ASSERT_EQ(0, touch(at, true));
	madvise(at, self->info.ring_bytes, MADV_DOFORK);
	child = fork();
	if (child == 0)
		_exit(touch(at, false) == SIGSEGV ? 0 : 1);
	EXPECT_EQ(0, reap(child));
}

/* ---- pread ---- */

TEST_F(queue, pread_shows_all_but_the_nodes)
{
	char page[PAGE];
	int fd = open_queue(self->name, O_RDONLY);
	uint64_t seen = 0;
	ssize_t n;

	while ((n = pread(fd, page, 1000, (off_t)seen)) > 0)
		seen += n;
	EXPECT_EQ(0, n);
	EXPECT_EQ(self->info.nodes_offset, seen);
	EXPECT_EQ(-EINVAL, sys(pread(fd, page, 1, -1)));
	EXPECT_EQ(-EFAULT, sys(pread(fd, bad_pointer, 100, 0)));
	EXPECT_EQ(0, pread(fd, page, 1, (off_t)1 << 62));
	EXPECT_GT(0, sys(pwrite(fd, page, 1, 0)));
	EXPECT_GT(0, sys(pwrite(self->fd, page, 1, 0)));
}

/* ---- wait and wake ---- */

TEST_F(queue, arm_and_wake)
{
	int fd = open_queue(self->name, O_RDWR);
	uint32_t value, again;
	struct mqshm_info *info;

	EXPECT_EQ(-EPERM, arm(fd, MQSHM_WORD_DATA, &value)); /* without a role */
	EXPECT_EQ(-EPERM, wake(fd, MQSHM_WORD_DATA));
	EXPECT_EQ(-EPERM, wait_word(fd, MQSHM_WORD_DATA, 0, 0));
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
	info = map_region(fd, &self->info, INFO, 0, PROT_READ);
	for (uint32_t word = 0; word < MQSHM_WORD_LOCK; word++) {
		struct mqshm_armed *armed = &info->data + word;

		EXPECT_EQ(0, arm(fd, word, &value));
		EXPECT_EQ(1, value & 1);
		EXPECT_EQ(value, armed->word);
		EXPECT_EQ(0, arm(fd, word, &again));
		EXPECT_EQ(value, again);
		EXPECT_EQ(0, wake(fd, word));
		EXPECT_EQ(value + 1, armed->word);
		EXPECT_EQ(0, wake(fd, word));
		EXPECT_EQ(value + 1, armed->word);
		EXPECT_EQ(0, wait_word(fd, word, value, FOREVER)); /* not that value any more */
	}
	EXPECT_EQ(-EINVAL, arm(fd, MQSHM_WORD_LOCK, &value));
	EXPECT_EQ(0, wake(fd, MQSHM_WORD_LOCK));
	EXPECT_EQ(-EINVAL, wake(fd, MQSHM_WORDS));
	EXPECT_EQ(-EINVAL, wait_word(fd, MQSHM_WORDS, 0, 0));
}

static int wait_for_a_message(void *argument)
{
	struct mqshm_producer_page *page;
	struct mqshm_info info;
	int fd = open_queue(argument, O_RDWR), rc = 0;
	uint32_t value;

	if (attach_as(fd, MQSHM_IOC_CONSUMER) || read_info(fd, &info))
		return 1;
	page = map_region(fd, &info, PRODUCER, 0, PROT_READ);
	while (!rc) {
		if (arm(fd, MQSHM_WORD_DATA, &value))
			return 2;
		if (__atomic_load_n(&page->tail, __ATOMIC_SEQ_CST))
			return 0;
		rc = wait_word(fd, MQSHM_WORD_DATA, value, FOREVER);
	}
	return -rc;
}

TEST_F(queue, sleepers_are_woken)
{
	int fd = open_queue(self->name, O_RDWR);
	struct mqshm_producer_page *page;
	pid_t child[3];

	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
	page = map_region(fd, &self->info, PRODUCER, 0, PROT_READ | PROT_WRITE);
	for (int i = 0; i < 3; i++)
		child[i] = spawn(wait_for_a_message, self->name);
	for (int i = 0; i < 3; i++)
		eventually(slot_state(fd, 1 + i) == MQSHM_SLOT_LIVE && sleeps(child[i]));
	publish(page, 256, 1);
	EXPECT_EQ(0, wake(fd, MQSHM_WORD_DATA));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, reap(child[i]));
}

static int wait_for_a_message_in_one_call(void *argument)
{
	struct mqshm_producer_page *page;
	struct mqshm_info *shown, info;
	int fd = open_queue(argument, O_RDWR), rc = 0;
	uint32_t value, epoch;
	uint64_t tail;

	if (attach_as(fd, MQSHM_IOC_CONSUMER) || read_info(fd, &info))
		return 1;
	page = map_region(fd, &info, PRODUCER, 0, PROT_READ);
	shown = map_region(fd, &info, INFO, 0, PROT_READ);
	while (!rc) {
		value = __atomic_load_n(&shown->data.word, __ATOMIC_SEQ_CST);
		epoch = __atomic_load_n(&shown->epoch, __ATOMIC_SEQ_CST);
		tail = __atomic_load_n(&page->tail, __ATOMIC_SEQ_CST);
		if (tail)
			return 0;
		rc = wait_for_data(fd, value, tail + 1, epoch);
	}
	return -rc;
}

TEST_F(queue, sleepers_for_data_are_woken)
{
	int fd = open_queue(self->name, O_RDWR);
	struct mqshm_producer_page *page;
	struct mqshm_info *info;
	pid_t child[3];

	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
	page = map_region(fd, &self->info, PRODUCER, 0, PROT_READ | PROT_WRITE);
	info = map_region(fd, &self->info, INFO, 0, PROT_READ);
	for (int i = 0; i < 3; i++)
		child[i] = spawn(wait_for_a_message_in_one_call, self->name);
	for (int i = 0; i < 3; i++)
		eventually(slot_state(fd, 1 + i) == MQSHM_SLOT_LIVE && sleeps(child[i]));
	EXPECT_EQ(1, info->data.word & 1); /* a producer must see that they sleep */
	publish(page, 256, 1);
	EXPECT_EQ(0, wake(fd, MQSHM_WORD_DATA));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, reap(child[i]));
}

/* Each of these would sleep for ever. */
TEST_F(queue, who_finds_something_does_not_sleep_for_data)
{
	int producer = open_queue(self->name, O_RDWR), fd = open_queue(self->name, O_RDWR);
	struct mqshm_producer_page *page;
	struct mqshm_info *info;
	uint32_t value;

	ASSERT_EQ(0, attach_as(producer, MQSHM_IOC_PRODUCER));
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_CONSUMER));
	page = map_region(producer, &self->info, PRODUCER, 0, PROT_READ | PROT_WRITE);
	info = map_region(fd, &self->info, INFO, 0, PROT_READ);
	publish(page, 256, 1);
	for (int odd = 0; odd < 2; odd++) {
		EXPECT_EQ(0, wake(fd, MQSHM_WORD_DATA));
		if (odd)
			EXPECT_EQ(0, arm(fd, MQSHM_WORD_DATA, &value));
		value = info->data.word;
		EXPECT_EQ(odd, value & 1);
		EXPECT_EQ(0, wait_for_data(fd, value, 256, info->epoch));
		EXPECT_EQ(0, wait_for_data(fd, value, 0, info->epoch));
		EXPECT_EQ(0, wait_for_data(fd, value, 257, info->epoch - 1));
		EXPECT_EQ(0, wait_for_data(fd, value - 2, 257, info->epoch)); /* somebody has woken since */
		EXPECT_EQ(0, wait_for_data(fd, value + 2, 257, info->epoch));
	}
	/* Wild words of a producer wake, and no more. */
	page->tail = ~0ULL;
	EXPECT_EQ(0, wait_for_data(fd, info->data.word, ~0ULL, info->epoch));
	EXPECT_EQ(0, end_role(self->fd, 1, MQSHM_WHY_BY_HAND, 0));
	page->tail = 256;
	EXPECT_EQ(0, wait_for_data(fd, info->data.word, 257, info->epoch)); /* its role has ended */
}

static void ignored(int signal)
{
}

TEST_F(queue, a_wait_ends_in_time_and_by_a_signal)
{
	int fd = open_queue(self->name, O_RDWR);
	struct timespec before, after;
	struct sigaction action = { .sa_handler = ignored };
	struct mqshm_producer_page *page;
	uint32_t value;
	pid_t child;

	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
	ASSERT_EQ(0, arm(fd, MQSHM_WORD_ROOM, &value));
	clock_gettime(CLOCK_MONOTONIC, &before);
	EXPECT_EQ(0, wait_word(fd, MQSHM_WORD_ROOM, value, 50 * 1000 * 1000));
	clock_gettime(CLOCK_MONOTONIC, &after);
	EXPECT_GE((after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec, 50 * 1000 * 1000);
	/* Most of a long one is timed otherwise. */
	clock_gettime(CLOCK_MONOTONIC, &before);
	EXPECT_EQ(0, wait_word(fd, MQSHM_WORD_ROOM, value, 250 * 1000 * 1000));
	clock_gettime(CLOCK_MONOTONIC, &after);
	EXPECT_GE((after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec, 250 * 1000 * 1000);
	EXPECT_EQ(0, wait_word(fd, MQSHM_WORD_ROOM, value, 0));
	/* Nobody would wake who is not armed. */
	EXPECT_EQ(0, wake(fd, MQSHM_WORD_ROOM));
	EXPECT_EQ(0, wait_word(fd, MQSHM_WORD_ROOM, value + 1, FOREVER));
	/* The lock word is compared in the page that producers write. */
	page = map_region(fd, &self->info, PRODUCER, 0, PROT_READ | PROT_WRITE);
	page->lock = 77;
	EXPECT_EQ(0, wait_word(fd, MQSHM_WORD_LOCK, 76, FOREVER));
	EXPECT_EQ(0, wait_word(fd, MQSHM_WORD_LOCK, 77, 1000));
	child = fork();
	if (child == 0) {
		int own = open_queue(self->name, O_RDWR);

		if (attach_as(own, MQSHM_IOC_CONSUMER) || arm(own, MQSHM_WORD_EVENT, &value))
			_exit(1);
		sigaction(SIGUSR1, &action, NULL);
		_exit(wait_word(own, MQSHM_WORD_EVENT, value, FOREVER) == -EINTR ? 0 : 2);
	}
	eventually(slot_state(fd, 1) == MQSHM_SLOT_LIVE && sleeps(child));
	kill(child, SIGUSR1);
	EXPECT_EQ(0, reap(child));
}

/* ---- poll ---- */

TEST_F(queue, poll_of_a_consumer)
{
	int producer = open_queue(self->name, O_RDWR), consumer = open_queue(self->name, O_RDWR);
	struct mqshm_producer_page *page;
	void *own;

	ASSERT_EQ(0, attach_as(consumer, MQSHM_IOC_CONSUMER));
	EXPECT_EQ(0, poll_now(consumer, POLLIN | POLLOUT)); /* no producer yet */
	ASSERT_EQ(0, attach_as(producer, MQSHM_IOC_PRODUCER));
	page = map_region(producer, &self->info, PRODUCER, 0, PROT_READ | PROT_WRITE);
	own = map_region(consumer, &self->info, OWN, 0, PROT_READ | PROT_WRITE);
	EXPECT_EQ(0, poll_now(consumer, POLLIN));
	publish(page, 256, 1);
	EXPECT_EQ(POLLIN, poll_now(consumer, POLLIN | POLLOUT));
	area_of(own, 0)->position = 256;
	EXPECT_EQ(0, poll_now(consumer, POLLIN));
	publish(page, 512, 2);
	EXPECT_EQ(0, detach(producer, MQSHM_EPOCH_CLOSED));
	EXPECT_EQ(POLLIN | POLLHUP, poll_now(consumer, POLLIN));
	area_of(own, 0)->position = 512;
	EXPECT_EQ(POLLHUP, poll_now(consumer, POLLIN));
	EXPECT_EQ(0, end_role(self->fd, 1, MQSHM_WHY_BY_HAND, 0));
	EXPECT_EQ(POLLERR | POLLIN, poll_now(consumer, POLLIN));
}

TEST_F(queue, poll_of_a_producer)
{
	int producer = open_queue(self->name, O_RDWR), consumer = open_queue(self->name, O_RDWR);
	uint64_t ring = self->info.ring_bytes;
	struct mqshm_producer_page *page;
	void *own;

	ASSERT_EQ(0, attach_as(producer, MQSHM_IOC_PRODUCER));
	EXPECT_EQ(POLLOUT, poll_now(producer, POLLIN | POLLOUT)); /* nobody to wait for */
	ASSERT_EQ(0, attach_as(consumer, MQSHM_IOC_CONSUMER));
	page = map_region(producer, &self->info, PRODUCER, 0, PROT_READ | PROT_WRITE);
	own = map_region(consumer, &self->info, OWN, 0, PROT_READ | PROT_WRITE);
	EXPECT_EQ(POLLOUT, poll_now(producer, POLLOUT));
	publish(page, ring, 15);
	EXPECT_EQ(0, poll_now(producer, POLLOUT));
	EXPECT_EQ(1, page->blocked_on); /* whom it waits for, and until where */
	EXPECT_GT(page->need, 0);
	EXPECT_LE(page->need, ring);
	area_of(own, 0)->sequence = 15;
	area_of(own, 0)->position = ring;
	EXPECT_EQ(POLLOUT, poll_now(producer, POLLOUT));
	publish(page, ring + 256, 30); /* as many messages as there may be */
	EXPECT_EQ(0, poll_now(producer, POLLOUT));
	EXPECT_EQ(0, detach(consumer, MQSHM_EPOCH_CLOSED));
	EXPECT_EQ(POLLOUT, poll_now(producer, POLLOUT));
}

TEST_F(queue, poll_of_a_watcher)
{
	int watcher = open_queue(self->name, O_RDONLY), fd = open_queue(self->name, O_RDWR);
	struct mqshm_info info;

	EXPECT_EQ(POLLIN | POLLPRI, poll_now(watcher, POLLIN | POLLPRI)); /* not read yet */
	ASSERT_EQ(0, read_info(watcher, &info));
	EXPECT_EQ(0, poll_now(watcher, POLLIN | POLLPRI));
	ASSERT_EQ(0, attach_as(fd, MQSHM_IOC_CONSUMER));
	EXPECT_EQ(POLLIN | POLLPRI, poll_now(watcher, POLLIN | POLLPRI));
	ASSERT_EQ(0, read_info(watcher, &info));
	EXPECT_EQ(0, poll_now(watcher, POLLIN | POLLPRI));
	close(fd);
	EXPECT_EQ(POLLIN | POLLPRI, poll_now(watcher, POLLIN | POLLPRI));
}

static int poll_until(void *argument)
{
	int fd = open_queue(argument, O_RDWR);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (attach_as(fd, MQSHM_IOC_CONSUMER))
		return 100;
	while (poll(&p, 1, -1) >= 0 && !p.revents)
		;
	return p.revents;
}

TEST_F(queue, who_sleeps_in_poll_is_woken)
{
	int producer = open_queue(self->name, O_RDWR);
	struct mqshm_producer_page *page;
	pid_t child;

	ASSERT_EQ(0, attach_as(producer, MQSHM_IOC_PRODUCER));
	page = map_region(producer, &self->info, PRODUCER, 0, PROT_READ | PROT_WRITE);
	child = spawn(poll_until, self->name);
	eventually(slot_state(producer, 1) == MQSHM_SLOT_LIVE && sleeps(child));
	publish(page, 256, 1);
	EXPECT_EQ(0, wake(producer, MQSHM_WORD_DATA));
	EXPECT_EQ(POLLIN, reap(child));
	child = spawn(poll_until, self->name);
	eventually(slot_state(producer, 2) == MQSHM_SLOT_LIVE && sleeps(child)); /* slot 1 is kept as long as there are others */
	EXPECT_EQ(0, end_role(self->fd, 2, MQSHM_WHY_BY_HAND, 0));
	EXPECT_EQ(POLLERR | POLLIN, reap(child));
}

TEST_HARNESS_MAIN
