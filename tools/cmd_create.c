/* SPDX-License-Identifier: MIT */
/*
 * mqshm create: makes a queue, or finds that the existing one is what was asked for. Called by main.c. It is no user
 * of the queue: what it made stays until somebody has used it.
 */
#include <string.h>

#include "tool.h"

static const char help[] =
	"usage: mqshm create NAME [OPTIONS]\n"
	"Create the queue NAME (1-63 of A-Z a-z 0-9 . _ -, not starting with a dot). If it exists and is\n"
	"what was asked for, that is fine too; if it differs, the command fails. A queue that was created\n"
	"like this is removed when its last user leaves, but not before it has had one.\n\n"
	"  --nodes N          most messages outstanding, 1 to 1073741824; default 1024\n"
	"  --block BYTES      largest message, 1 to 1G (K, M, G: 1024 and so on); default 12800\n"
	"  --consumers N      most consumers at a time, 1 to 256; default 32\n"
	"  --metadata TEXT    kept with the queue for its users, at most 256 bytes; default none\n"
	"  --overflow WHAT    a full queue lets the producer wait for the slowest consumer (block, the\n"
	"                     default) or drops its oldest message (overwrite)\n"
	"  --slow WHAT        a consumer that lives but holds the producer of a full queue back: let it\n"
	"                     (block, the default), or once it has not moved for MS milliseconds, 1 to\n"
	"                     2147483647, take its role away (evict:MS) or make it lossy (demote:MS);\n"
	"                     not with overwrite\n"
	"  --hold             keep everything until a first consumer comes (with --persistent also when its\n"
	"                     producer leaves before that); not with overwrite\n"
	"  --shared           several producers at a time; default one\n"
	"  --persistent       stay when the last user leaves; only 'mqshm rm' ends the queue\n"
	"  --mode MODE        access rights in octal, 0001 to 0777; default 0600\n"
	"  --help             this text\n\n"
	"exit codes: 0 created, or it was there and matches; 1 failed; 2 wrong usage\n\n"
	"example: mqshm create audio --nodes 256 --block 4K --metadata '48 kHz, s16le, mono'\n";

static const struct option long_options[] = {
	{ "nodes", required_argument, NULL, 'n' },
	{ "block", required_argument, NULL, 'b' },
	{ "consumers", required_argument, NULL, 'c' },
	{ "metadata", required_argument, NULL, 'm' },
	{ "overflow", required_argument, NULL, 'o' },
	{ "slow", required_argument, NULL, 'S' },
	{ "hold", no_argument, NULL, 'H' },
	{ "shared", no_argument, NULL, 's' },
	{ "persistent", no_argument, NULL, 'p' },
	{ "mode", required_argument, NULL, 'M' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static bool parse_metadata(const char *text, struct mqshm_queue_options *queue)
{
	queue->metadata = text;
	queue->metadata_size = strlen(text);
	if (queue->metadata_size > MQSHM_METADATA_MAX) {
		usage_error("--metadata: %zu bytes are too many; allowed are %d", queue->metadata_size,
			    MQSHM_METADATA_MAX);
		return false;
	}
	return true;
}

/* One option into queue. False: it was wrong. */
static bool parse_option(int code, struct mqshm_queue_options *queue)
{
	static const char *const overflows[] = { "block", "overwrite", NULL };
	uint64_t number = 0;
	int choice;

	switch (code) {
	case 'n':
		if (!parse_number("--nodes", optarg, 1, MQSHM_NODES_MAX, &number))
			return false;
		queue->node_count = (uint32_t)number;
		return true;
	case 'b':
		if (!parse_bytes("--block", optarg, 1, MQSHM_BLOCK_MAX, &number))
			return false;
		queue->block_size = (uint32_t)number;
		return true;
	case 'c':
		if (!parse_number("--consumers", optarg, 1, MQSHM_CONSUMERS_MAX, &number))
			return false;
		queue->max_consumers = (uint32_t)number;
		return true;
	case 'm':
		return parse_metadata(optarg, queue);
	case 'o':
		choice = parse_choice("--overflow", optarg, overflows);
		queue->flags = (queue->flags & ~(uint32_t)MQSHM_OVERWRITE) | (choice == 1 ? MQSHM_OVERWRITE : 0);
		return choice >= 0;
	case 'S':
		return parse_slow("--slow", optarg, queue);
	case 'H':
		queue->flags |= MQSHM_HOLD;
		return true;
	case 's':
		queue->flags |= MQSHM_SHARED;
		return true;
	case 'p':
		queue->flags |= MQSHM_PERSISTENT;
		return true;
	case 'M':
		return parse_mode("--mode", optarg, &queue->mode);
	default:
		return false;
	}
}

int cmd_create(int argc, char **argv)
{
	struct mqshm_queue_options queue = { .size = sizeof queue };
	int code, result;

	while ((code = next_option(argc, argv, ":h", long_options)) != -1) {
		if (code == 'h')
			return output_text(help);
		if (!parse_option(code, &queue))
			return EXIT_USAGE;
	}
	if (!check_arguments(argc, argv, 1, "NAME") || !parse_name(argv[optind]))
		return EXIT_USAGE;
	if ((queue.flags & MQSHM_HOLD) && (queue.flags & MQSHM_OVERWRITE))
		return usage_error("--hold and --overflow overwrite exclude each other");
	if (queue.slow_policy && (queue.flags & MQSHM_OVERWRITE))
		return usage_error("--slow and --overflow overwrite exclude each other: nobody holds its producer back");
	result = mqshm_queue_create(argv[optind], &queue);
	if (result < 0)
		return library_error();
	printf("queue '%s' %s\n", argv[optind], result ? "exists already and matches" : "created");
	return output_finish(EXIT_DONE);
}
