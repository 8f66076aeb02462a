/* SPDX-License-Identifier: MIT */
/*
 * What `mqshm pop` and `mqshm merge` share: their options, opening queues that may not be there yet, how long to wait and
 * how it ends (pop.c); a batch of messages to stdout (pop_write.c).
 */
#ifndef MQSHM_POP_H
#define MQSHM_POP_H

#include "tool.h"

/* Messages taken at once. They are released together, so this also bounds how coarse the producer's room comes back. */
#define POP_BATCH 64

enum pop_format { POP_RAW, POP_LINES, POP_JSON };

struct pop_writer {
	enum pop_format format;
	const char *queue; /* JSON: whose messages these are; NULL: not said */
	char *json;	   /* the text of one batch */
	size_t json_room;
};

/*
 * Write messages to stdout, in order. How many were written whole goes to *written also when it fails. 0; -EINTR
 * after a signal; another -errno of write, or -ENOMEM.
 */
int pop_write(struct pop_writer *writer, const struct mqshm_message *messages, size_t count, size_t *written);

struct pop {
	struct mqshm_consumer_options options;
	uint64_t left;	    /* messages until --count is reached */
	int64_t timeout_ms; /* -1: for ever */
	bool format_given;
	struct pop_writer writer;
};

#define POP_DEFAULTS                                                                                       \
	{                                                                                                  \
		.options = { .size = sizeof(struct mqshm_consumer_options), .start = MQSHM_FROM_OLDEST },  \
		.left = UINT64_MAX,                                                                        \
		.timeout_ms = -1,                                                                          \
	}

/* The options of both, for an array of struct option; each one's letter goes to pop_option(). */
#define POP_OPTIONS                                                                                          \
	{ "from", required_argument, NULL, 'f' }, { "count", required_argument, NULL, 'c' },                 \
		{ "timeout", required_argument, NULL, 't' }, { "lines", no_argument, NULL, 'l' },            \
		{ "raw", no_argument, NULL, 'r' }, { "json", no_argument, NULL, 'j' },                       \
		{ "lossy", no_argument, NULL, 'L' }, { "help", no_argument, NULL, 'h' }

bool pop_option(struct pop *pop, int letter); /* false: wrong, and said so */

/* What is left of --timeout since then, at most a slice; is it over? */
int pop_slice(const struct pop *pop, uint64_t since_ns, int slice_ms);
bool pop_time_is_over(const struct pop *pop, uint64_t since_ns);

/* Attach to all of these queues, waiting for those that do not exist yet. What is attached when it fails is closed. */
int pop_open(struct pop *pop, const char *const *names, size_t count, struct mqshm_consumer **consumers);

/*
 * Where the producer of one of them does not wait for us, or may stop to (a slow-consumer policy), messages are copied before they are written: room for them, at
 * least one block; else *copy becomes NULL. The exit code.
 */
int pop_make_copy(const struct pop *pop, struct mqshm_consumer *const *consumers, size_t count, char **copy,
		  size_t *room);

/* No more messages, for the reason result; said, if there is anything to say. what: "queue 'q'". The exit code. */
int pop_ended(const struct pop *pop, int result, const char *what);

void pop_report_missed(const char *name, const struct mqshm_consumer *consumer);

#endif
