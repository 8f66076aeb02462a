/* SPDX-License-Identifier: MIT */
/* mqshm watch: what happens to queues, as it happens. Called by main.c. It only looks: it repairs and holds nothing. */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#include "watch.h"

static const char help[] =
	"usage: mqshm watch [NAME...] [--json] [--new] [--count N] [--timeout MS]\n"
	"Print what happens to the queues NAME..., or to all, until Ctrl-C: time, event, queue, who.\n"
	"A NAME need not exist yet.\n\n"
	"  there, created, removed        a queue; there: when the watch began; also of its users\n"
	"  attached, left, died           a producer or consumer\n"
	"  evicted, demoted               a consumer that was too slow, or by hand, and by whom\n"
	"  leased, resumed, expired       the cursor of a named consumer that left or died\n"
	"  closed, crashed                the stream: its last producer closed; died or failed\n"
	"  unreadable                     it can't be looked at, and why; said once\n"
	"  missed                         more came and went between two looks than could be told\n\n"
	"  --json         one object a line: time_ns, event, queue; of a user role, id, pid, comm, name;\n"
	"                 reason, by_pid, count, error, error_code where they apply\n"
	"  --new          nothing of what is there already\n"
	"  --count N      end after N events, from 1; default: go on\n"
	"  --timeout MS   fail when nothing happens for MS milliseconds, 0 to 2147483647; default: wait\n"
	"  --help         this text\n\n"
	"exit codes: 0 Ctrl-C, or --count reached; 1 failed (also a timeout); 2 wrong usage\n\n"
	"example: mqshm watch voltages --new --count 1\n";

static const struct option long_options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "new", no_argument, NULL, 'n' },
	{ "count", required_argument, NULL, 'c' },
	{ "timeout", required_argument, NULL, 't' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct options {
	bool json;
	unsigned flags;
	uint64_t left;	    /* events until --count is reached */
	int64_t timeout_ms; /* -1: for ever */
};

static bool parse_option(struct options *o, int option)
{
	uint64_t number = 0;

	switch (option) {
	case 'j':
		o->json = true;
		return true;
	case 'n':
		o->flags = MQSHM_WATCH_NEW;
		return true;
	case 'c':
		return parse_number("--count", optarg, 1, INT64_MAX, &o->left);
	case 't':
		if (!parse_number("--timeout", optarg, 0, INT32_MAX, &number))
			return false;
		o->timeout_ms = (int64_t)number;
		return true;
	default:
		return false;
	}
}

/* One descriptor for each queue. */
static void allow_descriptors(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int slice_ms(const struct options *o, uint64_t since_ns)
{
	int64_t left = o->timeout_ms < 0 ? WAIT_SLICE_MS
					 : o->timeout_ms - (int64_t)((clock_ns() - since_ns) / 1000000u);

	return left < 0 ? 0 : left < WAIT_SLICE_MS ? (int)left : WAIT_SLICE_MS;
}

static int watch(struct mqshm_watch *w, const struct options *o)
{
	uint64_t left = o->left, since = clock_ns();

	while (left && !signals_seen()) {
		struct mqshm_watch_event event;
		int rc = mqshm_watch_next(w, &event, 0);

		if (rc == -EAGAIN) { /* all that is known is on its way before we wait */
			if (output_finish(EXIT_DONE) != EXIT_DONE)
				return EXIT_FAILED;
			rc = mqshm_watch_next(w, &event, slice_ms(o, since));
		}
		if (!rc) {
			(o->json ? watch_write_json : watch_write_line)(&event);
			left--;
			since = clock_ns();
		} else if (rc == -ENOMEM) {
			complain("%s", mqshm_last_error());
		} else if (rc != -EAGAIN && rc != -ETIMEDOUT && rc != -EINTR) {
			return library_error();
		} else if (output_gone()) {
			return output_failed(EPIPE);
		} else if (o->timeout_ms >= 0 && clock_ns() - since >= (uint64_t)o->timeout_ms * 1000000u) {
			complain("nothing happened within %lld ms", (long long)o->timeout_ms);
			return EXIT_FAILED;
		}
	}
	return EXIT_DONE;
}

int cmd_watch(int argc, char **argv)
{
	struct options options = { .left = UINT64_MAX, .timeout_ms = -1 };
	struct mqshm_watch *w;
	int option, code;

	while ((option = next_option(argc, argv, ":h", long_options)) != -1) {
		if (option == 'h')
			return output_text(help);
		if (!parse_option(&options, option))
			return EXIT_USAGE;
	}
	for (int i = optind; i < argc; i++)
		if (!parse_name(argv[i]))
			return EXIT_USAGE;
	allow_descriptors();
	signals_catch();
	if (mqshm_watch_open(&w, (const char *const *)argv + optind, (size_t)(argc - optind), options.flags) < 0)
		return library_error();
	code = output_finish(watch(w, &options));
	mqshm_watch_close(w);
	return signals_seen() == SIGINT ? code : signals_end(code);
}
