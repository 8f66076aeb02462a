/* SPDX-License-Identifier: MIT */
/* The heap of lib/heap.h against a sort: any order in, the same order out, also when some are taken from the middle. */
#include "heap.h"
#include "test.h"

#define MOST 300

static struct mqshm_heap_entry entries[MOST];
static struct mqshm_heap_place places[MOST];
static uint64_t random_state;

static int by_time(const void *a, const void *b)
{
	const struct mqshm_heap_entry *x = *(struct mqshm_heap_entry *const *)a, *y = *(struct mqshm_heap_entry *const *)b;

	if (x->timestamp != y->timestamp)
		return x->timestamp < y->timestamp ? -1 : 1;
	return x->number < y->number ? -1 : 1;
}

static uint64_t some(uint64_t below)
{
	return test_random(&random_state) % below;
}

/* Every entry knows its place, and no child is before its parent. */
static void check_heap(const struct mqshm_heap *heap)
{
	for (size_t i = 0; i < heap->count; i++) {
		struct mqshm_heap_entry *entry = heap->places[i].entry, *parent = heap->places[i ? (i - 1) / 2 : 0].entry;

		REQUIRE_EQ(entry->at, i);
		REQUIRE_EQ(heap->places[i].timestamp, entry->timestamp);
		REQUIRE(!i || by_time(&parent, &entry) < 0);
	}
}

static void run(uint64_t range)
{
	struct mqshm_heap heap = { .places = places };
	struct mqshm_heap_entry *sorted[MOST];
	size_t count = some(MOST) + 1, left = 0;

	for (size_t i = 0; i < count; i++) {
		entries[i] = (struct mqshm_heap_entry){ .timestamp = range ? some(range) : test_random(&random_state),
							.number = count - i };
		mqshm_heap_add(&heap, &entries[i]);
	}
	check_heap(&heap);
	for (size_t i = 0; i < count; i++) {
		if (some(4) == 0) {
			mqshm_heap_remove(&heap, &entries[i]);
			check_heap(&heap);
		} else {
			sorted[left++] = &entries[i];
		}
	}
	REQUIRE_EQ(heap.count, left);
	qsort(sorted, left, sizeof sorted[0], by_time);
	for (size_t i = 0; i < left; i++) {
		REQUIRE(mqshm_heap_first(&heap) == sorted[i]);
		mqshm_heap_remove(&heap, sorted[i]);
	}
	CHECK(mqshm_heap_first(&heap) == NULL);
}

TEST(as_a_sort)
{
	random_state = test_seed();
	for (int i = 0; i < 300; i++) {
		run(0);	      /* all 64 bits */
		run(10);      /* many ties */
		run(1);	      /* ties only */
		run(1000000);
	}
}
