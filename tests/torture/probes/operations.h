/* SPDX-License-Identifier: MIT */
/* Shared by the files of operations: produce.c, consume.c, manage.c; operations.c has the table and what all need. */
#ifndef TORTURE_OPERATIONS_H
#define TORTURE_OPERATIONS_H

#include "world.h"

#define BLOCK_MOST 20000

/* What the process is about to do, for reports. */
#define CALLING(w, ...) ((void)snprintf((w)->notes->what, sizeof (w)->notes->what, __VA_ARGS__))

int draw_timeout(struct worker *w);
int32_t draw_spin(struct worker *w);
struct handle *free_handle(struct worker *w);

/* A call that may wait: what may end it is judged afterwards. */
struct waited {
	int timeout_ms;
	uint64_t interrupts;
};
void wait_begins(struct worker *w, struct waited *wait, struct handle *h, enum waiting what, uint32_t least, int timeout_ms);
/* 0, or an error that the situation must allow. */
void wait_ended(struct worker *w, const struct waited *wait, struct handle *h, int rc);
/* -ESTALE is right when the queue was removed by force. */
bool may_be_stale(const struct role *role, int rc);

struct opening {
	struct handle *handle;
	struct pin pin;
	struct places places;
	struct waited wait;
	uint32_t stops;
};
/* Note a role that begins and prepare the options for a queue to be made. False: no more roles in this round. */
bool open_begin(struct worker *w, struct opening *o, struct handle *h, uint32_t name, bool producer, bool lossy,
		struct mqshm_queue_options *queue);
void open_end(struct worker *w, struct opening *o, int rc, const struct mqshm_queue_info *info, bool create,
	      uint32_t places);
/* Options for a queue to be made, with the number of a new instance as metadata. */
void make_options(struct worker *w, uint32_t name, struct mqshm_queue_options *queue);

void open_producer(struct worker *w);
void push_singly(struct worker *w);
void push_in_batches(struct worker *w);
void push_in_place(struct worker *w);
void push_too_much(struct worker *w);
void wait_consumers(struct worker *w);
void wait_drained(struct worker *w);
void close_producer(struct worker *w);
void burst(struct worker *w);
void flash(struct worker *w);

void open_consumer(struct worker *w);
void pop(struct worker *w);
void close_consumer(struct worker *w);
void visit(struct worker *w);

void create(struct worker *w);
void remove_idle(struct worker *w);
void remove_by_force(struct worker *w);
void unlink_name(struct worker *w);
void gc(struct worker *w);
void gc_all(struct worker *w);
void stat_queue(struct worker *w);
void list(struct worker *w);
void fork_child(struct worker *w);
void exec_self(struct worker *w);
void exit_without_close(struct worker *w);
void doom(struct worker *w);
void stop_soon(struct worker *w);
void idle(struct worker *w);

#endif
