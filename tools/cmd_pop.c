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
	POP_OPTIONS,
	{ "as", required_argument, NULL, 'a' },
	{ "lease", required_argument, NULL, 'e' },
	{ "leave", no_argument, NULL, 'v' },
	{ 0 },
};

struct stream {
	struct pop pop;
	const char *name;
	struct mqshm_consumer *consumer;
	bool leave; /* a named consumer's place is not kept */
	char *copy; /* not NULL: messages are copied here first */
	size_t copy_room;
};

static bool parse_option(struct stream *s, int letter)
{
	uint64_t number = 0;

	switch (letter) {
	case 'a':
		s->pop.options.name = optarg;
		return parse_consumer_name("--as", optarg);
	case 'e':
		if (!parse_number("--lease", optarg, 1, MQSHM_LEASE_MS_MAX, &number))
			return false;
		s->pop.options.lease_ms = (uint32_t)number;
		return true;
	case 'v':
		s->leave = true;
		return true;
	default:
		return pop_option(&s->pop, letter);
	}
}

/* The next messages, at least one. */
static int take(struct stream *s, struct mqshm_message *messages, size_t most)
{
	uint64_t since = clock_ns();
	int result, slice = 0; /* the clock and the flag are looked at only when there is nothing */

	for (;;) {
		if (s->copy)
			result = mqshm_consumer_pop_batch(s->consumer, messages, 1, most, s->copy, s->copy_room, slice);
		else
			result = mqshm_consumer_peek(s->consumer, messages, most, slice);
		if (result < 0 && signals_seen())
			return -EINTR;
		if (result != -EAGAIN && result != -ETIMEDOUT && result != -EINTR)
			return result;
		if (pop_time_is_over(&s->pop, since))
			return -ETIMEDOUT;
		if (output_gone())
			return -EPIPE;
		slice = pop_slice(&s->pop, since, WAIT_SLICE_MS);
	}
}

static int stream(struct stream *s)
{
	struct mqshm_message messages[POP_BATCH];
	char what[MQSHM_NAME_MAX + 16];

	while (s->pop.left) {
		size_t most = s->pop.left < POP_BATCH ? (size_t)s->pop.left : POP_BATCH, written;
		int taken, result;

		if (signals_seen())
			return EXIT_FAILED;
		taken = take(s, messages, most);
		if (taken < 0) {
			snprintf(what, sizeof what, "queue '%s'", s->name);
			return pop_ended(&s->pop, taken, what);
		}
		result = pop_write(&s->pop.writer, messages, (size_t)taken, &written);
		if (!s->copy && written && mqshm_consumer_release(s->consumer, written) < 0)
			return library_error();
		if (result < 0)
			return result == -EINTR ? EXIT_FAILED : output_failed(-result);
		s->pop.left -= written;
	}
	return EXIT_DONE;
}

static void report_resumed(const struct stream *s)
{
	int64_t lag = mqshm_consumer_lag(s->consumer);

	if (mqshm_consumer_resumed(s->consumer) > 0)
		complain("queue '%s': goes on where the last '%s' was, with %s message%s to read", s->name,
			 s->pop.options.name, unit_exact((uint64_t)(lag > 0 ? lag : 0)).text,
			 plural((uint64_t)(lag > 0 ? lag : 0)));
}

static int run(struct stream *s)
{
	int code = pop_open(&s->pop, &s->name, 1, &s->consumer);

	if (code != EXIT_DONE)
		return code;
	signals_cancel(s->consumer, NULL);
	report_resumed(s);
	code = pop_make_copy(&s->pop, &s->consumer, 1, &s->copy, &s->copy_room);
	if (code == EXIT_DONE) {
		code = stream(s);
		pop_report_missed(s->name, s->consumer);
	}
	signals_cancel(NULL, NULL);
	if (s->leave)
		mqshm_consumer_leave(s->consumer);
	else
		mqshm_consumer_close(s->consumer);
	free(s->copy);
	free(s->pop.writer.json);
	return code;
}

int cmd_pop(int argc, char **argv)
{
	struct stream s = { .pop = POP_DEFAULTS };
	int option;

	while ((option = next_option(argc, argv, ":h", long_options)) != -1) {
		if (option == 'h')
			return output_text(help);
		if (!parse_option(&s, option))
			return EXIT_USAGE;
	}
	if (!check_arguments(argc, argv, 1, "NAME") || !parse_name(argv[optind]))
		return EXIT_USAGE;
	s.name = argv[optind];
	if ((s.pop.options.lease_ms || s.leave) && !s.pop.options.name)
		return usage_error("%s needs --as", s.leave ? "--leave" : "--lease");
	if (s.pop.options.name && !s.pop.options.lease_ms)
		s.pop.options.lease_ms = LEASE_DEFAULT_MS;
	signals_catch();
	return signals_end(run(&s));
}
