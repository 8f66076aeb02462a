/* SPDX-License-Identifier: MIT */
/*
 * mqshm pop: reads a queue to stdout. Called by main.c. A message leaves the queue after it was written, not before.
 * Only where the producer does not wait for us (lossy, or an overwrite queue), or may stop to (a policy for slow
 * consumers), is it copied out first, because there what lies in the ring may change while it is written.
 */
#include <errno.h>
#include <stdlib.h>

#include "pop.h"

#define LEASE_DEFAULT_MS 60000
#define COPY_BYTES 262144 /* of messages copied at once, or one block if that is larger */

static const char help[] =
	"usage: mqshm pop NAME [--from WHERE] [--count N] [--timeout MS] [--lines|--raw|--json] [--lossy]\n"
	"                 [--as CONSUMER [--lease MS] [--leave]]\n"
	"Read the messages of the queue NAME to stdout, until its producer has closed and all is read.\n"
	"Waits for a queue that does not exist yet, and says so.\n\n"
	"  --from WHERE    latest: only what is pushed from now on; oldest (default): what is still there\n"
	"                  too; beginning: the same, and what is gone already counts as missed\n"
	"  --count N       end after N messages, from 1; default all\n"
	"  --timeout MS    fail when a message (or the queue) does not come within MS milliseconds,\n"
	"                  0 to 2147483647; default wait for ever\n"
	"  --raw           the bytes of the messages one after the other (default)\n"
	"  --lines         a newline after each message\n"
	"  --json          one object a line: sequence, timestamp_ns, size, data_base64\n"
	"  --lossy         never hold the producer back; what is overwritten before it was read is missed\n"
	"  --as CONSUMER   a name of 1 to 31 of A-Z a-z 0-9 . _ -: when this pop has ended, in whatever way,\n"
	"                  its place in the queue is kept, and holds the producer back. The next pop with\n"
	"                  this name, of the same user, goes on there (says so; --from means nothing then)\n"
	"  --lease MS      how long it is kept, 1 to 86400000; default 60000, a minute\n"
	"  --leave         give the place up at the end, unless this pop is killed\n"
	"  --help          this text\n\n"
	"A message leaves the queue after it was written: with --as, one that was just being written when\n"
	"pop was killed is given to the next one again. Not so when lossy, or where the queue\n"
	"overwrites or has a policy for slow consumers: there a message leaves the queue, and is written.\n\n"
	"Messages that were missed are counted on stderr at the end.\n\n"
	"exit codes: 0 end of stream, or --count reached; 1 failed (also a timeout, an eviction, and a\n"
	"producer that crashed, after all it had sent was read); 2 wrong usage; a signal ends it as that\n"
	"signal does\n\n"
	"example: mqshm pop q --from latest --lines --count 10\n";

static const struct option long_options[] = {
	{ "from", required_argument, NULL, 'f' },
	{ "count", required_argument, NULL, 'c' },
	{ "timeout", required_argument, NULL, 't' },
	{ "lines", no_argument, NULL, 'l' },
	{ "raw", no_argument, NULL, 'r' },
	{ "json", no_argument, NULL, 'j' },
	{ "lossy", no_argument, NULL, 'L' },
	{ "as", required_argument, NULL, 'a' },
	{ "lease", required_argument, NULL, 'e' },
	{ "leave", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct pop {
	struct mqshm_consumer *consumer;
	struct mqshm_consumer_options options;
	const char *name;
	uint64_t left;	    /* messages until --count is reached */
	int64_t timeout_ms; /* -1: for ever */
	bool leave;	    /* a named consumer's place is not kept */
	struct pop_writer writer;
	char *copy; /* not NULL: messages are copied here first */
	size_t copy_room;
};

static bool parse_format(struct pop *pop, enum pop_format format, bool *given)
{
	if (*given && pop->writer.format != format) {
		usage_error("only one of --lines, --raw and --json can be given");
		return false;
	}
	*given = true;
	pop->writer.format = format;
	return true;
}

static bool parse_option(struct pop *pop, int option, bool *format_given)
{
	static const char *const starts[] = { "latest", "oldest", "beginning", NULL };
	static const int start_codes[] = { MQSHM_FROM_LATEST, MQSHM_FROM_OLDEST, MQSHM_FROM_BEGINNING };
	uint64_t number = 0;
	int choice;

	switch (option) {
	case 'f':
		choice = parse_choice("--from", optarg, starts);
		if (choice >= 0)
			pop->options.start = start_codes[choice];
		return choice >= 0;
	case 'c':
		return parse_number("--count", optarg, 1, INT64_MAX, &pop->left);
	case 't':
		if (!parse_number("--timeout", optarg, 0, INT32_MAX, &number))
			return false;
		pop->timeout_ms = (int64_t)number;
		return true;
	case 'l':
		return parse_format(pop, POP_LINES, format_given);
	case 'r':
		return parse_format(pop, POP_RAW, format_given);
	case 'j':
		return parse_format(pop, POP_JSON, format_given);
	case 'L':
		pop->options.flags = MQSHM_LOSSY;
		return true;
	case 'a':
		pop->options.name = optarg;
		return parse_consumer_name("--as", optarg);
	case 'e':
		if (!parse_number("--lease", optarg, 1, MQSHM_LEASE_MS_MAX, &number))
			return false;
		pop->options.lease_ms = (uint32_t)number;
		return true;
	case 'v':
		pop->leave = true;
		return true;
	default:
		return false;
	}
}

/* What is left of timeout_ms, at most a slice. */
static int next_slice(const struct pop *pop, uint64_t since_ns, int slice_ms)
{
	int64_t left;

	if (pop->timeout_ms < 0)
		return slice_ms;
	left = pop->timeout_ms - (int64_t)((clock_ns() - since_ns) / 1000000u);
	return left < 0 ? 0 : left < slice_ms ? (int)left : slice_ms;
}

static bool time_is_over(const struct pop *pop, uint64_t since_ns)
{
	return pop->timeout_ms >= 0 && clock_ns() - since_ns >= (uint64_t)pop->timeout_ms * 1000000u;
}

static int open_queue(struct pop *pop)
{
	uint64_t since = clock_ns();
	bool said = false;
	int result;

	for (;;) {
		pop->options.wait_ms = next_slice(pop, since, said ? WAIT_SLICE_MS : QUIET_WAIT_MS);
		result = mqshm_consumer_open(&pop->consumer, pop->name, NULL, &pop->options);
		if (result != -ENOENT && result != -ETIMEDOUT && result != -EAGAIN && result != -EINTR)
			return result < 0 ? library_error() : EXIT_DONE;
		if (signals_seen())
			return EXIT_FAILED;
		if (time_is_over(pop, since)) {
			complain("queue '%s' did not appear within %lld ms", pop->name, (long long)pop->timeout_ms);
			return EXIT_FAILED;
		}
		if (!said && result != -EINTR) {
			complain("queue '%s' does not exist yet, waiting for it", pop->name);
			said = true;
		}
	}
}

/* The producer does not wait for us, or may stop to wait while we write. */
static int needs_copies(const struct pop *pop, bool *needs)
{
	struct mqshm_stat *stat;

	*needs = pop->options.flags & MQSHM_LOSSY;
	if (*needs)
		return EXIT_DONE;
	if (mqshm_queue_stat(pop->name, &stat) < 0)
		return library_error();
	*needs = stat->slow_policy || stat->flags & MQSHM_OVERWRITE;
	mqshm_stat_free(stat);
	return EXIT_DONE;
}

static int prepare_copies(struct pop *pop)
{
	struct mqshm_queue_info info;
	bool needs;

	if (needs_copies(pop, &needs) != EXIT_DONE)
		return EXIT_FAILED;
	if (!needs)
		return EXIT_DONE;
	if (mqshm_consumer_info(pop->consumer, &info) < 0)
		return library_error();
	pop->copy_room = info.block_size > COPY_BYTES ? info.block_size : COPY_BYTES;
	pop->copy = malloc(pop->copy_room);
	if (!pop->copy) {
		complain("no memory for a message of %u bytes", (unsigned)info.block_size);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

/* The next messages, at least one. */
static int take(struct pop *pop, struct mqshm_message *messages, size_t most)
{
	uint64_t since = clock_ns();
	int result, slice = 0; /* the clock and the flag are looked at only when there is nothing */

	for (;;) {
		if (pop->copy)
			result = mqshm_consumer_pop_batch(pop->consumer, messages, 1, most, pop->copy, pop->copy_room,
							  slice);
		else
			result = mqshm_consumer_peek(pop->consumer, messages, most, slice);
		if (result < 0 && signals_seen())
			return -EINTR;
		if (result != -EAGAIN && result != -ETIMEDOUT && result != -EINTR)
			return result;
		if (time_is_over(pop, since))
			return -ETIMEDOUT;
		if (output_gone())
			return -EPIPE;
		slice = next_slice(pop, since, WAIT_SLICE_MS);
	}
}

static int stream_ended(struct pop *pop, int result)
{
	switch (result) {
	case -ESHUTDOWN:
		return EXIT_DONE;
	case -EINTR:
		return EXIT_FAILED; /* by a signal: nothing to say */
	case -EPIPE:
		return output_failed(EPIPE);
	case -ETIMEDOUT:
		complain("queue '%s': no message within %lld ms", pop->name, (long long)pop->timeout_ms);
		return EXIT_FAILED;
	default:
		return library_error();
	}
}

static int stream(struct pop *pop)
{
	struct mqshm_message messages[POP_BATCH];

	while (pop->left) {
		size_t most = pop->left < POP_BATCH ? (size_t)pop->left : POP_BATCH, written;
		int taken, result;

		if (signals_seen())
			return EXIT_FAILED;
		taken = take(pop, messages, most);
		if (taken < 0)
			return stream_ended(pop, taken);
		result = pop_write(&pop->writer, messages, (size_t)taken, &written);
		if (!pop->copy && written && mqshm_consumer_release(pop->consumer, written) < 0)
			return library_error();
		if (result < 0)
			return result == -EINTR ? EXIT_FAILED : output_failed(-result);
		pop->left -= written;
	}
	return EXIT_DONE;
}

static void report_resumed(const struct pop *pop)
{
	int64_t lag = mqshm_consumer_lag(pop->consumer);

	if (mqshm_consumer_resumed(pop->consumer) > 0)
		complain("queue '%s': goes on where the last '%s' was, with %s message%s to read", pop->name,
			 pop->options.name, unit_exact((uint64_t)(lag > 0 ? lag : 0)).text,
			 plural((uint64_t)(lag > 0 ? lag : 0)));
}

static void report_missed(const struct pop *pop)
{
	int64_t missed = mqshm_consumer_missed(pop->consumer);

	if (mqshm_consumer_demoted(pop->consumer) > 0)
		complain("queue '%s': was too slow, and lossy since then", pop->name);
	if (missed > 0)
		complain("queue '%s': %s message%s missed", pop->name, unit_exact((uint64_t)missed).text,
			 missed == 1 ? " was" : "s were");
}

static int run(struct pop *pop)
{
	int code = open_queue(pop);

	if (code != EXIT_DONE)
		return code;
	signals_cancel(pop->consumer, NULL);
	report_resumed(pop);
	code = prepare_copies(pop);
	if (code == EXIT_DONE) {
		code = stream(pop);
		report_missed(pop);
	}
	signals_cancel(NULL, NULL);
	if (pop->leave)
		mqshm_consumer_leave(pop->consumer);
	else
		mqshm_consumer_close(pop->consumer);
	free(pop->copy);
	free(pop->writer.json);
	return code;
}

int cmd_pop(int argc, char **argv)
{
	struct pop pop = {
		.options = { .size = sizeof pop.options, .start = MQSHM_FROM_OLDEST },
		.left = UINT64_MAX,
		.timeout_ms = -1,
	};
	bool format_given = false;
	int option;

	while ((option = next_option(argc, argv, ":h", long_options)) != -1) {
		if (option == 'h')
			return output_text(help);
		if (!parse_option(&pop, option, &format_given))
			return EXIT_USAGE;
	}
	if (!check_arguments(argc, argv, 1, "NAME") || !parse_name(argv[optind]))
		return EXIT_USAGE;
	pop.name = argv[optind];
	if ((pop.options.lease_ms || pop.leave) && !pop.options.name)
		return usage_error("%s needs --as", pop.leave ? "--leave" : "--lease");
	if (pop.options.name && !pop.options.lease_ms)
		pop.options.lease_ms = LEASE_DEFAULT_MS;
	signals_catch();
	return signals_end(run(&pop));
}
