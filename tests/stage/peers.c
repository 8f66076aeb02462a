/* SPDX-License-Identifier: MIT */
/*
 * Shows stages among processes: chains over three of them; what is said downstream when one upstream is killed, and when the
 * stage's own process is; staying for the next producer; and readers downstream that are slow, killed, stopped or evicted.
 */
#include "rig.h"

#define NODES 16

static struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = NODES, .block_size = BLOCK };

struct shared {
	const char *a, *b, *c;
	uint64_t from, count;
	uint32_t pushed, leave, ready, hold, ended;
	uint64_t seen;
	int result;
};

static struct shared *share(void)
{
	struct shared *s = shared_memory(sizeof *s);

	s->a = test_queue("a");
	s->b = test_queue("b");
	s->c = test_queue("c");
	return s;
}

/* Push count messages, then close when told to. */
static void upstream(void *arg)
{
	struct shared *s = arg;
	struct mqshm_producer *p = open_producer(s->a, NULL);

	push_numbers(p, s->from, s->from + s->count);
	SET(s->pushed, 1);
	UNTIL(GET(s->leave));
	EXPECT(mqshm_producer_close(p), 0);
}

/* Read from b until the end. */
static void downstream(void *arg)
{
	struct shared *s = arg;
	struct mqshm_consumer *c = open_consumer(s->b, NULL, MQSHM_FROM_OLDEST, 0);
	unsigned char data[BLOCK];
	ssize_t n;

	ADD(s->ready, 1);
	for (;;) {
		while (GET(s->hold))
			nap();
		n = mqshm_consumer_pop(c, data, sizeof data, NULL, -1);
		if (n < 0)
			break;
		REQUIRE_EQ(n, payload_size(GET(s->seen), BLOCK));
		REQUIRE(payload_good(data, (size_t)n, GET(s->seen)));
		ADD(s->seen, 1);
	}
	s->result = (int)n;
	SET(s->ended, 1);
	EXPECT(mqshm_consumer_close(c), 0);
}

static void middle(void *arg)
{
	struct shared *s = arg;
	struct rig rig = { 0 };
	struct mqshm_stage_options o = stage_options(s->a, s->b, &rig);
	struct mqshm_stage *stage;

	o.batch_max = 1;
	stage = open_stage(&o);
	ADD(s->ready, 1);
	MUST(mqshm_stage_start(stage), 0);
	EXPECT(mqshm_stage_wait(stage, -1), 0);
	EXPECT(mqshm_stage_close(stage), 0);
}

/* Each link a process: all arrives, each end is passed on. */
TEST(a_chain_of_processes)
{
	struct shared *s = share();
	pid_t readers[2], stage, writer;

	s->count = 3000;
	MUST(mqshm_queue_create(s->a, &queue), 0);
	MUST(mqshm_queue_create(s->b, &queue), 0);
	stage = spawn(middle, s);
	readers[0] = spawn(downstream, s);
	UNTIL(GET(s->ready) == 2);
	SET(s->leave, 1);
	writer = spawn(upstream, s);
	join(writer);
	join(stage);
	join(readers[0]);
	CHECK_EQ(s->seen, 3000);
	CHECK_EQ(s->result, -ESHUTDOWN);
	check_gone(s->a);
	check_gone(s->b);
}

/* The process of the stage is killed: who reads from it is told, who writes to it goes on without it. */
TEST(a_killed_stage)
{
	struct shared *s = share();
	struct mqshm_producer *p;
	pid_t stage, reader;

	p = open_producer(s->a, &queue);
	MUST(mqshm_queue_create(s->b, &queue), 0);
	s->hold = 1;
	stage = spawn(middle, s);
	reader = spawn(downstream, s);
	UNTIL(GET(s->ready) == 2);
	push_numbers(p, 0, 64 + 2 * NODES); /* as many as a, the stage and b hold */
	UNTIL(STAT(s->b, depth) == NODES);
	EXPECT(push_number(p, 0, 0), -EAGAIN);
	kill_now(stage);
	push_numbers(p, 0, 1); /* this waits until the death is seen */
	SET(s->hold, 0);
	join(reader);
	CHECK_EQ(s->seen, NODES);
	CHECK_EQ(s->result, -EOWNERDEAD);
	EXPECT(mqshm_producer_close(p), 0);
}

/* All that the dead producer pushed is processed; then downstream is told. */
TEST(a_killed_producer)
{
	struct shared *s = share();
	struct rig rig = { .hold = 1 };
	struct mqshm_stage_options o = stage_options(s->a, s->b, &rig);
	struct mqshm_consumer *c;
	struct mqshm_stage *stage;
	pid_t producer;

	o.input_queue = o.output_queue = &queue;
	stage = start_stage(&o);
	c = open_consumer(s->b, NULL, MQSHM_FROM_OLDEST, 0);
	s->count = NODES;
	producer = spawn(upstream, s);
	UNTIL(GET(s->pushed));
	kill_now(producer);
	UNTIL(STAGE(stage, ends) == 1);
	CHECK_EQ(STAGE(stage, state), MQSHM_STAGE_RUNNING);
	SET(rig.hold, 0);
	pop_numbers(c, 0, NODES);
	pop_end(c, -EOWNERDEAD);
	EXPECT(mqshm_stage_wait(stage, 10000), -EOWNERDEAD);
	CHECK_STR(mqshm_last_error(), "died without closing");
	CHECK_EQ(STAGE(stage, processed), NODES);
	CHECK_EQ(STAGE(stage, dropped), 0);
	EXPECT(mqshm_stage_close(stage), 0);
	EXPECT(mqshm_consumer_close(c), 0);
	check_gone(s->a);
	check_gone(s->b);
}

/* Let a producer come and go that pushes nothing. Has the stage seen it? (If it has looked in time.) */
static bool seen_without_messages(struct shared *s, struct mqshm_stage *stage)
{
	uint64_t ends = STAGE(stage, ends);
	struct mqshm_producer *p = open_producer(s->a, NULL);

	EXPECT(mqshm_stage_wait(stage, 100), -ETIMEDOUT);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_stage_wait(stage, 100), -ETIMEDOUT);
	return STAGE(stage, ends) == ends + 1;
}

/* Told to stay, a stage outlives its producers. Downstream sees one stream, and in the end whether one of them died. */
TEST(staying_for_the_next_producer)
{
	for (int kill = 0; kill < 2; kill++) {
		struct shared *s = share();
		struct rig rig = { 0 };
		struct mqshm_stage_options o = stage_options(s->a, s->b, &rig);
		struct mqshm_consumer *c;
		struct mqshm_stage *stage;

		o.input_queue = o.output_queue = &queue;
		o.flags = MQSHM_STAGE_STAY;
		stage = start_stage(&o);
		c = open_consumer(s->b, NULL, MQSHM_FROM_OLDEST, 0);
		s->count = 5;
		for (uint64_t round = 0; round < 4; round++) {
			pid_t producer = spawn(upstream, s);

			UNTIL(GET(s->pushed));
			if (kill && round == 2) {
				kill_now(producer);
			} else {
				SET(s->leave, 1);
				join(producer);
			}
			UNTIL(STAGE(stage, ends) == round + 1);
			pop_numbers(c, s->from, s->from + 5);
			SET(s->leave, 0);
			SET(s->pushed, 0);
			s->from += 5;
		}
		EXPECT(mqshm_consumer_pop(c, NULL, 0, NULL, 0), -EAGAIN); /* no end yet */
		EXPECT(mqshm_stage_wait(stage, 120), -ETIMEDOUT);
		CHECK_EQ(STAGE(stage, ends), 4); /* one each, however often it has looked meanwhile */
		UNTIL(seen_without_messages(s, stage));
		s->count = STAGE(stage, ends);
		EXPECT(mqshm_stage_stop(stage, 0, 10000), 0);
		pop_end(c, kill ? -EOWNERDEAD : -ESHUTDOWN);
		CHECK_EQ(STAGE(stage, ends), s->count);
		EXPECT(mqshm_stage_close(stage), 0);
		EXPECT(mqshm_consumer_close(c), 0);
		check_gone(s->a);
		check_gone(s->b);
	}
}

enum { SLOW, KILLED, EVICTED, STOPPED, WAYS };

/* A reader downstream that reads nothing holds the stage and the producer up, until it goes on or is gone, in whatever way. */
TEST(slow_readers_downstream)
{
	for (int way = 0; way < WAYS; way++) {
		struct mqshm_queue_options out = queue;
		struct shared *s = share();
		struct rig rig = { 0 };
		struct mqshm_stage_options o = stage_options(s->a, s->b, &rig);
		struct mqshm_consumer *beside;
		struct mqshm_producer *p;
		struct mqshm_stage *stage;
		uint64_t room = 2 * NODES + 8;
		pid_t reader;

		if (way == STOPPED) {
			out.slow_policy = MQSHM_SLOW_EVICT;
			out.slow_ms = 100;
		}
		o.input_queue = &queue;
		o.output_queue = &out;
		o.buffer_messages = 8;
		o.batch_max = 1; /* else what a blocked call has emitted counts still */
		stage = start_stage(&o);
		p = open_producer(s->a, NULL);
		s->hold = 1;
		reader = spawn(downstream, s);
		UNTIL(GET(s->ready) == 1);
		beside = open_consumer(s->b, NULL, MQSHM_FROM_OLDEST, 0);
		if (way == STOPPED) { /* and evicted for it, by the stage */
			kill(reader, SIGSTOP);
		} else {
			push_numbers(p, 0, room);
			pop_numbers(beside, 0, NODES);
			UNTIL(STAGE(stage, blocked));
			EXPECT(push_number(p, room, 0), -EAGAIN);
			CHECK_EQ(STAGE(stage, out), NODES);
		}
		if (way == SLOW)
			SET(s->hold, 0);
		else if (way == KILLED)
			kill_now(reader);
		else if (way == EVICTED)
			EXPECT(mqshm_queue_evict(s->b, 0), 0);
		if (way != STOPPED)
			pop_numbers(beside, NODES, room);
		for (uint64_t i = way == STOPPED ? 0 : room; i < 3 * room; i++) {
			MUST(push_number(p, i, 10000), 0);
			pop_number(beside, i);
		}
		EXPECT(mqshm_producer_close(p), 0);
		pop_end(beside, -ESHUTDOWN);
		EXPECT(mqshm_stage_wait(stage, 10000), 0);
		CHECK_EQ(STAGE(stage, out), 3 * room);
		CHECK(STAGE(stage, blocked_ns) > 0);
		EXPECT(mqshm_stage_close(stage), 0);
		SET(s->hold, 0);
		if (way == STOPPED)
			kill(reader, SIGCONT);
		if (way != KILLED) {
			join(reader);
			CHECK_EQ(s->result, way == SLOW ? -ESHUTDOWN : -ECONNABORTED);
			CHECK_EQ(s->seen, way == SLOW ? 3 * room : 0);
		}
		EXPECT(mqshm_consumer_close(beside), 0);
		check_gone(s->a);
		check_gone(s->b);
	}
}

static void pass_three(void *arg)
{
	struct shared *s = arg;
	struct rig rig = { .hold = 1 };
	struct mqshm_consumer_options named = { .size = sizeof named, .start = MQSHM_FROM_OLDEST, .name = "worker",
						.lease_ms = 60000 };
	struct mqshm_stage_options o = stage_options(s->a, NULL, &rig);
	struct mqshm_stage *stage;

	o.consumer = &named;
	o.buffer_messages = 3;
	stage = start_stage(&o);
	UNTIL(STAGE(stage, depth) == 3);
	SET(s->ready, 1);
	UNTIL(GET(s->leave));
	EXPECT(mqshm_stage_close(stage), 0);
}

/* With a named input a successor goes on where the dead stage had read to; what it had in its buffer is gone. */
TEST(a_named_input)
{
	struct shared *s = share();
	struct mqshm_producer *p = open_producer(s->a, &queue);
	struct mqshm_consumer_options named = { .size = sizeof named, .name = "worker", .lease_ms = 60000 };
	struct rig rig = { .first = 3 };
	struct mqshm_stage_options o = stage_options(s->a, NULL, &rig);
	struct mqshm_stage *stage;
	pid_t first;

	push_numbers(p, 0, 10);
	first = spawn(pass_three, s);
	UNTIL(GET(s->ready));
	kill_now(first);
	o.consumer = &named;
	stage = start_stage(&o);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_stage_wait(stage, 10000), 0);
	CHECK_EQ(rig.seen, 7);
	EXPECT(mqshm_stage_close(stage), 0);
	EXPECT(mqshm_queue_remove(s->a, MQSHM_FORCE), 0); /* the lease keeps it */
}
