/* SPDX-License-Identifier: MIT */
/*
 * Shows what a stage makes of errors: of its options, of its callback under each policy, of its queues; and how those
 * downstream are told.
 */
#include "rig.h"

#define NODES 16

static struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = NODES, .block_size = BLOCK };

struct line {
	struct rig rig;
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	struct mqshm_stage *s;
	const char *input, *output;
};

static void line_open(struct line *l, const struct mqshm_stage_options *more)
{
	struct mqshm_stage_options o;

	l->input = test_queue("in");
	l->output = test_queue("out");
	o = stage_options(l->input, l->output, &l->rig);
	o.input_queue = o.output_queue = &queue;
	o.batch_max = more->batch_max ? more->batch_max : 1;
	o.retries = more->retries;
	o.retry_ms = more->retry_ms;
	o.flags = more->flags;
	o.callback = more->callback ? more->callback : o.callback;
	l->s = start_stage(&o);
	l->p = open_producer(l->input, NULL);
	l->c = open_consumer(l->output, NULL, MQSHM_FROM_OLDEST, 0);
}

static void line_close(struct line *l)
{
	EXPECT(mqshm_stage_close(l->s), 0);
	EXPECT(mqshm_producer_close(l->p), 0);
	EXPECT(mqshm_consumer_close(l->c), 0);
	check_gone(l->output);
}

/* The third call fails: the stage ends by this, downstream is told that it has not got all. */
TEST(stop_at_the_first_failure)
{
	struct line l = { .rig.rc = -EPROTO };

	line_open(&l, &(struct mqshm_stage_options){ 0 });
	push_numbers(l.p, 0, 2);
	pop_numbers(l.c, 0, 2);
	SET(l.rig.hold, 1);
	SET(l.rig.fail, 1);
	push_numbers(l.p, 2, 10);
	UNTIL(STAGE(l.s, depth) == 8);
	SET(l.rig.hold, 0);
	EXPECT(mqshm_stage_wait(l.s, 10000), -EPROTO);
	CHECK_STR(mqshm_last_error(), "the callback of stage 'stage' returned -71");
	CHECK_EQ(STAGE(l.s, result), -EPROTO);
	CHECK_EQ(STAGE(l.s, state), MQSHM_STAGE_ENDED);
	CHECK_EQ(STAGE(l.s, errors), 1);
	CHECK_EQ(STAGE(l.s, calls), 3);
	CHECK_EQ(STAGE(l.s, processed), 2);
	CHECK_EQ(STAGE(l.s, dropped), 8);
	CHECK_EQ(STAT(l.input, consumer_count), 0);
	EXPECT(mqshm_stage_stop(l.s, 0, 0), 0);
	pop_end(l.c, -EOWNERDEAD);
	line_close(&l);
}

TEST(skip)
{
	struct line l = { .rig = { .rc = -EPROTO, .fail = 3, .first = 3 } };

	line_open(&l, &(struct mqshm_stage_options){ .flags = MQSHM_STAGE_SKIP });
	push_numbers(l.p, 0, 10);
	EXPECT(mqshm_producer_close(l.p), 0);
	l.p = NULL;
	pop_numbers(l.c, 3, 10);
	pop_end(l.c, -ESHUTDOWN);
	EXPECT(mqshm_stage_wait(l.s, 10000), 0);
	CHECK_EQ(STAGE(l.s, errors), 3);
	CHECK_EQ(STAGE(l.s, calls), 10);
	CHECK_EQ(STAGE(l.s, processed), 7);
	CHECK_EQ(STAGE(l.s, dropped), 3);
	line_close(&l);
}

/* A batch is skipped whole. */
TEST(skip_a_batch)
{
	struct line l = { .rig = { .hold = 1 } };

	line_open(&l, &(struct mqshm_stage_options){ .flags = MQSHM_STAGE_SKIP, .batch_max = 4 });
	push_numbers(l.p, 0, 1);
	UNTIL(GET(l.rig.inside) == 1);
	push_numbers(l.p, 1, 6);
	UNTIL(STAGE(l.s, depth) == 6);
	ADD(l.rig.step, 1);
	pop_number(l.c, 0);
	UNTIL(GET(l.rig.inside) == 2);
	SET(l.rig.rc, -EPROTO);
	SET(l.rig.fail, 1);
	SET(l.rig.first, 4);
	SET(l.rig.hold, 0);
	pop_number(l.c, 5);
	UNTIL(STAGE(l.s, depth) == 0);
	CHECK_EQ(STAGE(l.s, dropped), 4);
	CHECK_EQ(STAGE(l.s, processed), 2);
	EXPECT(mqshm_stage_stop(l.s, 0, 10000), 0);
	line_close(&l);
}

/* The same batch again, so often and not more; then the policy. */
TEST(retry)
{
	for (uint32_t fail = 3; fail <= 4; fail++) {
		struct line l = { .rig = { .rc = -EPROTO, .fail = fail } };

		line_open(&l, &(struct mqshm_stage_options){ .retries = 3, .retry_ms = 1 });
		push_numbers(l.p, 0, 10);
		if (fail == 3) {
			pop_numbers(l.c, 0, 10);
			EXPECT(mqshm_stage_stop(l.s, 0, 10000), 0);
		}
		EXPECT(mqshm_stage_wait(l.s, 10000), fail == 3 ? 0 : -EPROTO);
		CHECK_EQ(STAGE(l.s, errors), fail);
		CHECK_EQ(STAGE(l.s, calls), fail == 3 ? 13 : 4);
		CHECK_EQ(STAGE(l.s, processed), fail == 3 ? 10 : 0);
		pop_end(l.c, fail == 3 ? -ESHUTDOWN : -EOWNERDEAD);
		line_close(&l);
	}
	for (uint32_t flags = 0; flags <= MQSHM_STAGE_SKIP; flags++) { /* a pause between tries does not hold a stop up */
		struct line l = { .rig = { .rc = -EPROTO, .fail = UINT32_MAX } };

		line_open(&l, &(struct mqshm_stage_options){ .retries = 3, .retry_ms = UINT32_MAX, .flags = flags });
		push_numbers(l.p, 0, 1);
		UNTIL(STAGE(l.s, errors) == 1);
		EXPECT(mqshm_stage_stop(l.s, 0, 60), -ETIMEDOUT); /* a drain tries again, and waits for that */
		EXPECT(mqshm_stage_stop(l.s, MQSHM_STAGE_AT_ONCE, 10000), 0);
		CHECK_EQ(STAGE(l.s, errors), 1);
		CHECK_EQ(STAGE(l.s, dropped), 1);
		line_close(&l);
	}
}

TEST(done)
{
	struct line l = { .rig = { .rc = MQSHM_STAGE_DONE, .hold = 1 } };

	line_open(&l, &(struct mqshm_stage_options){ 0 });
	push_numbers(l.p, 0, 5);
	UNTIL(STAGE(l.s, depth) == 5);
	ADD(l.rig.step, 2);
	pop_numbers(l.c, 0, 2);
	UNTIL(GET(l.rig.inside) == 3);
	SET(l.rig.fail, 1);
	SET(l.rig.hold, 0);
	EXPECT(mqshm_stage_wait(l.s, 10000), 0);
	pop_end(l.c, -ESHUTDOWN); /* it is whole: the callback says so */
	CHECK_EQ(STAGE(l.s, processed), 3);
	CHECK_EQ(STAGE(l.s, dropped), 2);
	CHECK_EQ(STAGE(l.s, errors), 0);
	line_close(&l);
}

static int ignore_errors(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	struct rig *rig = arg;

	(void)messages, (void)count;
	rig->emitted = mqshm_stage_emit(stage, "x", BLOCK + 1);
	CHECK_EQ(rig->emitted, -EMSGSIZE); /* the callback's own business */
	rig->emitted = mqshm_stage_emit(stage, "x", 1);
	ADD(rig->inside, 1);
	return 0;
}

/* The output queue is removed by force: the stage ends by that, though the callback does not care. */
TEST(an_output_that_is_lost)
{
	struct line l = { 0 };

	line_open(&l, &(struct mqshm_stage_options){ .callback = ignore_errors, .flags = MQSHM_STAGE_SKIP });
	MUST(mqshm_producer_push(l.p, "1", 1, 0), 0);
	UNTIL(STAGE(l.s, out) == 1);
	EXPECT(mqshm_queue_remove(l.output, MQSHM_FORCE), 0);
	MUST(mqshm_producer_push(l.p, "2", 1, 0), 0);
	EXPECT(mqshm_stage_wait(l.s, 10000), -ESTALE);
	CHECK_EQ(l.rig.emitted, -ESTALE);
	CHECK_EQ(GET(l.rig.inside), 2);
	CHECK_EQ(STAGE(l.s, processed), 1);
	CHECK_EQ(STAGE(l.s, dropped), 1);
	CHECK_EQ(STAGE(l.s, out), 1);
	pop_end(l.c, -ESTALE);
	line_close(&l);
}

/* The input queue is removed by force, or the stage evicted from it: what the buffer has is processed first. */
TEST(an_input_that_is_lost)
{
	for (int evict = 0; evict < 2; evict++) {
		struct line l = { .rig.hold = 1 };
		int how = evict ? -ECONNABORTED : -ESTALE;

		line_open(&l, &(struct mqshm_stage_options){ 0 });
		push_numbers(l.p, 0, 5);
		UNTIL(STAGE(l.s, depth) == 5);
		if (evict)
			EXPECT(mqshm_queue_evict(l.input, 0), 0);
		else
			EXPECT(mqshm_queue_remove(l.input, MQSHM_FORCE), 0);
		SET(l.rig.hold, 0);
		pop_numbers(l.c, 0, 5);
		pop_end(l.c, -EOWNERDEAD);
		EXPECT(mqshm_stage_wait(l.s, 10000), how);
		CHECK_EQ(STAGE(l.s, result), how);
		CHECK(STAGE(l.s, error_text[0]) != 0);
		CHECK_EQ(STAGE(l.s, processed), 5);
		line_close(&l);
	}
}

/* Each option out of its range, and what opening can't do: nothing is left, *out is NULL. */
TEST(arguments)
{
	const char *input = test_queue("options"), *output = test_queue("other");
	struct mqshm_consumer_options consumer = { .size = sizeof consumer };
	struct mqshm_producer_options producer = { .size = sizeof producer };
	struct mqshm_stage_options good = stage_options(input, output, NULL), bad;
	struct mqshm_producer *p;
	struct mqshm_stage *s;

#define REFUSED(change, wanted, words)                          \
	do {                                                    \
		bad = good;                                     \
		change;                                         \
		s = (void *)1;                                  \
		EXPECT(mqshm_stage_open(&s, &bad), wanted);     \
		CHECK(s == NULL);                               \
		CHECK_STR(mqshm_last_error(), words);           \
		check_gone(input);                              \
	} while (0)

	good.input_queue = good.output_queue = &queue;
	s = (void *)1;
	EXPECT(mqshm_stage_open(&s, NULL), -EINVAL);
	CHECK(s == NULL);
	REFUSED(bad.size--, -EINVAL, "size is");
	REFUSED(bad.callback = NULL, -EINVAL, "needs a callback");
	REFUSED((bad.input = bad.output = NULL, bad.input_queue = bad.output_queue = NULL), -EINVAL, "input or an output");
	REFUSED(bad.output = input, -EINVAL, "the queue that it reads");
	REFUSED(bad.input = NULL, -EINVAL, "without a name");
	REFUSED((bad.input = NULL, bad.input_queue = NULL, bad.consumer = &consumer), -EINVAL, "without a name");
	REFUSED(bad.output = NULL, -EINVAL, "without a name");
	REFUSED((bad.output = NULL, bad.output_queue = NULL, bad.producer = &producer), -EINVAL, "without a name");
	REFUSED((bad.input = NULL, bad.input_queue = NULL, bad.buffer_messages = 1), -EINVAL, "a source has no");
	REFUSED((bad.input = NULL, bad.input_queue = NULL, bad.buffer_bytes = 1), -EINVAL, "a source has no");
	REFUSED((bad.input = NULL, bad.input_queue = NULL, bad.batch_max = 1), -EINVAL, "a source has no");
	REFUSED((bad.input = NULL, bad.input_queue = NULL, bad.batch_wait_ms = 1), -EINVAL, "a source has no");
	REFUSED((bad.input = NULL, bad.input_queue = NULL, bad.flags = MQSHM_STAGE_STAY), -EINVAL, "a source has no");
	REFUSED(bad.interval_us = 1, -EINVAL, "only a source");
	REFUSED(bad.flags = 4, -EINVAL, "unknown flags 0x4");
	REFUSED(bad.buffer_messages = MQSHM_STAGE_BUFFER_MAX + 1, -EINVAL, "buffer_messages is 1048577");
	REFUSED(bad.batch_max = 65, -EINVAL, "batch_max is 65");
	REFUSED((bad.batch_max = 3, bad.buffer_messages = 2), -EINVAL, "batch_max is 3");
	REFUSED(bad.buffer_bytes = BLOCK - 1, -EINVAL, "no room for a message of 64");
	REFUSED(bad.buffer_bytes = SIZE_MAX, -ENOMEM, "no memory");
	REFUSED(bad.input = "a/b", -EINVAL, "a queue name consists");
	REFUSED(bad.output = "a/b", -EINVAL, "a queue name consists");
	REFUSED(bad.input_queue = NULL, -ENOENT, input);
	REFUSED(bad.output_queue = NULL, -ENOENT, output);
	p = open_producer(output, &queue);
	REFUSED((void)0, -EBUSY, "has a live producer");
	EXPECT(mqshm_producer_close(p), 0);
	check_gone(output);
}

/* Left to itself, a buffer is as large as its blocks, but not beyond 16 MiB; a block larger than that fits once. */
TEST(default_sizes)
{
	static const struct { uint32_t block, fit; } cases[] = { { 1 << 10, 64 }, { 1 << 20, 16 }, { 17 << 20, 1 } };

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct mqshm_queue_options q = geometry(2, cases[i].block, 0);
		const char *input = test_queue("large");
		struct rig rig = { .hold = 1, .fail = UINT32_MAX, .rc = -EPROTO };
		struct mqshm_stage_options o = stage_options(input, NULL, &rig);
		struct mqshm_producer *p = open_producer(input, &q);
		struct mqshm_stage *s = start_stage(&o);
		void *data;

		for (uint32_t n = 0; n < cases[i].fit + 2; n++) {
			MUST(mqshm_producer_reserve(p, cases[i].block, &data, 10000), 0);
			MUST(mqshm_producer_commit(p, cases[i].block), 0);
		}
		EXPECT(mqshm_producer_push(p, "", 1, 60), -ETIMEDOUT);
		UNTIL(STAGE(s, depth) == cases[i].fit);
		CHECK_EQ(STAGE(s, depth_bytes), (uint64_t)cases[i].fit * cases[i].block);
		SET(rig.hold, 0);
		EXPECT(mqshm_stage_wait(s, 10000), -EPROTO);
		EXPECT(mqshm_stage_close(s), 0);
		EXPECT(mqshm_producer_close(p), 0);
	}
}
