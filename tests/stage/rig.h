/* SPDX-License-Identifier: MIT */
/*
 * What the tests of stages share: numbered messages, and a callback that checks them, passes them on, and can be held
 * in the middle, so that a test decides when it goes on. Nothing sleeps to synchronise.
 */
#ifndef MQSHM_TEST_RIG_H
#define MQSHM_TEST_RIG_H

#include <pthread.h>

#include "conformance/payload.h"
#include "conformance/peers.h"
#include "mqshm/stage.h"

#define BLOCK 64

struct rig {
	uint32_t hold;	  /* while 1, calls wait inside; they leave one by one with step */
	uint32_t step;	  /* so many held calls may leave */
	uint32_t inside;  /* calls that have begun */
	uint32_t largest; /* batch */
	uint64_t seen;	  /* messages; each is to be the next number */
	uint64_t first;	  /* number of the first message */
	uint32_t fail;	  /* so many calls return rc, then */
	int rc;
	int emitted; /* what emit said last */
};

/* Take one of *count, if there is one. */
static inline bool take_one(uint32_t *count)
{
	uint32_t n = GET(*count);

	while (n)
		if (__atomic_compare_exchange_n(count, &n, n - 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

static inline int pass_on(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	struct rig *rig = arg;
	struct mqshm_stage_stat stat;

	ADD(rig->inside, 1);
	if (count > GET(rig->largest))
		SET(rig->largest, (uint32_t)count);
	while (GET(rig->hold) && !take_one(&rig->step))
		nap();
	if (take_one(&rig->fail))
		return rig->rc;
	for (size_t i = 0; i < count; i++) {
		uint64_t number = rig->first + GET(rig->seen);

		CHECK_EQ(messages[i].size, payload_size(number, BLOCK));
		CHECK(payload_good(messages[i].data, messages[i].size, number));
		rig->emitted = mqshm_stage_emit(stage, messages[i].data, messages[i].size);
		if (rig->emitted < 0 && rig->emitted != -EINVAL)
			return rig->emitted;
		ADD(rig->seen, 1);
	}
	EXPECT(mqshm_stage_stat(stage, &stat), 0);
	CHECK_EQ(stat.in, stat.processed + stat.dropped + stat.depth);
	return 0;
}

static inline struct mqshm_stage_options stage_options(const char *input, const char *output, struct rig *rig)
{
	return (struct mqshm_stage_options){ .size = sizeof(struct mqshm_stage_options),
					     .input = input,
					     .output = output,
					     .callback = pass_on,
					     .arg = rig };
}

static inline struct mqshm_stage *open_stage(const struct mqshm_stage_options *options)
{
	struct mqshm_stage *s = (void *)1;

	MUST(mqshm_stage_open(&s, options), 0);
	REQUIRE(s != NULL);
	return s;
}

static inline struct mqshm_stage *start_stage(const struct mqshm_stage_options *options)
{
	struct mqshm_stage *s = open_stage(options);

	MUST(mqshm_stage_start(s), 0);
	return s;
}

/* One number of a stage's stat. */
#define STAGE(stage, field)                                          \
	({                                                           \
		struct mqshm_stage_stat stat_;                       \
		memset(&stat_, 0xa5, sizeof stat_);                  \
		MUST(mqshm_stage_stat(stage, &stat_), 0);            \
		stat_.field;                                         \
	})

static inline int push_number(struct mqshm_producer *p, uint64_t number, int timeout_ms)
{
	unsigned char data[BLOCK];
	size_t size = payload_size(number, BLOCK);

	payload_fill(data, size, number);
	return mqshm_producer_push(p, data, size, timeout_ms);
}

static inline void push_numbers(struct mqshm_producer *p, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		MUST(push_number(p, i, 10000), 0);
}

static inline void pop_number(struct mqshm_consumer *c, uint64_t number)
{
	unsigned char data[BLOCK];

	MUST(mqshm_consumer_pop(c, data, sizeof data, NULL, 10000), payload_size(number, BLOCK));
	REQUIRE(payload_good(data, payload_size(number, BLOCK), number));
}

static inline void pop_numbers(struct mqshm_consumer *c, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		pop_number(c, i);
}

static inline void pop_end(struct mqshm_consumer *c, int how)
{
	unsigned char data[BLOCK];

	EXPECT(mqshm_consumer_pop(c, data, sizeof data, NULL, 10000), how);
}

/* How many messages fit at once, numbered from from on: without waiting, once what is under way has come to rest. */
static inline uint64_t fill(struct mqshm_producer *p, uint64_t from, uint64_t wanted)
{
	uint64_t n = 0;

	while (n < wanted) {
		int rc = push_number(p, from + n, 10000); /* not for ever: a stage that takes too few stalls */

		if (rc == -ETIMEDOUT)
			return n;
		REQUIRE_EQ(rc, 0);
		n++;
	}
	return n;
}

#endif
