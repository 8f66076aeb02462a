/* SPDX-License-Identifier: MIT */
/*
 * Producers in processes of their own. Each takes its timestamps from one shared counter, so what is merged must be
 * 0, 1, 2, ... with nothing out of place, whoever is slow, and nothing missing but what a killed one had taken and not
 * yet pushed.
 */
#include "merge_test.h"

#define PRODUCERS 5
#define NODES 16

static struct shared {
	uint64_t clock, stop; /* stop: no timestamps from here on */
	uint64_t pushed[PRODUCERS];
	uint32_t begin;
} *shared;

static struct feed feeds[PRODUCERS];
static uint64_t random_state;

struct role {
	int index;
	uint64_t seed;
};

static void open_feeds(void)
{
	struct mqshm_queue_options q = geometry(NODES, 64, MQSHM_TIMESTAMP_OWN);

	shared = shared_memory(sizeof *shared);
	for (int i = 0; i < PRODUCERS; i++) {
		snprintf(feeds[i].name, sizeof feeds[i].name, "%s%d", test_queue("feed"), i);
		feeds[i].consumer = open_consumer(feeds[i].name, &q, MQSHM_FROM_OLDEST, 0);
	}
}

static void close_feeds(void)
{
	for (int i = 0; i < PRODUCERS; i++) {
		EXPECT(mqshm_consumer_close(feeds[i].consumer), 0);
		check_gone(feeds[i].name);
	}
}

static void produce(void *arg)
{
	struct role *role = arg;
	uint64_t timestamp;

	feed_open_producer(&feeds[role->index], NODES, 0);
	while (!GET(shared->begin))
		nap();
	while ((timestamp = ADD(shared->clock, 1) - 1) < GET(shared->stop)) {
		MUST(mqshm_producer_set_timestamp(feeds[role->index].producer, timestamp), 0);
		MUST(mqshm_producer_push(feeds[role->index].producer, &timestamp, sizeof timestamp, -1), 0);
		ADD(shared->pushed[role->index], 1);
		if (test_random(&role->seed) % 512 == 0)
			nap(); /* slow at times */
	}
	EXPECT(mqshm_producer_close(feeds[role->index].producer), 0);
}

static pid_t start(int index)
{
	return spawn(produce, &(struct role){ index, test_random(&random_state) | 1 });
}

/* Until the end of all; how many were missing. */
static uint64_t merge_all(struct mqshm_merge *m, uint64_t from, int end)
{
	uint64_t next = from, missing = 0, value;
	ssize_t rc;

	while ((rc = mqshm_merge_next(m, &value, sizeof value, NULL, NULL, 20000)) >= 0) {
		REQUIRE_EQ(rc, sizeof value);
		REQUIRE(value >= next);
		missing += value - next;
		next = value + 1;
	}
	CHECK_EQ(rc, end);
	CHECK_EQ(STATS(m, backward), 0);
	return missing + (GET(shared->stop) > next ? GET(shared->stop) - next : 0);
}

TEST(nothing_out_of_place)
{
	pid_t pids[PRODUCERS];
	struct mqshm_merge *m;

	random_state = test_seed();
	open_feeds();
	SET(shared->stop, 100000);
	for (int i = 0; i < PRODUCERS; i++)
		pids[i] = start(i);
	m = open_merge(-1, feeds, PRODUCERS);
	SET(shared->begin, 1);
	CHECK_EQ(merge_all(m, 0, -ESHUTDOWN), 0);
	CHECK_EQ(STATS(m, merged), 100000);
	CHECK_EQ(STATS(m, timeouts), 0);
	for (int i = 0; i < PRODUCERS; i++)
		join(pids[i]);
	mqshm_merge_close(m);
	close_feeds();
}

/* The others go on, and only what the dead had taken is missing. */
TEST(killed_producers)
{
	pid_t pids[PRODUCERS];
	struct mqshm_merge *m;
	uint64_t value, next = 0, missing = 0;
	int kills = 0;

	random_state = test_seed();
	open_feeds();
	SET(shared->stop, UINT64_MAX);
	for (int i = 0; i < PRODUCERS; i++)
		pids[i] = start(i);
	m = open_merge(-1, feeds, PRODUCERS);
	SET(shared->begin, 1);
	for (uint64_t count = 0; count < 60000; count++) {
		if (count % 10000 == 5000 && kills < PRODUCERS - 2)
			kill_now(pids[kills++]);
		MUST(mqshm_merge_next(m, &value, sizeof value, NULL, NULL, 20000), sizeof value);
		REQUIRE(value >= next);
		missing += value - next;
		next = value + 1;
	}
	SET(shared->stop, GET(shared->clock));
	missing += merge_all(m, next, -EOWNERDEAD);
	CHECK(missing <= (uint64_t)kills + PRODUCERS); /* who lived on took at most one each that was beyond the end */
	CHECK_EQ(STATS(m, timeouts), 0);
	CHECK_EQ(STATS(m, ended), PRODUCERS);
	for (int i = kills; i < PRODUCERS; i++)
		join(pids[i]);
	mqshm_merge_close(m);
	close_feeds();
}

/* One is stopped: the others' messages come after its time is over, and its own later, backward. */
TEST(a_stopped_producer_is_silent)
{
	pid_t pids[PRODUCERS];
	struct mqshm_merge *m;
	uint64_t value, taken;
	struct mqshm_consumer *source = NULL;
	int status;

	random_state = test_seed();
	open_feeds();
	SET(shared->stop, UINT64_MAX);
	for (int i = 0; i < PRODUCERS; i++)
		pids[i] = start(i);
	m = open_merge(100, feeds, PRODUCERS);
	SET(shared->begin, 1);
	for (int i = 0; i < PRODUCERS; i++)
		UNTIL(GET(shared->pushed[i]) > 0);
	REQUIRE_EQ(kill(pids[0], SIGSTOP), 0);
	REQUIRE_EQ(waitpid(pids[0], &status, WUNTRACED), pids[0]);
	taken = GET(shared->clock);
	/* It took a timestamp below `taken`; the others must get far beyond it all the same. */
	do
		MUST(mqshm_merge_next(m, &value, sizeof value, NULL, &source, 20000), sizeof value);
	while (value < taken + 1000);
	CHECK(STATS(m, timeouts) >= 1);
	REQUIRE_EQ(kill(pids[0], SIGCONT), 0);
	do
		MUST(mqshm_merge_next(m, &value, sizeof value, NULL, &source, 20000), sizeof value);
	while (source != feeds[0].consumer);
	SET(shared->stop, GET(shared->clock));
	while (mqshm_merge_next(m, &value, sizeof value, NULL, NULL, 20000) >= 0)
		;
	CHECK_EQ(STATS(m, ended), PRODUCERS);
	CHECK_EQ(STATS(m, source_backward), 0);
	CHECK_EQ(STATS(m, merged),
		 shared->pushed[0] + shared->pushed[1] + shared->pushed[2] + shared->pushed[3] + shared->pushed[4]);
	for (int i = 0; i < PRODUCERS; i++)
		join(pids[i]);
	mqshm_merge_close(m);
	close_feeds();
}

/* One producer after the other on one queue, beside others: closed or killed, the next one takes part again. */
TEST(a_producer_that_comes_and_goes)
{
	struct mqshm_consumer *source;
	pid_t pids[PRODUCERS];
	struct mqshm_merge *m;
	uint64_t value;

	random_state = test_seed();
	open_feeds();
	SET(shared->stop, UINT64_MAX);
	for (int i = 0; i < PRODUCERS; i++)
		pids[i] = start(i);
	m = open_merge(-1, feeds, PRODUCERS);
	SET(shared->begin, 1);
	UNTIL(GET(shared->pushed[0])); /* one that dies before it has attached ends nothing */
	for (int round = 0; round < 10; round++) {
		uint64_t before = GET(shared->pushed[0]);

		kill_now(pids[0]);
		/* All it had pushed, then the end of its stream. */
		while (!STATS(m, ended))
			MUST(mqshm_merge_next(m, &value, sizeof value, NULL, NULL, 20000), sizeof value);
		before = GET(shared->pushed[0]);
		pids[0] = start(0);
		do
			MUST(mqshm_merge_next(m, &value, sizeof value, NULL, &source, 20000), sizeof value);
		while (source != feeds[0].consumer);
		CHECK_EQ(STATS(m, ended), 0);
		CHECK(GET(shared->pushed[0]) + 1 > before);
	}
	SET(shared->stop, GET(shared->clock));
	while (mqshm_merge_next(m, &value, sizeof value, NULL, NULL, 20000) >= 0)
		;
	CHECK_EQ(STATS(m, ended), PRODUCERS);
	CHECK_EQ(STATS(m, source_backward), 0);
	CHECK_EQ(STATS(m, timeouts), 0);
	for (int i = 0; i < PRODUCERS; i++)
		join(pids[i]);
	mqshm_merge_close(m);
	close_feeds();
}

struct pusher {
	pid_t consumer;
	struct feed *feed;
};

/* Pushes when the other sleeps. */
static void push_when_asleep(void *arg)
{
	struct pusher *pusher = arg;

	feed_open_producer(pusher->feed, NODES, 0);
	for (uint64_t i = 0; i < 50; i++) {
		UNTIL(asleep(pusher->consumer));
		feed_push(pusher->feed, i);
	}
	feed_end(pusher->feed);
}

/* A message wakes the merge, and a merge that sleeps is woken by any of those it waits for. */
TEST(a_message_wakes_the_merge)
{
	struct pusher pusher[2] = { { getpid(), &feeds[1] }, { getpid(), &feeds[3] } };
	struct mqshm_merge *m;
	uint64_t value;
	pid_t pids[2];
	ssize_t rc;
	int count = 0;

	open_feeds();
	m = open_merge(0, feeds, PRODUCERS);
	for (int i = 0; i < 2; i++)
		pids[i] = spawn(push_when_asleep, &pusher[i]);
	while (count < 100 && (rc = mqshm_merge_next(m, &value, sizeof value, NULL, NULL, 20000)) >= 0)
		count++;
	CHECK_EQ(count, 100);
	for (int i = 0; i < 2; i++)
		join(pids[i]);
	CHECK_EQ(STATS(m, source_backward), 0);
	GIVES_NONE(m, -EAGAIN, 0);
	CHECK_EQ(STATS(m, ended), 2);
	mqshm_merge_close(m);
	close_feeds();
}

static void on_signal(int signal_number)
{
	(void)signal_number;
}

static void interrupt(void *arg)
{
	pid_t pid = *(pid_t *)arg;

	for (int i = 0; i < 5000 && GET(shared->begin); i++) {
		UNTIL(asleep(pid) || !GET(shared->begin));
		kill(pid, SIGUSR1);
		nap();
	}
}

TEST(a_signal_ends_the_wait)
{
	struct sigaction action = { .sa_handler = on_signal };
	pid_t self = getpid(), pid;
	struct mqshm_merge *m;

	open_feeds();
	sigaction(SIGUSR1, &action, NULL);
	m = open_merge(-1, feeds, PRODUCERS);
	SET(shared->begin, 1);
	pid = spawn(interrupt, &self);
	GIVES_NONE(m, -EINTR, -1);
	SET(shared->begin, 0);
	signal(SIGUSR1, SIG_IGN);
	while (waitpid(pid, NULL, 0) != pid && errno == EINTR)
		;
	mqshm_merge_close(m);
	close_feeds();
}
