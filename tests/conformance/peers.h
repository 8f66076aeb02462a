/* SPDX-License-Identifier: MIT */
/*
 * What tests with several processes share: start one, meet at conditions, look that errno is kept and that nothing is
 * left behind. Nothing here sleeps to synchronise: conditions are polled, with a deadline that means a stall.
 */
#ifndef MQSHM_TEST_PEERS_H
#define MQSHM_TEST_PEERS_H

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "felt.h"
#include "mqshm.h"
#include "test.h"

#ifndef STALL_NS
#define STALL_NS 20000000000u /* nothing that goes on may take this long */
#endif
#define POISON_ERRNO 4711

/* But where MQSHM_TEST_SECONDS says that all is slow. */
static inline uint64_t stall_ns(void)
{
	return getenv("MQSHM_TEST_SECONDS") ? 10 * (uint64_t)STALL_NS : STALL_NS;
}

static inline int stall_ms(void)
{
	return (int)(stall_ns() / 1000000);
}

/* The value of a call that must leave errno alone. */
#define CALL(expr)                                                        \
	({                                                                \
		errno = POISON_ERRNO;                                     \
		__auto_type value_ = (expr);                              \
		if (errno != POISON_ERRNO)                                \
			TEST_FAIL("%s changed errno to %d", #expr, errno); \
		value_;                                                   \
	})

#define EXPECT(expr, wanted)                                                                           \
	do {                                                                                           \
		long long got_ = (long long)CALL(expr), wanted_ = (long long)(wanted);                 \
		if (got_ != wanted_)                                                                   \
			TEST_FAIL("%s is %lld, not %lld; last error: %s", #expr, got_, wanted_,        \
				  mqshm_last_error());                                                 \
	} while (0)

#define MUST(expr, wanted)                    \
	do {                                  \
		int failures_ = test_failures; \
		EXPECT(expr, wanted);         \
		TEST_END_IF_FAILED(failures_); \
	} while (0)

/* Poll until cond holds; ends the test when that takes as long as a stall. */
#define UNTIL(cond)                                                                          \
	do {                                                                                 \
		uint64_t give_up_ = felt_ns() + stall_ns();                                  \
		while (!(cond)) {                                                            \
			if (felt_ns() > give_up_) {                                          \
				TEST_FAIL("stalled: %s did not come true in %d s", #cond,    \
					  (int)(stall_ns() / 1000000000u));          \
				exit(1);                                                     \
			}                                                                    \
			nap();                                                               \
		}                                                                            \
	} while (0)

static inline void nap(void)
{
	nanosleep(&(struct timespec){ 0, 100000 }, NULL);
}

#define GET(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)
#define ADD(x, v) __atomic_add_fetch(&(x), (v), __ATOMIC_ACQ_REL)

/* Zeroed memory that children share. */
static inline void *shared_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	REQUIRE(p != MAP_FAILED);
	return p;
}

/* A child process that ends with its parent and whose status tells whether its checks held. */
static inline pid_t spawn(void (*run)(void *arg), void *arg)
{
	pid_t parent = getpid(), pid;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		test_failures = 0;
		run(arg);
		(void)fflush(stdout);
		_exit(test_failures ? 1 : 0);
	}
	REQUIRE(pid > 0);
	return pid;
}

/* Its checks must have held. A child that does not end is caught by the test's time limit. */
static inline void join(pid_t pid)
{
	int status = -1;

	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

static inline void kill_now(pid_t pid)
{
	int status = 0;

	REQUIRE_EQ(kill(pid, SIGKILL), 0);
	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) || WIFEXITED(status));
}

/* Is that process asleep in the kernel? (It may wake by itself at any time.) */
static inline bool asleep(pid_t pid)
{
	char path[40], text[300], *p;
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = 0;
	p = strrchr(text, ')');
	return p && p[1] == ' ' && p[2] == 'S';
}

/* Is the queue gone? */
static inline void check_gone(const char *name)
{
	struct mqshm_stat *stat = (void *)1;

	EXPECT(mqshm_queue_stat(name, &stat), -ENOENT);
	CHECK(stat == NULL);
}

static inline struct mqshm_queue_options geometry(uint32_t nodes, uint32_t block, uint32_t flags)
{
	return (struct mqshm_queue_options){ .size = sizeof(struct mqshm_queue_options),
					     .node_count = nodes,
					     .block_size = block,
					     .flags = flags };
}

static inline struct mqshm_producer *open_producer(const char *name, const struct mqshm_queue_options *queue)
{
	struct mqshm_producer *p = (void *)1;

	MUST(mqshm_producer_open(&p, name, queue, NULL), 0);
	REQUIRE(p != NULL);
	return p;
}

static inline struct mqshm_consumer *open_consumer(const char *name, const struct mqshm_queue_options *queue, int start,
						   uint32_t flags)
{
	struct mqshm_consumer_options options = { .size = sizeof options, .start = start, .flags = flags, .wait_ms = 5000 };
	struct mqshm_consumer *c = (void *)1;

	MUST(mqshm_consumer_open(&c, name, queue, &options), 0);
	REQUIRE(c != NULL);
	return c;
}

/* One number of a queue's stat. */
#define STAT(name, field)                                             \
	({                                                            \
		struct mqshm_stat *stat_ = NULL;                      \
		MUST(mqshm_queue_stat(name, &stat_), 0);              \
		__auto_type number_ = stat_->field;                   \
		mqshm_stat_free(stat_);                               \
		number_;                                              \
	})

#endif
