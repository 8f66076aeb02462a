/* SPDX-License-Identifier: MIT */
/* Calls every public function, most of them also so that they fail. For valgrind and the sanitizers. all_api QUEUE */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mqshm.h"
#include "mqshm/stage.h"
#include "mqshm/watch.h"
#include "mqshm/manager.h"
#include "mqshm/merge.h"

static int failures;

#define WANT(expression, value)                                                                        \
	do {                                                                                           \
		long long got_ = (long long)(expression);                                              \
		if (got_ != (long long)(value)) {                                                      \
			printf("# line %d: %s is %lld, not %s (%s)\n", __LINE__, #expression, got_,    \
			       #value, mqshm_last_error());                                            \
			failures++;                                                                    \
		}                                                                                      \
	} while (0)

static int count_queue(const struct mqshm_stat *stat, void *arg)
{
	const char **wanted = arg;

	if (!strcmp(stat->name, *wanted))
		*wanted = "";
	return 0;
}

static void report(const char *name, const char *what, void *arg)
{
	(void)name;
	(void)what;
	++*(int *)arg;
}

static int count_managed(const struct mqshm_managed *managed, void *arg)
{
	*(uint64_t *)arg += managed->uses + (managed->stat ? managed->stat->total_pushed : 0);
	return 0;
}

static void managed(const char *name)
{
	struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = 8, .block_size = 100 };
	struct mqshm_shared *p, *c, *merged;
	struct mqshm_merge_stats stats;
	struct mqshm_consumer *source;
	struct mqshm_manager *manager;
	struct mqshm_message m;
	uint64_t sum = 0;
	char buffer[100];

	WANT(mqshm_manager_open(&manager), 0);
	WANT(mqshm_manager_consumer(manager, &c, name, NULL, NULL), -ENOENT);
	WANT(mqshm_manager_producer(manager, &p, name, &queue, NULL), 0);
	WANT(mqshm_manager_consumer(manager, &c, name, &queue, NULL), 0);
	WANT(mqshm_manager_merge(manager, &merged, &name, 1, -1, NULL), 0);
	WANT(mqshm_shared_push(p, "one", 3, 0), 0);
	WANT(mqshm_shared_push(p, "two", 3, 0), 0);
	WANT(mqshm_shared_pop(c, buffer, sizeof buffer, &m, 0), 3);
	WANT(mqshm_shared_pop(merged, buffer, sizeof buffer, &m, 0), 3);
	WANT(mqshm_shared_lock(merged, 0), 0);
	source = mqshm_shared_consumer(c);
	WANT(mqshm_merge_remove(mqshm_shared_merge(merged), source), -ENOENT);
	WANT(mqshm_merge_peek(mqshm_shared_merge(merged), &m, &source, 0), 0);
	WANT(mqshm_merge_release(mqshm_shared_merge(merged)), 0);
	WANT(mqshm_merge_next(mqshm_shared_merge(merged), buffer, sizeof buffer, &m, &source, 1), -ETIMEDOUT);
	mqshm_merge_stats(mqshm_shared_merge(merged), &stats);
	WANT(stats.merged, 2);
	mqshm_shared_unlock(merged);
	WANT(mqshm_shared_producer(c) == NULL, 1);
	mqshm_shared_get(c);
	mqshm_shared_put(c);
	WANT(mqshm_manager_list(manager, count_managed, &sum), 3);
	WANT(sum, 2 + 1 + 2 + 2 * 2);
	WANT(mqshm_manager_close_handle(manager, p), 0);
	WANT(mqshm_manager_close_queue(manager, name), 0);
	WANT(mqshm_manager_close_all(manager), 0);
	WANT(mqshm_manager_close(manager), 0);
	mqshm_shared_put(p);
	mqshm_shared_put(c);
	mqshm_shared_put(merged);
}

static void merges(const char *name)
{
	struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = 8, .block_size = 100 };
	struct mqshm_consumer *c[20];
	struct mqshm_producer *p;
	struct mqshm_merge *merge;

	WANT(mqshm_producer_open(&p, name, &queue, NULL), 0);
	WANT(mqshm_merge_open(&merge, 0), 0);
	for (int i = 0; i < 20; i++) {
		WANT(mqshm_consumer_open(&c[i], name, NULL, NULL), 0);
		WANT(mqshm_merge_add(merge, c[i]), 0);
	}
	WANT(mqshm_producer_push(p, "one", 3, 0), 0);
	for (int i = 0; i < 10; i++)
		WANT(mqshm_merge_next(merge, (char[100]){ 0 }, 100, NULL, NULL, 0), 3);
	mqshm_merge_close(merge); /* with some in each state */
	for (int i = 0; i < 20; i++)
		WANT(mqshm_consumer_close(c[i]), 0);
	WANT(mqshm_producer_close(p), 0);
}

static void stream(const char *name, uint32_t flags)
{
	struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = 8, .block_size = 100, .max_consumers = 4,
					     .flags = flags, .metadata = "m", .metadata_size = 1 };
	struct mqshm_producer_options producing = { .size = sizeof producing, .spin_us = MQSHM_SPIN_NEVER,
						    .flags = MQSHM_PREFAULT };
	struct mqshm_consumer_options lossy = { .size = sizeof lossy, .flags = MQSHM_LOSSY,
						.start = MQSHM_FROM_BEGINNING };
	struct mqshm_message m[8];
	struct mqshm_queue_info info;
	struct mqshm_producer *p, *second;
	struct mqshm_consumer *c, *late;
	struct mqshm_stat *stat;
	struct iovec pieces[3] = { { "abc", 3 }, { "", 0 }, { "defg", 4 } };
	const char *wanted = name;
	char buffer[400];
	void *place;
	int reports = 0;

	WANT(mqshm_queue_create(name, &queue), 0);
	WANT(mqshm_queue_create(name, &queue), 1);
	WANT(mqshm_producer_open(&p, name, NULL, &producing), 0);
	WANT(mqshm_producer_open(&second, name, NULL, NULL), flags & MQSHM_SHARED ? 0 : -EBUSY);
	WANT(mqshm_producer_close(second), 0);
	WANT(mqshm_producer_wait_consumers(p, 1, 0, 0), -EAGAIN);
	WANT(mqshm_consumer_open(&c, name, NULL, NULL), 0);
	WANT(mqshm_producer_wait_consumers(p, 1, MQSHM_EVER, 1000), 0);
	WANT(mqshm_producer_info(p, &info), 0);
	WANT(mqshm_consumer_info(c, &info), 0);
	WANT(info.node_count, 8);
	WANT(mqshm_consumer_id(c), 0);
	WANT(mqshm_producer_set_timestamp(p, 7), flags & MQSHM_TIMESTAMP_OWN ? 0 : -EINVAL);
	WANT(mqshm_consumer_pop(c, buffer, sizeof buffer, m, 0), -EAGAIN);
	WANT(mqshm_consumer_pop(c, buffer, sizeof buffer, m, 1), -ETIMEDOUT);
	for (int lap = 0; lap < 5; lap++) {
		WANT(mqshm_producer_push(p, "hello", 5, -1), 0);
		WANT(mqshm_producer_pushv(p, pieces, 3, -1), 0);
		WANT(mqshm_producer_push_batch(p, pieces, 3, -1), 3);
		WANT(mqshm_producer_reserve(p, 100, &place, -1), 0);
		memset(place, 'x', 100);
		WANT(mqshm_producer_push(p, "hello", 5, 0), -EDEADLK);
		WANT(mqshm_producer_commit(p, 50), 0);
		WANT(mqshm_producer_reserve(p, 100, &place, -1), 0);
		WANT(mqshm_producer_abort(p), 0);
		WANT(mqshm_consumer_lag(c), 6);
		WANT(mqshm_consumer_pop(c, buffer, 2, m, 0), -EMSGSIZE);
		WANT(mqshm_consumer_pop(c, buffer, sizeof buffer, m, 0), 5);
		WANT(mqshm_consumer_pop_batch(c, m, 2, 3, buffer, sizeof buffer, 0), 3);
		WANT(mqshm_consumer_peek(c, m, 8, 0), 2);
		WANT(mqshm_consumer_release(c, 1), 0);
		WANT(mqshm_consumer_peek(c, m, 8, 0), 1);
		WANT(m[0].size, 50);
		WANT(mqshm_consumer_release(c, 1), 0);
	}
	WANT(mqshm_producer_wait_drained(p, 0), 0);
	WANT(mqshm_producer_push(p, buffer, 101, 0), -EMSGSIZE);
	for (int i = 0; i < 8; i++)
		WANT(mqshm_producer_push(p, buffer, 100, 0), 0);
	WANT(mqshm_producer_push(p, buffer, 100, 0), flags & MQSHM_OVERWRITE ? 0 : -EAGAIN);
	WANT(mqshm_producer_push(p, buffer, 100, 1), flags & MQSHM_OVERWRITE ? 0 : -ETIMEDOUT);
	WANT(mqshm_consumer_open(&late, name, &queue, &lossy), 0);
	WANT(mqshm_consumer_missed(late) > 0, 1);
	WANT(mqshm_consumer_pop(late, buffer, sizeof buffer, NULL, 0), 100);
	WANT(mqshm_queue_stat(name, &stat), 0);
	WANT(stat->consumer_count, 2);
	mqshm_stat_free(stat);
	WANT(mqshm_queue_list(count_queue, &wanted) >= 1, 1);
	WANT(wanted[0], 0);
	WANT(mqshm_queue_gc(name, report, &reports), 0);
	WANT(mqshm_queue_remove(name, 0), -EBUSY);
	WANT(mqshm_consumer_close(late), 0);
	WANT(mqshm_producer_close(p), 0);
	while (mqshm_consumer_pop(c, buffer, sizeof buffer, m, 0) >= 0)
		;
	WANT(mqshm_consumer_pop(c, buffer, sizeof buffer, m, -1), -ESHUTDOWN);
	WANT(mqshm_consumer_close(c), 0);
	if (flags & MQSHM_PERSISTENT)
		WANT(mqshm_queue_remove(name, 0), 0);
	WANT(mqshm_consumer_open(&c, name, &queue, NULL), 0);
	WANT(mqshm_producer_open(&p, name, NULL, NULL), 0);
	WANT(mqshm_producer_fail(p), 0);
	WANT(mqshm_consumer_pop(c, buffer, sizeof buffer, m, -1), -EOWNERDEAD);
	WANT(mqshm_consumer_close(c), 0);
	if (flags & MQSHM_PERSISTENT)
		WANT(mqshm_queue_remove(name, 0), 0);
	WANT(mqshm_queue_stat(name, &stat), -ENOENT);
	WANT(mqshm_queue_remove(name, 0), -ENOENT);
	WANT(mqshm_consumer_open(&c, name, NULL, NULL), -ENOENT);
	WANT(mqshm_consumer_open(&c, name, &queue, NULL), 0);
	WANT(mqshm_queue_remove(name, MQSHM_FORCE), 0);
	WANT(mqshm_consumer_pop(c, buffer, sizeof buffer, m, 10000), -ESTALE);
	WANT(mqshm_consumer_close(c), 0);
	WANT(mqshm_producer_open(&p, "no/name", NULL, NULL), -EINVAL);
	WANT(strlen(mqshm_last_error()) > 0, 1);
}

static int stage_callback(struct mqshm_stage *stage, const struct mqshm_message *messages, size_t count, void *arg)
{
	void *place;

	(void)messages;
	WANT(count, 1);
	WANT(mqshm_stage_emit(stage, "one", 3), 0);
	WANT(mqshm_stage_reserve(stage, 8, &place), 0);
	WANT(mqshm_stage_abort(stage), 0);
	WANT(mqshm_stage_reserve(stage, 8, &place), 0);
	memset(place, 'x', 8);
	WANT(mqshm_stage_commit(stage, 4), 0);
	WANT(mqshm_stage_set_timestamp(stage, 1), -EINVAL);
	return ++*(int *)arg == 5 ? MQSHM_STAGE_DONE : 0;
}

static void stage(const char *name)
{
	struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = 16, .block_size = 100 };
	struct mqshm_stage_options options = { .size = sizeof options, .input = name, .input_queue = &queue,
					       .output_queue = &queue, .callback = stage_callback, .batch_max = 1 };
	struct mqshm_stage_stat stat;
	struct mqshm_producer *p;
	struct mqshm_stage *s;
	char output[80];
	int calls = 0;

	snprintf(output, sizeof output, "%s-out", name);
	options.output = output;
	options.arg = &calls;
	WANT(mqshm_stage_open(&s, &options), 0);
	WANT(mqshm_stage_close(s), 0);
	WANT(mqshm_stage_open(&s, &options), 0);
	WANT(mqshm_producer_open(&p, name, NULL, NULL), 0);
	for (int i = 0; i < 9; i++)
		WANT(mqshm_producer_push(p, "hello", 5, 0), 0);
	WANT(mqshm_stage_start(s), 0);
	WANT(mqshm_stage_emit(s, "no", 2), -EINVAL);
	WANT(mqshm_stage_wait(s, 60000), 0);
	WANT(mqshm_stage_stop(s, 0, 0), 0);
	WANT(mqshm_stage_stat(s, &stat), 0);
	WANT(stat.processed, 5);
	WANT(stat.out, 10);
	WANT(mqshm_stage_close(s), 0);
	WANT(mqshm_producer_close(p), 0);
}

static void quiet(int level, const char *queue, const char *text, void *arg)
{
	(void)level;
	(void)queue;
	(void)text;
	++*(int *)arg;
}

static void waiting(const char *name)
{
	struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = 4, .block_size = 8 };
	struct mqshm_consumer_options options = { .size = sizeof options, .name = "one", .lease_ms = 60000 };
	struct mqshm_watch_event event;
	struct mqshm_wait_item items[2];
	struct mqshm_consumer *c;
	struct mqshm_producer *p;
	struct mqshm_watch *w;
	int lines = 0;

	WANT(mqshm_log_set(MQSHM_LOG_DEBUG, quiet, &lines), 0);
	WANT(mqshm_watch_open(&w, &name, 1, 0), 0);
	WANT(mqshm_producer_open(&p, name, &queue, NULL), 0);
	for (int i = 0; i < 2; i++) {
		WANT(mqshm_consumer_open(&c, name, NULL, &options), 0);
		WANT(mqshm_consumer_resumed(c), i);
		WANT(mqshm_consumer_demoted(c), 0);
		WANT(i ? mqshm_consumer_leave(c) : mqshm_consumer_close(c), 0);
	}
	WANT(mqshm_consumer_open(&c, name, NULL, NULL), 0);
	items[0] = (struct mqshm_wait_item){ .consumer = c };
	items[1] = (struct mqshm_wait_item){ .producer = p };
	WANT(mqshm_wait_any(items, 2, -1), 1);
	WANT(mqshm_wait_any(items, 1, 1), -ETIMEDOUT);
	WANT(mqshm_consumer_fd(c) > 2, 1);
	WANT(mqshm_producer_fd(p) > 2, 1);
	WANT(mqshm_consumer_device_fd(c), -ENOTSUP);
	WANT(mqshm_producer_device_fd(p), -ENOTSUP);
	mqshm_consumer_cancel(c);
	WANT(mqshm_wait_any(items, 1, -1), -ECANCELED);
	mqshm_producer_cancel(p);
	WANT(mqshm_producer_wait_consumers(p, 2, 0, -1), -ECANCELED);
	WANT(mqshm_queue_evict(name, 0), 0);
	WANT(mqshm_wait_any(items, 1, -1), 1);
	WANT(items[0].result, -ECONNABORTED);
	WANT(mqshm_watch_next(w, &event, 0) >= 0, 1);
	WANT(mqshm_watch_close(w), 0);
	WANT(mqshm_consumer_close(c), 0);
	WANT(mqshm_producer_close(p), 0);
	WANT(lines > 0, 1);
	WANT(mqshm_log_set(MQSHM_LOG_OFF, NULL, NULL), 0);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	errno = 4711;
	managed(argv[1]);
	merges(argv[1]);
	stream(argv[1], 0);
	stream(argv[1], MQSHM_SHARED | MQSHM_TIMESTAMP_OWN);
	stream(argv[1], MQSHM_OVERWRITE | MQSHM_TIMESTAMP_OFF);
	stream(argv[1], MQSHM_HOLD | MQSHM_PERSISTENT);
	stage(argv[1]);
	waiting(argv[1]);
	WANT(errno, 4711);
	WANT(strcmp(mqshm_version(), MQSHM_VERSION), 0);
	return failures != 0;
}
