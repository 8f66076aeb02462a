/* SPDX-License-Identifier: MIT */
/*
 * The janitor of mqshm bench: a process that waits until all others of the benchmark are gone, however they ended,
 * and then removes the queues bench-<pid>-* they may have left. It holds one end of a pipe whose other end all of
 * them have; end of file means that nobody is left. Started before any other child.
 */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mqshm.h"

static int pipe_fd = -1;
static pid_t janitor;

struct names {
	char prefix[32];
	char (*found)[64];
	size_t count;
};

/* A queue must not be removed while the list is walked: collect the names. */
static int collect(const struct mqshm_stat *stat, void *arg)
{
	struct names *names = arg;
	void *more;

	if (strncmp(stat->name, names->prefix, strlen(names->prefix)) != 0)
		return 0;
	more = realloc(names->found, (names->count + 1) * sizeof(*names->found));
	if (!more)
		return 0;
	names->found = more;
	memcpy(names->found[names->count++], stat->name, sizeof(*names->found));
	return 0;
}

static void clean(pid_t bench)
{
	struct names names = { .count = 0 };

	snprintf(names.prefix, sizeof(names.prefix), "bench-%d-", (int)bench);
	mqshm_queue_list(collect, &names);
	for (size_t i = 0; i < names.count; i++)
		mqshm_queue_remove(names.found[i], MQSHM_FORCE);
	free(names.found);
}

int bench_janitor_start(void)
{
	pid_t bench = getpid();
	int fds[2];
	char c;

	if (pipe(fds) < 0)
		return -1;
	janitor = fork();
	if (janitor < 0)
		return -1;
	if (janitor > 0) {
		close(fds[0]);
		pipe_fd = fds[1];
		return 0;
	}
	/* Ctrl-C goes to the whole process group; this one stays until the others are gone. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	close(fds[1]);
	while (read(fds[0], &c, 1) < 0 && errno == EINTR)
		;
	clean(bench);
	_exit(0);
}

/* All other children are reaped: let it clean, and wait until it has. */
void bench_janitor_end(void)
{
	if (pipe_fd < 0)
		return;
	close(pipe_fd);
	pipe_fd = -1;
	while (waitpid(janitor, NULL, 0) < 0 && errno == EINTR)
		;
}
