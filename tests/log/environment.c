/* SPDX-License-Identifier: MIT */
/* MQSHM_LOG: off unless it is set, one line each to stderr, a wrong value is said once; a call overrides it. */
#include <fcntl.h>

#include "log/log_test.h"

static char said[4096];

/* Make and remove a queue in a child that has MQSHM_LOG set so; what it writes to stderr goes to said. */
static void with(const char *value, const char *name, void (*first)(void))
{
	int fds[2];
	ssize_t n, all = 0;
	pid_t child;

	REQUIRE_EQ(pipe2(fds, O_CLOEXEC), 0);
	(void)fflush(stdout);
	child = fork();
	if (child == 0) {
		dup2(fds[1], STDERR_FILENO);
		if (value)
			setenv("MQSHM_LOG", value, 1);
		else
			unsetenv("MQSHM_LOG");
		if (first)
			first();
		MUST(mqshm_queue_create(name, NULL), 0);
		MUST(mqshm_queue_remove(name, 0), 0);
		_exit(test_failures != 0);
	}
	close(fds[1]);
	while ((n = read(fds[0], said + all, sizeof said - 1 - (size_t)all)) > 0)
		all += n;
	said[all] = 0;
	close(fds[0]);
	join(child);
}

static int count(const char *text)
{
	int n = 0;

	for (const char *at = said; (at = strstr(at, text)); at++)
		n++;
	return n;
}

TEST(off_by_default)
{
	with(NULL, test_queue("none"), NULL);
	CHECK_EQ(strlen(said), 0);
	with("", test_queue("empty"), NULL);
	CHECK_EQ(strlen(said), 0);
	with("off", test_queue("off"), NULL);
	CHECK_EQ(strlen(said), 0);
	with("warning", test_queue("warning"), NULL);
	CHECK_EQ(strlen(said), 0);
}

TEST(a_line_each)
{
	const char *name = test_queue("info");
	char wanted[200];

	with("info", name, NULL);
	snprintf(wanted, sizeof wanted, "mqshm: info: queue '%s': created by pid ", name);
	CHECK(!strncmp(said, wanted, strlen(wanted)));
	snprintf(wanted, sizeof wanted, "\nmqshm: info: queue '%s': removed by pid ", name);
	CHECK_STR(said, wanted);
	CHECK_EQ(count("\n"), 2);
	CHECK_EQ(said[strlen(said) - 1], '\n');
}

TEST(a_wrong_value_is_said_once)
{
	with("loud", test_queue("wrong"), NULL);
	CHECK_EQ(count("MQSHM_LOG is 'loud', not error, warning, info, debug or off"), 1);
	CHECK_EQ(count("\n"), 1);
}

static void set_off(void)
{
	MUST(mqshm_log_set(MQSHM_LOG_OFF, NULL, NULL), 0);
}

static void set_stderr(void)
{
	MUST(mqshm_log_set(MQSHM_LOG_INFO, NULL, NULL), 0);
}

TEST(a_call_overrides_it)
{
	with("debug", test_queue("debug"), set_off);
	CHECK_EQ(strlen(said), 0);
	with("error", test_queue("error"), set_stderr);
	CHECK_EQ(count("mqshm: info: queue"), 2);
	with("loud", test_queue("loud"), set_stderr); /* never looked at */
	CHECK_EQ(count("MQSHM_LOG"), 0);
	CHECK_EQ(count("mqshm: info: queue"), 2);
}
