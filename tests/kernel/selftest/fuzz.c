// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random calls by several processes at once, as root and as an ordinary user: ioctls with random structures, mmap and what can be
 * done with a mapping, poll, io_uring, close and dup in another thread meanwhile, fork, exec, passed descriptors and kill.
 * Afterwards all roles have ended, no queue is left that can't be removed, and nothing keeps the module. What the kernel says
 * meanwhile is looked at by who runs us.
 *
 *	FUZZ_SECONDS (60), FUZZ_SEED
 */
#include <dirent.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>

#include "common.h"

#define WORKERS 6
#define NAMES 6
#define FDS 12
#define MAPS 16

static __thread uint64_t state;

static uint32_t any(void) /* xorshift64* */
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 2685821657736338717ULL) >> 32;
}

static uint32_t below(uint32_t n)
{
	return any() % n;
}

/* Mostly small, sometimes an edge, sometimes anything. */
static uint32_t wild(void)
{
	static const uint32_t edges[] = { 0, 1, 2, 7, 8, 63, 64, 255, 256, 257, 4095, 4096, 1u << 16, 1u << 30, 1u << 31, ~0u, ~0u - 1 };

	return below(3) ? below(4) : below(2) ? edges[below(ARRAY_SIZE(edges))] : any();
}

static const char *name(void)
{
	static char text[32];

	snprintf(text, sizeof text, "tfuzz-%u", below(NAMES));
	return text;
}

static int fds[FDS], controls[2], passing[2], ring = -1;
static struct { void *at; size_t bytes; } maps[MAPS];
static union { uint8_t bytes[512]; struct mqshm_ioc_create create; struct mqshm_ioc_attach attach; uint32_t words[128]; } argument;

/* A structure that is right but for one word, or not right at all. */
static void spoil(size_t bytes)
{
	argument.words[0] = bytes;
	if (below(4) == 0)
		argument.words[below(bytes / 4)] = wild();
	if (below(50) == 0)
		for (size_t i = 0; i < bytes / 4; i++)
			argument.words[i] = any();
}

static void *pointer(void)
{
	return below(30) ? (void *)&argument : below(2) ? (void *)(uintptr_t)wild() : maps[below(MAPS)].at;
}

/* How often each came to something: a fuzzer that is refused everything finds nothing. */
enum kind { CREATED, REMOVED, ATTACHED, DETACHED, WOKEN, ENDED, MAPPED, TOUCHED, POLLED, SUBMITTED, PASSED, KINDS };
static const char *const kinds[] = { "create", "remove", "attach", "detach", "arm, wake, wait", "end", "mmap", "touch", "poll", "io_uring", "pass" };
static uint64_t *counts; /* shared */

static void did(enum kind kind, bool success)
{
	if (success)
		__atomic_fetch_add(&counts[kind], 1, __ATOMIC_RELAXED);
}

static void do_create(void)
{
	argument.create = create_argument(name());
	argument.create.node_count = 1 + below(200);
	argument.create.block_size = 1 + below(5000);
	argument.create.max_consumers = 1 + below(6);
	argument.create.queue_flags = below(64) & ~0x4;
	argument.create.max_producers = argument.create.queue_flags & SHARED ? 64 : 1;
	argument.create.flags = below(2);
	argument.create.mode = below(2) ? 0666 : 0600;
	spoil(sizeof argument.create);
	did(CREATED, !ioctl(controls[below(2)], MQSHM_IOC_CREATE, pointer()));
}

static void do_remove(void)
{
	struct mqshm_ioc_remove r = { .flags = below(3) };

	snprintf((char *)r.name, sizeof r.name, "%s", name());
	memcpy(&argument, &r, sizeof r);
	spoil(sizeof r);
	did(REMOVED, !ioctl(controls[below(2)], MQSHM_IOC_REMOVE, pointer()));
}

static void do_open(void)
{
	int *fd = &fds[below(FDS)];

	if (*fd >= 0)
		close(*fd);
	*fd = open_queue(name(), below(8) ? O_RDWR : O_RDONLY);
}

static void do_attach(void)
{
	memset(&argument, 0, sizeof argument);
	argument.attach.role = 1 + below(2);
	if (argument.attach.role == MQSHM_IOC_CONSUMER) {
		argument.attach.flags = below(2);
		argument.attach.start = below(3);
		if (below(3) == 0) {
			argument.attach.name[0] = 'a' + below(3);
			argument.attach.lease_ms = 1 + below(50);
		}
	}
	spoil(sizeof argument.attach);
	did(ATTACHED, !ioctl(fds[below(FDS)], MQSHM_IOC_ATTACH, pointer()));
}

static void do_word(void)
{
	static const unsigned int commands[] = { MQSHM_IOC_DETACH, MQSHM_IOC_ARM, MQSHM_IOC_WAKE, MQSHM_IOC_WAIT, MQSHM_IOC_END, MQSHM_IOC_SYNC };
	unsigned int command = commands[below(ARRAY_SIZE(commands))];

	memset(&argument, 0, sizeof argument);
	argument.words[1] = below(5);
	if (command == MQSHM_IOC_WAIT) {
		argument.words[2] = below(8);
		argument.words[4] = below(3000000);
		if (below(2)) {
			argument.words[1] = MQSHM_WORD_DATA;
			argument.words[3] = MQSHM_IOC_FOR_DATA;
			argument.words[6] = wild();
			argument.words[7] = below(4) ? 0 : wild();
			argument.words[8] = below(50);
		}
	}
	if (command == MQSHM_IOC_END) {
		argument.words[3] = 1 + below(5);
		argument.words[4] = below(3) == 0;
	}
	if (command == MQSHM_IOC_DETACH && below(3))
		return;
	spoil(_IOC_SIZE(command) ? _IOC_SIZE(command) : 8);
	if (command == MQSHM_IOC_WAIT && argument.words[5])
		argument.words[5] = 0; /* not for ever */
	did(command == MQSHM_IOC_DETACH ? DETACHED : command == MQSHM_IOC_END ? ENDED : WOKEN,
	    !ioctl(fds[below(FDS)], command, command == MQSHM_IOC_WAIT ? (void *)&argument : pointer()));
}

static void do_ioctl(void)
{
	for (int i = 0; i < 128; i++)
		argument.words[i] = wild();
	argument.words[5] = 0;
	ioctl(below(4) ? fds[below(FDS)] : controls[below(2)], below(2) ? _IOC(below(4), MQSHM_IOC_MAGIC, below(12), below(400)) : any(),
	      pointer());
}

static void do_map(void)
{
	int fd = fds[below(FDS)], m = below(MAPS);
	struct mqshm_info info;
	size_t offset, bytes;

	if (read_info(fd, &info) || maps[m].at)
		return;
	region(&info, below(REGIONS), below(6), &offset, &bytes);
	if (below(20) == 0)
		offset = (size_t)wild() * PAGE;
	if (below(20) == 0)
		bytes = (size_t)(1 + below(100)) * PAGE;
	maps[m].at = mmap(NULL, bytes, below(4) ? PROT_READ | PROT_WRITE : PROT_READ, below(20) ? MAP_SHARED : MAP_PRIVATE, fd, (off_t)offset);
	maps[m].bytes = bytes;
	if (maps[m].at == MAP_FAILED)
		maps[m].at = NULL;
	did(MAPPED, maps[m].at);
}

static void do_with_map(void)
{
	static const int advice[] = { MADV_DONTNEED, MADV_WILLNEED, MADV_DOFORK, MADV_DONTFORK, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
				      MADV_COLD, MADV_PAGEOUT, MADV_FREE, MADV_REMOVE, MADV_HUGEPAGE, MADV_DODUMP, MADV_MERGEABLE };
	int m = below(MAPS);
	char *at = maps[m].at;
	size_t pages = maps[m].bytes / PAGE;
	void *moved;

	if (!at)
		return;
	switch (below(8)) {
	case 0: case 1: case 2:
		for (int i = 0; i < 50; i++)
			did(TOUCHED, !touch(at + ((size_t)below(pages) * PAGE + below(PAGE / 8) * 8), below(2)));
		break;
	case 3:
		madvise(at + below(pages) * PAGE, (1 + below(3)) * PAGE, advice[below(ARRAY_SIZE(advice))]);
		break;
	case 4:
		mprotect(at + below(pages) * PAGE, PAGE, below(8));
		break;
	case 5:
		moved = mremap(at, maps[m].bytes, below(4) ? maps[m].bytes : below(200) * PAGE, MREMAP_MAYMOVE);
		if (moved != MAP_FAILED)
			maps[m].at = moved;
		break;
	case 6:
		munmap(at + below(pages) * PAGE, PAGE); /* a hole: touching it is harmless */
		break;
	default:
		munmap(at, maps[m].bytes);
		maps[m].at = NULL;
	}
}

static void do_poll(void)
{
	struct pollfd p[3];

	for (int i = 0; i < 3; i++)
		p[i] = (struct pollfd){ .fd = fds[below(FDS)], .events = any() & 0xff };
	did(POLLED, poll(p, 3, below(4)) > 0);
}

/* Submit one request by io_uring: POLL_ADD or URING_CMD; what was submitted before is left to the end of the ring. */
static void do_uring(void)
{
	static struct io_uring_params p;
	static uint8_t *sq;
	static struct io_uring_sqe *sqes;
	struct io_uring_sqe *sqe;
	uint32_t tail;

	if (ring >= 0 && below(10) == 0) {
		munmap(sq, p.sq_off.array + p.sq_entries * 4);
		munmap(sqes, p.sq_entries * sizeof *sqes);
		close(ring);
		ring = -1;
	}
	if (ring < 0) {
		memset(&p, 0, sizeof p);
		p.flags = below(2) ? 0 : IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
		ring = syscall(SYS_io_uring_setup, 8, &p);
		if (ring < 0)
			return;
		sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
		sqes = mmap(NULL, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	}
	tail = *(uint32_t *)(sq + p.sq_off.tail);
	sqe = &sqes[tail & (p.sq_entries - 1)];
	memset(sqe, 0, sizeof *sqe);
	switch (below(3)) {
	case 0:
		*sqe = (struct io_uring_sqe){ .opcode = IORING_OP_POLL_ADD, .fd = fds[below(FDS)], .poll32_events = any() & 0xff,
					      .len = below(2) ? IORING_POLL_ADD_MULTI : 0, .user_data = below(8) };
		break;
	case 1:
		*sqe = (struct io_uring_sqe){ .opcode = IORING_OP_URING_CMD, .fd = fds[below(FDS)], .user_data = below(8) };
		sqe->cmd_op = below(10) ? MQSHM_URING_WAIT : any();
		*(struct mqshm_uring_wait *)sqe->cmd = (struct mqshm_uring_wait){ .count = below(4) ? 1 + below(4) : wild() };
		break;
	default:
		*sqe = (struct io_uring_sqe){ .opcode = IORING_OP_ASYNC_CANCEL, .addr = below(8) };
	}
	((uint32_t *)(sq + p.sq_off.array))[tail & (p.sq_entries - 1)] = tail & (p.sq_entries - 1);
	__atomic_store_n((uint32_t *)(sq + p.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	did(SUBMITTED, syscall(SYS_io_uring_enter, ring, 1, 0, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
	if (below(3) == 0) { /* forget the completions */
		uint8_t *cq = sq;

		*(uint32_t *)(cq + p.cq_off.head) = *(volatile uint32_t *)(cq + p.cq_off.tail);
	}
}

static void do_pass(void)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int fd = fds[below(FDS)], *slot = &fds[below(FDS)];

	if (below(2) && fd >= 0) {
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
		sendmsg(passing[0], &m, MSG_DONTWAIT);
	} else if (recvmsg(passing[1], &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) > 0 && m.msg_controllen >= CMSG_LEN(sizeof fd)) {
		close(*slot);
		memcpy(slot, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof *slot);
		did(PASSED, true);
	}
}

static void do_dup(void)
{
	int from = below(FDS), to = below(FDS);

	if (from != to) {
		close(fds[to]);
		fds[to] = fcntl(fds[from], F_DUPFD_CLOEXEC, 0);
	}
}

static int child_stack(void *unused)
{
	usleep(below(3000));
	return 0;
}

static void do_fork(void)
{
	static char stack[16384] __attribute__((aligned(64)));
	char *const argv[] = { "fuzz", "nothing", NULL };
	pid_t pid = fork();

	if (pid)
		return; /* init reaps it: SIGCHLD is ignored */
	switch (below(4)) {
	case 0:
		usleep(below(20000));
		_exit(0);
	case 1:
		execv("/proc/self/exe", argv);
		_exit(1);
	case 2:
		clone(child_stack, stack + sizeof stack, CLONE_VM | CLONE_FILES, NULL);
		kill(getpid(), SIGKILL);
		break;
	default:
		for (int i = 0; i < 20; i++) { /* one with a role of its own */
			do_attach();
			do_map();
			do_with_map();
			do_word();
		}
		kill(getpid(), SIGKILL);
	}
}

static void do_read(void)
{
	pread(fds[below(FDS)], below(10) ? argument.bytes : bad_pointer, below(sizeof argument), (off_t)wild() * below(3));
}

/* A thread that shares descriptors and mappings, and takes them away from under the calls of the other. */
static void *take_away(void *seed)
{
	state = (uintptr_t)seed | 1;
	for (;;) {
		int from = fds[below(FDS)], to = fds[below(FDS)], m = below(MAPS);
		char *at = maps[m].at;

		switch (below(4)) {
		case 0:
			if (to >= 0)
				close(to);
			break;
		case 1:
			if (from >= 0 && to >= 0)
				dup3(from, to, O_CLOEXEC);
			break;
		case 2:
			if (at)
				mprotect(at, PAGE, below(8));
			break;
		default:
			if (at)
				madvise(at, PAGE, MADV_DONTNEED);
		}
		usleep(below(2000));
	}
	return NULL;
}

static void work(uint64_t seed)
{
	static void (*const calls[])(void) = { do_create, do_create, do_remove, do_open, do_open, do_open, do_attach, do_attach, do_attach, do_word, do_word,
					       do_word, do_word, do_ioctl, do_map, do_map, do_map, do_with_map, do_with_map, do_with_map, do_poll, do_uring, do_uring,
					       do_pass, do_dup, do_fork, do_read };
	int calls_left = 100 + seed % 3000;
	pthread_t thief;

	state = seed | 1;
	signal(SIGCHLD, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (seed & 2)
		become(USER);
	for (int i = 0; i < FDS; i++)
		fds[i] = -1;
	controls[0] = open_control();
	controls[1] = open_control();
	if (seed & 4)
		pthread_create(&thief, NULL, take_away, (void *)(uintptr_t)(seed ^ seed >> 32));
	while (calls_left--)
		calls[below(ARRAY_SIZE(calls))]();
	if (below(2) && ring >= 0)
		kill(getpid(), SIGKILL);
	_exit(0);
}

/* argv of a harness is not ours: what a forked child executes comes here. */
static void __attribute__((constructor)) executed(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "nothing"))
		_exit(0);
}

static int fuzz(void *unused)
{
	const char *seconds = getenv("FUZZ_SECONDS"), *seed_text = getenv("FUZZ_SEED");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : (uint64_t)time(NULL) << 20 ^ getpid(), started = 0;
	time_t end = time(NULL) + (seconds ? atoi(seconds) : 60);
	pid_t pids[WORKERS] = { 0 }, done;

	printf("# FUZZ_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	state = seed | 1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	chmod(CONTROL, 0666);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, passing);
	while (time(NULL) < end) {
		for (int i = 0; i < WORKERS; i++)
			if (!pids[i]) {
				uint64_t of = seed + ++started * 0x9e3779b97f4a7c15ULL;

				pids[i] = fork();
				if (!pids[i])
					work(of);
			}
		usleep(below(20000));
		if (below(3) == 0)
			kill(pids[below(WORKERS)], SIGKILL);
		while ((done = waitpid(-1, NULL, WNOHANG)) > 0)
			for (int i = 0; i < WORKERS; i++)
				if (pids[i] == done)
					pids[i] = 0;
	}
	for (int i = 0; i < WORKERS; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	close(passing[0]);
	close(passing[1]);
	while (waitpid(-1, NULL, 0) > 0)
		;
	printf("# %llu processes\n", (unsigned long long)started);
	return started < WORKERS;
}

/* It ends by itself. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 100000

TEST(random_calls)
{
	struct mqshm_info info;
	struct dirent *entry;
	char text[64];
	char users[16] = "";
	int control, fd;
	DIR *dir;

	counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, counts);
	ASSERT_EQ(0, reap(spawn(fuzz, NULL)));
	for (int i = 0; i < KINDS; i++) {
		printf("# %s: %llu\n", kinds[i], (unsigned long long)counts[i]);
		EXPECT_GT(counts[i], 0) TH_LOG("%s never came to anything", kinds[i]);
	}
	fflush(stdout);
	control = open_control();
	ASSERT_GE(control, 0);
	dir = opendir("/dev/mqshm");
	while ((entry = readdir(dir))) {
		snprintf(text, sizeof text, "%.63s", entry->d_name);
		if (strncmp(text, "tfuz", 4)) /* a spoiled name may be a shorter one */
			continue;
		fd = open_queue(text, O_RDWR);
		if (fd == -ENOENT)
			continue;
		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, read_info(fd, &info));
		/* Nobody lives: what still looks so is a death or a lease on its way. */
		for (uint32_t p = 0; p < info.max_producers + info.max_consumers; p++)
			eventually(({ uint32_t s = slot_state(fd, p); s == MQSHM_SLOT_FREE || s == MQSHM_SLOT_ENDED; }));
		EXPECT_TRUE(info.flags & PERSISTENT || !info.used || open_queue(text, O_RDWR) == -ENOENT) TH_LOG("%s is a zombie", text);
		close(fd);
		fd = remove_queue(control, text, MQSHM_IOC_FORCE);
		EXPECT_TRUE(fd == 0 || fd == -ENOENT);
	}
	closedir(dir);
	/* It still works. */
	{
		struct mqshm_ioc_create c = create_argument("tfuzz-after");

		ASSERT_EQ(0, create(control, &c));
		fd = open_queue("tfuzz-after", O_RDWR);
		EXPECT_EQ(0, attach_as(fd, MQSHM_IOC_PRODUCER));
		close(fd);
		EXPECT_EQ(-ENOENT, open_queue("tfuzz-after", O_RDWR));
	}
	/* Nothing keeps the module. */
	close(control);
	eventually(({
		fd = open("/sys/module/mqshm/refcnt", O_RDONLY);
		EXPECT_LT(0, read(fd, users, sizeof users - 1));
		close(fd);
		!strcmp(users, "0\n");
	}));
}

TEST_HARNESS_MAIN
