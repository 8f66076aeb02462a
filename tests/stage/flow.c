/* SPDX-License-Identifier: MIT */
/*
 * Shows what a stage does with messages: all of them, in order, in batches as large as asked; that a slow callback holds
 * nobody back until its buffer is full and the producer from then on, with exact counts; timestamps; zero copy; sources
 * and sinks.
 */
#include <dirent.h>

#include "rig.h"

#define NODES 16

static struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = NODES, .block_size = BLOCK };
static struct mqshm_consumer_options from_oldest = { .size = sizeof from_oldest, .start = MQSHM_FROM_OLDEST };

/* A stage between two queues, with its producer and consumer. */
struct line {
	struct rig rig;
	struct mqshm_stage_options options;
	struct mqshm_producer *p;
	struct mqshm_consumer *c;
	struct mqshm_stage *s;
	const char *input, *output;
};

static void line_open(struct line *l)
{
	struct mqshm_stage_options o = l->options;

	l->input = test_queue("in");
	l->output = test_queue("out");
	l->options = stage_options(l->input, l->output, &l->rig);
	l->options.buffer_messages = o.buffer_messages;
	l->options.buffer_bytes = o.buffer_bytes;
	l->options.batch_max = o.batch_max;
	l->options.batch_wait_ms = o.batch_wait_ms;
	l->options.output_queue = o.output_queue ? o.output_queue : &queue;
	l->options.input_queue = &queue;
	l->options.flags = o.flags;
	if (o.callback)
		l->options.callback = o.callback;
	l->s = open_stage(&l->options);
	l->p = open_producer(l->input, NULL);
	l->c = open_consumer(l->output, NULL, MQSHM_FROM_OLDEST, 0);
	MUST(mqshm_stage_start(l->s), 0);
}

static void line_close(struct line *l)
{
	EXPECT(mqshm_producer_close(l->p), 0);
	pop_end(l->c, -ESHUTDOWN);
	EXPECT(mqshm_stage_wait(l->s, 10000), 0);
	CHECK_EQ(STAGE(l->s, state), MQSHM_STAGE_ENDED);
	CHECK_EQ(STAGE(l->s, depth), 0);
	CHECK_EQ(STAGE(l->s, dropped), 0);
	CHECK_EQ(STAGE(l->s, in), STAGE(l->s, processed));
	EXPECT(mqshm_stage_close(l->s), 0);
	EXPECT(mqshm_consumer_close(l->c), 0);
	check_gone(l->input);
	check_gone(l->output);
}

TEST(all_in_order)
{
	struct line l = { .options.buffer_messages = 8 };

	line_open(&l);
	for (uint64_t i = 0; i < 2000; i++) {
		MUST(push_number(l.p, i, 10000), 0);
		if (i >= 20)
			pop_number(l.c, i - 20);
	}
	pop_numbers(l.c, 1980, 2000);
	line_close(&l);
	CHECK_EQ(l.rig.seen, 2000);
}

/* One call holds the callback; then exactly so many messages fit as queue and buffer hold, however small the batches. */
TEST(back_pressure_is_exact)
{
	static const struct { uint32_t messages, batch; } cases[] = { { 1, 1 }, { 8, 1 }, { 8, 8 }, { 100, 16 } };

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct line l = { .options.buffer_messages = cases[i].messages, .options.batch_max = cases[i].batch,
				  .rig.hold = 1 };
		uint64_t room = NODES + cases[i].messages;

		line_open(&l);
		CHECK_EQ(fill(l.p, 0, room), room);
		UNTIL(STAGE(l.s, depth) == cases[i].messages);
		EXPECT(push_number(l.p, room, 0), -EAGAIN);
		EXPECT(push_number(l.p, room, 60), -ETIMEDOUT);
		CHECK_EQ(STAGE(l.s, depth), cases[i].messages);
		CHECK_EQ(STAGE(l.s, depth_most), cases[i].messages);
		CHECK_EQ(STAGE(l.s, in), cases[i].messages);
		CHECK_EQ(STAT(l.input, depth), NODES);
		CHECK(STAT(l.input, blocked_by) >= 0);
		UNTIL(GET(l.rig.inside) == 1);
		SET(l.rig.hold, 0);
		pop_numbers(l.c, 0, room);
		push_numbers(l.p, room, room + 5);
		pop_numbers(l.c, room, room + 5);
		line_close(&l);
	}
}

/* Messages of one size, a buffer of so many bytes: full at exactly that. */
TEST(bytes_are_bounded_exactly)
{
	struct line l = { .options.buffer_messages = 100, .options.buffer_bytes = 5 * BLOCK + 7, .rig.hold = 1 };
	unsigned char data[BLOCK];

	line_open(&l);
	l.rig.fail = 1; /* these are not numbered: let the call fail ... */
	l.rig.rc = MQSHM_STAGE_DONE; /* ... or rather end the stage */
	memset(data, 1, sizeof data);
	for (int i = 0; i < NODES + 5; i++)
		MUST(mqshm_producer_push(l.p, data, i < 5 ? BLOCK - 3 : BLOCK, 10000), 0);
	UNTIL(STAGE(l.s, depth) == 5);
	EXPECT(mqshm_producer_push(l.p, data, 1, 0), -EAGAIN);
	EXPECT(mqshm_producer_push(l.p, data, 1, 60), -ETIMEDOUT);
	CHECK_EQ(STAGE(l.s, depth), 5);
	CHECK_EQ(STAGE(l.s, depth_bytes), 5 * BLOCK);
	SET(l.rig.hold, 0);
	pop_end(l.c, -ESHUTDOWN);
	EXPECT(mqshm_stage_wait(l.s, 10000), 0);
	CHECK_EQ(STAGE(l.s, processed) + STAGE(l.s, dropped), STAGE(l.s, in));
	EXPECT(mqshm_stage_close(l.s), 0);
	EXPECT(mqshm_producer_close(l.p), 0);
	EXPECT(mqshm_consumer_close(l.c), 0);
}

/* While a callback is held, a reader beside it gets all that the buffer takes, and not one message less. */
TEST(others_are_not_stalled_before_the_buffer_is_full)
{
	struct line l = { .options.buffer_messages = 40, .rig.hold = 1 };
	struct mqshm_consumer *beside;

	line_open(&l);
	beside = open_consumer(l.input, NULL, MQSHM_FROM_LATEST, 0);
	for (uint64_t i = 0; i < 40 + NODES; i++) {
		MUST(push_number(l.p, i, 10000), 0);
		pop_number(beside, i); /* at once */
	}
	EXPECT(push_number(l.p, 40 + NODES, 0), -EAGAIN);
	SET(l.rig.hold, 0);
	pop_numbers(l.c, 0, 40 + NODES);
	push_numbers(l.p, 40 + NODES, 40 + 2 * NODES);
	pop_numbers(beside, 40 + NODES, 40 + 2 * NODES);
	pop_numbers(l.c, 40 + NODES, 40 + 2 * NODES);
	EXPECT(mqshm_consumer_close(beside), 0);
	line_close(&l);
}

/* The first call gets the first message; the next one all that has come meanwhile, up to batch_max. */
TEST(batches)
{
	struct line l = { .options.buffer_messages = 32, .options.batch_max = 10, .rig.hold = 1 };

	line_open(&l);
	push_numbers(l.p, 0, 1);
	UNTIL(GET(l.rig.inside) == 1);
	push_numbers(l.p, 1, 15);
	UNTIL(STAGE(l.s, depth) == 15);
	CHECK_EQ(GET(l.rig.largest), 1);
	ADD(l.rig.step, 1);
	UNTIL(GET(l.rig.inside) == 2);
	CHECK_EQ(GET(l.rig.largest), 10);
	CHECK_EQ(STAGE(l.s, depth), 14);
	ADD(l.rig.step, 1);
	UNTIL(GET(l.rig.inside) == 3);
	CHECK_EQ(STAGE(l.s, depth), 4);
	CHECK_EQ(STAGE(l.s, calls), 2);
	SET(l.rig.hold, 0);
	pop_numbers(l.c, 0, 15);
	line_close(&l);
	CHECK_EQ(l.rig.largest, 10);
}

/* Told to wait for a full batch, it does; but not beyond the end, nor when the buffer has no room for more. */
TEST(batches_that_wait)
{
	struct line l = { .options.buffer_messages = 32, .options.batch_max = 10, .options.batch_wait_ms = -1 };

	line_open(&l);
	push_numbers(l.p, 0, 9);
	UNTIL(STAGE(l.s, depth) == 9);
	EXPECT(mqshm_stage_wait(l.s, 60), -ETIMEDOUT);
	CHECK_EQ(GET(l.rig.inside), 0);
	push_numbers(l.p, 9, 13);
	pop_numbers(l.c, 0, 10);
	UNTIL(STAGE(l.s, depth) == 3);
	CHECK_EQ(GET(l.rig.inside), 1);
	EXPECT(mqshm_producer_close(l.p), 0);
	pop_numbers(l.c, 10, 13);
	l.p = NULL;
	line_close(&l);

	l = (struct line){ .options.buffer_messages = 32, .options.batch_max = 10, .options.batch_wait_ms = 20 };
	line_open(&l);
	push_numbers(l.p, 0, 3);
	pop_numbers(l.c, 0, 3);
	line_close(&l);

	/* 3 blocks of bytes, 10 wanted. */
	l = (struct line){ .options.buffer_messages = 32, .options.batch_max = 10, .options.batch_wait_ms = -1,
			   .options.buffer_bytes = 3 * BLOCK };
	line_open(&l);
	for (uint64_t i = 0; i < 60; i++) {
		MUST(push_number(l.p, i, 10000), 0);
		if (i >= 20)
			pop_number(l.c, i - 20);
	}
	EXPECT(mqshm_stage_stop(l.s, 0, 60), -ETIMEDOUT); /* no room for all of them in the output */
	pop_numbers(l.c, 40, 60);
	line_close(&l);
	CHECK(l.rig.largest < 10);
}

static int stamp(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	for (size_t i = 0; i < count; i++) {
		if (arg == NULL && i)
			EXPECT(mqshm_stage_set_timestamp(stage, messages[i].timestamp_ns), 0);
		else if (arg)
			EXPECT(mqshm_stage_set_timestamp(stage, 7), -EINVAL);
		EXPECT(mqshm_stage_emit(stage, messages[i].data, messages[i].size), 0);
	}
	return 0;
}

/* The input's timestamps with MQSHM_TIMESTAMP_OWN, else new ones. */
TEST(timestamps)
{
	for (int own = 0; own < 2; own++) {
		struct mqshm_queue_options in = geometry(NODES, 8, MQSHM_TIMESTAMP_OWN);
		struct mqshm_queue_options out = geometry(NODES, 8, own ? MQSHM_TIMESTAMP_OWN : 0);
		const char *from = test_queue("own"), *to = test_queue("stamped");
		struct mqshm_stage_options o = stage_options(from, to, NULL);
		struct mqshm_producer *p;
		struct mqshm_consumer *c;
		struct mqshm_stage *s;
		uint64_t data;

		o.callback = stamp;
		o.arg = own ? NULL : &in;
		o.input_queue = &in;
		o.output_queue = &out;
		s = open_stage(&o);
		p = open_producer(from, NULL);
		c = open_consumer(to, NULL, MQSHM_FROM_OLDEST, 0);
		for (uint64_t i = 0; i < 10; i++) {
			EXPECT(mqshm_producer_set_timestamp(p, 1000 + i), 0);
			EXPECT(mqshm_producer_push(p, &i, 8, 0), 0);
		}
		MUST(mqshm_stage_start(s), 0);
		for (uint64_t i = 0; i < 10; i++) {
			struct mqshm_message m;

			MUST(mqshm_consumer_pop(c, &data, 8, &m, 10000), 8);
			CHECK_EQ(data, i);
			if (own)
				CHECK_EQ(m.timestamp_ns, 1000 + i);
			else
				CHECK(m.timestamp_ns > UINT64_C(1000000000000000000));
		}
		EXPECT(mqshm_stage_stop(s, 0, 10000), 0);
		EXPECT(mqshm_stage_close(s), 0);
		EXPECT(mqshm_producer_close(p), 0);
		EXPECT(mqshm_consumer_close(c), 0);
	}
}

/* Each message in place, every third thought better of; a reservation that is left open is aborted. */
static int in_place(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	struct rig *rig = arg;
	void *data = (void *)1;

	for (size_t i = 0; i < count; i++, ADD(rig->seen, 1)) {
		EXPECT(mqshm_stage_commit(stage, 0), -EINVAL);
		EXPECT(mqshm_stage_abort(stage), -EINVAL);
		EXPECT(mqshm_stage_reserve(stage, BLOCK + 1, &data), -EMSGSIZE);
		CHECK(data == NULL);
		MUST(mqshm_stage_reserve(stage, BLOCK, &data), 0);
		EXPECT(mqshm_stage_emit(stage, "x", 1), -EDEADLK);
		EXPECT(mqshm_stage_commit(stage, BLOCK + 1), -EINVAL);
		if (rig->seen % 3 == 0) {
			EXPECT(mqshm_stage_abort(stage), 0);
			MUST(mqshm_stage_reserve(stage, BLOCK, &data), 0);
		}
		memcpy(data, messages[i].data, messages[i].size);
		EXPECT(mqshm_stage_commit(stage, messages[i].size), 0);
	}
	EXPECT(mqshm_stage_reserve(stage, BLOCK, &data), 0);
	return 0;
}

TEST(zero_copy)
{
	struct line l = { .options.callback = in_place };

	line_open(&l);
	for (uint64_t i = 0; i < 200; i++) {
		MUST(push_number(l.p, i, 10000), 0);
		pop_number(l.c, i);
	}
	UNTIL(STAGE(l.s, processed) == 200);
	CHECK_EQ(STAGE(l.s, out), 200);
	line_close(&l);
}

/* Who is not the callback may not emit. */
TEST(only_the_callback_emits)
{
	struct line l = { .rig.hold = 1 };
	void *data;

	line_open(&l);
	EXPECT(mqshm_stage_emit(l.s, "x", 1), -EINVAL);
	push_numbers(l.p, 0, 1);
	UNTIL(GET(l.rig.inside) == 1);
	EXPECT(mqshm_stage_emit(l.s, "x", 1), -EINVAL);
	EXPECT(mqshm_stage_reserve(l.s, 1, &data), -EINVAL);
	EXPECT(mqshm_stage_commit(l.s, 1), -EINVAL);
	EXPECT(mqshm_stage_abort(l.s), -EINVAL);
	EXPECT(mqshm_stage_set_timestamp(l.s, 1), -EINVAL);
	CHECK_STR(mqshm_last_error(), "only the callback");
	SET(l.rig.hold, 0);
	pop_number(l.c, 0);
	line_close(&l);
}

TEST(a_sink_has_no_output)
{
	const char *input = test_queue("sink");
	struct rig rig = { 0 };
	struct mqshm_stage_options o = stage_options(input, NULL, &rig);
	struct mqshm_producer *p = open_producer(input, &queue);
	struct mqshm_stage *s = start_stage(&o);

	push_numbers(p, 0, 50);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_stage_wait(s, 10000), 0);
	CHECK_EQ(rig.seen, 50);
	CHECK_EQ(rig.emitted, -EINVAL);
	CHECK_EQ(STAGE(s, out), 0);
	CHECK_EQ(STAGE(s, processed), 50);
	CHECK_EQ(STAGE(s, ends), 1);
	EXPECT(mqshm_stage_close(s), 0);
	check_gone(input);
}

static int generate(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	struct rig *rig = arg;
	unsigned char data[BLOCK];
	size_t size = payload_size(rig->seen, BLOCK);

	CHECK(messages == NULL && count == 0);
	payload_fill(data, size, rig->seen);
	rig->emitted = mqshm_stage_emit(stage, data, size);
	if (rig->emitted)
		return rig->emitted;
	return ADD(rig->seen, 1) == 500 ? MQSHM_STAGE_DONE : 0;
}

/* As fast as the output takes it, until the callback says that it is done. */
TEST(a_source_that_is_done)
{
	const char *output = test_queue("source");
	struct rig rig = { 0 };
	struct mqshm_stage_options o = stage_options(NULL, output, &rig);
	struct mqshm_consumer *c;
	struct mqshm_stage *s;

	o.callback = generate;
	o.output_queue = &queue;
	s = open_stage(&o);
	c = open_consumer(output, NULL, MQSHM_FROM_OLDEST, 0);
	MUST(mqshm_stage_start(s), 0);
	UNTIL(STAGE(s, blocked));
	CHECK_EQ(STAGE(s, out), NODES);
	pop_numbers(c, 0, 500);
	pop_end(c, -ESHUTDOWN);
	EXPECT(mqshm_stage_wait(s, 10000), 0);
	CHECK_EQ(STAGE(s, calls), 500);
	CHECK_EQ(STAGE(s, out), 500);
	CHECK_EQ(STAGE(s, in), 0);
	CHECK(STAGE(s, blocked_ns) > 0);
	CHECK(STAGE(s, callback_ns) >= STAGE(s, blocked_ns));
	CHECK_EQ(STAGE(s, blocked), 0);
	EXPECT(mqshm_stage_close(s), 0);
	EXPECT(mqshm_consumer_close(c), 0);
}

static int note_time(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	uint64_t now = test_now_ns();

	(void)messages, (void)count, (void)arg;
	return mqshm_stage_emit(stage, &now, sizeof now);
}

/* With an interval: never early, seen from the first call. And calls end with stop, however long the interval is. */
TEST(a_source_with_an_interval)
{
	struct mqshm_queue_options out = geometry(NODES, 8, MQSHM_TIMESTAMP_OWN);
	const char *output = test_queue("interval");
	struct mqshm_stage_options o = stage_options(NULL, output, NULL);
	struct mqshm_consumer *c;
	struct mqshm_stage *s;
	uint64_t first = 0, at, begin = test_now_ns();

	o.callback = note_time;
	o.output_queue = &out;
	o.interval_us = 3000;
	s = open_stage(&o);
	c = open_consumer(output, NULL, MQSHM_FROM_OLDEST, 0);
	MUST(mqshm_stage_start(s), 0);
	for (uint64_t i = 0; i < 10; i++) {
		struct mqshm_message m;

		MUST(mqshm_consumer_pop(c, &at, 8, &m, 10000), 8);
		first = first ? first : at;
		CHECK(at >= begin + i * 3000000); /* the first call is due after begin */
		CHECK(m.timestamp_ns > UINT64_C(1000000000000000000));
	}
	EXPECT(mqshm_consumer_close(c), 0); /* or the output may be full */
	EXPECT(mqshm_stage_stop(s, 0, 10000), 0);
	EXPECT(mqshm_stage_close(s), 0);
	o.interval_us = UINT32_MAX;
	s = start_stage(&o);
	UNTIL(STAGE(s, calls) == 1);
	EXPECT(mqshm_stage_stop(s, 0, 10000), 0);
	CHECK_EQ(STAGE(s, calls), 1);
	EXPECT(mqshm_stage_close(s), 0);
}

/* One queue, three stages that read it, a fourth that reads what the first writes. Ends from the front by itself. */
TEST(chain_and_fan_out)
{
	const char *a = test_queue("a"), *b = test_queue("b");
	struct rig rigs[4] = { { 0 } };
	struct mqshm_stage *s[4];
	struct mqshm_producer *p = open_producer(a, &queue);

	for (int i = 0; i < 4; i++) {
		struct mqshm_stage_options o = stage_options(i < 3 ? a : b, i == 0 ? b : NULL, &rigs[i]);

		o.output_queue = i == 0 ? &queue : NULL;
		o.buffer_messages = 1u << i;
		s[i] = open_stage(&o);
	}
	for (int i = 0; i < 4; i++)
		MUST(mqshm_stage_start(s[i]), 0);
	push_numbers(p, 0, 1000);
	EXPECT(mqshm_producer_close(p), 0);
	for (int i = 3; i >= 0; i--) {
		EXPECT(mqshm_stage_wait(s[i], 10000), 0);
		CHECK_EQ(rigs[i].seen, 1000);
		EXPECT(mqshm_stage_close(s[i]), 0);
	}
	check_gone(a);
	check_gone(b);
}

/* A lossy input never holds the producer back; what it did not get is counted. */
TEST(lossy_input)
{
	struct mqshm_consumer_options lossy = { .size = sizeof lossy, .flags = MQSHM_LOSSY };
	const char *input = test_queue("lossy");
	struct rig rig = { .hold = 1, .fail = UINT32_MAX };
	struct mqshm_stage_options o = stage_options(input, NULL, &rig);
	struct mqshm_producer *p;
	struct mqshm_stage *s;

	o.input_queue = &queue;
	o.consumer = &lossy;
	o.buffer_messages = 4;
	s = start_stage(&o);
	p = open_producer(input, NULL);
	push_numbers(p, 0, 4);
	UNTIL(STAGE(s, depth) == 4);
	push_numbers(p, 4, 1000);
	SET(rig.hold, 0);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_stage_wait(s, 10000), 0);
	CHECK(STAGE(s, missed) > 0);
	CHECK_EQ(STAGE(s, missed) + STAGE(s, in), 1000);
	EXPECT(mqshm_stage_close(s), 0);
}

static int threads_named(const char *prefix)
{
	DIR *dir = opendir("/proc/self/task");
	int count = 0;

	REQUIRE(dir != NULL);
	for (struct dirent *e; (e = readdir(dir));) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "re");
		if (f && fgets(name, sizeof name, f))
			count += !strncmp(name, prefix, strlen(prefix));
		if (f)
			fclose(f);
	}
	closedir(dir);
	return count;
}

static uint32_t on_main;
static pthread_t main_thread;

static void on_signal(int number)
{
	(void)number;
	SET(on_main, pthread_equal(pthread_self(), main_thread) ? 1u : 2u);
}

static int signal_mask(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	sigset_t set;

	(void)stage, (void)messages, (void)count, (void)arg;
	REQUIRE_EQ(pthread_sigmask(SIG_SETMASK, NULL, &set), 0);
	CHECK_EQ(sigismember(&set, SIGINT), 1);
	CHECK_EQ(sigismember(&set, SIGRTMAX), 1);
	CHECK_EQ(sigismember(&set, SIGSEGV), 0);
	CHECK_EQ(sigismember(&set, SIGBUS), 0);
	return MQSHM_STAGE_DONE;
}

TEST(names_and_signals_of_threads)
{
	struct sigaction action = { .sa_handler = on_signal };
	const char *input = test_queue("threads");
	struct rig rig = { 0 };
	struct mqshm_stage_options o = stage_options(input, NULL, &rig);
	struct mqshm_stage *s;
	sigset_t before, after;

	main_thread = pthread_self();
	sigaction(SIGUSR1, &action, NULL);
	o.input_queue = &queue;
	o.name = "resampler-number-1";
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	s = start_stage(&o);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int i = 1; i <= SIGRTMAX; i++)
		CHECK_EQ(sigismember(&after, i), sigismember(&before, i)); /* -1 for those that are libc's */
	CHECK_EQ(threads_named("resampler-nu-in\n"), 1);
	CHECK_EQ(threads_named("resampler-nu-cb\n"), 1);
	for (int i = 0; i < 100; i++) {
		sigset_t none;

		/* While this thread blocks it, nobody takes it. */
		SET(on_main, 0);
		sigemptyset(&none);
		sigaddset(&none, SIGUSR1);
		pthread_sigmask(SIG_BLOCK, &none, NULL);
		kill(getpid(), SIGUSR1);
		sched_yield();
		CHECK_EQ(GET(on_main), 0);
		pthread_sigmask(SIG_UNBLOCK, &none, NULL);
		CHECK_EQ(GET(on_main), 1);
	}
	EXPECT(mqshm_stage_stop(s, 0, 10000), 0);
	UNTIL(threads_named("resampler-nu") == 0);
	EXPECT(mqshm_stage_close(s), 0);
	o = stage_options(NULL, test_queue("mask"), NULL);
	o.callback = signal_mask;
	o.output_queue = &queue;
	s = start_stage(&o);
	EXPECT(mqshm_stage_wait(s, 10000), 0);
	EXPECT(mqshm_stage_close(s), 0);
}

static int aligned(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	struct rig *rig = arg;

	(void)stage;
	for (size_t i = 0; i < count; i++) {
		CHECK_EQ((uintptr_t)messages[i].data % 64, 0);
		ADD(rig->seen, 1);
	}
	return 0;
}

TEST(payloads_are_aligned_as_in_the_queue)
{
	struct mqshm_queue_options q = geometry(NODES, BLOCK, 0);
	const char *input = test_queue("aligned");
	struct rig rig = { 0 };
	struct mqshm_stage_options o = stage_options(input, NULL, &rig);
	struct mqshm_producer *p;
	struct mqshm_stage *s;

	q.align = 64;
	o.callback = aligned;
	o.consumer = &from_oldest;
	p = open_producer(input, &q);
	push_numbers(p, 0, NODES);
	s = start_stage(&o);
	push_numbers(p, NODES, 300);
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_stage_wait(s, 10000), 0);
	CHECK_EQ(rig.seen, 300);
	EXPECT(mqshm_stage_close(s), 0);
}
