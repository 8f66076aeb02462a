/* SPDX-License-Identifier: MIT */
/* What pop and merge have in common, see pop.h. Called by cmd_pop.c and cmd_merge.c. */
#include <errno.h>
#include <stdlib.h>

#include "pop.h"

#define COPY_BYTES 262144 /* of messages copied at once, or one block if that is larger */

static bool parse_format(struct pop *pop, enum pop_format format)
{
	if (pop->format_given && pop->writer.format != format) {
		usage_error("only one of --lines, --raw and --json can be given");
		return false;
	}
	pop->format_given = true;
	pop->writer.format = format;
	return true;
}

bool pop_option(struct pop *pop, int letter)
{
	static const char *const starts[] = { "latest", "oldest", "beginning", NULL };
	static const int start_codes[] = { MQSHM_FROM_LATEST, MQSHM_FROM_OLDEST, MQSHM_FROM_BEGINNING };
	uint64_t number = 0;
	int choice;

	switch (letter) {
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
		return parse_format(pop, POP_LINES);
	case 'r':
		return parse_format(pop, POP_RAW);
	case 'j':
		return parse_format(pop, POP_JSON);
	case 'L':
		pop->options.flags = MQSHM_LOSSY;
		return true;
	default:
		return false;
	}
}

int pop_slice(const struct pop *pop, uint64_t since_ns, int slice_ms)
{
	int64_t left;

	if (pop->timeout_ms < 0)
		return slice_ms;
	left = pop->timeout_ms - (int64_t)((clock_ns() - since_ns) / 1000000u);
	return left < 0 ? 0 : left < slice_ms ? (int)left : slice_ms;
}

bool pop_time_is_over(const struct pop *pop, uint64_t since_ns)
{
	return pop->timeout_ms >= 0 && clock_ns() - since_ns >= (uint64_t)pop->timeout_ms * 1000000u;
}

/* One try for each that is not attached yet. The last one waits for a moment. -errno: of a queue that can't be had. */
static int try_open(struct pop *pop, const char *const *names, size_t count, struct mqshm_consumer **consumers,
		    int wait_ms, const char **missing)
{
	size_t last = count;

	for (size_t i = 0; i < count; i++)
		if (!consumers[i])
			last = i;
	*missing = NULL;
	for (size_t i = 0; i < count; i++) {
		int result;

		if (consumers[i])
			continue;
		pop->options.wait_ms = i == last ? wait_ms : 0;
		result = mqshm_consumer_open(&consumers[i], names[i], NULL, &pop->options);
		if (result >= 0)
			continue;
		if (result != -ENOENT && result != -ETIMEDOUT && result != -EAGAIN && result != -EINTR)
			return result;
		*missing = names[i];
	}
	return 0;
}

static int open_all(struct pop *pop, const char *const *names, size_t count, struct mqshm_consumer **consumers)
{
	uint64_t since = clock_ns();
	const char *missing, *said = NULL;

	for (;;) {
		if (try_open(pop, names, count, consumers, pop_slice(pop, since, said ? WAIT_SLICE_MS : QUIET_WAIT_MS),
			     &missing))
			return library_error();
		if (!missing)
			return EXIT_DONE;
		if (signals_seen())
			return EXIT_FAILED;
		if (pop_time_is_over(pop, since)) {
			complain("queue '%s' did not appear within %lld ms", missing, (long long)pop->timeout_ms);
			return EXIT_FAILED;
		}
		if (missing != said)
			complain("queue '%s' does not exist yet, waiting for it", missing);
		said = missing;
	}
}

int pop_open(struct pop *pop, const char *const *names, size_t count, struct mqshm_consumer **consumers)
{
	int code;

	for (size_t i = 0; i < count; i++)
		consumers[i] = NULL;
	code = open_all(pop, names, count, consumers);
	for (size_t i = 0; code != EXIT_DONE && i < count; i++)
		mqshm_consumer_close(consumers[i]);
	return code;
}

int pop_make_copy(const struct pop *pop, struct mqshm_consumer *const *consumers, size_t count, char **copy,
		  size_t *room)
{
	bool needed = pop->options.flags & MQSHM_LOSSY;

	*copy = NULL;
	*room = COPY_BYTES;
	for (size_t i = 0; i < count; i++) {
		struct mqshm_queue_info info;

		if (mqshm_consumer_info(consumers[i], &info) < 0)
			return library_error();
		needed |= info.flags & MQSHM_OVERWRITE || info.slow_policy;
		if (*room < info.block_size)
			*room = info.block_size;
	}
	if (!needed)
		return EXIT_DONE;
	*copy = malloc(*room);
	if (!*copy) {
		complain("no memory for a message of %zu bytes", *room);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

int pop_ended(const struct pop *pop, int result, const char *what)
{
	switch (result) {
	case -ESHUTDOWN:
		return EXIT_DONE;
	case -EINTR:
		return EXIT_FAILED; /* by a signal: nothing to say */
	case -EPIPE:
		return output_failed(EPIPE);
	case -ETIMEDOUT:
		complain("%s: no message within %lld ms", what, (long long)pop->timeout_ms);
		return EXIT_FAILED;
	default:
		return library_error();
	}
}

void pop_report_missed(const char *name, const struct mqshm_consumer *consumer)
{
	int64_t missed = mqshm_consumer_missed(consumer);

	if (mqshm_consumer_demoted(consumer) > 0)
		complain("queue '%s': was too slow, and lossy since then", name);
	if (missed > 0)
		complain("queue '%s': %s message%s missed", name, unit_exact((uint64_t)missed).text,
			 missed == 1 ? " was" : "s were");
}
