/* SPDX-License-Identifier: MIT */
/*
 * Shows, for the kernel backend, that the death of an owner costs nobody anything, and that nobody learns of it by looking at
 * a clock: 200 SIGKILLs of each role under load at random moments, while a forked child, the receiver of the descriptor, or a
 * process that shares the memory lives on. docs/kernel-proof.md has its table.
 *
 * No timer is involved because there is none: the library's naps, all of them ioctls, are made endless below. A wake-up that
 * gets lost leaves somebody asleep for good.
 */
#define TEST_SECONDS 170
#define STALL_NS 60000000000u
#include <fcntl.h>
#include <semaphore.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "death/recovery.h"
#include "mqshm/abi.h"

#define NODES 32
#define BLOCK 256
#define AREAS 3

static uint64_t *sleeps;	  /* in the module; shared by the survivors */
static void (*brink)(uint32_t word); /* called when a sleep is about to begin */
static bool nap_is_over;	     /* it set: the sleep ends at once, as by its time */

/* In place of libc's. */
int ioctl(int fd, unsigned long command, ...)
{
	struct mqshm_ioc_wait endless;
	void *argument;
	va_list list;

	va_start(list, command);
	argument = va_arg(list, void *);
	va_end(list);
	if (command == MQSHM_IOC_WAIT) {
		endless = *(struct mqshm_ioc_wait *)argument;
		endless.ns = UINT64_MAX;
		argument = &endless;
		if (brink)
			brink(endless.word);
		if (sleeps)
			ADD(*sleeps, 1);
		if (nap_is_over) {
			nap_is_over = false;
			return 0;
		}
	}
	return (int)syscall(SYS_ioctl, fd, command, argument);
}

static int raw(int fd, unsigned long command, void *argument)
{
	return syscall(SYS_ioctl, fd, command, argument) ? -errno : 0;
}

/* ---- what is shared ---- */

enum role { EXCLUSIVE, SHARED, RELIABLE, LOSSY, ROLES };
static const char *const role_names[] = { "exclusive producer", "shared producer", "reliable consumer", "lossy consumer" };

/* Who lives on with something of the victim's. */
enum heir { NOBODY, CHILD, RECEIVER, SIBLING, HEIRS };
static const char *const heir_names[] = { "nobody", "forked child", "receiver of the descriptor", "process sharing its memory" };

#define MEMBERS 4
#define NUMBERS (MEMBERS + KILLS + 1) /* of producers: survivors, victims, the last one */

struct shared {
	const char *name;
	enum role role;
	uint32_t stop;
	struct member {
		sem_t next; /* exclusive: once there is another producer */
		uint32_t ready, deaths;
		uint64_t count, sleeps;
		pid_t pid;
	} members[MEMBERS];
	struct victim {
		uint32_t number, in_op, ready;
		int slot, socket;
		uint64_t count;
		enum heir heir;
		void *at; /* in its mapping of the nodes */
	} victim;
	struct {
		sem_t ready, look, done;
		int socket;
		int touched;	  /* 0, or the signal */
		uint32_t refused; /* all calls were */
	} heir;
};

struct member_of {
	struct shared *s;
	uint32_t number;
	bool lossy;
};

/* The key of a message: who, and which of his. */
#define KEY(number, count) ((uint64_t)(number) << 32 | (uint32_t)(count))

/* ---- load ---- */

static struct mqshm_producer *produce(const char *name)
{
	struct mqshm_producer_options options = { .size = sizeof options, .spin_us = MQSHM_SPIN_NEVER };
	struct mqshm_producer *p;

	MUST(mqshm_producer_open(&p, name, NULL, &options), 0);
	return p;
}

static struct mqshm_consumer *consume(const char *name, bool lossy)
{
	struct mqshm_consumer_options options = { .size = sizeof options, .spin_us = MQSHM_SPIN_NEVER,
						  .flags = lossy ? MQSHM_LOSSY : 0 };
	struct mqshm_consumer *c;

	MUST(mqshm_consumer_open(&c, name, NULL, &options), 0);
	return c;
}

/* Push the next one or four. Returns how many. */
static uint64_t push_some(struct mqshm_producer *p, uint32_t *in_op, uint32_t number, uint64_t count)
{
	unsigned char in[4][BLOCK];
	struct iovec iov[4];
	void *data;

	for (uint64_t i = 0; i < 4; i++) {
		uint64_t key = KEY(number, count + i);

		memcpy(in[i], &key, sizeof key);
		iov[i] = (struct iovec){ in[i], sizeof key + payload_size(key, BLOCK - sizeof key) };
		payload_fill(in[i] + sizeof key, iov[i].iov_len - sizeof key, key);
	}
	switch (count % 4) {
	case 0:
		REQUIRE_EQ(IN_OP(*in_op, mqshm_producer_push_batch(p, iov, 4, -1)), 4);
		return 4;
	case 1:
		REQUIRE_EQ(IN_OP(*in_op, mqshm_producer_reserve(p, BLOCK, &data, -1)), 0);
		SET(*in_op, 1);
		memcpy(data, in[0], iov[0].iov_len);
		REQUIRE_EQ(IN_OP(*in_op, mqshm_producer_commit(p, iov[0].iov_len)), 0);
		return 1;
	default:
		REQUIRE_EQ(IN_OP(*in_op, mqshm_producer_push(p, in[0], iov[0].iov_len, -1)), 0);
		return 1;
	}
}

/* Is that message whole, and the next of its producer's that this reliable reader must get? next may be NULL. */
static void check_message(const struct mqshm_message *m, uint64_t *next)
{
	uint64_t key = 0;

	REQUIRE(m->size >= sizeof key);
	memcpy(&key, m->data, sizeof key);
	REQUIRE(key >> 32 < NUMBERS);
	REQUIRE_EQ(m->size, sizeof key + payload_size(key, BLOCK - sizeof key));
	REQUIRE(payload_good((const char *)m->data + sizeof key, m->size - sizeof key, key));
	if (next) {
		REQUIRE_EQ((uint32_t)key, next[key >> 32]);
		next[key >> 32]++;
	}
}

static void survive_pushing(void *arg)
{
	struct member_of *of = arg;
	struct member *me = &of->s->members[of->number];
	struct mqshm_producer *p = produce(of->s->name);
	uint32_t in_op;

	sleeps = &me->sleeps;
	SET(me->ready, 1);
	while (!GET(of->s->stop))
		SET(me->count, me->count + push_some(p, &in_op, of->number, me->count));
	EXPECT(mqshm_producer_close(p), 0);
}

static void survive_popping(void *arg)
{
	struct member_of *of = arg;
	struct member *me = &of->s->members[of->number];
	struct mqshm_consumer *c = consume(of->s->name, of->lossy);
	uint64_t next[NUMBERS] = { 0 }, sequence = 0;
	unsigned char out[BLOCK];
	struct mqshm_message m;

	sleeps = &me->sleeps;
	SET(me->ready, 1);
	for (;;) {
		ssize_t n = CALL(mqshm_consumer_pop(c, out, sizeof out, &m, -1));

		if (n == -ESHUTDOWN)
			break;
		if (n == -EOWNERDEAD) {
			CHECK_EQ(of->s->role, EXCLUSIVE);
			ADD(me->deaths, 1);
			while (sem_wait(&me->next))
				;
			continue;
		}
		REQUIRE(n >= 0);
		REQUIRE(of->lossy ? m.sequence >= sequence : m.sequence == sequence);
		check_message(&m, of->lossy ? NULL : next);
		sequence = m.sequence + 1;
		SET(me->count, me->count + 1);
	}
	EXPECT(mqshm_consumer_close(c), 0);
}

/* ---- heirs ---- */

static sigjmp_buf back;

static void caught(int number)
{
	siglongjmp(back, number);
}

/* 0, or the signal. */
static int touch(volatile void *at, bool write)
{
	int number = sigsetjmp(back, 1);

	signal(SIGBUS, caught);
	signal(SIGSEGV, caught);
	if (!number && write)
		*(volatile char *)at = 1;
	else if (!number)
		(void)*(volatile char *)at;
	return number;
}

/* Everything that can be done with a descriptor whose role belonged to another: how many calls were not refused. */
static int try_all(int fd)
{
	struct mqshm_ioc_attach attach = { .size = sizeof attach, .role = MQSHM_IOC_CONSUMER };
	struct mqshm_ioc_detach detach = { .size = sizeof detach, .how = MQSHM_EPOCH_CLOSED };
	struct mqshm_ioc_word word = { .size = sizeof word, .word = MQSHM_WORD_ROOM };
	struct mqshm_ioc_wait wait = { .size = sizeof wait };
	struct mqshm_ioc_end end = { .size = sizeof end, .why = MQSHM_WHY_SLOW };
	struct pollfd poll_for = { .fd = fd, .events = POLLIN | POLLOUT };
	struct mqshm_info info;
	int granted = 0;

	if (pread(fd, &info, sizeof info, 0) != sizeof info)
		return 100;
	end.participant = info.max_producers; /* a survivor */
	granted += raw(fd, MQSHM_IOC_ATTACH, &attach) != -EALREADY;
	granted += raw(fd, MQSHM_IOC_DETACH, &detach) != -EPERM;
	granted += raw(fd, MQSHM_IOC_ARM, &word) != -EPERM;
	granted += raw(fd, MQSHM_IOC_WAKE, &word) != -EPERM;
	granted += raw(fd, MQSHM_IOC_WAIT, &wait) != -EPERM;
	granted += raw(fd, MQSHM_IOC_END, &end) != -EPERM;
	granted += raw(fd, MQSHM_IOC_SYNC, NULL) != -EPERM;
	granted += mmap(NULL, info.producer_offset, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED;
	granted += mmap(NULL, info.ring_bytes, PROT_READ, MAP_SHARED, fd, (off_t)info.nodes_offset) != MAP_FAILED;
	granted += poll(&poll_for, 1, 0) != 1 || !(poll_for.revents & POLLERR);
	return granted;
}

/* Wait for the order, look, say what was seen. fd -1: it has none. */
static void look_when_told(struct shared *s, int fd)
{
	void *at = s->victim.at;

	sem_post(&s->heir.ready);
	while (sem_wait(&s->heir.look))
		;
	s->heir.touched = s->victim.heir == RECEIVER ? 0 : touch(at, false);
	if (!touch(at, true))
		s->heir.touched = 0;
	s->heir.refused = fd < 0 || try_all(fd) == 0;
	sem_post(&s->heir.done);
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
	REQUIRE_EQ(sendmsg(socket, &m, 0), 1);
}

/* The receiver lives through all of it, and gives each descriptor back once it has looked. */
static void receive(void *arg)
{
	struct shared *s = arg;
	char control[CMSG_SPACE(sizeof(int))], byte;
	int fd;

	for (;;) {
		struct iovec iov = { &byte, 1 };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				    .msg_controllen = sizeof control };

		if (recvmsg(s->heir.socket, &m, 0) != 1)
			return;
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
		look_when_told(s, fd);
		close(fd);
	}
}

static int be_a_sibling(void *arg)
{
	look_when_told(arg, -1);
	_exit(0);
}

/* The victim has a role: whoever shall live on gets what it gets. device: the role's descriptor. */
static void leave_to(struct shared *s, int device)
{
	static char stack[65536] __attribute__((aligned(64)));
	int kept;

	REQUIRE(device >= 0);
	switch (s->victim.heir) {
	case CHILD:
		kept = dup(device); /* the library closes its own in a child */
		if (fork() == 0) {
			look_when_told(s, kept);
			_exit(0);
		}
		close(kept);
		break;
	case RECEIVER:
		send_descriptor(s->victim.socket, device);
		break;
	case SIBLING:
		REQUIRE(clone(be_a_sibling, stack + sizeof stack, CLONE_VM | SIGCHLD, s) > 0);
		break;
	default:
		return;
	}
	while (sem_wait(&s->heir.ready))
		;
}

/* ---- victims ---- */

static void push_until_killed(void *arg)
{
	struct shared *s = arg;
	struct victim *v = &s->victim;
	struct mqshm_producer *p = produce(s->name);

	MUST(mqshm_producer_reserve(p, BLOCK, &v->at, -1), 0);
	MUST(mqshm_producer_abort(p), 0);
	leave_to(s, mqshm_producer_device_fd(p));
	SET(v->ready, 1);
	for (;;)
		SET(v->count, v->count + push_some(p, &v->in_op, v->number, v->count));
}

static void pop_until_killed(void *arg)
{
	struct shared *s = arg;
	struct victim *v = &s->victim;
	struct mqshm_consumer *c = consume(s->name, s->role == LOSSY);
	struct mqshm_message m;
	unsigned char out[BLOCK];
	uint64_t random = v->number;

	MUST(mqshm_consumer_peek(c, &m, 1, -1), 1);
	v->at = (void *)m.data;
	v->slot = CALL(mqshm_consumer_id(c));
	leave_to(s, mqshm_consumer_device_fd(c));
	SET(v->ready, 1);
	for (;;) {
		ssize_t n = IN_OP(v->in_op, mqshm_consumer_pop(c, out, sizeof out, &m, -1));

		REQUIRE(n >= 0);
		check_message(&m, NULL);
		SET(v->count, v->count + 1);
		for (volatile uint64_t i = test_random(&random) % 8 ? 0 : 20000; i; i--)
			; /* so that the producer comes to wait for us */
	}
}

/* ---- /sys ---- */

/* -1: there is none. */
static long long read_number(const char *queue, const char *file)
{
	char path[200], text[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/sys/class/mqshm/%s/%s", queue, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return -1;
	text[n] = 0;
	return atoll(text);
}

/* What /sys says as soon as the victim has been reaped. */
static bool sys_is_right(struct shared *s, pid_t victim)
{
	long long pid = read_number(s->name, "producer_pid"), active = read_number(s->name, "producer_active");
	char file[40];

	switch (s->role) {
	case EXCLUSIVE:
		return pid == 0 && active == 0 && read_number(s->name, "consumer_count") == AREAS;
	case SHARED:
		return (pid == s->members[0].pid || pid == s->members[1].pid) && pid != victim && active == 1 &&
		       read_number(s->name, "consumer_count") == AREAS - 1;
	default:
		snprintf(file, sizeof file, "consumers/%d/pid", s->victim.slot);
		return read_number(s->name, "consumer_count") == AREAS - 1 && read_number(s->name, file) == -1 &&
		       pid == s->members[0].pid && active == 1;
	}
}

/* ---- the kills ---- */

struct row {
	int kills, in_op, recovered, sys_right, at_once, mapping_dead, refused;
};

static pid_t start_victim(struct shared *s, uint32_t number, enum heir heir)
{
	struct victim *v = &s->victim;
	pid_t pid;

	v->number = MEMBERS + number;
	v->ready = v->in_op = 0;
	v->count = 0;
	v->heir = heir;
	pid = spawn(s->role < RELIABLE ? push_until_killed : pop_until_killed, s);
	UNTIL(GET(v->ready) || waitpid(pid, NULL, WNOHANG));
	REQUIRE(GET(v->ready));
	return pid;
}

/* Have all survivors gone on? Those of an exclusive producer: been told of the death. Those of a consumer: further than its cursor. */
static bool gone_on(struct shared *s, const uint64_t *before, uint32_t deaths)
{
	uint64_t further = s->role == SHARED ? 8 : 2 * NODES;

	for (int i = 0; i < MEMBERS; i++) {
		struct member *m = &s->members[i];

		if (m->pid && (s->role == EXCLUSIVE ? GET(m->deaths) != deaths : GET(m->count) < before[i] + further))
			return false;
	}
	return true;
}

static void look(struct shared *s, pid_t victim, struct row *row)
{
	enum heir heir = s->victim.heir;

	row->sys_right += sys_is_right(s, victim);
	if (heir == NOBODY)
		return;
	sem_post(&s->heir.look);
	while (sem_wait(&s->heir.done))
		;
	/* A child has no mapping at all; who shares the memory has it, with nothing behind. */
	row->mapping_dead += heir == CHILD ? s->heir.touched == SIGSEGV : heir == SIBLING ? s->heir.touched == SIGBUS : 0;
	row->refused += heir != SIBLING && s->heir.refused;
}

static void kill_one(struct shared *s, uint32_t number, enum heir heir, uint64_t *random, struct row *row)
{
	pid_t victim = start_victim(s, number, heir);
	/* Producers of a shared queue sleep for its lock at nearly each step: fewer of them. */
	uint64_t until = test_random(random) % (s->role == SHARED ? 20 : 100), spins = test_random(random) % 3000, before[MEMBERS];
	bool look_first = number / HEIRS % 2;

	if (s->role == EXCLUSIVE)
		for (int i = 0; number && i < MEMBERS; i++)
			if (s->members[i].pid)
				sem_post(&s->members[i].next);
	UNTIL(GET(s->victim.count) >= until);
	for (volatile uint64_t i = 0; i < spins; i++)
		;
	for (int i = 0; i < MEMBERS; i++)
		before[i] = GET(s->members[i].count);
	kill_now(victim);
	row->kills++;
	row->in_op += GET(s->victim.in_op) != 0;
	/*
	 * Who looks has the module see to deaths. So half of the times we look before anybody else, and the other half not until the
	 * survivors have gone on by themselves.
	 */
	if (look_first)
		look(s, victim, row);
	row->at_once += look_first;
	UNTIL(gone_on(s, before, number + 1));
	row->recovered++;
	if (!look_first)
		look(s, victim, row);
	if (heir == CHILD || heir == SIBLING)
		REQUIRE(waitpid(-1, NULL, 0) > 0); /* it has become ours */
}

static void start(struct member_of *of, struct shared *s, uint32_t number, void (*run)(void *), bool lossy)
{
	of[number] = (struct member_of){ s, number, lossy };
	s->members[number].pid = spawn(run, &of[number]);
	UNTIL(GET(s->members[number].ready));
}

static void print_rows(enum role role, const struct row *rows, uint64_t slept)
{
	for (int h = 0; h < HEIRS; h++)
		printf("# %-18s  %-26s  %5d  %13d  %9d  %10d  %7d  %12d  %7d\n", role_names[role], heir_names[h], rows[h].kills,
		       rows[h].in_op, rows[h].recovered, rows[h].sys_right, rows[h].at_once, rows[h].mapping_dead, rows[h].refused);
	printf("# %s: the survivors slept %" PRIu64 " times, without a limit\n", role_names[role], slept);
}

static void kill_all(enum role role)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, role == SHARED ? MQSHM_SHARED : 0);
	struct shared *s = shared_memory(sizeof *s);
	uint64_t random = test_seed(), slept = 0;
	struct row rows[HEIRS] = { 0 };
	struct member_of of[MEMBERS];
	int sockets[2], each = 0;
	pid_t receiver;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	s->name = test_queue("owners");
	s->role = role;
	for (int i = 0; i < MEMBERS; i++)
		sem_init(&s->members[i].next, 1, 0);
	sem_init(&s->heir.ready, 1, 0);
	sem_init(&s->heir.look, 1, 0);
	sem_init(&s->heir.done, 1, 0);
	REQUIRE_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sockets), 0);
	s->heir.socket = sockets[0];
	s->victim.socket = sockets[1];
	receiver = spawn(receive, s);
	q.max_consumers = AREAS; /* each victim must get the place of the one before */
	MUST(mqshm_queue_create(s->name, &q), 0);
	start(of, s, 2, survive_popping, false);
	start(of, s, 3, survive_popping, true);
	if (role == EXCLUSIVE)
		start(of, s, 1, survive_popping, false);
	else
		start(of, s, 0, survive_pushing, false);
	if (role == SHARED)
		start(of, s, 1, survive_pushing, false);
	for (; each < kills(); each++)
		kill_one(s, (uint32_t)each, (enum heir)(each % HEIRS), &random, &rows[each % HEIRS]);
	SET(s->stop, 1);
	if (role == EXCLUSIVE) { /* the stream shall end in order */
		struct mqshm_producer *p = produce(s->name);

		for (int i = 1; i < MEMBERS; i++)
			sem_post(&s->members[i].next);
		EXPECT(mqshm_producer_close(p), 0);
	}
	for (int i = 0; i < MEMBERS; i++) {
		if (!s->members[i].pid)
			continue;
		join(s->members[i].pid);
		slept += s->members[i].sleeps;
	}
	kill_now(receiver);
	check_gone(s->name);
	print_rows(role, rows, slept);
	CHECK(slept > 0);
	for (int h = 0; h < HEIRS; h++) {
		CHECK_EQ(rows[h].recovered, rows[h].kills);
		CHECK_EQ(rows[h].sys_right, rows[h].kills);
		CHECK_EQ(rows[h].mapping_dead, h == CHILD || h == SIBLING ? rows[h].kills : 0);
		CHECK_EQ(rows[h].refused, h == CHILD || h == RECEIVER ? rows[h].kills : 0);
	}
}

TEST(exclusive_producers)
{
	printf("# %-18s  %-26s  %5s  %13s  %9s  %10s  %7s  %12s  %7s\n", "role", "who lives on", "kills", "inside a call",
	       "recovered", "/sys right", "at once", "mapping dead", "refused");
	kill_all(EXCLUSIVE);
}

TEST(shared_producers)
{
	kill_all(SHARED);
}

TEST(reliable_consumers)
{
	kill_all(RELIABLE);
}

TEST(lossy_consumers)
{
	kill_all(LOSSY);
}

/* ---- the same at one moment: a survivor sleeps, or is about to ---- */

static struct edge {
	const char *name;
	sem_t at, go;
	uint32_t word, ready;
	enum role role;
	int fd;
} *edge;

static void stand_on_it(uint32_t word)
{
	if (word != edge->word)
		return;
	brink = NULL;
	sem_post(&edge->at);
	while (sem_wait(&edge->go))
		;
}

static void hold_until_killed(void *arg)
{
	struct edge *e = arg;
	void *data;

	if (e->role == RELIABLE)
		consume(e->name, false);
	else
		MUST(mqshm_producer_reserve(produce(e->name), 1, &data, -1), 0); /* on a shared queue it has the lock now */
	SET(e->ready, 1);
	for (;;)
		pause();
}

static void wait_for_it(void *arg)
{
	struct edge *e = arg;
	struct mqshm_producer *p;
	char out[BLOCK];

	if (e->role == EXCLUSIVE) {
		EXPECT(mqshm_consumer_pop(consume(e->name, false), out, sizeof out, NULL, -1), -EOWNERDEAD);
		return;
	}
	p = produce(e->name);
	for (int i = 0; i < 2 * NODES; i++)
		EXPECT(mqshm_producer_push(p, "x", 1, -1), 0);
}

/* Not in sem_wait() any more. */
static bool calls_ioctl(pid_t pid)
{
	char path[40], text[64] = "";
	int fd;

	snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
		text[0] = 0;
	close(fd);
	return atoi(text) == SYS_ioctl;
}

static void kill_on_the_edge(enum role role, uint32_t word)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, MQSHM_PERSISTENT | (role == SHARED ? MQSHM_SHARED : 0));
	pid_t victim, survivor;

	edge = shared_memory(sizeof *edge);
	edge->name = test_queue("edge");
	edge->role = role;
	edge->word = word;
	sem_init(&edge->at, 1, 0);
	sem_init(&edge->go, 1, 0);
	MUST(mqshm_queue_create(edge->name, &q), 0);
	for (int asleep_already = 0; asleep_already < 2; asleep_already++) {
		edge->ready = 0;
		victim = spawn(hold_until_killed, edge);
		UNTIL(GET(edge->ready));
		brink = stand_on_it;
		survivor = spawn(wait_for_it, edge);
		while (sem_wait(&edge->at))
			;
		if (asleep_already) {
			sem_post(&edge->go);
			UNTIL(asleep(survivor) && calls_ioctl(survivor));
		}
		kill_now(victim);
		if (!asleep_already) { /* else nobody looks */
			CHECK_EQ(STAT(edge->name, node_count), NODES); /* the death is done */
			sem_post(&edge->go);
		}
		join(survivor);
	}
	EXPECT(mqshm_queue_remove(edge->name, 0), 0);
}

TEST(killed_when_another_sleeps_or_will_for_the_lock)
{
	kill_on_the_edge(SHARED, MQSHM_WORD_LOCK);
}

TEST(killed_when_another_sleeps_or_will_for_data)
{
	kill_on_the_edge(EXCLUSIVE, MQSHM_WORD_DATA);
}

TEST(killed_when_another_sleeps_or_will_for_room)
{
	kill_on_the_edge(RELIABLE, MQSHM_WORD_ROOM);
}

/* ---- what else follows from it ---- */

static void attach_until_killed(void *arg)
{
	struct edge *e = arg;

	e->fd = mqshm_consumer_device_fd(consume(e->name, false));
	SET(e->ready, 1);
	for (;;)
		pause();
}

static void spin(void *unused)
{
	(void)unused;
	for (;;)
		;
}

static void pin(pid_t pid, int cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	MUST(sched_setaffinity(pid, sizeof one, &one), 0);
}

/* 0: as all are. */
static void priority(pid_t pid, int level)
{
	struct sched_param p = { .sched_priority = level };

	MUST(sched_setscheduler(pid, level ? SCHED_FIFO : SCHED_OTHER, &p), 0);
}

/*
 * Right after waitpid(), in the calls that never wait. The module's own work on the death has not come by then: the other
 * processor has a spinner that goes first, and ours has us. Nor has the file been released: we keep it.
 */
TEST(the_dead_do_not_count)
{
	pid_t spinner = spawn(spin, NULL);
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	struct mqshm_producer *p;

	edge = shared_memory(sizeof *edge);
	edge->name = test_queue("count");
	MUST(mqshm_producer_open(&p, edge->name, &q, NULL), 0);
	pin(0, 0);
	pin(spinner, 1);
	priority(spinner, 1);
	for (int i = 0; i < 50; i++) {
		pid_t victim = spawn(attach_until_killed, edge);
		int process, copy;

		UNTIL(GET(edge->ready));
		edge->ready = 0;
		EXPECT(mqshm_producer_wait_consumers(p, 1, 0, 0), 0);
		process = (int)syscall(SYS_pidfd_open, victim, 0);
		copy = (int)syscall(SYS_pidfd_getfd, process, edge->fd, 0);
		REQUIRE(copy >= 0);
		priority(0, 1);
		kill_now(victim);
		if (i % 2)
			EXPECT(mqshm_producer_wait_consumers(p, 1, 0, 0), -EAGAIN);
		else
			CHECK_EQ(STAT(edge->name, consumer_count), 0);
		priority(0, 0);
		close(copy);
		close(process);
	}
	kill_now(spinner);
	EXPECT(mqshm_producer_close(p), 0);
}

static struct mqshm_consumer *cancelled_consumer;
static struct mqshm_producer *cancelled_producer;

/* As a signal handler would that comes at this moment. */
static void cancel_now(uint32_t word)
{
	(void)word;
	brink = NULL;
	if (cancelled_consumer)
		mqshm_consumer_cancel(cancelled_consumer);
	if (cancelled_producer)
		mqshm_producer_cancel(cancelled_producer);
}

/* After the last look, and before the sleep has begun. */
TEST(a_cancel_is_never_slept_over)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("cancel");
	unsigned char buffer[BLOCK] = "";

	MUST(mqshm_queue_create(name, &q), 0);
	cancelled_consumer = consume(name, false);
	for (int i = 0; i < 10; i++) {
		brink = cancel_now;
		EXPECT(mqshm_consumer_pop(cancelled_consumer, buffer, sizeof buffer, NULL, -1), -ECANCELED);
		CHECK(!brink);
	}
	cancelled_producer = produce(name);
	while (mqshm_producer_push(cancelled_producer, buffer, sizeof buffer, 0) == 0)
		;
	for (int i = 0; i < 10; i++) {
		brink = cancel_now;
		EXPECT(mqshm_producer_push(cancelled_producer, buffer, sizeof buffer, -1), -ECANCELED);
		CHECK(!brink);
	}
	EXPECT(mqshm_producer_close(cancelled_producer), 0);
	mqshm_consumer_close(cancelled_consumer);
}

static void pop_two_at_once(void *arg)
{
	struct edge *e = arg;
	struct mqshm_consumer *c = consume(e->name, false);
	struct mqshm_message m[2];
	unsigned char buffer[2 * BLOCK];

	SET(e->ready, 1);
	EXPECT(mqshm_consumer_pop_batch(c, m, 2, 2, buffer, sizeof buffer, -1), 2);
	mqshm_consumer_close(c);
}

/* A message that is not enough wakes, and no more than that. */
TEST(who_waits_for_more_sleeps)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	struct mqshm_producer *p;
	uint64_t before;
	pid_t child;

	edge = shared_memory(sizeof *edge);
	edge->name = test_queue("more");
	sleeps = shared_memory(sizeof *sleeps);
	MUST(mqshm_producer_open(&p, edge->name, &q, NULL), 0);
	child = spawn(pop_two_at_once, edge);
	UNTIL(GET(edge->ready) && GET(*sleeps) > 0);
	before = GET(*sleeps);
	MUST(mqshm_producer_push(p, "1", 1, 0), 0);
	UNTIL(GET(*sleeps) > before);
	before = GET(*sleeps);
	usleep(50000);
	CHECK(GET(*sleeps) <= before + 1);
	MUST(mqshm_producer_push(p, "2", 1, 0), 0);
	join(child);
	sleeps = NULL;
	EXPECT(mqshm_producer_close(p), 0);
}

static struct mqshm_consumer *slow_consumer;

static void pop_one_and_look_again(uint32_t word)
{
	unsigned char buffer[BLOCK];

	(void)word;
	brink = NULL;
	nap_is_over = true;
	EXPECT(mqshm_consumer_pop(slow_consumer, buffer, sizeof buffer, NULL, 0), 1);
}

static void push_a_large_one(void *arg)
{
	struct edge *e = arg;
	struct mqshm_producer *p = produce(e->name);
	unsigned char buffer[BLOCK] = "";

	EXPECT(mqshm_producer_push(p, buffer, sizeof buffer, -1), 0);
	mqshm_producer_close(p);
}

/* One sleeps until a quarter of the ring is free; another looks by itself, finds room for a small message, and goes. */
TEST(who_has_room_leaves_who_sleeps_for_it)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, MQSHM_SHARED);
	unsigned char buffer[BLOCK] = "";
	struct mqshm_producer *p;
	pid_t child;

	edge = shared_memory(sizeof *edge);
	edge->name = test_queue("small");
	sleeps = shared_memory(sizeof *sleeps);
	MUST(mqshm_queue_create(edge->name, &q), 0);
	slow_consumer = consume(edge->name, false);
	p = produce(edge->name);
	MUST(mqshm_producer_push(p, "1", 1, 0), 0);
	while (mqshm_producer_push(p, buffer, sizeof buffer, 0) == 0)
		;
	child = spawn(push_a_large_one, edge);
	UNTIL(GET(*sleeps) > 0);
	brink = pop_one_and_look_again;
	MUST(mqshm_producer_push(p, "2", 1, -1), 0);
	CHECK(!brink);
	for (int i = 0; i < NODES / 2; i++)
		EXPECT(mqshm_consumer_pop(slow_consumer, buffer, sizeof buffer, NULL, 0), BLOCK);
	join(child);
	sleeps = NULL;
	EXPECT(mqshm_producer_close(p), 0);
	mqshm_consumer_close(slow_consumer);
}

/* Else it would keep the module, and whatever hangs on the file. */
TEST(a_child_keeps_no_descriptor)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("child");
	char path[40], node[100];
	struct mqshm_producer *p;
	pid_t child;

	MUST(mqshm_producer_open(&p, name, &q, NULL), 0);
	(void)fflush(stdout);
	child = fork();
	REQUIRE(child >= 0);
	if (child == 0) {
		for (int fd = 3; fd < 64; fd++) {
			ssize_t n;

			snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
			n = readlink(path, node, sizeof node - 1);
			if (n > 0 && strstr((node[n] = 0, node), "/mqshm/"))
				_exit(1);
		}
		_exit(0);
	}
	join(child);
	EXPECT(mqshm_producer_push(p, "x", 1, 0), 0);
	EXPECT(mqshm_producer_close(p), 0);
}

/* Who closes what is the library's is told so, be it that it looks or that it sleeps. */
TEST(a_closed_descriptor_is_noticed)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	const char *name = test_queue("closed");
	struct mqshm_consumer *waited = open_consumer(name, &q, MQSHM_FROM_LATEST, 0);
	struct mqshm_consumer *fresh = open_consumer(name, NULL, MQSHM_FROM_LATEST, 0);
	char out[BLOCK];

	EXPECT(mqshm_consumer_pop(waited, out, sizeof out, NULL, 0), -EAGAIN); /* it will not look again for a while */
	close(CALL(mqshm_consumer_device_fd(waited)));
	close(CALL(mqshm_consumer_device_fd(fresh)));
	EXPECT(mqshm_consumer_pop(fresh, out, sizeof out, NULL, 0), -ESTALE);
	CHECK_STR(mqshm_last_error(), "closed by this process");
	EXPECT(mqshm_consumer_pop(waited, out, sizeof out, NULL, -1), -ESTALE);
	CHECK_STR(mqshm_last_error(), "closed by this process");
	EXPECT(mqshm_consumer_close(waited), 0);
	EXPECT(mqshm_consumer_close(fresh), 0);
}
