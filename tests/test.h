/* SPDX-License-Identifier: MIT */
/*
 * The test harness: a test program is one file with TEST(name) { ... } bodies that includes this header once.
 * Each body runs in a process of its own, in order, under a time limit; the program speaks TAP on stdout, which
 * tests/run sums up. Arguments: the names of the tests to run (default all); -l lists them.
 *
 *	TEST(push_then_pop) { REQUIRE(open_queue() == 0); CHECK_EQ(pop(), 42); }
 *
 * CHECK* note a failure and go on, REQUIRE* end the test, SKIP(reason) ends it as skipped.
 */
#ifndef MQSHM_TEST_H
#define MQSHM_TEST_H

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEST_SKIPPED 77
#ifndef TEST_SECONDS
#define TEST_SECONDS 180 /* for what hangs: on a busy machine all takes its time */
#endif

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};

static struct test *test_first, **test_last = &test_first;
static int test_failures;

#define TEST(name_)                                                                  \
	static void name_(void);                                                     \
	__attribute__((constructor)) static void test_register_##name_(void)         \
	{                                                                            \
		static struct test t = { .name = #name_, .run = name_ };             \
		*test_last = &t;                                                     \
		test_last = &t.next;                                                 \
	}                                                                            \
	static void name_(void)

#define TEST_FAIL(...)                                                \
	(test_failures++, printf("# %s:%d: ", __FILE__, __LINE__),    \
	 printf(__VA_ARGS__), printf("\n"), (void)fflush(stdout))

#define CHECK(cond)                                            \
	do {                                                   \
		if (!(cond))                                   \
			TEST_FAIL("not true: %s", #cond);      \
	} while (0)

#define CHECK_EQ(a, b)                                                                                       \
	do {                                                                                                 \
		long long a_ = (long long)(a), b_ = (long long)(b);                                          \
		if (a_ != b_)                                                                                \
			TEST_FAIL("%s is %lld, not %s = %lld", #a, a_, #b, b_);                              \
	} while (0)

#define CHECK_STR(text, part)                                                                \
	do {                                                                                 \
		const char *t_ = (text);                                                     \
		if (!strstr(t_, (part)))                                                     \
			TEST_FAIL("\"%s\" does not contain \"%s\"", t_, (part));             \
	} while (0)

#define TEST_END_IF_FAILED(before)            \
	do {                                  \
		if (test_failures > (before)) \
			exit(1);              \
	} while (0)

#define REQUIRE(cond)                         \
	do {                                  \
		int f_ = test_failures;       \
		CHECK(cond);                  \
		TEST_END_IF_FAILED(f_);       \
	} while (0)

#define REQUIRE_EQ(a, b)                      \
	do {                                  \
		int f_ = test_failures;       \
		CHECK_EQ(a, b);               \
		TEST_END_IF_FAILED(f_);       \
	} while (0)

#define SKIP(reason)                                  \
	do {                                          \
		printf("# SKIP %s\n", (reason));      \
		(void)fflush(stdout);                 \
		exit(TEST_SKIPPED);                   \
	} while (0)

/* A queue name that no other test uses: "t<pid of the program>-<suffix>". */
static inline const char *test_queue(const char *suffix)
{
	static char names[8][64];
	static int next;
	char *name = names[next++ & 7];

	snprintf(name, sizeof names[0], "t%d-%s", (int)getppid(), suffix);
	return name;
}

static inline uint64_t test_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A small reproducible generator (xorshift64*, Vigna 2016); the seed is printed by who picks it. */
static inline uint64_t test_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 2685821657736338717u;
}

/* The seed: MQSHM_SEED, else from the clock. Printed, so that a failure can be repeated. */
static inline uint64_t test_seed(void)
{
	const char *given = getenv("MQSHM_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : test_now_ns() | 1;

	printf("# MQSHM_SEED=%" PRIu64 "\n", seed);
	(void)fflush(stdout);
	return seed ? seed : 1;
}

/* What is left of a load: MQSHM_TEST_SCALE percent, where a processor is emulated or all is checked by a sanitizer. */
static inline uint64_t test_scaled(uint64_t count)
{
	const char *percent = getenv("MQSHM_TEST_SCALE");
	uint64_t scaled = percent ? count * strtoull(percent, NULL, 10) / 100 : count;

	return scaled ? scaled : 1;
}

/* Where all is slow, MQSHM_TEST_SECONDS says for how long a test may run. */
static unsigned test_seconds(void)
{
	const char *seconds = getenv("MQSHM_TEST_SECONDS");

	return seconds ? (unsigned)strtoul(seconds, NULL, 10) : TEST_SECONDS;
}

static int test_one(const struct test *t)
{
	int status;
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(test_seconds());
		t->run();
		exit(test_failures ? 1 : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	if (WIFSIGNALED(status)) {
		printf("# %s: ended by signal %d (%s)\n", t->name, WTERMSIG(status),
		       WTERMSIG(status) == SIGALRM ? "took too long" : strsignal(WTERMSIG(status)));
		return 1;
	}
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	int number = 0, failed = 0;

	for (const struct test *t = test_first; t; t = t->next) {
		int wanted = argc < 2, rc;

		for (int i = 1; i < argc; i++)
			wanted |= !strcmp(argv[i], t->name);
		if (argc == 2 && !strcmp(argv[1], "-l"))
			printf("%s\n", t->name);
		if (!wanted)
			continue;
		rc = test_one(t);
		failed += rc != 0 && rc != TEST_SKIPPED;
		printf("%s %d - %s%s\n", rc == 0 || rc == TEST_SKIPPED ? "ok" : "not ok", ++number, t->name,
		       rc == TEST_SKIPPED ? " # SKIP" : "");
	}
	return failed ? 1 : 0;
}

#endif
