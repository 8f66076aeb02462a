/* SPDX-License-Identifier: MIT */
/*
 * Weak memory for the models in this directory.
 *
 * Each process (number `me`) has a store buffer with one place for each shared variable. What it stores goes there,
 * and into memory at any later moment, in any order between variables: the process memory() below chooses. A process
 * sees its own stores at once, others when they are in memory, and all others at the same time (multi-copy atomic, as
 * x86, ARMv8 and RISC-V are).
 *
 *	STORE(v, x)		WRITE_ONCE()
 *	STORE_RELEASE(v, x)	smp_store_release(): not before all earlier stores of this process
 *	LOAD(v)			READ_ONCE(), smp_load_acquire(): an expression. Loads happen in the order they are written
 *				in; where the code leaves two unordered a model says so and does them in both orders
 *	FENCE			smp_mb(): earlier stores are in memory
 *	STORE_FENCED(v, x)	STORE_RELEASE(v, x) and FENCE as one step: whoever stores and then waits until it is in memory
 *				does nothing between, so nobody can tell this from two steps. The same for CHANGE_FENCED()
 *				and CAS_FENCED()
 *	CHANGE(v, is, x)	an atomic read-modify-write with release: waits until the variable may be had, sets `is` to
 *				what it was; the new value x (which may use `is`) goes through the buffer too, so that later
 *				loads may overtake it, as on ARM. Between, nobody else changes it.
 *	CAS(v, is, want, x)	the same if it was want; else only `is` is set
 *
 * One place a variable is enough for all that these models do: it is asserted that nobody stores to a variable while an
 * earlier store of it is under way. Only the variants that lack a barrier (RED) do that, and wait.
 *
 * A model defines NP (processes), NV (variables, at most 15), includes this, and lists in BUFFERS who stores what:
 * FLUSH(p, v) ...
 */
#define BIT(v) (1 << (v))

#if NV > 8
#define mask short
#else
#define mask byte
#endif
typedef buffer {
	byte value[NV];
	mask after[NV]; /* what has to be in memory before it */
	mask pending	/* variables with something under way */
}
byte mem[NV];
buffer buf[NP];
mask held; /* variables between the two halves of a CHANGE */

#ifdef RED
#define ONCE(v) !(buf[me].pending & BIT(v)) ->
#else
#define ONCE(v) assert(!(buf[me].pending & BIT(v)));
#endif

inline put(v, x, earlier)
{
	d_step {
		ONCE(v)
		buf[me].after[v] = earlier;
		buf[me].value[v] = x;
		buf[me].pending = buf[me].pending | BIT(v)
	}
}
#define STORE(v, x) put(v, x, 0)
#define STORE_RELEASE(v, x) put(v, x, buf[me].pending & ~BIT(v))
#define LOAD(v) (buf[me].pending & BIT(v) -> buf[me].value[v] : mem[v])
#define FENCE (buf[me].pending == 0)

inline STORE_FENCED(v, x)
{
	d_step {
		FENCE -> mem[v] = x
	}
}

inline CHANGE(v, is, x)
{
	d_step {
		!((held | buf[me].pending) & BIT(v)) ->
		is = mem[v];
		buf[me].after[v] = buf[me].pending;
		buf[me].value[v] = x;
		buf[me].pending = buf[me].pending | BIT(v);
		held = held | BIT(v)
	}
}

inline CAS(v, is, want, x)
{
	d_step {
		!((held | buf[me].pending) & BIT(v)) ->
		is = mem[v];
		if
		:: is == want ->
			buf[me].after[v] = buf[me].pending;
			buf[me].value[v] = x;
			buf[me].pending = buf[me].pending | BIT(v);
			held = held | BIT(v)
		:: else
		fi
	}
}

inline CHANGE_FENCED(v, is, x)
{
	d_step {
		FENCE && !(held & BIT(v)) ->
		is = mem[v];
		mem[v] = x
	}
}

inline CAS_FENCED(v, is, want, x)
{
	d_step {
		FENCE && !(held & BIT(v)) ->
		is = mem[v];
		if
		:: is == want -> mem[v] = x
		:: else
		fi
	}
}

#define FLUSH(p, v)                                                                                                   \
	:: d_step {                                                                                                   \
		(buf[p].pending & BIT(v)) && !(buf[p].after[v] & buf[p].pending) ->                                         \
		mem[v] = buf[p].value[v];                                                                             \
		buf[p].value[v] = 0;                                                                                  \
		buf[p].after[v] = 0;                                                                                  \
		buf[p].pending = buf[p].pending & ~BIT(v);                                                                  \
		held = held & ~BIT(v);                                                                                \
		i = 0;                                                                                                \
		do                                                                                                    \
		:: i == NV -> i = 0; break                                                                            \
		:: else -> buf[p].after[i] = buf[p].after[i] & ~BIT(v); i++                                           \
		od                                                                                                    \
	}

active proctype memory()
{
	byte i;

end:
	do
	BUFFERS
	od
}
