/* SPDX-License-Identifier: MIT */
/*
 * Shows that too little memory is found when a queue is created, as an error with a sentence, and never later by SIGBUS or
 * by a kill: a small /dev/shm, RLIMIT_FSIZE, RLIMIT_AS, a small control group. What fails leaves nothing behind.
 */
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "conformance/peers.h"

#define MIB (1u << 20)

/* A queue of about that many bytes. */
static struct mqshm_queue_options of_size(uint64_t bytes)
{
	return geometry((uint32_t)(bytes / 4096) - 4, 4096 - 24, 0);
}

/* It works to the last byte: what was created is ours. */
static void use_whole(const char *name)
{
	struct mqshm_producer *p = open_producer(name, NULL);
	static unsigned char in[4096];

	for (uint64_t i = 0; i < STAT(name, node_count) + 2ull; i++)
		MUST(mqshm_producer_push(p, in, 4000, 0), 0);
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(name);
}

static const char *path_of(const char *name)
{
	static char path[100];

	snprintf(path, sizeof path, "/dev/shm/mqshm.%s", name);
	return path;
}

static void need_root(void)
{
	if (geteuid() != 0)
		SKIP("needs root");
}

TEST(a_small_dev_shm)
{
	struct mqshm_queue_options q = of_size(2 * MIB), fits = of_size(MIB / 2);
	const char *name = test_queue("small");
	struct mqshm_producer *p = (void *)1;
	struct statvfs before, after;

	need_root();
	if (unshare(CLONE_NEWNS))
		SKIP("no mount namespace allowed here");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP("mounts can't be made private here: / is no mount point (a chroot?)");
	REQUIRE_EQ(mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m"), 0);
	REQUIRE_EQ(statvfs("/dev/shm", &before), 0);
	EXPECT(mqshm_queue_create(name, &q), -ENOSPC);
	CHECK_STR(mqshm_last_error(), "--shm-size");
	CHECK_STR(mqshm_last_error(), name);
	EXPECT(mqshm_producer_open(&p, name, &q, NULL), -ENOSPC);
	CHECK(p == NULL);
	check_gone(name);
	MUST(mqshm_queue_create(name, &fits), 0);
	EXPECT(mqshm_queue_create(test_queue("second"), &fits), -ENOSPC); /* each fits, but not both */
	use_whole(name);
	REQUIRE_EQ(statvfs("/dev/shm", &after), 0);
	CHECK_EQ(before.f_bfree, after.f_bfree);
	REQUIRE_EQ(umount2("/dev/shm", MNT_DETACH), 0);
}

TEST(rlimit_fsize)
{
	struct rlimit limit = { MIB, MIB };
	struct mqshm_queue_options q = of_size(2 * MIB), fits = of_size(MIB / 2);
	const char *name = test_queue("fsize");

	REQUIRE_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
	EXPECT(mqshm_queue_create(name, &q), -EFBIG); /* and no SIGXFSZ */
	CHECK_STR(mqshm_last_error(), "RLIMIT_FSIZE");
	check_gone(name);
	MUST(mqshm_queue_create(name, &fits), 0);
	use_whole(name);
}

TEST(rlimit_as)
{
	struct rlimit limit = { 256 * MIB, 256 * MIB };
	struct mqshm_queue_options q = of_size(300 * MIB), fits = of_size(MIB);
	const char *name = test_queue("as"), *big = test_queue("big");
	struct mqshm_producer *p = (void *)1;

	MUST(mqshm_queue_create(big, &q), 0);
	REQUIRE_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	EXPECT(mqshm_queue_create(name, &q), -ENOMEM);
	CHECK(mqshm_last_error()[0] != 0);
	check_gone(name);
	EXPECT(mqshm_producer_open(&p, big, NULL, NULL), -ENOMEM);
	CHECK(p == NULL);
	CHECK_EQ(STAT(big, producer_count), 0);
	MUST(mqshm_queue_create(name, &fits), 0);
	use_whole(name);
	EXPECT(mqshm_queue_remove(big, 0), -ENOMEM); /* whether it is in use can't be seen from here */
	limit.rlim_cur = limit.rlim_max = RLIM_INFINITY;
	if (!setrlimit(RLIMIT_AS, &limit)) /* root may */
		EXPECT(mqshm_queue_remove(big, 0), 0);
	else
		REQUIRE_EQ(unlink(path_of(big)), 0);
}

static int write_number(const char *directory, const char *file, long value)
{
	char path[200], text[32];
	int fd, n = snprintf(text, sizeof text, "%ld", value);
	ssize_t written;

	snprintf(path, sizeof path, "%s/%s", directory, file);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -1;
	written = write(fd, text, (size_t)n);
	close(fd);
	return written == n ? 0 : -1;
}

struct group {
	const char *name, *inner;
	uint32_t done;
};

static void create_in_group(void *arg)
{
	struct group *g = arg;
	struct mqshm_queue_options q = of_size(64 * MIB), fits = of_size(2 * MIB);

	REQUIRE_EQ(write_number(g->inner, "cgroup.procs", getpid()), 0);
	for (int i = 0; i < 3; i++) {
		EXPECT(mqshm_queue_create(g->name, &q), -ENOMEM);
		CHECK_STR(mqshm_last_error(), "control group");
		check_gone(g->name);
	}
	MUST(mqshm_queue_create(g->name, &fits), 0);
	use_whole(g->name);
	SET(g->done, 1);
}

TEST(a_small_control_group)
{
	static char outer[100], inner[120];
	struct group *g = shared_memory(sizeof *g);
	bool v1 = !access("/sys/fs/cgroup/memory/memory.usage_in_bytes", F_OK);
	bool v2 = !access("/sys/fs/cgroup/cgroup.subtree_control", F_OK);
	const char *file = v1 ? "memory.limit_in_bytes" : "memory.max";
	int status = -1, limited;
	pid_t child;

	need_root();
	if (!v1 && !v2)
		SKIP("no control group hierarchy with memory");
	snprintf(outer, sizeof outer, "/sys/fs/cgroup%s/mqshm-test-%d", v1 ? "/memory" : "", (int)getpid());
	snprintf(inner, sizeof inner, "%s/inner", outer);
	if (mkdir(outer, 0755))
		SKIP("no control group may be made here");
	if (v2) {
		int fd = open("/sys/fs/cgroup/cgroup.subtree_control", O_WRONLY);

		if (fd >= 0 && write(fd, "+memory", 7) < 0)
			printf("# no memory controller below the root\n");
		close(fd);
	}
	limited = write_number(outer, file, 24 * (long)MIB); /* at the upper level: each one counts */
	if (limited || mkdir(inner, 0755)) {
		rmdir(outer);
		SKIP("no memory limit may be set here");
	}
	g->name = test_queue("cgroup");
	g->inner = inner;
	child = spawn(create_in_group, g);
	REQUIRE_EQ(waitpid(child, &status, 0), child);
	for (uint64_t give_up = test_now_ns() + STALL_NS; rmdir(inner) && test_now_ns() < give_up;)
		nap();
	for (uint64_t give_up = test_now_ns() + STALL_NS; rmdir(outer) && test_now_ns() < give_up;)
		nap();
	CHECK(access(outer, F_OK) != 0);
	CHECK_EQ(status, 0); /* above all: not killed */
	CHECK(g->done);
}
