/* SPDX-License-Identifier: MIT */
/*
 * The mqshm tool: finds the command and runs it. Each command is one file, cmd_NAME.c. The exit code is the
 * command's: 0 done, 1 failed, 2 wrong usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
	{ "create", cmd_create, "create a queue" },
	{ "list", cmd_list, "list all queues" },
	{ "stat", cmd_stat, "show one queue: geometry, users, counters" },
	{ "top", cmd_top, "watch all queues: rates, lag, who blocks whom" },
	{ "watch", cmd_watch, "print who comes, leaves, dies, as it happens" },
	{ "push", cmd_push, "send a file or stdin through a queue" },
	{ "pop", cmd_pop, "read a queue to stdout" },
	{ "merge", cmd_merge, "read several queues to stdout in order of time" },
	{ "evict", cmd_evict, "take a consumer out of a queue" },
	{ "rm", cmd_rm, "remove queues" },
	{ "gc", cmd_gc, "clean up after processes that died" },
	{ "bench", cmd_bench, "measure throughput and latency" },
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static int print_help(void)
{
	printf("usage: mqshm COMMAND [ARGUMENTS]\n"
	       "Named broadcast queues between processes, in shared memory.\n\n"
	       "commands:\n");
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-8s %s\n", commands[i].name, commands[i].what);
	printf("\n"
	       "  mqshm COMMAND --help   options, units, defaults and an example\n"
	       "  mqshm --version        the version\n\n"
	       "exit codes: 0 done, 1 failed (also a timeout, a producer that crashed), 2 wrong usage\n\n"
	       "example: in two terminals   mqshm pop q > copy\n"
	       "         in a third         mqshm push q FILE --wait 2\n");
	return output_finish(EXIT_DONE);
}

/*
 * Give descriptors 0-2 something to be, where the caller closed them, so that no object of ours becomes stdout. The
 * direction is wrong on purpose: using them still fails.
 */
static void occupy_standard_files(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/dev/null", fd ? O_RDONLY : O_WRONLY);
}

int main(int argc, char **argv)
{
	occupy_standard_files();
	signal(SIGPIPE, SIG_IGN); /* a write says EPIPE instead */
	setlocale(LC_CTYPE, "");  /* top asks whether the terminal shows UTF-8 */
	if (argc < 2)
		return usage_error("a command is missing");
	for (size_t i = 0; i < COMMANDS; i++) {
		if (!strcmp(argv[1], commands[i].name)) {
			message_command = commands[i].name;
			return commands[i].run(argc - 1, argv + 1);
		}
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return argc > 2 ? usage_error("surplus argument '%s'", argv[2]) : print_help();
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		if (argc > 2)
			return usage_error("surplus argument '%s'", argv[2]);
		printf("mqshm %s\n", mqshm_version());
		return output_finish(EXIT_DONE);
	}
	if (argv[1][0] == '-')
		return usage_error("unknown option '%s'", argv[1]);
	return usage_error("unknown command '%s'", argv[1]);
}
