/* SPDX-License-Identifier: MIT */
/*
 * Waiting for room in the queue, and how much of that there was. Called by push_blocks.c and push_lines.c. The first
 * try never waits: so each stall is seen, and costs nothing while there is none.
 */
#include <errno.h>

#include "push.h"

/* What the next try shall wait, in ms; 0: no next try, the operation is done, has failed or a signal came. */
int stall_patience(struct push *push, int result)
{
	bool full = result == -EAGAIN || result == -ETIMEDOUT || result == -EINTR;
	uint64_t now;

	if (!full && !push->stall_since_ns)
		return 0;
	now = clock_ns();
	if (push->stall_since_ns)
		push->stalled_ns += now - push->stall_since_ns;
	else
		push->stalls++;
	push->stall_since_ns = full ? now : 0;
	if (!full || signals_seen()) {
		push->stall_since_ns = 0;
		return 0;
	}
	progress_tick(push, false);
	return WAIT_SLICE_MS;
}
