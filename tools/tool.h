/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the mqshm tool share: the commands, the exit codes, and the small helpers, each in the file
 * named above its group. Included by every file of tools/. The tool reaches queues through mqshm.h only.
 */
#ifndef MQSHM_TOOL_H
#define MQSHM_TOOL_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "mqshm.h"

/* Exit codes of every command. A signal that ended push, pop or top ends the process as that signal does. */
#define EXIT_DONE 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/*
 * Waits are cut into slices of this length, so that the progress line moves, and that it is seen when nobody reads
 * stdout any more, or that a signal came while no queue was there yet.
 */
#define WAIT_SLICE_MS 200

/* A person is only told of a wait that lasts longer than this. */
#define QUIET_WAIT_MS 150

/* ---- cmd_*.c: argv[0] is the name of the command; the result is the exit code */
int cmd_create(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_push(int argc, char **argv);
int cmd_pop(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_evict(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_gc(int argc, char **argv);
int cmd_bench(int argc, char **argv);

/* ---- message.c: one line on stderr, "mqshm push: ..." */
extern const char *message_command; /* "push"; NULL before the command is known */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);
__attribute__((format(printf, 1, 2))) int usage_error(const char *format, ...); /* EXIT_USAGE */
int library_error(void);			  /* mqshm_last_error(); EXIT_FAILED */
void message_line_is_open(bool open);		  /* the progress line stands on the terminal */

/* ---- options.c: what was typed; each says itself what is wrong, as a usage error */
int next_option(int argc, char **argv, const char *letters, const struct option *options);
bool parse_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *number);
bool parse_bytes(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *number);
bool parse_mode(const char *what, const char *text, uint32_t *mode);
int parse_choice(const char *what, const char *text, const char *const *choices); /* its index, or -1 */
bool parse_slow(const char *what, const char *text, struct mqshm_queue_options *queue); /* "evict:500" */
bool parse_name(const char *text);
bool parse_pattern(const char *text); /* a name, or a pattern of names for fnmatch() */
bool parse_consumer_name(const char *what, const char *text);
bool check_arguments(int argc, char **argv, int most, const char *missing);

/* ---- output.c: writes to stdout that are checked */
int output_finish(int code); /* flush; EXIT_FAILED when anything was lost, else code */
int output_failed(int error); /* say so; EXIT_FAILED */
int output_text(const char *text); /* and finish */
bool output_gone(void);      /* nobody reads stdout any more */

/* ---- signals.c: SIGINT, SIGTERM and SIGHUP end a command in order */
void signals_catch(void);
void signals_cancel(struct mqshm_consumer *consumer, struct mqshm_producer *producer); /* from now on; NULL: none, before a close */
int signals_seen(void);	      /* the signal, or 0 */
int signals_end(int code);    /* end as the seen signal would; without one: code */

/* ---- units.c: numbers for people */
#define UNIT_TEXT 24
struct unit_text {
	char text[UNIT_TEXT];
};
struct unit_text unit_bytes(double bytes);  /* "12.5 KiB" */
struct unit_text unit_count(double count);  /* "950", "12.3k" */
struct unit_text unit_exact(uint64_t count); /* "1,234,567" */
struct unit_text unit_time(uint64_t ns);	    /* "3.2 s" */
struct unit_text unit_seconds(uint64_t ns);  /* at most 4 characters: "3s", "12m" */
struct unit_text unit_ago(uint64_t then_ns); /* CLOCK_REALTIME, as unit_time() */
uint64_t clock_ns(void);		     /* CLOCK_MONOTONIC */
const char *plural(uint64_t count);	     /* "" or "s" */

/* ---- json.c: JSON text */
void json_string(FILE *out, const void *bytes, size_t size);
size_t utf8_length(const uint8_t *bytes, size_t size); /* of the first character, 0: not UTF-8 */
size_t printable_length(const uint8_t *bytes, size_t size); /* the same, 0 also for a control character */
size_t base64_size(size_t size);
size_t base64_encode(char *out, const void *bytes, size_t size); /* no NUL; how long it is */

/* ---- stat_json.c, stat_words.c: a queue as stat sees it, for stat, list and top */
void stat_json(FILE *out, const struct mqshm_stat *stat, const char *indent);
const char *stat_producer_state(const struct mqshm_stat *stat);	   /* "none", "active", "closed", "crashed" */
const struct mqshm_participant_stat *stat_blocker(const struct mqshm_stat *stat); /* the consumer, or NULL */
void stat_flags(const struct mqshm_stat *stat, char *text, size_t size);	  /* "shared, hold" or "-" */
void stat_comm(const struct mqshm_participant_stat *who, char text[16]); /* printable */
const char *stat_slow_policy(const struct mqshm_stat *stat); /* "block", "evict", "demote" */

#endif
