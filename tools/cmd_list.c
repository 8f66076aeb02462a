/* SPDX-License-Identifier: MIT */
/*
 * mqshm list: one line a queue. Called by main.c. A file that is damaged or is no queue is listed with what is wrong
 * with it and never ends the list.
 */
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static const char help[] =
	"usage: mqshm list [--json]\n"
	"List all queues, in order of name: most messages outstanding, largest message, size of the whole\n"
	"object, producers (dead! where one died), consumers, messages pushed, messages not read, options.\n\n"
	"  --json    an array of what 'mqshm stat NAME --json' gives\n"
	"  --help    this text\n\n"
	"A file in /dev/shm that has a queue's name but is damaged, of another version, not readable or no\n"
	"queue at all is listed with that error in place of its figures (--json: error, error_code); the\n"
	"exit code is 0 all the same.\n\n"
	"exit codes: 0 done; 1 failed; 2 wrong usage\n\n"
	"example: mqshm list --json | jq '.[].name'\n";

static const struct option long_options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static const char head[] = "   NODES     BLOCK      SIZE  PRODUCER  CONSUMERS    PUSHED   DEPTH  OPTIONS";

/* The lines, kept until the longest name is known. */
struct table {
	struct row {
		char name[64];
		char *rest;
	} *rows;
	size_t count, room;
	int name_width;
	bool no_memory;
};

static const char *producer_word(const struct mqshm_stat *s, char *text, size_t size)
{
	uint32_t dead = 0;

	for (uint32_t i = 0; i < s->producer_count; i++)
		dead += !s->producers[i].alive;
	if (!s->producer_count)
		return s->producer_state == MQSHM_PRODUCER_NONE ? "-" : stat_producer_state(s);
	if (dead)
		return "dead!";
	snprintf(text, size, "%u", (unsigned)s->producer_count);
	return text;
}

static char *describe(const struct mqshm_stat *s)
{
	char producer[16], options[120], *line;

	if (s->error)
		return asprintf(&line, "  %s", s->error_text) < 0 ? NULL : line;
	stat_flags(s, options, sizeof options);
	if (asprintf(&line, "%8u  %8s  %8s  %8s  %5u/%-3u  %8s  %6s  %s", (unsigned)s->node_count,
		     unit_bytes(s->block_size).text, unit_bytes((double)s->total_bytes).text,
		     producer_word(s, producer, sizeof producer), (unsigned)s->consumer_count,
		     (unsigned)s->max_consumers, unit_count((double)s->total_pushed).text,
		     unit_count((double)s->depth).text, options) < 0)
		return NULL;
	return line;
}

/* A new last row, or NULL. */
static struct row *new_row(struct table *table)
{
	if (table->count == table->room) {
		size_t room = table->room ? table->room * 2 : 64;
		struct row *rows = realloc(table->rows, room * sizeof *rows);

		if (!rows)
			return NULL;
		table->rows = rows;
		table->room = room;
	}
	return &table->rows[table->count];
}

static int add_row(const struct mqshm_stat *stat, void *arg)
{
	struct table *table = arg;
	struct row *row = new_row(table);

	if (!row || !(row->rest = describe(stat))) {
		table->no_memory = true;
		return 1;
	}
	snprintf(row->name, sizeof row->name, "%.63s", stat->name);
	if ((int)strlen(row->name) > table->name_width)
		table->name_width = (int)strlen(row->name);
	table->count++;
	return 0;
}

static int list_table(void)
{
	struct table table = { .name_width = 4 };
	int result = mqshm_queue_list(add_row, &table);

	if (table.count)
		printf("%-*s %s\n", table.name_width, "NAME", head);
	for (size_t i = 0; i < table.count; i++) {
		printf("%-*s %s\n", table.name_width, table.rows[i].name, table.rows[i].rest);
		free(table.rows[i].rest);
	}
	free(table.rows);
	if (table.no_memory) {
		complain("no memory left for more than %zu queues", table.count);
		return EXIT_FAILED;
	}
	return result < 0 ? library_error() : EXIT_DONE;
}

static int print_json(const struct mqshm_stat *stat, void *arg)
{
	int *printed = arg;

	fputs((*printed)++ ? ",\n  " : "\n  ", stdout);
	stat_json(stdout, stat, "  ");
	return 0;
}

static int list_json(void)
{
	int printed = 0, result;

	putchar('[');
	result = mqshm_queue_list(print_json, &printed);
	fputs(printed ? "\n]\n" : "]\n", stdout);
	return result < 0 ? library_error() : EXIT_DONE;
}

int cmd_list(int argc, char **argv)
{
	bool json = false;
	int code;

	while ((code = next_option(argc, argv, ":h", long_options)) != -1) {
		if (code == 'h')
			return output_text(help);
		if (code == '?')
			return EXIT_USAGE;
		json = true;
	}
	if (!check_arguments(argc, argv, 0, NULL))
		return EXIT_USAGE;
	return output_finish(json ? list_json() : list_table());
}
