/* SPDX-License-Identifier: MIT */
/*
 * A reliable consumer joins while producers raise head, die at any step, and take over: no message that a consumer has
 * been given, or has not read yet, is overwritten. MO-3 (head against cursor and bit), MO-4 (reading against
 * overwriting), taking head back, and the state word by which a joiner and a take-over agree whether its cursor counts.
 *
 * Stands for: writer_make_room(), writer_floor(), writer_take_over(), writer_catch_up() and the order of a push;
 * reader_join() and reader_advance().
 *
 * A message is one position. Before writing, a producer raises head to any place up to tail, without the code's first
 * look at the cursors, which only saves raising in vain: here head is raised, and taken back, more often. Cursors are
 * always read (private copies are in slots.pml). The producers' lock is a plain one that can be had from a dead holder
 * (lock.pml); a dead one's slot is used again by a next one. An exclusive producer and its successor behave as holders
 * of the lock who come one after the other. Nobody sleeps: who finds no room tries again.
 *
 *	CONSUMERS 1, 2		each joins once, at head or at tail
 *	RING			positions; the ring is full at the start
 *	TRIES			to push, of both producers together; BY_ONE: head is raised by one position, else by one or two
 *	DEATHS			of holders of the lock, all together
 */
#ifndef CONSUMERS
#define CONSUMERS 2
#endif
#ifndef RING
#define RING 2
#endif
#ifndef TRIES
#define TRIES 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

#define TAIL 0
#define HEAD 1
#define BITS 2
#define CURSOR(c) (3 + (c))
#define STATE(c) (5 + (c))
#define NV 7
#define NP 4 /* producers are 0 and 1, consumers 2 and 3 */

#define JOINING 0
#define LIVE 1
#define PASSED 2

#define BUFFERS                                                                                                       \
	FLUSH(0, TAIL) FLUSH(0, HEAD) FLUSH(1, TAIL) FLUSH(1, HEAD) FLUSH(0, STATE(0)) FLUSH(1, STATE(0)) \
	FLUSH(2, BITS) FLUSH(2, CURSOR(0)) FLUSH(2, STATE(0)) SECOND_CONSUMER
#if CONSUMERS == 2
#define SECOND_CONSUMER FLUSH(0, STATE(1)) FLUSH(1, STATE(1)) FLUSH(3, BITS) FLUSH(3, CURSOR(1)) FLUSH(3, STATE(1))
#else
#define SECOND_CONSUMER
#endif
#include "weak.h"

/* The barriers. -DNO_x takes one away. */
#ifdef NO_MO3_RAISE
#define RAISE(x) STORE_RELEASE(HEAD, x)
#else
#define RAISE(x) STORE_FENCED(HEAD, x) /* MO-3: head is stored before cursors are read */
#endif
#ifdef NO_MO3_TAKE_OVER
#define TAKE_OVER(x) STORE_RELEASE(HEAD, x)
#else
#define TAKE_OVER(x) STORE_FENCED(HEAD, x)
#endif
#ifdef NO_MO3_JOIN
#define SET_BIT CHANGE(BITS, is, is | 1 << (me - 2))
#else
#define SET_BIT CHANGE_FENCED(BITS, is, is | 1 << (me - 2)) /* MO-3: cursor and bit are out before head is read */
#endif

/* What is true, whatever anybody sees. */
byte begun = RING;  /* nodes below this were begun to be written: what is below begun - RING is gone */
byte unread[2];	    /* the consumer has been given what begins here, + 1 */
byte lock;	    /* its holder, + 1 */
bool dead[2];	    /* producers */
byte tries;
byte deaths;

#if DEATHS
#define LEFT (lock == 2 - me && dead[1 - me] && buf[1 - me].pending == 0)
#else
#define LEFT false
#endif

inline enter()
{
	d_step {
		tries < TRIES && (lock == 0 || LEFT) ->
		took = lock != 0;
		lock = me + 1;
		tries++
	}
}

/* The lowest cursor at or above head, or tail. */
inline look()
{
	floor = tail;
	c = 0;
	do
	:: c == CONSUMERS -> break
	:: else ->
		is = LOAD(BITS); /* acquire */
		if
		:: is >> c & 1 ->
			d_step {
				is = LOAD(CURSOR(c)); /* MO-4 */
				floor = (is >= head && is < floor -> is : floor);
				c++
			}
		:: else -> c++
		fi
	od;
	c = 0;
	is = 0
}

inline take_over()
{
	tail = LOAD(TAIL);
	head = LOAD(HEAD);
	c = 0;
	do
	:: c == CONSUMERS -> break
	:: else ->
		is = LOAD(BITS);
		if
		:: is >> c & 1 ->
#if defined(IGNORE_JOINING)
			is = LOAD(STATE(c));
#elif !defined(TRUST_JOINING)
			CAS(STATE(c), is, JOINING, PASSED);
#endif
#ifndef TRUST_JOINING
			if
			:: is == LIVE ->
#endif
				is = LOAD(CURSOR(c)); /* MO-4 */
				if
				:: is < head && is + RING >= tail -> head = is
				:: else
				fi
#ifndef TRUST_JOINING
			:: else
			fi
#endif
		:: else
		fi;
		c++
	od;
	c = 0;
	is = 0;
	TAKE_OVER(head)
}

proctype producer(byte me)
{
	byte tail, head, to, floor, is, c;
	bool took, loaded;

again:	skip;
	{
		do
		:: tries == TRIES -> goto done
		:: enter();
			if
			:: took || !loaded ->
#ifndef BELIEVE_HEAD
				take_over();
#else
				tail = LOAD(TAIL);
				head = LOAD(HEAD);
#endif
				loaded = true
			:: else ->
				tail = LOAD(TAIL);
				head = LOAD(HEAD)
			fi;
			if
			:: tail < head + RING
			:: else ->
				if
				:: to = head + 1
#if RING > 1 && !defined(BY_ONE)
				:: to = head + 2
#endif
				fi;
				RAISE(to);
#ifndef NO_SECOND_SCAN
				look();
#else
				floor = to;
#endif
				if
				:: floor >= to -> head = to
				:: else ->
#ifndef NO_TAKE_BACK
					STORE_RELEASE(HEAD, head)
#else
					skip
#endif
				fi
			fi;
			if
			:: tail < head + RING ->
				d_step {
					begun = (tail + 1 > begun -> tail + 1 : begun);
					assert(unread[0] == 0 || unread[0] + RING > begun);
					assert(unread[1] == 0 || unread[1] + RING > begun)
				};
				STORE_FENCED(TAIL, tail + 1) /* MO-1, MO-2, MO-8 */
			:: else
			fi;
			d_step {
				/* All is out before the lock is free (MO-11); what comes next here is taking it again. */
#ifndef NO_MO11
				FENCE ->
#endif
				lock = 0;
				tail = 0; head = 0; to = 0; floor = 0; took = false
			}
		od
	} unless {
		dead[me]
	};
#if DEATHS > 1
	/* Somebody has the lock that we held: there may be a next one in our place. */
end_dead:
	atomic {
		lock != me + 1 && buf[me].pending == 0 ->
		dead[me] = false;
		tail = 0; head = 0; to = 0; floor = 0; is = 0; c = 0; took = false; loaded = false
	};
	goto again;
#endif
done:	skip
}

#if DEATHS
active proctype death()
{
end:	do
	:: d_step {
			deaths < DEATHS && lock && !dead[lock - 1] ->
			dead[lock - 1] = true;
			deaths++
		}
	od
}
#endif

proctype consumer(byte me)
{
	byte position, is;
	bool latest;

	if
	:: latest = true
	:: latest = false
	fi;
retry:	if
	:: latest -> position = LOAD(TAIL) /* MO-1 */
	:: else -> position = LOAD(HEAD)
	fi;
	STORE_RELEASE(CURSOR(me - 2), position);
	SET_BIT;
	atomic {
		is = LOAD(HEAD);
		if
		:: is > position -> goto retry
		:: else
		fi
	};
#ifdef NO_AGREEMENT
	STORE_RELEASE(STATE(me - 2), LIVE);
#else
	CAS(STATE(me - 2), is, JOINING, LIVE);
	if
	:: is == PASSED ->
		STORE(STATE(me - 2), JOINING);
		goto retry
	:: else
	fi;
#endif
	d_step {
		is = 0;
		assert(position + RING >= begun);
		unread[me - 2] = position + 1
	};
	do
	:: true -> break /* stays where it is */
	:: LOAD(TAIL) > position -> /* MO-1 */
			position++;
#ifndef NO_MO4
			unread[me - 2] = position + 1; /* the reading is done */
			STORE_RELEASE(CURSOR(me - 2), position); /* MO-4 */
			FENCE /* MO-5 */
#else
			STORE(CURSOR(me - 2), position);
			FENCE;
			unread[me - 2] = position + 1
#endif
	od
}

init {
	atomic {
		mem[TAIL] = RING;
		run producer(0);
		run producer(1);
		run consumer(2);
#if CONSUMERS == 2
		run consumer(3)
#endif
	}
}
