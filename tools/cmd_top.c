/* SPDX-License-Identifier: MIT */
/*
 * mqshm top: a live table of all queues, or of some. Called by main.c. It samples once a second and draws after each sample, key
 * and resize. The terminal is restored before anything else is said, however it ends.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "top.h"

#define SAMPLE_MS 1000

static const char help[] =
	"usage: mqshm top [NAME...]\n"
	"Watch all queues, or those of that NAME, which may be a pattern for the shell's * ? [...] (quote\n"
	"it), until q or Ctrl-C. Under each queue are its producers (>) and consumers (<).\n\n"
	"  MSG/S, BYTES/S   in the last second: messages, and bytes of the ring (with headers)\n"
	"  LAG, FULL        messages the slowest reliable consumer has not read, and their share of the\n"
	"                   queue's capacity; a consumer's line: its own\n"
	"  STATE            'full: X': the queue is full and its producer waits for the consumer X\n"
	"                   of a consumer: 'blocks PID 3s': that producer has waited for it since 3 s (s, m,\n"
	"                   h, d); 'leased for 3s': it is gone, and its cursor is kept for the next of its\n"
	"                   name; 'demoted, -12k': was too slow, is lossy since then and has missed 12k\n"
	"  HISTORY          messages a second, the newest at the right, against the highest shown\n\n"
	"keys: q quit; s sort by name, or again by rate (the fastest first, as it begins)\n"
	"What does not fit on the terminal is counted in the last line.\n\n"
	"  --help           this text\n\n"
	"exit codes: 0 q or Ctrl-C; 1 failed (stdout is no terminal); 2 wrong usage\n\n"
	"example: mqshm top 'log-*'\n";

static const struct option long_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

/* One write for the whole screen: no flicker. */
static bool draw(const struct top *top)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int rows, columns;

	if (!out)
		return false;
	terminal_size(&rows, &columns);
	top_draw(out, top, rows, columns);
	if (fclose(out)) {
		free(text);
		return false;
	}
	fwrite(text, 1, size, stdout);
	free(text);
	return !fflush(stdout) || errno == EINTR;
}

static int wait_ms(const struct top *top)
{
	int64_t left = SAMPLE_MS - (int64_t)((clock_ns() - top->sampled_ns) / 1000000u);

	return left > 0 ? (int)left : 0;
}

/* NULL when it was ended, else what went wrong. */
static const char *watch(struct top *top)
{
	while (!signals_seen()) {
		const char *error = wait_ms(top) ? NULL : top_sample(top);
		int key;

		if (error)
			return error;
		if (!draw(top))
			return "can't write to the terminal";
		key = terminal_wait(wait_ms(top));
		if (key < 0 || key == 'q' || key == 'Q')
			return NULL;
		if (key == 's' || key == 'S') {
			top->by_name = !top->by_name;
			top_sort(top);
		}
	}
	return NULL;
}

int cmd_top(int argc, char **argv)
{
	struct top top = { 0 };
	const char *error;
	int code;

	while ((code = next_option(argc, argv, ":h", long_options)) != -1)
		return code == 'h' ? output_text(help) : EXIT_USAGE;
	for (int i = optind; i < argc; i++)
		if (!parse_pattern(argv[i]))
			return EXIT_USAGE;
	top.patterns = argv + optind; /* argv ends with a NULL */
	error = top_sample(&top);
	signals_catch();
	if (!error && !terminal_open())
		error = "stdout is no terminal (mqshm list prints a table)";
	if (!error)
		error = watch(&top);
	terminal_close();
	top_free(&top);
	if (error && !signals_seen())
		complain("%s", error);
	code = error ? EXIT_FAILED : EXIT_DONE;
	return signals_seen() == SIGINT ? code : signals_end(code);
}
