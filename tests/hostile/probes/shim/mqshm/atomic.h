/* SPDX-License-Identifier: MIT */
/*
 * Stands before include/mqshm/atomic.h when fuzz targets are built: each load of a shared value first tells the target,
 * which may change what is there. So a value that is loaded twice can differ, at will and repeatably.
 */
#ifndef MQSHM_HOSTILE_ATOMIC_H
#define MQSHM_HOSTILE_ATOMIC_H
#include_next "mqshm/atomic.h"

void fuzz_load(void);

#undef READ_ONCE
#undef smp_load_acquire
#define READ_ONCE(x) (fuzz_load(), __atomic_load_n(&(x), __ATOMIC_RELAXED))
#define smp_load_acquire(p) (fuzz_load(), __atomic_load_n((p), __ATOMIC_ACQUIRE))

#endif
