/* SPDX-License-Identifier: MIT */
/*
 * A binary heap of what is to come next: the smallest (timestamp, number) is first. J. W. J. Williams, "Algorithm 232:
 * Heapsort", CACM 7(6), 1964; as a merge of many sorted inputs: Knuth, The Art of Computer Programming 3, 5.4.1.
 * Entries lie in their owners and know their place, so that one in the middle can be taken out too.
 */
#ifndef MQSHM_HEAP_H
#define MQSHM_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct mqshm_heap_entry {
	uint64_t timestamp, number; /* number breaks ties: different in each entry */
	size_t at;		    /* its place, while it is in the heap */
};

struct mqshm_heap {
	struct mqshm_heap_place {
		uint64_t timestamp; /* of the entry: most comparisons need no more */
		struct mqshm_heap_entry *entry;
	} *places; /* the caller sees to it that there is room */
	size_t count;
};

static inline struct mqshm_heap_entry *mqshm_heap_first(const struct mqshm_heap *heap)
{
	return heap->count ? heap->places[0].entry : NULL;
}

/* Both O(log count). */
void mqshm_heap_add(struct mqshm_heap *heap, struct mqshm_heap_entry *entry);
void mqshm_heap_remove(struct mqshm_heap *heap, struct mqshm_heap_entry *entry);

#endif
