/* SPDX-License-Identifier: MIT */
/*
 * Readers that can lose their place take no torn message for a whole one: MO-1, MO-6 (a lossy reader validates against
 * head) and MO-7 (a reliable one that may be evicted validates against its own state word). Also: what makes no sense
 * to a reader is told as damage only if it was not overtaken, which here it always was.
 *
 * Stands for: writer_make_room(), writer_finish() and writer_publish(); reader_find(), reader_validate(), settle(),
 * reader_resync() (to the oldest message); posix_end_role() of another (evict).
 *
 * A message has two words, its header (with the sequence) and its payload; they are written, and read, in any order.
 * The lossy reader starts at 0, the reliable one too, with bit and LIVE set. Producers have a plain lock. The evictor is a
 * process of its own: gc, rm and a producer without the lock all may be. Resync half-way and to the last publication are
 * left out, they are validated by the same look at head.
 *
 *	RING		positions
 *	MESSAGES	pushed by each producer
 *	READERS		1: lossy only, 2: reliable only, 3: both
 */
#ifndef RING
#define RING 1
#endif
#ifndef MESSAGES
#define MESSAGES 2
#endif
#ifndef READERS
#define READERS 3
#endif

#define TAIL 0
#define HEAD 1
#define BITS 2
#define STATE 3 /* of the reliable consumer */
#define CURSOR 4
#define HEADER(position) (5 + 2 * ((position) % RING))
#define PAYLOAD(position) (6 + 2 * ((position) % RING))
#define NV (5 + 2 * RING)
#define NP 5 /* producers are 0 and 1, the lossy reader is 2, the reliable one 3, the evictor 4 */

#define LIVE 0
#define ENDED 1

#if RING == 1
#define NODES(p) FLUSH(p, 5) FLUSH(p, 6)
#else
#define NODES(p) FLUSH(p, 5) FLUSH(p, 6) FLUSH(p, 7) FLUSH(p, 8)
#endif
#define BUFFERS                                                                                                       \
	FLUSH(0, TAIL) FLUSH(0, HEAD) NODES(0) FLUSH(1, TAIL) FLUSH(1, HEAD) NODES(1)                                 \
	FLUSH(3, CURSOR) FLUSH(4, STATE) FLUSH(4, BITS)
#include "weak.h"

/* The barriers. -DNO_x takes one away. */
#ifdef NO_MO6_RAISE
#define RAISE(x) STORE_RELEASE(HEAD, x)
#else
#define RAISE(x) STORE_FENCED(HEAD, x) /* MO-6: head is stored before nodes are overwritten */
#endif
#ifdef NO_MO1
#define PUBLISH(x) STORE(TAIL, x); FENCE
#else
#define PUBLISH(x) STORE_FENCED(TAIL, x) /* MO-1: the node before tail */
#endif

bit lock;

proctype producer(byte me)
{
	byte left = MESSAGES, tail, head, is;

	do
	:: left == 0 -> break
	:: else ->
		d_step {
			lock == 0 -> lock = 1
		};
		tail = LOAD(TAIL);
		head = LOAD(HEAD);
		if
		:: tail == head + RING ->
			RAISE(head + 1); /* and MO-3 */
			is = LOAD(BITS); /* acquire */
			if
			:: is & 1 -> is = LOAD(CURSOR) /* MO-4 */
			:: else -> is = tail
			fi;
			if
			:: is == head -> STORE_RELEASE(HEAD, head) /* taken back */
			:: else -> head++
			fi
		:: else
		fi;
		if
		:: tail < head + RING ->
			STORE(HEADER(tail), tail + 1);
			STORE(PAYLOAD(tail), tail + 1);
			PUBLISH(tail + 1);
			left--
		:: else
		fi;
		d_step {
			FENCE -> lock = 0; /* MO-11 */
			tail = 0; head = 0; is = 0
		};
		if
		:: true
		:: break /* a push that found no room gives up: -EAGAIN */
		fi
	od
}

#if READERS != 2
proctype lossy(byte me)
{
	byte position, known, header, payload, head;
	bool wild;

	do
	:: known == position ->
		known = LOAD(TAIL); /* MO-1 */
		if
		:: known == position ->
end_empty:		LOAD(TAIL) != position
		:: known > position + RING -> /* -EBADMSG, for settle() to judge */
			known = position;
			wild = true;
			head = LOAD(HEAD);
			goto judge
		:: else
		fi
	:: known != position ->
		if
		:: header = LOAD(HEADER(position)); payload = LOAD(PAYLOAD(position)); head = LOAD(HEAD) /* MO-6: smp_rmb() */
		:: payload = LOAD(PAYLOAD(position)); header = LOAD(HEADER(position)); head = LOAD(HEAD)
#ifdef NO_MO6_READ
		:: head = LOAD(HEAD); header = LOAD(HEADER(position)); payload = LOAD(PAYLOAD(position))
		:: header = LOAD(HEADER(position)); head = LOAD(HEAD); payload = LOAD(PAYLOAD(position))
#endif
		fi;
		wild = header != position + 1;
judge:		if
#ifndef NO_VALIDATE
		:: head > position -> /* lapped: to the oldest message, if head was not taken back */
			head = LOAD(HEAD);
			known = LOAD(TAIL); /* MO-1 */
			if
			:: head > position && head != known ->
#ifndef NO_MO6_RESYNC
				header = LOAD(HEADER(head)); /* its sequence */
				wild = LOAD(HEAD) > head; /* MO-6 */
#else
				wild = LOAD(HEAD) > head;
				header = LOAD(HEADER(head));
#endif
				if
				:: !wild ->
					assert(header == head + 1);
					position = head
				:: else /* once more */
				fi
			:: head > position && head == known -> position = head
			:: else
			fi;
			known = position
#endif
		:: else ->
			d_step {
				assert(!wild);
				assert(payload == position + 1);
				position++
			}
		fi;
		d_step {
			header = 0; payload = 0; head = 0; wild = false
		}
	:: break /* it closes */
	od
}
#endif

#if READERS != 1
proctype reliable(byte me)
{
	byte position, header, payload, state;

	do
	:: LOAD(TAIL) > position -> /* MO-1 */
		if
		:: header = LOAD(HEADER(position)); payload = LOAD(PAYLOAD(position)); state = LOAD(STATE) /* MO-7: smp_rmb() */
		:: payload = LOAD(PAYLOAD(position)); header = LOAD(HEADER(position)); state = LOAD(STATE)
#ifdef NO_MO7_READ
		:: state = LOAD(STATE); header = LOAD(HEADER(position)); payload = LOAD(PAYLOAD(position))
		:: header = LOAD(HEADER(position)); state = LOAD(STATE); payload = LOAD(PAYLOAD(position))
#endif
		fi;
#ifndef NO_STATE
		if
		:: state != LIVE -> break /* -ESTALE */
		:: else
		fi;
#endif
		d_step {
			assert(header == position + 1 && payload == position + 1);
			position++;
			header = 0; payload = 0
		};
		STORE_FENCED(CURSOR, position) /* MO-4, MO-5 */
	:: break
	od
}

proctype evictor(byte me)
{
	byte is;

#ifndef NO_MO7
	CHANGE(STATE, is, ENDED);
	CHANGE(BITS, is, 0) /* MO-7: the state first, then the bit that held producers back */
#else
	CHANGE(BITS, is, 0);
	CHANGE(STATE, is, ENDED)
#endif
}
#endif

init {
	atomic {
#if READERS != 1
		mem[BITS] = 1;
		run reliable(3);
		run evictor(4);
#endif
#if READERS != 2
		run lossy(2);
#endif
		run producer(0);
		run producer(1)
	}
}
