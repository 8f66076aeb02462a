/* SPDX-License-Identifier: MIT */
/*
 * mqshm rm: removes queues. Called by main.c. A queue in use is only removed by force; one that can't be removed
 * does not keep the others from it.
 */
#include "tool.h"

static const char help[] =
	"usage: mqshm rm NAME... [--force]\n"
	"Remove queues. A queue that processes use is not removed: the error names them.\n\n"
	"  --force     remove it all the same: its users lose it (their calls fail from then on); also\n"
	"              removes a file of that name in /dev/shm that is damaged or is no queue\n"
	"  --help      this text\n\n"
	"exit codes: 0 all were removed; 1 one or more were not; 2 wrong usage\n\n"
	"example: mqshm rm audio video\n";

static const struct option long_options[] = {
	{ "force", no_argument, NULL, 'f' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

int cmd_rm(int argc, char **argv)
{
	unsigned flags = 0;
	int code, result = EXIT_DONE;

	while ((code = next_option(argc, argv, ":fh", long_options)) != -1) {
		if (code == 'h')
			return output_text(help);
		if (code == '?')
			return EXIT_USAGE;
		flags = MQSHM_FORCE;
	}
	if (!check_arguments(argc, argv, argc, "NAME"))
		return EXIT_USAGE;
	for (int i = optind; i < argc; i++) /* nothing is removed when one name is wrong */
		if (!parse_name(argv[i]))
			return EXIT_USAGE;
	for (int i = optind; i < argc; i++) {
		if (mqshm_queue_remove(argv[i], flags) < 0)
			result = library_error();
		else
			printf("queue '%s' removed\n", argv[i]);
	}
	return output_finish(result);
}
