/* SPDX-License-Identifier: MIT */
/* See heap.h. The children of place i are 2i + 1 and 2i + 2; no child is before its parent. Called by merge.c. */
#include <stdbool.h>

#include "heap.h"

static bool before(const struct mqshm_heap_place *a, const struct mqshm_heap_place *b)
{
	return a->timestamp != b->timestamp ? a->timestamp < b->timestamp : a->entry->number < b->entry->number;
}

static void put(struct mqshm_heap *heap, size_t at, struct mqshm_heap_place place)
{
	heap->places[at] = place;
	place.entry->at = at;
}

/* What belongs to the free place at, or above. */
static void rise(struct mqshm_heap *heap, size_t at, struct mqshm_heap_place place)
{
	while (at && before(&place, &heap->places[(at - 1) / 2])) {
		put(heap, at, heap->places[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	put(heap, at, place);
}

/* What belongs to the free place at, or below. */
static void sink(struct mqshm_heap *heap, size_t at, struct mqshm_heap_place place)
{
	size_t child;

	while ((child = 2 * at + 1) < heap->count) {
		if (child + 1 < heap->count && before(&heap->places[child + 1], &heap->places[child]))
			child++;
		if (!before(&heap->places[child], &place))
			break;
		put(heap, at, heap->places[child]);
		at = child;
	}
	put(heap, at, place);
}

void mqshm_heap_add(struct mqshm_heap *heap, struct mqshm_heap_entry *entry)
{
	rise(heap, heap->count++, (struct mqshm_heap_place){ entry->timestamp, entry });
}

/* The last one takes the free place; it may be smaller than what is above, when it comes from another branch. */
void mqshm_heap_remove(struct mqshm_heap *heap, struct mqshm_heap_entry *entry)
{
	struct mqshm_heap_place last = heap->places[--heap->count];
	size_t at = entry->at;

	if (last.entry == entry)
		return;
	if (at && before(&last, &heap->places[(at - 1) / 2]))
		rise(heap, at, last);
	else
		sink(heap, at, last);
}
