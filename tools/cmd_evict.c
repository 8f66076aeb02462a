/* SPDX-License-Identifier: MIT */
/*
 * mqshm evict: ends the roles of consumers by hand. Called by main.c. One that can't be evicted does not keep the others
 * from it.
 */
#include "tool.h"

static const char help[] =
	"usage: mqshm evict NAME ID...\n"
	"End the roles of consumers of the queue NAME, alive or not: their calls fail from then on, and the\n"
	"producer goes on without them. What is kept for a consumer with a name goes too.\n"
	"'mqshm stat NAME' shows the IDs. Processes are not ended.\n\n"
	"  --help      this text\n\n"
	"exit codes: 0 all were evicted; 1 one or more were not; 2 wrong usage\n\n"
	"example: mqshm evict audio 3\n";

static const struct option long_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

int cmd_evict(int argc, char **argv)
{
	int code, result = EXIT_DONE;
	uint64_t id = 0;

	while ((code = next_option(argc, argv, ":h", long_options)) != -1)
		return code == 'h' ? output_text(help) : EXIT_USAGE;
	if (!check_arguments(argc, argv, argc, "NAME") || !parse_name(argv[optind]))
		return EXIT_USAGE;
	if (argc == optind + 1)
		return usage_error("ID is missing");
	for (int i = optind + 1; i < argc; i++) /* nobody is evicted when one is wrong */
		if (!parse_number("ID", argv[i], 0, MQSHM_CONSUMERS_MAX - 1, &id))
			return EXIT_USAGE;
	for (int i = optind + 1; i < argc; i++) {
		parse_number("ID", argv[i], 0, MQSHM_CONSUMERS_MAX - 1, &id);
		if (mqshm_queue_evict(argv[optind], (uint32_t)id) < 0)
			result = library_error();
		else
			printf("consumer %u of queue '%s' evicted\n", (unsigned)id, argv[optind]);
	}
	return output_finish(result);
}
