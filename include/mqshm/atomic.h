/* SPDX-License-Identifier: MIT */
/*
 * The memory operations of the ring, under the kernel's names, as C11 atomics, so that ThreadSanitizer sees them.
 * A target whose compiler would call a library for an 8-byte atomic is refused: such a call may take a lock that
 * other processes don't share, or write to a page that is mapped read-only.
 */
#ifndef MQSHM_ATOMIC_H
#define MQSHM_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__i386__) && defined(__clang__)
#error "clang reads 8-byte atomics on i386 by a library call or a locked write: build 32-bit programs with gcc"
#endif
#ifndef __GCC_HAVE_SYNC_COMPARE_AND_SWAP_8
#error "8-byte atomics of this target are library calls (for i386: build for i586 or later)"
#endif

#if defined(__SANITIZE_THREAD__)
#define MQSHM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MQSHM_TSAN 1
#endif
#endif

/*
 * All stores to shared memory go through the macros below, and nothing else does. So a test build (tests/steps, which
 * puts its own LABELLED... before this file) can stop or kill a process on either side of each of them.
 */
#ifndef MQSHM_STEPS
#define LABELLED(what, store) ((void)(store))
#define LABELLED_RESULT(what, change) (change)
#define LABELLED_COPY(what, to, from, bytes) ((void)memcpy((to), (from), (bytes)))
#endif

/*
 * For riscv gcc (12; others may, too) leaves out the fence of a release compare-and-swap, and for an acquire sets a bit of
 * the sc that the ISA gives no meaning to: there the fences are ours.
 */
#define MQSHM_CMPXCHG(p, old, new, order) \
	__atomic_compare_exchange_n((p), (old), (new), false, (order), __ATOMIC_RELAXED)
#if defined(__riscv) && !defined(__clang__)
#define MQSHM_CMPXCHG_RELEASE(p, old, new) \
	(__atomic_thread_fence(__ATOMIC_RELEASE), MQSHM_CMPXCHG(p, old, new, __ATOMIC_RELAXED))
#define MQSHM_CMPXCHG_ACQUIRE(p, old, new)                                          \
	__extension__({                                                             \
		bool swapped_ = MQSHM_CMPXCHG(p, old, new, __ATOMIC_RELAXED);       \
		__atomic_thread_fence(__ATOMIC_ACQUIRE);                            \
		swapped_;                                                           \
	})
#define MQSHM_CMPXCHG_ACQ_REL(p, old, new) \
	(__atomic_thread_fence(__ATOMIC_RELEASE), MQSHM_CMPXCHG_ACQUIRE(p, old, new))
#else
#define MQSHM_CMPXCHG_ACQUIRE(p, old, new) MQSHM_CMPXCHG(p, old, new, __ATOMIC_ACQUIRE)
#define MQSHM_CMPXCHG_RELEASE(p, old, new) MQSHM_CMPXCHG(p, old, new, __ATOMIC_RELEASE)
#define MQSHM_CMPXCHG_ACQ_REL(p, old, new) MQSHM_CMPXCHG(p, old, new, __ATOMIC_ACQ_REL)
#endif

#define READ_ONCE(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v) LABELLED(#x " = " #v, __atomic_store_n(&(x), (v), __ATOMIC_RELAXED))
#define smp_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define smp_store_release(p, v) LABELLED("*" #p " = release " #v, __atomic_store_n((p), (v), __ATOMIC_RELEASE))

/* order: RELAXED ACQUIRE RELEASE ACQ_REL. When *p is not *old it is loaded there (relaxed), and the result is false. */
#define try_cmpxchg(p, old, new, order) LABELLED_RESULT("*" #p " = cmpxchg " #new, MQSHM_CMPXCHG_##order(p, old, new))
#define atomic_add(p, v, order) LABELLED("*" #p " += " #v, __atomic_fetch_add((p), (v), __ATOMIC_##order))
#define atomic_or(p, v, order) LABELLED("*" #p " |= " #v, __atomic_fetch_or((p), (v), __ATOMIC_##order))
#define atomic_and(p, v, order) LABELLED("*" #p " &= " #v, __atomic_fetch_and((p), (v), __ATOMIC_##order))

#define shared_copy(to, from, bytes) LABELLED_COPY("copy to " #to, to, from, bytes)
#define shared_clear(to, bytes) LABELLED("clear " #to, memset((to), 0, (bytes)))

/* Full fence. On x86 a locked add to the stack is 2 ns where the compiler's mfence is 17. */
static inline void smp_mb(void)
{
#if defined(__x86_64__)
	__asm__ __volatile__("lock; addl $0, -4(%%rsp)" ::: "memory", "cc");
#elif defined(__i386__)
	__asm__ __volatile__("lock; addl $0, -4(%%esp)" ::: "memory", "cc");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Loads before stay before loads after. */
static inline void smp_rmb(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ __volatile__("" ::: "memory"); /* TSO */
#else
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield" ::: "memory");
#else
	__asm__ __volatile__("" ::: "memory");
#endif
}

/*
 * Read what a producer may be overwriting: the header and the bytes of a message. The result means nothing until the
 * reader has validated that it was not overtaken (MO-6). The only places where a race on data is meant, so
 * ThreadSanitizer is told here and only here.
 */
#ifdef MQSHM_TSAN
#define RACY __attribute__((no_sanitize("thread"), noinline, unused)) static
RACY uint64_t racy_load(const void *from)
{
	uint64_t value = *(const uint64_t *)from;

	__asm__ __volatile__("" : "+r"(value));
	return value;
}
RACY void racy_copy(void *to, const void *from, size_t bytes)
{
	const char *s = from;
	char *d = to;

	while (bytes--) {
		*d++ = *s++;
		__asm__ __volatile__("" ::: "memory"); /* not turned into a memcpy, which would be watched */
	}
}
#undef RACY
#else
#define racy_load(p) READ_ONCE(*(p))
static inline void racy_copy(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
}
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#endif
