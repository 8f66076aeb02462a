/* SPDX-License-Identifier: MIT */
/*
 * Shows how stages end when they are told to: drained or at once, with a callback that hangs, from the callback itself,
 * with a full output, before they start; again and again without leaving anything; and that a child has no part in it.
 */
#include <dirent.h>
#include <dlfcn.h>

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

/* A held stage with so many messages in its buffer of 8, and behind it so many in the queue. */
static void line_open(struct line *l, uint64_t messages, mqshm_stage_callback callback)
{
	struct mqshm_stage_options o;

	memset(l, 0, sizeof *l);
	l->input = test_queue("in");
	l->output = test_queue("out");
	o = stage_options(l->input, l->output, &l->rig);
	o.input_queue = o.output_queue = &queue;
	o.buffer_messages = 8;
	o.batch_max = 1;
	o.callback = callback ? callback : o.callback;
	l->rig.hold = 1;
	l->s = start_stage(&o);
	l->p = open_producer(l->input, NULL);
	l->c = open_consumer(l->output, NULL, MQSHM_FROM_OLDEST, 0);
	push_numbers(l->p, 0, messages);
	UNTIL(STAGE(l->s, depth) == (messages < 8 ? messages : 8));
	UNTIL(GET(l->rig.inside) == (messages > 0));
}

static void line_close(struct line *l)
{
	EXPECT(mqshm_stage_close(l->s), 0);
	EXPECT(mqshm_producer_close(l->p), 0);
	EXPECT(mqshm_consumer_close(l->c), 0);
	check_gone(l->input);
	check_gone(l->output);
}

/* What is there when stop is called is processed, with the producer still there; what comes later is not waited for. */
TEST(drain)
{
	struct line l;

	line_open(&l, 8 + NODES, NULL);
	EXPECT(mqshm_stage_stop(l.s, 0, 0), -EAGAIN);
	EXPECT(mqshm_stage_stop(l.s, 0, 60), -ETIMEDOUT);
	CHECK_STR(mqshm_last_error(), "its callback is at work");
	CHECK_EQ(STAGE(l.s, state), MQSHM_STAGE_STOPPING);
	CHECK_EQ(l.rig.seen, 0);
	SET(l.rig.hold, 0);
	pop_numbers(l.c, 0, 8 + NODES);
	pop_end(l.c, -ESHUTDOWN);
	EXPECT(mqshm_stage_stop(l.s, 0, 10000), 0);
	EXPECT(mqshm_stage_wait(l.s, 0), 0);
	CHECK_EQ(STAGE(l.s, state), MQSHM_STAGE_ENDED);
	CHECK_EQ(STAGE(l.s, result), 0);
	CHECK_EQ(STAGE(l.s, processed), 8 + NODES);
	CHECK_EQ(STAGE(l.s, dropped), 0);
	CHECK_EQ(STAT(l.input, consumer_count), 0); /* it has left: the producer goes on alone */
	push_numbers(l.p, 0, 3 * NODES);
	line_close(&l);

	line_open(&l, 0, NULL); /* nothing to be drained, the reader asleep in the queue */
	EXPECT(mqshm_stage_stop(l.s, 0, 10000), 0);
	pop_end(l.c, -ESHUTDOWN);
	line_close(&l);
}

/* Only the running call is finished. */
TEST(at_once)
{
	struct line l;

	line_open(&l, 8 + NODES, NULL);
	EXPECT(mqshm_stage_stop(l.s, MQSHM_STAGE_AT_ONCE, 60), -ETIMEDOUT);
	SET(l.rig.hold, 0);
	EXPECT(mqshm_stage_stop(l.s, MQSHM_STAGE_AT_ONCE, 10000), 0);
	CHECK_EQ(GET(l.rig.inside), 1);
	CHECK_EQ(l.rig.seen, 0); /* its emit was refused */
	CHECK_EQ(l.rig.emitted, -ECANCELED);
	CHECK_EQ(STAGE(l.s, in), 8);
	CHECK_EQ(STAGE(l.s, processed), 0);
	CHECK_EQ(STAGE(l.s, dropped), 8);
	CHECK_EQ(STAGE(l.s, depth), 0);
	CHECK_EQ(STAGE(l.s, result), 0);
	EXPECT(mqshm_stage_wait(l.s, 0), 0);
	pop_end(l.c, -EOWNERDEAD);
	line_close(&l);

	line_open(&l, 0, NULL);
	EXPECT(mqshm_stage_stop(l.s, MQSHM_STAGE_AT_ONCE, 10000), 0);
	pop_end(l.c, -EOWNERDEAD);
	line_close(&l);
}

/* First a drain that takes too long, then at once; a drain asked for afterwards changes nothing. */
TEST(at_once_after_a_drain)
{
	struct line l;

	line_open(&l, 8 + NODES, NULL);
	EXPECT(mqshm_stage_stop(l.s, 0, 60), -ETIMEDOUT);
	EXPECT(mqshm_stage_stop(l.s, MQSHM_STAGE_AT_ONCE, 0), -EAGAIN);
	EXPECT(mqshm_stage_stop(l.s, 0, 0), -EAGAIN);
	SET(l.rig.hold, 0);
	EXPECT(mqshm_stage_wait(l.s, 10000), 0);
	CHECK_EQ(STAGE(l.s, dropped), 8);
	pop_end(l.c, -EOWNERDEAD);
	line_close(&l);
}

static int reserve_each(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	struct rig *rig = arg;
	void *data;

	REQUIRE_EQ(count, 1);
	ADD(rig->inside, 1);
	rig->emitted = mqshm_stage_reserve(stage, BLOCK, &data);
	if (rig->emitted)
		return rig->emitted;
	memcpy(data, messages[0].data, messages[0].size);
	return mqshm_stage_commit(stage, messages[0].size);
}

/* The output is full and nobody reads it: a drain waits, at once does not. */
TEST(a_full_output)
{
	for (int zero_copy = 0; zero_copy < 2; zero_copy++) {
		struct line l;

		line_open(&l, 0, zero_copy ? reserve_each : NULL);
		SET(l.rig.hold, 0);
		CHECK_EQ(fill(l.p, 0, 2 * NODES + 8), 2 * NODES + 8);
		UNTIL(STAGE(l.s, blocked));
		EXPECT(push_number(l.p, 0, 0), -EAGAIN); /* as long as nobody reads there, nobody writes here */
		CHECK_EQ(STAGE(l.s, out), NODES);
		EXPECT(mqshm_stage_stop(l.s, 0, 60), -ETIMEDOUT);
		CHECK_STR(mqshm_last_error(), "waits for room in its output");
		EXPECT(mqshm_stage_stop(l.s, MQSHM_STAGE_AT_ONCE, 10000), 0);
		CHECK_EQ(l.rig.emitted, -ECANCELED);
		CHECK_EQ(STAGE(l.s, blocked), 0);
		CHECK_EQ(STAGE(l.s, processed), NODES);
		CHECK_EQ(STAGE(l.s, dropped), 8);
		pop_numbers(l.c, 0, NODES);
		pop_end(l.c, -EOWNERDEAD);
		line_close(&l);
	}
}

static int stop_myself(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	struct rig *rig = arg;

	(void)messages, (void)count;
	ADD(rig->inside, 1);
	while (GET(rig->hold))
		nap();
	EXPECT(mqshm_stage_wait(stage, -1), -EDEADLK);
	EXPECT(mqshm_stage_close(stage), -EBUSY);
	EXPECT(mqshm_stage_start(stage), -EBUSY);
	EXPECT(mqshm_stage_stop(stage, rig->fail, -1), 0);
	EXPECT(mqshm_stage_stop(stage, rig->fail, -1), 0);
	rig->emitted = mqshm_stage_emit(stage, "x", 1);
	return 0;
}

TEST(from_the_callback_itself)
{
	for (uint32_t flags = 0; flags <= MQSHM_STAGE_AT_ONCE; flags++) {
		struct line l;

		line_open(&l, 8, stop_myself);
		l.rig.fail = flags;
		SET(l.rig.hold, 0);
		EXPECT(mqshm_stage_wait(l.s, 10000), 0);
		CHECK_EQ(l.rig.inside, flags ? 1 : 8);
		CHECK_EQ(l.rig.emitted, flags ? -ECANCELED : 0);
		CHECK_EQ(STAGE(l.s, processed), flags ? 0 : 8);
		line_close(&l);
	}
}

/* Two threads stop it, one of them at once. */
static void *stop_too(void *arg)
{
	return (void *)(intptr_t)mqshm_stage_stop(arg, 0, 10000);
}

TEST(by_two_threads)
{
	pthread_t thread;
	struct line l;
	void *rc;

	line_open(&l, 8 + NODES, NULL);
	REQUIRE_EQ(pthread_create(&thread, NULL, stop_too, l.s), 0);
	UNTIL(STAGE(l.s, state) == MQSHM_STAGE_STOPPING);
	EXPECT(mqshm_stage_stop(l.s, MQSHM_STAGE_AT_ONCE, 0), -EAGAIN);
	SET(l.rig.hold, 0);
	REQUIRE_EQ(pthread_join(thread, &rc), 0);
	CHECK_EQ((intptr_t)rc, 0);
	line_close(&l);
}

TEST(before_it_starts)
{
	const char *input = test_queue("early"), *output = test_queue("unused");
	struct rig rig = { 0 };
	struct mqshm_stage_options o = stage_options(input, output, &rig);
	struct mqshm_consumer *c;
	struct mqshm_stage *s;

	o.input_queue = o.output_queue = &queue;
	s = open_stage(&o);
	c = open_consumer(output, NULL, MQSHM_FROM_OLDEST, 0);
	CHECK_EQ(STAGE(s, state), MQSHM_STAGE_READY);
	EXPECT(mqshm_stage_wait(s, 0), -EAGAIN);
	EXPECT(mqshm_stage_wait(s, 20), -ETIMEDOUT);
	EXPECT(mqshm_stage_stop(s, 2, 0), -EINVAL);
	EXPECT(mqshm_stage_stop(s, 0, 0), 0);
	pop_end(c, -ESHUTDOWN);
	check_gone(input);
	EXPECT(mqshm_stage_start(s), -EBUSY);
	EXPECT(mqshm_stage_stop(s, MQSHM_STAGE_AT_ONCE, 0), 0);
	EXPECT(mqshm_stage_wait(s, -1), 0);
	EXPECT(mqshm_stage_close(s), 0);
	EXPECT(mqshm_consumer_close(c), 0);

	s = open_stage(&o); /* or closed at once */
	EXPECT(mqshm_stage_close(s), 0);
	check_gone(input);
	check_gone(output);
	EXPECT(mqshm_stage_close(NULL), 0);
}

TEST(close_of_a_running_one)
{
	struct line l;

	line_open(&l, 1, NULL);
	EXPECT(mqshm_stage_close(l.s), -EBUSY);
	EXPECT(mqshm_stage_start(l.s), -EBUSY);
	EXPECT(mqshm_stage_stop(l.s, 0, 0), -EAGAIN);
	EXPECT(mqshm_stage_close(l.s), -EBUSY);
	SET(l.rig.hold, 0);
	EXPECT(mqshm_stage_stop(l.s, 0, 10000), 0);
	line_close(&l);
}

/* The Nth thread from now on can't be had. */
static int threads_left = -1;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
	static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (threads_left >= 0 && threads_left-- == 0)
		return EAGAIN;
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	return real(thread, attributes, run, arg);
}

TEST(no_threads)
{
	const char *input = test_queue("threads");
	struct rig rig = { 0 };
	struct mqshm_stage_options o = stage_options(input, NULL, &rig);
	struct mqshm_producer *p = open_producer(input, &queue);
	struct mqshm_stage *s = open_stage(&o);

	push_numbers(p, 0, 5);
	for (int have = 0; have < 2; have++) {
		threads_left = have;
		EXPECT(mqshm_stage_start(s), -EAGAIN);
		CHECK_STR(mqshm_last_error(), "no thread for stage 'stage'");
		CHECK_EQ(STAGE(s, state), MQSHM_STAGE_READY);
		threads_left = -1;
	}
	MUST(mqshm_stage_start(s), 0); /* nothing is lost by it */
	EXPECT(mqshm_producer_close(p), 0);
	EXPECT(mqshm_stage_wait(s, 10000), 0);
	CHECK_EQ(rig.seen, 5);
	EXPECT(mqshm_stage_close(s), 0);
}

static int entries(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	REQUIRE(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int mapped_queues(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[300];
	int n = 0;

	REQUIRE(f != NULL);
	while (fgets(line, sizeof line, f))
		n += strstr(line, "/dev/shm/mqshm.") != NULL;
	fclose(f);
	return n;
}

/* Descriptors and threads do not become more after the first cycles, and no queue stays mapped. Heap: see sanitizers.sh. */
TEST(a_hundred_cycles)
{
	int files = 0, threads = 0;

	for (uint64_t i = 0; i < 100; i++) {
		struct line l;
		bool at_once = i & 1;

		line_open(&l, i % 12, NULL);
		SET(l.rig.hold, 0);
		if (i % 3)
			UNTIL(STAGE(l.s, processed) == i % 12);
		EXPECT(mqshm_stage_stop(l.s, at_once, 10000), 0);
		if (!at_once)
			CHECK_EQ(l.rig.seen, i % 12);
		line_close(&l);
		if (i == 10) {
			files = entries("/proc/self/fd");
			threads = entries("/proc/self/task");
		}
	}
	CHECK_EQ(entries("/proc/self/fd"), files);
	UNTIL(entries("/proc/self/task") == threads);
	CHECK_EQ(mapped_queues(), 0);
}

static void use_in_child(void *arg)
{
	struct line *l = arg;
	struct mqshm_stage_stat stat;

	EXPECT(mqshm_stage_start(l->s), -ECHILD);
	EXPECT(mqshm_stage_stop(l->s, 0, -1), -ECHILD);
	EXPECT(mqshm_stage_wait(l->s, -1), -ECHILD);
	EXPECT(mqshm_stage_stat(l->s, &stat), -ECHILD);
	EXPECT(mqshm_stage_close(l->s), -ECHILD);
}

TEST(a_child_has_no_stages)
{
	struct line l;

	line_open(&l, 8 + NODES, NULL);
	join(spawn(use_in_child, &l));
	SET(l.rig.hold, 0);
	pop_numbers(l.c, 0, 8 + NODES);
	push_numbers(l.p, 8 + NODES, 2 * NODES);
	EXPECT(mqshm_stage_stop(l.s, 0, 10000), 0);
	pop_numbers(l.c, 8 + NODES, 2 * NODES);
	pop_end(l.c, -ESHUTDOWN);
	line_close(&l);
}

static int fork_inside(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	struct rig *rig = arg;
	int status = -1;
	pid_t pid = fork();

	(void)messages, (void)count;
	if (pid == 0) {
		int rc = mqshm_stage_emit(stage, "x", 1);

		if (rc != -ECHILD)
			_exit(1);
		return 0; /* and so, not back into the stage's loop */
	}
	REQUIRE(pid > 0);
	REQUIRE_EQ(waitpid(pid, &status, 0), pid);
	rig->rc = status;
	return mqshm_stage_emit(stage, "y", 1);
}

TEST(a_child_of_the_callback)
{
	static struct line l; /* what the child has is not lost, for a leak checker that looks at it */
	unsigned char data[BLOCK];

	line_open(&l, 0, fork_inside);
	MUST(mqshm_producer_push(l.p, "x", 1, 0), 0);
	UNTIL(STAGE(l.s, processed) == 1);
	EXPECT(mqshm_producer_close(l.p), 0);
	l.p = NULL;
	EXPECT(mqshm_stage_wait(l.s, 20000), 0);
	CHECK_EQ(l.rig.rc, 0);
	EXPECT(mqshm_consumer_pop(l.c, data, sizeof data, NULL, 0), 1);
	CHECK_EQ(data[0], 'y');
	pop_end(l.c, -ESHUTDOWN);
	line_close(&l);
}
