/* SPDX-License-Identifier: MIT */
/*
 * Shows the dangers of a shared /dev/shm: two users under its sticky bit, rights of the object, and processes in another
 * pid namespace, which are seen to be alive and seen to die all the same. Needs root, to become others.
 */
#include <sched.h>
#include <sys/stat.h>

#include "conformance/peers.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define NOBODY 65534

struct shared {
	const char *name;
	uint32_t ready, go;
	int32_t pid; /* as the parent sees it */
};

static void need_root(void)
{
	if (geteuid() != 0)
		SKIP("needs root, to become another user");
}

static void become_nobody(void)
{
	REQUIRE_EQ(setgid(NOBODY), 0);
	REQUIRE_EQ(setuid(NOBODY), 0);
	prctl(PR_SET_DUMPABLE, 1); /* so that /proc/self is ours */
}

static void without_rights(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = (void *)1;
	struct mqshm_stat *stat = (void *)1;

	become_nobody();
	EXPECT(mqshm_producer_open(&p, s->name, NULL, NULL), -EACCES);
	CHECK(p == NULL);
	CHECK_STR(mqshm_last_error(), s->name);
	EXPECT(mqshm_queue_create(s->name, NULL), -EACCES);
	EXPECT(mqshm_queue_remove(s->name, 0), -EACCES);
	EXPECT(mqshm_queue_remove(s->name, MQSHM_FORCE), -EACCES);
	EXPECT(mqshm_queue_stat(s->name, &stat), -EACCES);
	CHECK(stat == NULL);
}

static void with_read_rights(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = (void *)1;

	become_nobody();
	EXPECT(mqshm_producer_open(&p, s->name, NULL, NULL), -EACCES);
	CHECK_EQ(STAT(s->name, consumer_count), 1); /* but it may look */
	CHECK_EQ(STAT(s->name, consumers[0].alive), 1);
}

TEST(rights_of_the_object)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_consumer *c;

	need_root();
	s->name = test_queue("rights");
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	join(spawn(without_rights, s));
	EXPECT(mqshm_consumer_close(c), 0);
	q.mode = 0644;
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	join(spawn(with_read_rights, s));
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
}

static void push_as_nobody(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p;

	become_nobody();
	p = open_producer(s->name, NULL);
	for (uint64_t i = 0; i < 100; i++)
		MUST(mqshm_producer_push(p, &i, sizeof i, stall_ms()), 0);
	EXPECT(mqshm_producer_wait_drained(p, stall_ms()), 0);
	SET(s->ready, 1);
	UNTIL(GET(s->go));
	EXPECT(mqshm_producer_close(p), 0); /* the last user, who may not unlink */
}

static void open_as_nobody(void *arg)
{
	struct shared *s = arg;
	struct mqshm_queue_options q = geometry(4, 8, 0);
	struct mqshm_producer *p = (void *)1;
	int rc;

	become_nobody();
	q.mode = 0666;
	rc = CALL(mqshm_producer_open(&p, s->name, &q, NULL));
	CHECK(rc == -EPERM || rc == -EACCES); /* dead, and not his to remove: told so */
	CHECK(p == NULL);
	CHECK_STR(mqshm_last_error(), "dead");
	rc = CALL(mqshm_queue_gc(s->name, NULL, NULL));
	CHECK_EQ(rc, 0);
}

static void two_users(void)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_stat *left = NULL;
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	struct stat st;
	uint64_t value;
	pid_t other;

	need_root();
	REQUIRE_EQ(stat("/dev/shm", &st), 0);
	if (!(st.st_mode & S_ISVTX))
		SKIP("/dev/shm is not sticky");
	s->name = test_queue("sticky");
	q.mode = 0666;
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	other = spawn(push_as_nobody, s);
	for (uint64_t i = 0; i < 100; i++) {
		MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), 8);
		CHECK_EQ(value, i);
	}
	UNTIL(GET(s->ready));
	EXPECT(mqshm_consumer_close(c), 0);
	SET(s->go, 1);
	join(other);
	/* Its name may be left, dead. Another user is told, its owner's next use of the name cleans it away. */
	if (CALL(mqshm_queue_stat(s->name, &left)) == 0) {
		mqshm_stat_free(left);
		join(spawn(open_as_nobody, s));
		p = open_producer(s->name, &q);
		CHECK_EQ(STAT(s->name, total_pushed), 0); /* a new one */
		EXPECT(mqshm_producer_close(p), 0);
	}
	check_gone(s->name);
}

TEST(two_users_and_a_sticky_directory)
{
	two_users();
}

#define PROTECTED_REGULAR "/proc/sys/fs/protected_regular"

static char protected_before[16];

static void write_protected(const char *value)
{
	FILE *f = fopen(PROTECTED_REGULAR, "we");

	if (!f || fputs(value, f) < 0 || fclose(f))
		SKIP("fs.protected_regular can't be set here");
}

static void restore_protected(void)
{
	write_protected(protected_before);
}

/* With 2 nobody, root neither, may open another's file in a sticky directory with O_CREAT. */
TEST(two_users_under_protected_regular)
{
	FILE *f = fopen(PROTECTED_REGULAR, "re");

	need_root();
	if (!f || !fgets(protected_before, sizeof protected_before, f))
		SKIP("there is no fs.protected_regular");
	(void)fclose(f);
	write_protected("2");
	REQUIRE_EQ(atexit(restore_protected), 0);
	two_users();
}

static void collect_elsewhere(void *arg)
{
	struct shared *s = arg;

	EXPECT(mqshm_queue_gc(s->name, NULL, NULL), 0);
	CHECK_EQ(STAT(s->name, consumers[0].alive), 1);
}

/* Another clock tells other start times: those of the other side must not be taken for those of another process. */
TEST(a_look_from_another_time_namespace)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_consumer *c;
	FILE *offsets;

	need_root();
	s->name = test_queue("clock");
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	offsets = unshare(CLONE_NEWTIME) ? NULL : fopen("/proc/self/timens_offsets", "we");
	if (!offsets || fputs("boottime 100000 0", offsets) < 0 || fclose(offsets)) {
		EXPECT(mqshm_consumer_close(c), 0);
		SKIP("no time namespace allowed here");
	}
	join(spawn(collect_elsewhere, s));
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
}

static void be_producer_elsewhere(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->name, NULL);

	CHECK_EQ(getpid(), 1);
	for (uint64_t i = 0; i < 3; i++)
		MUST(mqshm_producer_push(p, &i, sizeof i, 0), 0);
	SET(s->ready, 1);
	UNTIL(GET(s->go));
	EXPECT(mqshm_producer_close(p), 0);
}

/* Its parent is outside: pid 1 of a new namespace can't be seen by pid, only by its lock. */
TEST(a_producer_in_another_pid_namespace)
{
	struct mqshm_queue_options q = geometry(4, 8, 0);
	struct mqshm_producer *p = (void *)1;
	struct shared *s = shared_memory(sizeof *s);
	struct mqshm_consumer *c;
	uint64_t value;
	pid_t other;

	need_root();
	s->name = test_queue("elsewhere");
	c = open_consumer(s->name, &q, MQSHM_FROM_OLDEST, 0);
	if (unshare(CLONE_NEWPID)) {
		EXPECT(mqshm_consumer_close(c), 0);
		SKIP("no pid namespace allowed here");
	}
	(void)fflush(stdout);
	other = fork();
	REQUIRE(other >= 0);
	if (other == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		be_producer_elsewhere(s);
		(void)fflush(stdout);
		_exit(test_failures != 0);
	}
	UNTIL(GET(s->ready));
	for (uint64_t i = 0; i < 3; i++) {
		MUST(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), 8);
		CHECK_EQ(value, i);
	}
	/* Alive: not mistaken for our own pid 1, nor for one who is not there. */
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, 600), -ETIMEDOUT);
	CHECK_EQ(STAT(s->name, producers[0].alive), 1);
	CHECK_EQ(STAT(s->name, producers[0].pid), 1);
	EXPECT(mqshm_producer_open(&p, s->name, NULL, NULL), -EBUSY);
	EXPECT(mqshm_queue_gc(s->name, NULL, NULL), 0);
	EXPECT(mqshm_queue_remove(s->name, 0), -EBUSY);
	kill_now(other);
	EXPECT(mqshm_consumer_pop(c, &value, sizeof value, NULL, stall_ms()), -EOWNERDEAD);
	p = open_producer(s->name, NULL);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->name);
}
