/* SPDX-License-Identifier: MIT */
/*
 * A consumer's slot gets a new owner, or the first consumer adopts the hold, while producers go by their private copies of
 * cursors: nothing it has been given is overwritten. MO-9 (hold against the bit), MO-10 (epoch against the bit).
 *
 * Stands for: writer_floor() with seen[] and epoch, writer_make_room(), posix_end_role() of one who leaves,
 * reader_join() at head.
 *
 * One slot. Its first owner has read everything and leaves, the next one joins at head and reads nothing. ADOPT: there was
 * no owner, but the hold. A message is one position, the producers' lock is a plain one, nobody dies (join.pml).
 *
 *	RING, TRIES	positions; pushes that are tried, by both producers together
 */
#ifndef RING
#define RING 2
#endif
#ifndef TRIES
#define TRIES 3
#endif

#define HEAD 0
#define TAIL 1
#define HOLD 2
#define BITS 3
#define EPOCH 4
#define CURSOR 5
#define NV 6
#define NP 3 /* producers are 0 and 1, the slot's owners 2 */
#define BUFFERS                                                                                                       \
	FLUSH(0, HEAD) FLUSH(0, TAIL) FLUSH(1, HEAD) FLUSH(1, TAIL)                                                   \
	FLUSH(2, CURSOR) FLUSH(2, EPOCH) FLUSH(2, BITS) FLUSH(2, HOLD)
#include "weak.h"

bit lock;
byte tries;
byte begun = RING; /* nodes below this were begun to be written */
byte unread;	   /* what the new owner has been given begins here, + 1 */

/* floor = the cursor at or above head, or tail; `seen` is the private copy, good while epoch is as it was */
inline look(below)
{
	floor = tail;
	is = LOAD(HOLD); /* MO-9 acquire */
#ifdef NO_MO9_READ
	if
	:: bits = LOAD(BITS); is = LOAD(HOLD)
	:: bits = LOAD(BITS)
	fi;
#else
	bits = LOAD(BITS); /* MO-10 acquire */
#endif
	early = seen;
#ifdef NO_MO10_READ /* the cursor may be read before the epoch */
	if
	:: early = LOAD(CURSOR)
	:: true
	fi;
#endif
	now = LOAD(EPOCH);
	d_step {
		if
#ifndef NO_EPOCH
		:: now != epoch -> seen = 0; epoch = now
#endif
		:: else
		fi
	};
	if
	:: is -> floor = head
	:: !is && bits ->
		if
		:: seen >= below
		:: seen < below ->
#ifdef NO_MO10_READ
			if
			:: seen = LOAD(CURSOR) /* MO-4 */
			:: early -> seen = early
			fi
#else
			seen = LOAD(CURSOR) /* MO-4 */
#endif
		fi;
		floor = (seen >= head && seen < floor -> seen : floor)
	:: else
	fi;
	d_step {
		is = 0; bits = 0; now = 0; early = 0
	}
}

proctype producer(byte me)
{
	byte tail, head, floor, seen, epoch, is, bits, now, early;

	do
	:: d_step {
			lock == 0 && tries < TRIES -> lock = 1; tries++
		};
		tail = LOAD(TAIL);
		head = LOAD(HEAD);
		if
		:: tail == head + RING ->
			look(head + 1);
			if
			:: floor > head ->
				STORE_FENCED(HEAD, head + 1); /* MO-3 */
				look(head + 1);
				if
				:: floor > head -> head++
				:: else -> STORE_RELEASE(HEAD, head)
				fi
			:: else
			fi
		:: else
		fi;
		if
		:: tail < head + RING ->
			d_step {
				begun = tail + 1;
				assert(unread == 0 || unread + RING > begun)
			};
			STORE_FENCED(TAIL, tail + 1)
		:: else
		fi;
		d_step {
			FENCE -> lock = 0; /* MO-11 */
			tail = 0; head = 0; floor = 0
		}
	:: tries == TRIES -> break
	od
}

proctype owners(byte me)
{
	byte position, is;

#ifndef ADOPT
	CHANGE(BITS, is, 0);
	CHANGE_FENCED(EPOCH, is, is + 1); /* posix_wake_all() */
#endif
	do
	:: position = LOAD(HEAD);
		STORE_RELEASE(CURSOR, position);
#ifdef NO_MO9
		STORE_RELEASE(HOLD, 0);
#endif
#ifndef NO_MO10
		CHANGE(EPOCH, is, is + 1); /* MO-10: before the bit */
		CHANGE_FENCED(BITS, is, 1); /* MO-3 */
#else
		CHANGE_FENCED(BITS, is, 1);
#endif
		is = LOAD(HEAD);
		if
		:: is <= position -> break
		:: else
		fi
	od;
	atomic {
		is = 0;
#ifdef ADOPT
		assert(position == 0); /* all from the first message on has been kept for it */
#endif
		assert(position + RING >= begun);
		unread = position + 1
	};
#ifdef NO_MO10
	CHANGE(EPOCH, is, is + 1);
#endif
	STORE_RELEASE(HOLD, 0) /* MO-9: after the bit */
}

init {
	atomic {
		mem[TAIL] = RING;
#ifdef ADOPT
		mem[HOLD] = 1;
#else
		mem[BITS] = 1;
		mem[CURSOR] = RING;
#endif
		run producer(0);
		run producer(1);
		run owners(2)
	}
}
