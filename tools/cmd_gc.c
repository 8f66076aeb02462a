/* SPDX-License-Identifier: MIT */
/*
 * mqshm gc: cleans up after processes that died. Called by main.c. Queues somebody alive uses stay, and those that
 * are persistent or never had a user.
 */
#include "tool.h"

static const char help[] =
	"usage: mqshm gc [NAME] [-q]\n"
	"Clean up after processes that died, in the queue NAME or in all: their roles end, and queues that\n"
	"nobody uses any more are removed. Each thing done or found is printed, then how many were removed.\n"
	"Queues that are persistent, or were created and never used, stay.\n\n"
	"  -q, --quiet   print nothing\n"
	"  --help        this text\n\n"
	"exit codes: 0 done; 1 failed; 2 wrong usage\n\n"
	"example: mqshm gc\n";

static const struct option long_options[] = {
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static void report(const char *name, const char *what, void *arg)
{
	(void)arg;
	printf("queue '%s' %s\n", name, what);
}

int cmd_gc(int argc, char **argv)
{
	bool quiet = false;
	int code, removed;

	while ((code = next_option(argc, argv, ":qh", long_options)) != -1) {
		if (code == 'h')
			return output_text(help);
		if (code == '?')
			return EXIT_USAGE;
		quiet = true;
	}
	if (!check_arguments(argc, argv, 1, NULL) || (optind < argc && !parse_name(argv[optind])))
		return EXIT_USAGE;
	removed = mqshm_queue_gc(argv[optind], quiet ? NULL : report, NULL);
	if (removed < 0) {
		fflush(stdout);
		return library_error();
	}
	if (!quiet)
		printf("%d queue%s removed\n", removed, plural((uint64_t)removed));
	return output_finish(EXIT_DONE);
}
