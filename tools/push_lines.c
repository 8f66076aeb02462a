/* SPDX-License-Identifier: MIT */
/*
 * push --lines: each line of the input is one message, without its newline; a last line without one counts too.
 * Called by cmd_push.c. Lines that came in one read are published together. Those before a line that is too long are
 * pushed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "push.h"

#define READ_BYTES 65536 /* what the buffer begins with */
#define BATCH 256	 /* lines published together */

struct lines {
	char *buffer;
	size_t room, begin, end; /* what was read and not yet pushed: begin..end */
	size_t scanned;		 /* no newline between begin and here */
	uint64_t number;	 /* of the line at begin, from 1 */
};

static int publish(struct push *push, const struct iovec *lines, size_t count)
{
	while (count) {
		int result, timeout_ms = 0;

		do
			result = mqshm_producer_push_batch(push->producer, lines, count, timeout_ms);
		while ((timeout_ms = stall_patience(push, result)) > 0);
		if (result < 0) {
			if (result == -EINTR || signals_seen())
				return -EINTR;
			library_error();
			return -1;
		}
		push->messages += (uint64_t)result;
		for (; result > 0 && count; result--, count--, lines++)
			push->bytes += lines->iov_len + 1;
		progress_tick(push, false);
	}
	return 0;
}

static int too_long(struct push *push, uint64_t number)
{
	complain("line %llu of %s is longer than a message may be (%u bytes)", (unsigned long long)number, push->file,
		 (unsigned)push->block);
	return -1;
}

/* Push the whole lines that are in the buffer, at the end of input also a last one without newline. */
static int pass(struct push *push, struct lines *l, bool last)
{
	struct iovec batch[BATCH];
	size_t count = 0;
	int result = 0;

	while (!result && l->begin < l->end) {
		char *newline = memchr(l->buffer + l->scanned, '\n', l->end - l->scanned);
		size_t end = newline ? (size_t)(newline - l->buffer) : l->end;

		if (end - l->begin > push->block) {
			result = publish(push, batch, count);
			return result ? result : too_long(push, l->number);
		}
		if (!newline && !last) {
			l->scanned = end;
			break;
		}
		batch[count++] = (struct iovec){ l->buffer + l->begin, end - l->begin };
		l->begin = l->scanned = newline ? end + 1 : end;
		l->number++;
		if (count == BATCH) {
			result = publish(push, batch, count);
			count = 0;
		}
	}
	if (!result)
		result = publish(push, batch, count);
	return !result && signals_seen() ? -EINTR : result; /* where nothing ever waits, nothing else would tell */
}

/* Room for at least one more byte: what is left moves to the front, or the buffer grows. */
static bool make_room(struct lines *l)
{
	if (l->begin) {
		memmove(l->buffer, l->buffer + l->begin, l->end - l->begin);
		l->end -= l->begin;
		l->scanned -= l->begin;
		l->begin = 0;
	}
	if (l->end == l->room) { /* one line fills it; a line longer than a block never stays here */
		char *larger = realloc(l->buffer, l->room * 2);

		if (!larger) {
			complain("no memory for a line of more than %zu bytes", l->room);
			return false;
		}
		l->buffer = larger;
		l->room *= 2;
	}
	return true;
}

int push_lines(struct push *push)
{
	struct lines l = { .buffer = malloc(READ_BYTES), .room = READ_BYTES, .number = 1 };
	ssize_t got = -1;
	int result = l.buffer ? 0 : -1;

	if (!l.buffer)
		complain("no memory");
	while (!result && make_room(&l) && (got = push_read(push, l.buffer + l.end, l.room - l.end)) > 0) {
		l.end += (size_t)got;
		result = pass(push, &l, false);
	}
	if (!result && got == 0)
		result = pass(push, &l, true);
	free(l.buffer);
	return result ? result : got < 0 ? (int)got : 0;
}
