/* SPDX-License-Identifier: MIT */
/* What the tests of mqshm_watch share: the events so far, and waiting for one. */
#ifndef MQSHM_TEST_WATCH_H
#define MQSHM_TEST_WATCH_H

#include "conformance/peers.h"
#include "mqshm/watch.h"

#define NODES 16
#define BLOCK 64
#define EVENTS_MOST 8192

static struct mqshm_watch_event events[EVENTS_MOST];
static int event_count, event_next; /* those before have been expected */

static const char *const event_words[] = { "?", "there", "created", "removed", "closed", "crashed", "unreadable", "attached",
					   "left", "died", "evicted", "demoted", "leased", "resumed", "expired", "missed" };

static inline void show_events(void)
{
	for (int i = 0; i < event_count; i++)
		printf("# event %d%s: %s %s role %u id %u pid %d '%s' count %d text '%s'\n", i, i == event_next ? " <" : "",
		       event_words[events[i].type], events[i].queue, events[i].role, events[i].id, (int)events[i].pid,
		       events[i].name, (int)events[i].count, events[i].text);
}

static inline struct mqshm_watch *open_watch(const char *name, unsigned flags)
{
	struct mqshm_watch *w = (void *)1;

	event_count = event_next = 0;
	MUST(mqshm_watch_open(&w, &name, 1, flags), 0);
	return w;
}

static inline void take_event(struct mqshm_watch *w, int timeout_ms, int wanted)
{
	int rc;

	REQUIRE(event_count < EVENTS_MOST);
	memset(&events[event_count], 0xaa, sizeof events[0]);
	rc = CALL(mqshm_watch_next(w, &events[event_count], timeout_ms));
	if (rc == 0)
		event_count++;
	if (rc != wanted) {
		TEST_FAIL("mqshm_watch_next is %d, not %d", rc, wanted);
		show_events();
		exit(1);
	}
}

/* The next event is this, of that one; id -1: of the queue. */
#define NEXT(w, type_, role_, id_)                                                                              \
	({                                                                                                      \
		const struct mqshm_watch_event *e_;                                                             \
		int f_ = test_failures;                                                                         \
		take_event(w, 5000, 0);                                                                         \
		e_ = &events[event_next];                                                                       \
		if (e_->type != (uint32_t)(type_) || e_->role != (uint32_t)(role_) || ((role_) && e_->id != (uint32_t)(id_)))       \
			TEST_FAIL("the event is %s role %u id %u, not %s role %d id %d", event_words[e_->type], \
				  e_->role, e_->id, event_words[type_], role_, id_);                            \
		if (test_failures > f_) {                                                                       \
			show_events();                                                                          \
			exit(1);                                                                                \
		}                                                                                               \
		event_next++;                                                                                   \
		e_;                                                                                             \
	})

/* ... for some looks long, nothing. */
static inline void nothing_more(struct mqshm_watch *w)
{
	take_event(w, 300, -ETIMEDOUT);
}

#define QUEUE 0
#define PRODUCER MQSHM_WATCH_PRODUCER
#define CONSUMER MQSHM_WATCH_CONSUMER

#endif
