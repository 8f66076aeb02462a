// SPDX-License-Identifier: GPL-2.0-only
/* Every way in which an owner can end, in each role: the role ends at once, whoever else keeps its file or its memory. */
#include <pthread.h>
#include <sys/mount.h>

#include "common.h"

/* ---- the ways ---- */

/* How the owner ends, and who survives it. What keeps the file or the memory sleeps until it is killed. */
enum way {
	KILLED, KILLED_CHILD_HOLDS, KILLED_RECEIVER_HOLDS, KILLED_FILES_SHARED, KILLED_MEMORY_SHARED, LEADER_FIRST, FOUR_THREADS, EXITED,
	EXITED_CHILD_HOLDS, EXECUTED, EXECUTED_CHILD_HOLDS, EXECUTED_UNMAPPED_CHILD_HOLDS, EXECUTED_MEMORY_SHARED, CLOSED, IN_WAIT, IN_POLL,
};

struct owner {
	const char *name;
	uint32_t role;
	enum way way;
	int receiver; /* end of a socket of who keeps a passed descriptor */
	/* shared with the test */
	struct report {
		int ready, slot, survivor;
		int touched;		/* by who shares the memory, after the end: 0 or the signal */
		volatile int look;	/* it shall look now */
		volatile uint64_t *page;
	} *report;
};

static void *stay(void *unused)
{
	for (;;)
		pause();
	return NULL;
}

static int stay_child(void *unused)
{
	stay(NULL);
	return 0;
}

/* A process that shares the owner's memory; looks at the owner's mapping when it is told. */
static int look_later(void *argument)
{
	struct report *r = argument;

	prctl(PR_SET_PDEATHSIG, 0);
	while (!r->look)
		usleep(1000);
	r->touched = touch(r->page, false);
	r->look = 2;
	stay(NULL);
	return 0;
}

static int fork_holder(void)
{
	int pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, 0);
		stay(NULL);
	}
	return pid;
}

static void send_descriptor(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof fd)] = "", byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	sendmsg(socket, &m, 0);
}

static void *leave_as_leader(void *argument)
{
	struct report *r = argument;

	while (!r->ready)
		usleep(1000);
	stay(NULL);
	return NULL;
}

static int own(void *argument)
{
	struct owner *o = argument;
	struct report *r = o->report;
	static char stack[65536] __attribute__((aligned(64)));
	int fd = open_queue(o->name, O_RDWR);
	struct mqshm_ioc_attach a = { .role = o->role };
	struct mqshm_info info;
	char *const argv[] = { "death", "stay", NULL };
	pthread_t thread;
	uint32_t value;

	if (fd < 0 || attach(fd, &a) || read_info(fd, &info))
		return 1;
	r->slot = a.participant;
	if (o->way != EXECUTED_UNMAPPED_CHILD_HOLDS) {
		r->page = map_region(fd, &info, o->role == MQSHM_IOC_PRODUCER ? NODES : OWN, a.participant - info.max_producers,
				     PROT_READ | PROT_WRITE);
		if (r->page == MAP_FAILED || touch(r->page, true))
			return 2;
	}
	switch (o->way) {
	case KILLED_CHILD_HOLDS: case EXITED_CHILD_HOLDS: case EXECUTED_CHILD_HOLDS: case EXECUTED_UNMAPPED_CHILD_HOLDS:
		r->survivor = fork_holder();
		break;
	case KILLED_RECEIVER_HOLDS:
		send_descriptor(o->receiver, fd);
		break;
	case KILLED_FILES_SHARED:
		r->survivor = clone(stay_child, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL);
		break;
	case KILLED_MEMORY_SHARED: case EXECUTED_MEMORY_SHARED:
		r->survivor = clone(look_later, stack + sizeof stack, CLONE_VM | SIGCHLD, r);
		break;
	case FOUR_THREADS:
		for (int i = 0; i < 3; i++)
			pthread_create(&thread, NULL, stay, NULL);
		break;
	case LEADER_FIRST:
		pthread_create(&thread, NULL, leave_as_leader, r);
		break;
	case CLOSED:
		munmap((void *)r->page, o->role == MQSHM_IOC_PRODUCER ? info.ring_bytes : PAGE);
		break;
	default:
		break;
	}
	r->ready = 1;
	switch (o->way) {
	case EXITED: case EXITED_CHILD_HOLDS:
		return 0;
	case EXECUTED: case EXECUTED_CHILD_HOLDS: case EXECUTED_UNMAPPED_CHILD_HOLDS: case EXECUTED_MEMORY_SHARED:
		execv("/proc/self/exe", argv);
		return 3;
	case CLOSED:
		close(fd);
		break;
	case LEADER_FIRST:
		syscall(SYS_exit, 0);
		break;
	case IN_WAIT:
		if (!arm(fd, MQSHM_WORD_EVENT, &value))
			while (!wait_word(fd, MQSHM_WORD_EVENT, value, FOREVER))
				arm(fd, MQSHM_WORD_EVENT, &value);
		return 4;
	case IN_POLL:
		for (;;)
			poll(&(struct pollfd){ .fd = fd, .events = POLLPRI }, 1, -1);
	default:
		break;
	}
	stay(NULL);
	return 0;
}

/* ---- the fixture: a queue, and one in the other role who waits ---- */

FIXTURE(death) {
	int control, fd, peer;
	char name[64];
	struct mqshm_info info;
	struct report *report;
	int sockets[2];
};

FIXTURE_VARIANT(death) {
	uint32_t role;
};

FIXTURE_VARIANT_ADD(death, producer) { MQSHM_IOC_PRODUCER };
FIXTURE_VARIANT_ADD(death, consumer) { MQSHM_IOC_CONSUMER };

FIXTURE_SETUP(death)
{
	struct mqshm_ioc_create c;

	snprintf(self->name, sizeof self->name, "t%d-q", getpid());
	self->control = open_control();
	ASSERT_GE(self->control, 0);
	c = create_argument(self->name);
	c.queue_flags = PERSISTENT;
	ASSERT_EQ(0, create(self->control, &c));
	self->fd = open_queue(self->name, O_RDWR);
	self->peer = open_queue(self->name, O_RDWR);
	ASSERT_EQ(0, read_info(self->fd, &self->info));
	ASSERT_EQ(0, attach_as(self->peer, variant->role == MQSHM_IOC_PRODUCER ? MQSHM_IOC_CONSUMER : MQSHM_IOC_PRODUCER));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, self->sockets));
	self->report = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->report);
}

FIXTURE_TEARDOWN(death)
{
	EXPECT_EQ(0, remove_queue(self->control, self->name, MQSHM_IOC_FORCE));
}

static bool is_over(int fd, uint32_t slot)
{
	uint32_t state = slot_state(fd, slot);

	return state == MQSHM_SLOT_ENDED || state == MQSHM_SLOT_FREE;
}

/* One death: all that follows from it. */
static void die(struct __test_metadata *_metadata, FIXTURE_DATA(death) *self, const FIXTURE_VARIANT(death) *variant, enum way way)
{
	struct owner o = { self->name, variant->role, way, self->sockets[1], self->report };
	struct report *r = self->report;
	bool producer = variant->role == MQSHM_IOC_PRODUCER;
	struct mqshm_info before, after;
	uint32_t armed = 0, slot;
	char signal_path[32];
	int again;
	pid_t pid;

	pid = spawn(own, &o);
	eventually(*(volatile int *)&r->ready || waitpid(pid, NULL, WNOHANG) == pid);
	ASSERT_EQ(1, r->ready);
	slot = r->slot;
	if (way != EXITED && way != EXITED_CHILD_HOLDS && way != CLOSED && way < EXECUTED)
		ASSERT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, slot));
	if (way == LEADER_FIRST) { /* the process lives on without its first thread */
		usleep(20000);
		EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, slot));
	}
	if (way == IN_WAIT || way == IN_POLL)
		eventually(sleeps(pid));
	read_info(self->fd, &before);
	ASSERT_EQ(0, arm(self->peer, MQSHM_WORD_EVENT, &armed));
	if (!is_over(self->fd, slot) && (way < EXITED || way >= IN_WAIT))
		kill(pid, SIGKILL);
	if (way < EXECUTED || way >= IN_WAIT)
		EXPECT_EQ(way == EXITED || way == EXITED_CHILD_HOLDS ? 0 : 128 + SIGKILL, reap(pid));
	/* We sleep until it is over: nothing but the death wakes us. */
	while (!is_over(self->fd, slot)) {
		wait_word(self->peer, MQSHM_WORD_EVENT, armed, FOREVER);
		arm(self->peer, MQSHM_WORD_EVENT, &armed);
	}
	EXPECT_EQ(MQSHM_SLOT_ENDED, slot_state(self->fd, slot));
	EXPECT_EQ(MQSHM_WHY_DIED, participant(self->fd, slot).why);
	EXPECT_EQ(0, sys(ioctl(self->peer, MQSHM_IOC_SYNC))); /* who ends it may be between the state and the rest */
	read_info(self->fd, &after);
	if (producer) {
		EXPECT_EQ(MQSHM_EPOCH_CRASHED, MQSHM_EPOCH_STATE(after.producer_epoch));
		EXPECT_TRUE(poll_now(self->peer, POLLIN) & POLLHUP);
	} else {
		EXPECT_EQ(0, after.reliable[0]);
	}
	/* The slot is anybody's again, though a child, a receiver or a sibling lives. */
	again = open_queue(self->name, O_RDWR);
	EXPECT_EQ(0, attach_as(again, variant->role));
	if (r->survivor) {
		snprintf(signal_path, sizeof signal_path, "/proc/%d", r->survivor);
		EXPECT_EQ(0, access(signal_path, F_OK));
	}
	if (way == KILLED_MEMORY_SHARED || way == EXECUTED_MEMORY_SHARED) {
		r->look = 1;
		eventually(r->look == 2);
		EXPECT_EQ(SIGBUS, r->touched);
	}
	if (r->survivor)
		kill(r->survivor, SIGKILL);
	if (way >= EXECUTED && way <= CLOSED) {
		kill(pid, SIGKILL);
		reap(pid);
	}
	/* What the survivor of the old owner kept is gone: the new one's role is untouched. */
	EXPECT_EQ(0, sys(ioctl(self->peer, MQSHM_IOC_SYNC)));
	EXPECT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, producer ? 0 : 2));
}

#define WAY(name, way) TEST_F(death, name) { die(_metadata, self, variant, way); }
WAY(killed, KILLED)
WAY(killed_while_a_forked_child_holds_the_descriptor, KILLED_CHILD_HOLDS)
WAY(killed_while_a_receiver_holds_the_descriptor, KILLED_RECEIVER_HOLDS)
WAY(killed_while_a_sibling_shares_the_descriptors, KILLED_FILES_SHARED)
WAY(killed_while_a_sibling_shares_the_memory, KILLED_MEMORY_SHARED)
WAY(killed_after_its_first_thread_has_exited, LEADER_FIRST)
WAY(killed_with_four_threads, FOUR_THREADS)
WAY(exited, EXITED)
WAY(exited_while_a_forked_child_holds_the_descriptor, EXITED_CHILD_HOLDS)
WAY(executed, EXECUTED)
WAY(executed_while_a_forked_child_holds_the_descriptor, EXECUTED_CHILD_HOLDS)
WAY(executed_with_nothing_mapped_while_a_child_holds_the_descriptor, EXECUTED_UNMAPPED_CHILD_HOLDS)
WAY(executed_while_a_sibling_shares_the_memory, EXECUTED_MEMORY_SHARED)
WAY(closed, CLOSED)
WAY(killed_in_wait, IN_WAIT)
WAY(killed_in_poll, IN_POLL)

/* ---- 200 of each role under load, at any moment ---- */

struct load {
	const char *name;
	uint32_t role;
	bool held; /* by a forked child */
	volatile struct progress {
		int slot, holder;
		uint64_t count;
	} *progress;
};

static int run_load(void *argument)
{
	struct load *l = argument;
	int fd = open_queue(l->name, O_RDWR);
	struct mqshm_ioc_attach a = { .role = l->role };
	struct mqshm_consumer_area *area = NULL;
	struct mqshm_producer_page *page;
	struct mqshm_info info;
	uint32_t value;
	uint64_t seen;

	if (fd < 0 || attach(fd, &a) || read_info(fd, &info))
		return 1;
	page = map_region(fd, &info, PRODUCER, 0, l->role == MQSHM_IOC_PRODUCER ? PROT_READ | PROT_WRITE : PROT_READ);
	if (l->role == MQSHM_IOC_CONSUMER)
		area = area_of(map_region(fd, &info, OWN, a.participant - 1, PROT_READ | PROT_WRITE), a.participant - 1);
	if (l->held)
		l->progress->holder = fork_holder();
	l->progress->slot = a.participant;
	for (seen = page->tail;; l->progress->count++) {
		if (l->role == MQSHM_IOC_PRODUCER) {
			publish(page, page->tail + 256, page->tail / 256 + 1);
			wake(fd, MQSHM_WORD_DATA);
			continue;
		}
		do {
			arm(fd, MQSHM_WORD_DATA, &value);
			if (__atomic_load_n(&page->tail, __ATOMIC_SEQ_CST) == seen)
				wait_word(fd, MQSHM_WORD_DATA, value, FOREVER);
		} while (page->tail == seen);
		seen = page->tail;
		area->position = seen;
	}
}

TEST_F(death, of_200_at_random_moments)
{
	volatile struct progress *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t other = variant->role == MQSHM_IOC_PRODUCER ? MQSHM_IOC_CONSUMER : MQSHM_IOC_PRODUCER, armed;
	struct load survivor = { self->name, other, false, &p[0] }, victim = { self->name, variant->role, false, &p[1] };
	pid_t lives, dies;
	uint64_t before;

	detach(self->peer, MQSHM_EPOCH_CLOSED);
	close(self->peer);
	p[0].slot = -1;
	lives = spawn(run_load, &survivor);
	eventually(p[0].slot >= 0);
	/* We wait as a consumer, for events alone. */
	self->peer = open_queue(self->name, O_RDWR);
	ASSERT_EQ(0, attach_as(self->peer, MQSHM_IOC_CONSUMER));
	for (int i = 0; i < 200; i++) {
		p[1].slot = -1;
		p[1].holder = 0;
		before = p[1].count;
		victim.held = i % 2;
		dies = spawn(run_load, &victim);
		eventually(p[1].slot >= 0 && p[1].count != before);
		usleep(rand() % 500);
		before = p[0].count;
		ASSERT_EQ(0, arm(self->peer, MQSHM_WORD_EVENT, &armed));
		kill(dies, SIGKILL);
		ASSERT_EQ(128 + SIGKILL, reap(dies));
		while (!is_over(self->fd, p[1].slot)) {
			wait_word(self->peer, MQSHM_WORD_EVENT, armed, FOREVER);
			arm(self->peer, MQSHM_WORD_EVENT, &armed);
		}
		if (other == MQSHM_IOC_PRODUCER) /* it goes on without the dead one */
			eventually(p[0].count != before);
		ASSERT_EQ(MQSHM_SLOT_LIVE, slot_state(self->fd, p[0].slot));
		if (p[1].holder)
			kill(p[1].holder, SIGKILL);
	}
	EXPECT_GT(p[0].count, 200);
	kill(lives, SIGKILL);
	reap(lives);
}

/* ---- a file of /sys that is open when its consumer dies, and the next one comes at the same moment ---- */

#define READERS 5

struct reader {
	const char *name;
	int opened; /* by how many readers */
	volatile int stop;
	volatile int victim, shown; /* shown: a pid that is not the victim's */
};

static int read_pid_on_and_on(void *argument)
{
	struct reader *r = argument;
	char path[128], text[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/sys/class/mqshm/%s/consumers/3/pid", r->name);
	do /* its directory comes a moment after the attach */
		fd = open(path, O_RDONLY);
	while (fd < 0 && !r->stop);
	__atomic_fetch_add(&r->opened, 1, __ATOMIC_RELAXED);
	while (!r->stop) {
		n = pread(fd, text, sizeof text - 1, 0);
		if (n <= 0)
			continue;
		text[n] = 0;
		if (atoi(text) != r->victim)
			r->shown = atoi(text);
	}
	return 0;
}

static int own_the_last_place(void *argument)
{
	int fd = open_queue(argument, O_RDWR);

	if (attach_as(fd, MQSHM_IOC_CONSUMER))
		return 1;
	stay(NULL);
	return 0;
}

/*
 * Several readers, so that one always waits for the queue's mutex: the next consumer has attached when it gets that, and the old
 * directory may be there for a moment yet.
 */
TEST_F(queue, an_open_file_never_shows_the_next_consumer)
{
	struct reader *r = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t readers[READERS];
	int next;

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, attach_as(open_queue(self->name, O_RDWR), MQSHM_IOC_CONSUMER));
	for (int i = 0; i < 50; i++) {
		*r = (struct reader){ .name = self->name };
		r->victim = spawn(own_the_last_place, self->name);
		eventually(slot_state(self->fd, 4) == MQSHM_SLOT_LIVE);
		for (int k = 0; k < READERS; k++)
			readers[k] = spawn(read_pid_on_and_on, r);
		eventually(__atomic_load_n(&r->opened, __ATOMIC_RELAXED) == READERS);
		next = open_queue(self->name, O_RDWR);
		kill(r->victim, SIGKILL);
		reap(r->victim);
		ASSERT_EQ(0, attach_as(next, MQSHM_IOC_CONSUMER)); /* ends the dead one's role, and takes its place */
		usleep(rand() % 300);
		r->stop = 1;
		for (int k = 0; k < READERS; k++)
			EXPECT_EQ(0, reap(readers[k]));
		EXPECT_EQ(0, r->shown);
		close(next);
	}
}

/* ---- leases and transient queues ---- */

static int own_lease(void *argument)
{
	struct mqshm_ioc_attach a;
	int fd = open_queue(argument, O_RDWR);

	if (attach_named(fd, "billing", 3600000, &a))
		return 1;
	stay(NULL);
	return 0;
}

TEST_F(queue, a_lease_begins_with_the_death_and_is_resumed)
{
	int producer = open_queue(self->name, O_RDWR), fd = open_queue(self->name, O_RDWR), other = open_queue(self->name, O_RDWR);
	struct mqshm_producer_page *page;
	struct mqshm_ioc_attach a;
	struct mqshm_info info;
	pid_t pid;

	ASSERT_EQ(0, attach_as(producer, MQSHM_IOC_PRODUCER));
	page = map_region(producer, &self->info, PRODUCER, 0, PROT_READ | PROT_WRITE);
	publish(page, 256, 1);
	pid = spawn(own_lease, self->name);
	eventually(slot_state(self->fd, 1) == MQSHM_SLOT_LIVE);
	EXPECT_EQ(-EBUSY, attach_named(fd, "billing", 1000, &a));
	publish(page, 512, 2);
	kill(pid, SIGKILL);
	reap(pid);
	eventually(slot_state(self->fd, 1) == MQSHM_SLOT_LEASED);
	read_info(self->fd, &info);
	EXPECT_EQ(1, info.reliable[0]); /* its cursor holds the producer back */
	a = (struct mqshm_ioc_attach){ .role = MQSHM_IOC_CONSUMER, .flags = MQSHM_ROLE_LOSSY, .lease_ms = 1, .name = "billing" };
	EXPECT_EQ(-EPERM, attach(other, &a)); /* of the other kind */
	ASSERT_EQ(0, attach_named(fd, "billing", 1000, &a));
	EXPECT_EQ(1, a.resumed);
	EXPECT_EQ(256, a.position);
	EXPECT_EQ(1, a.participant);
	EXPECT_EQ(0, detach(fd, MQSHM_EPOCH_NONE)); /* gives it up */
	EXPECT_EQ(MQSHM_SLOT_FREE, slot_state(self->fd, 1));
}

TEST_F(queue, a_lease_expires_by_itself)
{
	int fd = open_queue(self->name, O_RDWR), watcher = open_queue(self->name, O_RDONLY);
	struct mqshm_ioc_attach a;
	struct mqshm_info info;

	ASSERT_EQ(0, attach_named(fd, "short", 30, &a));
	EXPECT_EQ(0, detach(fd, MQSHM_EPOCH_CLOSED));
	while (slot_state(watcher, 1) == MQSHM_SLOT_LEASED) {
		read_info(watcher, &info);
		if (slot_state(watcher, 1) == MQSHM_SLOT_LEASED)
			poll(&(struct pollfd){ .fd = watcher, .events = POLLPRI }, 1, -1);
	}
	EXPECT_EQ(MQSHM_SLOT_ENDED, slot_state(watcher, 1));
	EXPECT_EQ(MQSHM_WHY_LEASE, participant(watcher, 1).why);
	read_info(watcher, &info);
	EXPECT_EQ(0, info.reliable[0]);
}

TEST_F(queue, a_lease_keeps_a_transient_queue_until_it_expires)
{
	struct mqshm_ioc_create c = create_argument(self->name);
	struct mqshm_ioc_attach a;
	int fd;

	strcat((char *)c.name, "-2");
	ASSERT_EQ(0, create(self->control, &c));
	fd = open_queue((char *)c.name, O_RDWR);
	ASSERT_EQ(0, attach_named(fd, "short", 300000, &a));
	close(fd);
	fd = open_queue((char *)c.name, O_RDWR);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(MQSHM_SLOT_LEASED, slot_state(fd, 1));
	EXPECT_EQ(-EBUSY, remove_queue(self->control, (char *)c.name, 0));
	ASSERT_EQ(0, attach_named(fd, "short", 10, &a));
	EXPECT_EQ(1, a.resumed);
	close(fd);
	eventually(open_queue((char *)c.name, O_RDWR) == -ENOENT);
}

/* What an owner executes. */
static void __attribute__((constructor)) executed(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "stay"))
		stay(NULL);
}

TEST_HARNESS_MAIN
