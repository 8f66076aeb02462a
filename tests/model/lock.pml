/* SPDX-License-Identifier: MIT */
/*
 * The lock of a shared queue, its holder dead at any step, and what the next one finds: one holder at a time, no message
 * and no sequence lost or doubled, whatever is published is whole. MO-8 (tail and its record, for who joins and who takes
 * over), MO-11, the exact word with its generation, the waiters bit and its wake-ups.
 *
 * Stands for: mqshm_lock_take(), take_slowly(), holder_lives(), mqshm_lock_release(); writer_publish(),
 * ring_read_tail(), writer_catch_up(), the reading of tail and record in writer_take_over().
 *
 * There is always room (head is in join.pml), a message is one position, so the sequence equals the position. Who dies is
 * seen dead when all it stored is in memory (the kernel gives its lock byte back after that), and its slot may have a
 * next owner then, with the next generation. Who sleeps on the lock is woken or sleeps for ever; only once somebody has
 * died there are naps, which is how a death is noticed.
 *
 *	PRODUCERS 2, 3		contenders
 *	MESSAGES		of each
 *	DEATHS			of any producer anywhere; NEXT: its slot has a next owner
 *	EXCLUSIVE		one producer that never gives the lock back, as that of an exclusive queue
 *	JOINERS 0..2		read tail and its record meanwhile
 */
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef MESSAGES
#define MESSAGES 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef JOINERS
#define JOINERS 1
#endif

#define LOCK 0
#define TAIL 1
#define END(i) (2 + (i))
#define SEQUENCE(i) (4 + (i)) /* record[i].next */
#define NV 6
#define NP 3 /* producers; joiners store nothing */

#define RECORDS(p) FLUSH(p, TAIL) FLUSH(p, 2) FLUSH(p, 3) FLUSH(p, 4) FLUSH(p, 5)
#if PRODUCERS == 3
#define BUFFERS RECORDS(0) RECORDS(1) RECORDS(2)
#else
#define BUFFERS RECORDS(0) RECORDS(1)
#endif
#include "weak.h"

#define WAITERS 32
#ifdef NO_GENERATION
#define WORD(me) (me + 1)
#else
#define WORD(me) (me + 1 + 4 * generation[me])
#endif
#define SLOT(word) ((word & 3) - 1)

/* The barriers. -DNO_x takes one away. */
#ifdef NO_MO8
#define PUBLISH(x) STORE_RELEASE(TAIL, x) /* MO-1 */
#else
#define PUBLISH(x) STORE_FENCED(TAIL, x) /* MO-1; MO-8: tail is out before the other record is rewritten */
#endif

byte generation[NP];
bool dead[NP];
byte deaths;
byte sleeps; /* bit by bit, who */
byte inside; /* who works under the lock, + 1 */
byte out;    /* published */

/* A dead owner's slot has the generation of the word until somebody else owns it. */
#define LIVES(word) !(dead[SLOT(word)] && buf[SLOT(word)].pending == 0) && (word & ~WAITERS) == WORD(SLOT(word))

#ifdef NO_EXACT
#define FROM_DEAD(found) mem[LOCK] /* whatever it is by now */
#else
#define FROM_DEAD(found) found
#endif

/* A change of the lock word, in memory at once: what it orders besides is said at each. */
inline change(from, to)
{
	atomic {
		old = from;
		if
		:: mem[LOCK] == old -> mem[LOCK] = to; done = true
		:: else -> done = false
		fi;
		old = 0
	}
}

inline take()
{
	mine = WORD(me);
	change(0, mine); /* MO-11 acquire */
	do
	:: done -> break
	:: else ->
		found = LOAD(LOCK);
		if
		:: found == 0 -> change(0, mine)
		:: else ->
			lives = LIVES(found);
			if
			:: !lives ->
				change(FROM_DEAD(found), mine | (found & WAITERS));
				took = done
			:: else ->
				if
				:: !(found & WAITERS) ->
#ifndef NO_WAITERS
					change(found, found | WAITERS);
					found = found | WAITERS
#else
					done = true
#endif
				:: else -> done = true
				fi;
				if
				:: done ->
					mine = mine | WAITERS; /* there may be more than us */
					d_step {
						done = false;
#ifndef NO_COMPARE
						sleeps = (mem[LOCK] == found -> sleeps | 1 << me : sleeps)
#else
						sleeps = sleeps | 1 << me
#endif
					};
					!(sleeps & 1 << me) || deaths;
					sleeps = sleeps & ~(1 << me)
				:: else
				fi
			fi
		fi
	od;
	atomic {
		done = false; found = 0; mine = 0; lives = false
	}
}

inline release()
{
	FENCE; /* MO-11 release */
	change(WORD(me), 0);
	if
	:: done
	:: else ->
		atomic {
			assert(mem[LOCK] == (WORD(me) | WAITERS)); /* else it was taken from us, and we live */
			mem[LOCK] = 0
		};
		sleeps = 0
	fi;
	done = false
}

proctype producer(byte me)
{
	byte left = MESSAGES, tail, sequence, record, mine, found, old, is;
	bool loaded, took, done, lives;

again:	skip;
	{
		do
		:: left == 0 -> goto finished
		:: else ->
#ifdef NO_MO11_TAKE
			is = LOAD(TAIL); /* before the lock is ours */
			take();
#else
#ifdef EXCLUSIVE
			if
			:: loaded
			:: else -> take()
			fi;
#else
			take();
#endif
			is = LOAD(TAIL);
#endif
			d_step {
				assert(inside == 0 || dead[inside - 1]);
				inside = me + 1
			};
			if
			:: took || !loaded || is != tail -> /* ring_read_tail(), or catching up */
				tail = is;
				is = LOAD(END(0));
				record = (is == tail -> 1 : 0);
				sequence = LOAD(SEQUENCE(1 - record));
				is = LOAD(END(1 - record));
				assert(is == tail);
				assert(sequence == tail);
				loaded = true
			:: else
			fi;
			took = false;
#ifdef TAIL_FIRST
			PUBLISH(tail + 1);
			STORE(END(record), tail + 1);
			STORE(SEQUENCE(record), sequence + 1);
			out++;
#else
			STORE(END(record), tail + 1);
			STORE(SEQUENCE(record), sequence + 1);
			d_step {
				assert(tail == out && sequence == out)
			};
			atomic {
				PUBLISH(tail + 1); /* and MO-2 */
				out++
			};
#endif
			d_step {
				record = 1 - record; tail++; sequence++; is = 0;
				left--;
				inside = 0
			}
#ifndef EXCLUSIVE
			;
			release()
#endif
		od
	} unless {
		dead[me]
	};
#ifdef NEXT
end_dead:
	atomic {
		/* The slot has a next owner, with the next generation. */
		buf[me].pending == 0 ->
		generation[me]++;
		dead[me] = false;
		sleeps = sleeps & ~(1 << me);
		inside = (inside == me + 1 -> 0 : inside);
		tail = 0; sequence = 0; record = 0; mine = 0; found = 0; old = 0; is = 0;
		loaded = false; took = false; done = false; lives = false
	};
	goto again;
#endif
finished: skip
}

#if DEATHS
active proctype death()
{
end:	do
	:: d_step {
			deaths < DEATHS && !dead[0] -> dead[0] = true; deaths++
		}
	od
}
#endif

#if JOINERS
active [JOINERS] proctype joiner()
{
	byte t, i, end_of, next;

	do
	:: t = mem[TAIL]; /* MO-1 */
		i = 0;
		if
		:: mem[END(0)] != t -> i = 1
		:: true -> i = 0
		fi;
		if
		:: end_of = mem[END(i)]; next = mem[SEQUENCE(i)]
		:: next = mem[SEQUENCE(i)]; end_of = mem[END(i)]
		fi;
#ifndef NO_MO8_READ
		assert(end_of != t || mem[TAIL] != t || next == t); /* MO-8: smp_rmb(), then tail again */
#else
		assert(end_of != t || next == t);
#endif
		d_step {
			t = 0; i = 0; end_of = 0; next = 0
		}
	:: break
	od
}
#endif

init {
	atomic {
		run producer(0);
#ifndef EXCLUSIVE
		run producer(1);
#endif
#if PRODUCERS == 3
		run producer(2)
#endif
	}
}
