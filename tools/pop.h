/* SPDX-License-Identifier: MIT */
/*
 * One running `mqshm pop`: shared by cmd_pop.c (the stream) and pop_write.c (a batch of messages to stdout).
 */
#ifndef MQSHM_POP_H
#define MQSHM_POP_H

#include "tool.h"

/* Messages taken at once. They are released together, so this also bounds how coarse the producer's room comes back. */
#define POP_BATCH 64

enum pop_format { POP_RAW, POP_LINES, POP_JSON };

struct pop_writer {
	enum pop_format format;
	char *json; /* the text of one batch */
	size_t json_room;
};

/*
 * Write messages to stdout, in order. How many were written whole goes to *written also when it fails. 0; -EINTR
 * after a signal; another -errno of write, or -ENOMEM.
 */
int pop_write(struct pop_writer *writer, const struct mqshm_message *messages, size_t count, size_t *written);

#endif
