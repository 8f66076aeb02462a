/* SPDX-License-Identifier: MIT */
/*
 * mqshm merge: several queues to stdout as one stream, in order of their timestamps. Called by main.c. As in pop, a message
 * leaves its queue after it was written.
 */
#include <errno.h>
#include <stdlib.h>

#include "mqshm/merge.h"
#include "pop.h"

static const char help[] =
	"usage: mqshm merge NAME... [--sync MS] [--from WHERE] [--count N] [--timeout MS]\n"
	"                   [--lines|--raw|--json] [--lossy]\n"
	"Write the messages of several queues to stdout as one stream, in order of their timestamps, until\n"
	"the producers of all have closed and all is read. Begins when all the queues exist.\n\n"
	"  --sync MS       how long a queue without a message holds back the others' messages, 0 to\n"
	"                  2147483647; default for ever, which gives strict order\n"
	"  --from WHERE    latest: only what is pushed from now on; oldest (default): what is still there\n"
	"                  too; beginning: the same, and what is gone already counts as missed\n"
	"  --count N       end after N messages, from 1; default all\n"
	"  --timeout MS    fail when there is no next message (or not all the queues) within MS\n"
	"                  milliseconds, 0 to 2147483647; default wait for ever\n"
	"  --raw           the bytes of the messages one after the other (default)\n"
	"  --lines         a newline after each message\n"
	"  --json          one object a line: queue, sequence, timestamp_ns, size, data_base64\n"
	"  --lossy         never hold a producer back; what is overwritten before it was read is missed\n"
	"  --help          this text\n\n"
	"Messages that were missed, and timestamps that went back, are counted on stderr at the end.\n\n"
	"exit codes: 0 end of all streams, or --count reached; 1 failed (also a timeout, and a producer that\n"
	"crashed, after all was read); 2 wrong usage; a signal ends it as that signal does\n\n"
	"example: mqshm merge log-a log-b log-c --sync 500 --lines\n";

static const struct option long_options[] = { POP_OPTIONS, { "sync", required_argument, NULL, 's' }, { 0 } };

struct streams {
	struct pop pop;
	const char *const *names;
	size_t count;
	struct mqshm_consumer **consumers;
	struct mqshm_merge *merge;
	int sync_ms;
	char *copy; /* not NULL: messages are copied here first */
	size_t copy_room;
};

/* The next message, and whose it is. */
static int take(struct streams *s, struct mqshm_message *message, struct mqshm_consumer **source)
{
	uint64_t since = clock_ns();
	int slice = 0; /* the clock and the flag are looked at only when there is nothing */

	for (;;) {
		int result;

		if (s->copy)
			result = (int)mqshm_merge_next(s->merge, s->copy, s->copy_room, message, source, slice);
		else
			result = mqshm_merge_peek(s->merge, message, source, slice);
		if (result != -EAGAIN && result != -ETIMEDOUT && result != -EINTR)
			return result;
		if (signals_seen())
			return -EINTR;
		if (pop_time_is_over(&s->pop, since))
			return -ETIMEDOUT;
		if (output_gone())
			return -EPIPE;
		slice = pop_slice(&s->pop, since, WAIT_SLICE_MS);
	}
}

static int write_message(struct streams *s, const struct mqshm_message *message, const struct mqshm_consumer *source)
{
	struct mqshm_queue_info info;
	size_t written;
	int result;

	if (s->pop.writer.format == POP_JSON) {
		if (mqshm_consumer_info(source, &info) < 0)
			return library_error();
		s->pop.writer.queue = info.name;
	}
	result = pop_write(&s->pop.writer, message, 1, &written);
	s->pop.writer.queue = NULL;
	if (!s->copy && written && mqshm_merge_release(s->merge) < 0)
		return library_error();
	if (result < 0)
		return result == -EINTR ? EXIT_FAILED : output_failed(-result);
	return EXIT_DONE;
}

static int stream(struct streams *s)
{
	struct mqshm_consumer *source;
	struct mqshm_message message;
	char what[40];
	int result;

	for (; s->pop.left; s->pop.left--) {
		if (signals_seen())
			return EXIT_FAILED;
		result = take(s, &message, &source);
		if (result < 0) {
			snprintf(what, sizeof what, "%zu queue%s", s->count, plural(s->count));
			return pop_ended(&s->pop, result, what);
		}
		result = write_message(s, &message, source);
		if (result != EXIT_DONE)
			return result;
	}
	return EXIT_DONE;
}

static void report(const struct streams *s)
{
	struct mqshm_merge_stats stats;

	for (size_t i = 0; i < s->count; i++)
		pop_report_missed(s->names[i], s->consumers[i]);
	mqshm_merge_stats(s->merge, &stats);
	if (stats.backward)
		complain("%s of %s messages went back in time", unit_exact(stats.backward).text,
			 unit_exact(stats.merged).text);
}

static int merge(struct streams *s)
{
	if (mqshm_merge_open(&s->merge, s->sync_ms) < 0)
		return library_error();
	for (size_t i = 0; i < s->count; i++)
		if (mqshm_merge_add(s->merge, s->consumers[i]) < 0)
			return library_error();
	return stream(s);
}

static int run(struct streams *s)
{
	int code;

	s->consumers = calloc(s->count, sizeof *s->consumers);
	if (!s->consumers) {
		complain("no memory for %zu queues", s->count);
		return EXIT_FAILED;
	}
	code = pop_open(&s->pop, s->names, s->count, s->consumers);
	if (code == EXIT_DONE) {
		code = pop_make_copy(&s->pop, s->consumers, s->count, &s->copy, &s->copy_room);
		if (code == EXIT_DONE)
			code = merge(s);
		if (s->merge)
			report(s);
		mqshm_merge_close(s->merge);
		for (size_t i = 0; i < s->count; i++)
			mqshm_consumer_close(s->consumers[i]);
	}
	free(s->consumers);
	free(s->copy);
	free(s->pop.writer.json);
	return code;
}

int cmd_merge(int argc, char **argv)
{
	struct streams s = { .pop = POP_DEFAULTS, .sync_ms = -1 };
	uint64_t number;
	int option;

	while ((option = next_option(argc, argv, ":h", long_options)) != -1) {
		if (option == 'h')
			return output_text(help);
		if (option == 's') {
			if (!parse_number("--sync", optarg, 0, INT32_MAX, &number))
				return EXIT_USAGE;
			s.sync_ms = (int)number;
		} else if (!pop_option(&s.pop, option)) {
			return EXIT_USAGE;
		}
	}
	if (!check_arguments(argc, argv, argc, "NAME"))
		return EXIT_USAGE;
	for (int i = optind; i < argc; i++)
		if (!parse_name(argv[i]))
			return EXIT_USAGE;
	s.names = (const char *const *)(argv + optind);
	s.count = (size_t)(argc - optind);
	signals_catch();
	return signals_end(run(&s));
}
