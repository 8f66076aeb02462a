/* SPDX-License-Identifier: MIT */
/*
 * Sleeping and waking: no wake-up is lost. MO-2 (consumers sleep on data.word, who publishes wakes) and MO-5 (producers
 * sleep on room.word, a consumer that moves on wakes), the counting words, and the futex's compare.
 *
 * Stands for: mqshm_wait() and mqshm_wake(), FUTEX_WAIT and FUTEX_WAKE, handle_wait() and word_wake() of the module, the end
 * of writer_publish() and finish(), the end of reader_advance() and moved(), wait_for_room() with publish_need() and
 * unblock(), wait_for_data().
 *
 * There are no naps here, no spinning and no time: who sleeps is woken or sleeps for ever, and that Spin reports as an
 * invalid end state. A message is one position; the lock of the producers is a plain one (its own model is lock.pml).
 * Cursors are only loaded and stored (joining and raising head are in join.pml).
 *
 *	PRODUCERS, CONSUMERS	1 or 2 each
 *	MESSAGES		of each producer
 *	RING, FIRST		positions, and how many are there at the start
 *	STOPPING		a consumer may stop for good (it lives, so it blocks the producer); then no producer may be
 *				asleep whose need it has met. Only with one producer: with two, the last one to wait says
 *				what it needs, and the other one's need is only met by a consumer that runs empty
 *	FOR_DATA		consumers sleep as on the kernel backend: the call that sleeps arms the word, and looks at tail
 */
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef CONSUMERS
#define CONSUMERS 2
#endif
#ifndef MESSAGES
#define MESSAGES 1
#endif
#ifndef RING
#define RING 1
#endif
#ifndef FIRST
#define FIRST 0
#endif
#define TOTAL (FIRST + PRODUCERS * MESSAGES)

#define TAIL 0
#define DATA 1 /* data.word */
#define ROOM 2 /* room.word */
#define NEED 3
#define BLOCKED 4 /* blocked_on */
#define CURSOR(c) (5 + (c))
#define NV 7
#define NP 4 /* producers are 0 and 1, consumers 2 and 3 */

#define BUFFERS                                                                                                       \
	FLUSH(0, TAIL) FLUSH(0, DATA) FLUSH(0, ROOM) FLUSH(0, NEED) FLUSH(0, BLOCKED)                  \
	SECOND_PRODUCER                                                                                               \
	FLUSH(2, DATA) FLUSH(2, ROOM) FLUSH(2, CURSOR(0))                                                             \
	SECOND_CONSUMER
#if PRODUCERS == 2
#define SECOND_PRODUCER                                                                                               \
	FLUSH(1, TAIL) FLUSH(1, DATA) FLUSH(1, ROOM) FLUSH(1, NEED) FLUSH(1, BLOCKED)
#else
#define SECOND_PRODUCER
#endif
#if CONSUMERS == 2
#define SECOND_CONSUMER FLUSH(3, DATA) FLUSH(3, ROOM) FLUSH(3, CURSOR(1))
#else
#define SECOND_CONSUMER
#endif
#include "weak.h"

#define UNLOCK d_step { FENCE -> lock = 0 } /* MO-11 */

bit lock;
byte sleeps[NP]; /* on which word, + 1 */

/* The barriers. -DNO_x takes one away. */
#ifdef NO_MO2_PUBLISH
#define STORE_TAIL(x) STORE_RELEASE(TAIL, x)
#else
#define STORE_TAIL(x) STORE_FENCED(TAIL, x) /* MO-2: tail is out before we look who sleeps */
#endif
#ifdef NO_MO5_ADVANCE
#define STORE_CURSOR(x) STORE_RELEASE(CURSOR(me - 2), x)
#else
#define STORE_CURSOR(x) STORE_FENCED(CURSOR(me - 2), x) /* MO-4, and MO-5: it is out before we look who sleeps */
#endif
#if defined(NO_MO2_ARM) || defined(NO_MO5_ARM)
#define ARM(word, is, from, to) CAS(word, is, from, to)
#define ARMED skip
#else
#define ARM(word, is, from, to) CAS_FENCED(word, is, from, to)
#define ARMED FENCE /* MO-2, MO-5: armed before tail, or the cursors, are looked at again */
#endif

/* The word counts: odd is armed. FLAG: it is only 1 or 0. */
#ifdef FLAG
#define NEXT(value) (1 - (value))
#else
#define NEXT(value) ((value) + 1)
#endif

inline arm(word)
{
	value = LOAD(word);
	do
	:: value & 1 -> break
	:: else ->
		ARM(word, is, value, NEXT(value));
		if
		:: is == value -> value = NEXT(value)
		:: else -> value = is
		fi
	od;
	is = 0;
	ARMED
}

/* FUTEX_WAIT: compares and sleeps in one step, as the kernel does under its own lock, after a fence of its own. */
inline sleep(word)
{
	FENCE;
	d_step {
		if
#ifndef NO_COMPARE
		:: mem[word] != value
#endif
		:: else -> sleeps[me] = word + 1
		fi
	}
#ifdef STOPPING
end_asleep:
#endif
	sleeps[me] == 0
}

/* MQSHM_IOC_FOR_DATA: arm what was read before the last look, queue, fence, look once more. */
inline sleep_for_data()
{
	if
	:: value & 1
	:: else ->
		ARM(DATA, is, value, NEXT(value));
		if
		:: is == value || is == NEXT(value) -> value = NEXT(value)
		:: else
		fi
	fi;
	sleeps[me] = DATA + 1;
	ARMED;
	is = LOAD(DATA);
	if
	:: is != value -> sleeps[me] = 0
	:: else ->
#ifndef NO_LOOK_TAIL
		is = LOAD(TAIL);
		if
		:: is > position -> sleeps[me] = 0
		:: else
		fi
#endif
	fi;
	is = 0;
#ifdef STOPPING
end_asleep_for_data:
#endif
	sleeps[me] == 0
}

inline wake(word)
{
	is = LOAD(word);
	do
	:: !(is & 1) -> break
	:: else ->
		value = is;
		CAS_FENCED(word, is, value, NEXT(value)); /* the fence is the kernel's, before it looks who waits */
		if
		:: is == value ->
			d_step {
#ifdef WAKE_ONE
				if
				:: sleeps[0] == word + 1 -> sleeps[0] = 0
				:: else -> if
				:: sleeps[1] == word + 1 -> sleeps[1] = 0
				:: else -> if
				:: sleeps[2] == word + 1 -> sleeps[2] = 0
				:: else -> sleeps[3] = (sleeps[3] == word + 1 -> 0 : sleeps[3])
				fi fi fi
#else
				sleeps[0] = (sleeps[0] == word + 1 -> 0 : sleeps[0]);
				sleeps[1] = (sleeps[1] == word + 1 -> 0 : sleeps[1]);
				sleeps[2] = (sleeps[2] == word + 1 -> 0 : sleeps[2]);
				sleeps[3] = (sleeps[3] == word + 1 -> 0 : sleeps[3])
#endif
			}
			break
		:: else
		fi
	od;
	value = 0;
	is = 0
}

/* Take the lock, catch up, and look at the cursors: the slowest is `who`, at `low`. */
inline enter()
{
	d_step {
		lock == 0 -> lock = 1
	}
	tail = LOAD(TAIL);
	low = LOAD(CURSOR(0));
	who = 1;
#if CONSUMERS == 2
	is = LOAD(CURSOR(1));
	d_step {
		if
		:: is < low -> low = is; who = 2
		:: else
		fi;
		is = 0
	}
#endif
}

inline publish_need()
{
	need = low + (tail - low) / 4 + 1;
	STORE(NEED, need);
	STORE(BLOCKED, who);
	again = who != blocked_on;
	blocked_on = who
}

#define FULL (tail - low >= RING)

proctype producer(byte me)
{
	byte left = MESSAGES, tail, low, who, value, is, need, blocked_on;
	bool again;

	do
	:: left == 0 -> break
	:: else ->
		enter();
		do
		:: !FULL -> break
		:: else ->
			publish_need();
			UNLOCK;
rearm:			arm(ROOM);
			enter();
#ifndef NO_LOOK_ROOM
			if
			:: !FULL -> goto room
			:: else
			fi;
#endif
			publish_need();
			UNLOCK;
#ifndef NO_ANEW
			if
			:: again -> goto rearm /* the new one did not know that we wait for it */
			:: else
			fi;
#endif
			sleep(ROOM);
			value = 0;
			enter()
		od;
room:		if
		:: blocked_on ->
			STORE(BLOCKED, 0);
			blocked_on = 0
		:: else
		fi;
		STORE_TAIL(tail + 1);
		is = LOAD(DATA);
		UNLOCK;
		if
		:: is & 1 -> wake(DATA)
		:: else
		fi;
		d_step {
			is = 0; value = 0; tail = 0; low = 0; who = 0; need = 0; again = 0;
			left--
		}
	od
}

proctype consumer(byte me)
{
	byte position, value, is, need;

	do
	:: position == TOTAL -> break
	:: else ->
		do
		:: atomic {
				is = LOAD(TAIL); /* MO-1 */
				if
				:: is > position -> break
				:: else
				fi
			};
#ifdef FOR_DATA
			value = LOAD(DATA);
			FENCE;
#else
			arm(DATA);
#endif
#ifndef NO_LOOK_DATA
			atomic {
				is = LOAD(TAIL);
				if
				:: is > position -> break
				:: else
				fi
			};
#endif
#ifdef FOR_DATA
			sleep_for_data();
#else
			sleep(DATA);
#endif
			value = 0
		od;
		value = 0;
		is = 0;
		position++;
		STORE_CURSOR(position);
		is = LOAD(ROOM);
		if
		:: is & 1 ->
			is = LOAD(BLOCKED);
			if
			:: is == me - 1 ->
				need = LOAD(NEED);
				is = position >= need;
				need = 0
			:: else -> is = 0
			fi;
			if
			:: !is ->
				is = LOAD(TAIL);
				is = is == position
			:: else
			fi;
			if
			:: is -> wake(ROOM)
			:: else
			fi
		:: else
		fi;
		is = 0;
#ifdef STOPPING
		if
		:: true
		:: true ->
end_stopped:		false
		fi
#endif
	od
}

#ifdef STOPPING
/* Nobody can go on: who sleeps for room has said so to one who has not come far enough. */
active proctype quiet()
{
end:	timeout ->
	assert(sleeps[0] != ROOM + 1 || (mem[BLOCKED] && mem[CURSOR(mem[BLOCKED] - 1)] < mem[NEED]))
}
#endif

init {
	atomic {
		mem[TAIL] = FIRST;
		run producer(0);
#if PRODUCERS == 2
		run producer(1);
#endif
		run consumer(2);
#if CONSUMERS == 2
		run consumer(3)
#endif
	}
}
