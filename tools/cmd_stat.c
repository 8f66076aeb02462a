/* SPDX-License-Identifier: MIT */
/*
 * mqshm stat: shows one queue. Called by main.c. It only looks: the queue's life does not depend on it.
 */
#include <ctype.h>
#include <string.h>

#include "tool.h"

static const char help[] =
	"usage: mqshm stat NAME [--json]\n"
	"Show the queue NAME: geometry, producer, consumers, counters. Looking does not make one a user.\n\n"
	"  --json    one JSON object: name, backend, node_count, block_size, ring_bytes, max_consumers,\n"
	"            metadata, overflow, slow_policy, slow_ms, producer {pid, alive, comm} or null\n"
	"            (producers [...] for a shared queue), consumers [{id, pid, alive, comm, lag, missed,\n"
	"            lossy, last_access_ns, demoted, blocks_ns, leased, lease_ms, name}], total_pushed,\n"
	"            total_popped, overwrite_count, depth, evicted, demoted, blocked_by (id of a consumer,\n"
	"            or null) and more. Metadata that is not UTF-8: such a byte XX is given as \\u00XX; the\n"
	"            exact bytes are in metadata_base64. Sizes are bytes, times CLOCK_REALTIME in ns\n"
	"  --help    this text\n\n"
	"depth is the lag of the slowest reliable consumer, or what a new one would get when there is none.\n"
	"STATE of a consumer: alive, dead or leased (it has left or died, and its cursor waits for the next\n"
	"that comes with its name); lossy, demoted (was too slow, and is lossy since then); whom it blocks\n"
	"and since when.\n\n"
	"exit codes: 0 done; 1 failed (no such queue, no permission, damaged); 2 wrong usage\n\n"
	"example: mqshm stat audio --json | jq .depth\n";

static const struct option long_options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static void label(const char *name)
{
	printf("%-12s  ", name);
}

static void print_geometry(const struct mqshm_stat *s)
{
	char flags[120];

	stat_flags(s, flags, sizeof flags);
	label("queue");
	printf("%s (%s)\n", s->name, s->backend);
	label("capacity");
	printf("%s messages of up to %s bytes, ring of %s, %s in all\n", unit_exact(s->node_count).text,
	       unit_exact(s->block_size).text, unit_bytes((double)s->ring_bytes).text,
	       unit_bytes((double)s->total_bytes).text);
	label("options");
	printf("%s\n", flags);
	label("owner");
	printf("uid %u, gid %u, mode %04o, created %s ago\n", (unsigned)s->uid, (unsigned)s->gid,
	       (unsigned)s->mode & 07777, unit_ago(s->created_at_ns).text);
}

static void print_metadata(const struct mqshm_stat *s)
{
	size_t size = s->metadata_size < MQSHM_METADATA_MAX ? s->metadata_size : MQSHM_METADATA_MAX;

	if (!size)
		return;
	label("metadata");
	for (size_t i = 0, length; i < size; i += length) {
		length = printable_length(s->metadata + i, size - i);
		if (!length || s->metadata[i] == '\\') { /* nothing that moves the cursor */
			printf("\\x%02x", s->metadata[i]);
			length = 1;
		} else {
			fwrite(s->metadata + i, 1, length, stdout);
		}
	}
	putchar('\n');
}

static void print_counters(const struct mqshm_stat *s)
{
	label("pushed");
	printf("%s messages, %s of ring; found the queue full %s time%s\n", unit_exact(s->total_pushed).text,
	       unit_bytes((double)s->bytes_pushed).text, unit_exact(s->stalls).text, plural(s->stalls));
	label("popped");
	printf("%s messages by %s consumer%s so far; %s overwritten\n", unit_exact(s->total_popped).text,
	       unit_exact(s->consumers_ever).text, plural(s->consumers_ever), unit_exact(s->overwrite_count).text);
	if (s->slow_policy || s->evicted || s->demoted) {
		label("too slow");
		printf("%s evicted, %s demoted so far\n", unit_exact(s->evicted).text, unit_exact(s->demoted).text);
	}
	label("depth");
	printf("%s messages not read, %s kept\n", unit_exact(s->depth).text, unit_exact(s->kept).text);
}

static void print_producers(const struct mqshm_stat *s)
{
	const struct mqshm_participant_stat *blocker = stat_blocker(s);
	char comm[16];

	label("producer");
	if (!s->producer_count)
		printf("%s\n", s->producer_state == MQSHM_PRODUCER_NONE ? "none yet" : stat_producer_state(s));
	for (uint32_t i = 0; i < s->producer_count; i++) {
		stat_comm(&s->producers[i], comm);
		if (i)
			label("");
		printf("pid %d (%s), %s, for %s\n", (int)s->producers[i].pid, comm,
		       s->producers[i].alive ? "alive" : "dead", unit_ago(s->producers[i].attached_at_ns).text);
	}
	if (blocker) {
		stat_comm(blocker, comm);
		label("blocked by");
		printf("consumer %u: pid %d (%s)%s, for %s\n", (unsigned)blocker->id, (int)blocker->pid, comm,
		       blocker->leased ? ", leased" : "", unit_time(blocker->blocks_ns).text);
	}
}

static void print_state(const struct mqshm_stat *s, const struct mqshm_participant_stat *c)
{
	if (c->leased)
		printf("leased, %s left", unit_time(c->lease_ms * 1000000ull).text);
	else
		fputs(c->alive ? "alive" : "dead", stdout);
	if (c->demoted || c->lossy)
		fputs(c->demoted ? ", demoted" : ", lossy", stdout);
	if (c->name[0])
		printf(", as %.*s", (int)sizeof c->name, c->name);
	if (s->blocked_by >= 0 && c->id == (uint32_t)s->blocked_by)
		printf(", blocks for %s", unit_time(c->blocks_ns).text);
	putchar('\n');
}

static void print_consumers(const struct mqshm_stat *s)
{
	label("consumers");
	printf("%u of %u\n", (unsigned)s->consumer_count, (unsigned)s->max_consumers);
	if (!s->consumer_count)
		return;
	printf("  %3s %8s  %-15s %12s %12s %14s  %-9s %s\n", "ID", "PID", "PROGRAM", "LAG", "MISSED", "POPPED",
	       "LAST READ", "STATE");
	for (uint32_t i = 0; i < s->consumer_count; i++) {
		const struct mqshm_participant_stat *c = &s->consumers[i];
		char comm[16];

		stat_comm(c, comm);
		printf("  %3u %8d  %-15s %12s %12s %14s  %-9s ", (unsigned)c->id, (int)c->pid, comm,
		       unit_exact(c->lag).text, unit_exact(c->missed).text, unit_exact(c->popped).text,
		       c->last_access_ns ? unit_ago(c->last_access_ns).text : "never");
		print_state(s, c);
	}
}

int cmd_stat(int argc, char **argv)
{
	struct mqshm_stat *stat;
	bool json = false;
	int code;

	while ((code = next_option(argc, argv, ":h", long_options)) != -1) {
		if (code == 'h')
			return output_text(help);
		if (code == '?')
			return EXIT_USAGE;
		json = true;
	}
	if (!check_arguments(argc, argv, 1, "NAME") || !parse_name(argv[optind]))
		return EXIT_USAGE;
	if (mqshm_queue_stat(argv[optind], &stat) < 0)
		return library_error();
	if (json) {
		stat_json(stdout, stat, "");
		putchar('\n');
	} else {
		print_geometry(stat);
		print_metadata(stat);
		print_counters(stat);
		print_producers(stat);
		print_consumers(stat);
	}
	mqshm_stat_free(stat);
	return output_finish(EXIT_DONE);
}
