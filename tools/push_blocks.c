/* SPDX-License-Identifier: MIT */
/*
 * push without --lines: the input in blocks, each filled until the end of input, the last one short. Called by
 * cmd_push.c. A queue of our own is read into directly; in a shared one a reservation would make the others wait
 * for our input, so there blocks are filled outside.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "push.h"

ssize_t push_read(struct push *push, void *buffer, size_t size)
{
	ssize_t got;

	do
		got = read(push->input, buffer, size);
	while (got < 0 && errno == EINTR && !signals_seen());
	if (got >= 0)
		return got;
	if (errno == EINTR)
		return -EINTR;
	complain("can't read %s: %s", push->file, strerror(errno));
	return -1;
}

/* A whole block, less only at the end of input. */
static ssize_t fill(struct push *push, char *block)
{
	size_t have = 0;

	while (have < push->block) {
		ssize_t got = push_read(push, block + have, push->block - have);

		if (got < 0)
			return got;
		if (got == 0)
			break;
		have += (size_t)got;
		progress_tick(push, false);
	}
	return (ssize_t)have;
}

static int outcome(int result)
{
	if (result >= 0)
		return 0;
	if (result == -EINTR || signals_seen())
		return -EINTR;
	library_error();
	return -1;
}

/* One block, read in place. Bytes, 0 at the end of input, or as push_blocks(). */
static ssize_t pass_in_place(struct push *push, char *unused)
{
	int result, timeout_ms = 0;
	ssize_t have;
	void *room;

	(void)unused;
	do
		result = mqshm_producer_reserve(push->producer, push->block, &room, timeout_ms);
	while ((timeout_ms = stall_patience(push, result)) > 0);
	if (result < 0)
		return outcome(result);
	have = fill(push, room);
	if (have <= 0) {
		mqshm_producer_abort(push->producer);
		return have;
	}
	result = outcome(mqshm_producer_commit(push->producer, (size_t)have));
	return result < 0 ? result : have;
}

static ssize_t pass_copied(struct push *push, char *block)
{
	int result, timeout_ms = 0;
	ssize_t have = fill(push, block);

	if (have <= 0)
		return have;
	do
		result = mqshm_producer_push(push->producer, block, (size_t)have, timeout_ms);
	while ((timeout_ms = stall_patience(push, result)) > 0);
	result = outcome(result);
	return result < 0 ? result : have;
}

int push_blocks(struct push *push)
{
	char *block = push->shared ? malloc(push->block) : NULL;
	ssize_t passed;

	if (push->shared && !block) {
		complain("no memory for a block of %u bytes", (unsigned)push->block);
		return -1;
	}
	while ((passed = push->shared ? pass_copied(push, block) : pass_in_place(push, NULL)) > 0) {
		push->messages++;
		push->bytes += (uint64_t)passed;
		progress_tick(push, false);
		if ((size_t)passed < push->block)
			break; /* the end was seen: a terminal would have to say it twice */
		if (signals_seen()) { /* where nothing ever waits, nothing else would tell */
			passed = -EINTR;
			break;
		}
	}
	free(block);
	return passed < 0 ? (int)passed : 0;
}
