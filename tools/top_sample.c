/* SPDX-License-Identifier: MIT */
/*
 * The figures of top: counters of all queues at one moment, and the rates since the moment before. Called by
 * cmd_top.c. Both moments are in order of name, so each queue finds its past in one pass; a queue that was made anew
 * under its old name has none.
 */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "top.h"

struct walk {
	struct top *now;
	const struct top *before;
	size_t at; /* in before */
	double seconds; /* between them, 0 at first */
	bool no_memory;
};

static bool wanted(const struct top *top, const char *name)
{
	char *const *pattern = top->patterns;

	if (!pattern || !*pattern)
		return true;
	while (*pattern && fnmatch(*pattern, name, 0))
		pattern++;
	return *pattern;
}

static const struct top_queue *find_before(struct walk *walk, const struct mqshm_stat *stat)
{
	const struct top *before = walk->before;

	while (walk->at < before->count && strcmp(before->queues[walk->at].stat.name, stat->name) < 0)
		walk->at++;
	if (walk->at == before->count || strcmp(before->queues[walk->at].stat.name, stat->name) ||
	    before->queues[walk->at].stat.created_at_ns != stat->created_at_ns)
		return NULL;
	return &before->queues[walk->at];
}

static double rate(uint64_t now, uint64_t before, double seconds)
{
	return now > before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

static double user_rate(const struct top_queue *before, const struct mqshm_participant_stat *user, double seconds)
{
	for (size_t i = 0; before && i < before->user_count; i++) {
		const struct top_user *old = &before->users[i];

		if (!old->producer && old->stat.id == user->id && old->stat.attached_at_ns == user->attached_at_ns)
			return rate(user->popped, old->stat.popped, seconds);
	}
	return 0;
}

static int further_behind(const void *a, const void *b)
{
	const struct top_user *left = a, *right = b;

	if (left->stat.lag != right->stat.lag)
		return left->stat.lag < right->stat.lag ? 1 : -1;
	return left->stat.id < right->stat.id ? -1 : left->stat.id > right->stat.id;
}

static bool copy_users(struct top_queue *queue, const struct mqshm_stat *stat, const struct top_queue *before,
		       double seconds)
{
	size_t count = (size_t)stat->producer_count + stat->consumer_count;

	queue->users = calloc(count ? count : 1, sizeof *queue->users);
	if (!queue->users)
		return false;
	queue->user_count = count;
	for (size_t i = 0; i < count; i++) {
		struct top_user *user = &queue->users[i];

		user->producer = i < stat->producer_count;
		user->stat = user->producer ? stat->producers[i] : stat->consumers[i - stat->producer_count];
		if (!user->producer)
			user->rate = user_rate(before, &user->stat, seconds);
	}
	qsort(queue->users + stat->producer_count, stat->consumer_count, sizeof *queue->users, further_behind);
	return true;
}

static bool make_room(struct top *top)
{
	size_t room = top->room ? top->room * 2 : 32;
	struct top_queue *queues;

	if (top->count < top->room)
		return true;
	queues = realloc(top->queues, room * sizeof *queues);
	if (!queues)
		return false;
	top->queues = queues;
	top->room = room;
	return true;
}

static int add_queue(const struct mqshm_stat *stat, void *arg)
{
	struct walk *walk = arg;
	struct top *top = walk->now;
	const struct top_queue *before;
	struct top_queue *queue;

	if (!wanted(top, stat->name))
		return 0;
	before = find_before(walk, stat);
	if (!make_room(top) ||
	    !copy_users(&top->queues[top->count], stat, before, walk->seconds)) {
		walk->no_memory = true;
		return 1;
	}
	queue = &top->queues[top->count++];
	queue->stat = *stat;
	queue->stat.producers = queue->stat.consumers = NULL; /* valid during this call only */
	queue->rate = before ? rate(stat->total_pushed, before->stat.total_pushed, walk->seconds) : 0;
	queue->byte_rate = before ? rate(stat->bytes_pushed, before->stat.bytes_pushed, walk->seconds) : 0;
	memset(queue->history, 0, sizeof queue->history);
	if (before)
		memcpy(queue->history, before->history + 1, sizeof queue->history - sizeof queue->history[0]);
	queue->history[TOP_HISTORY - 1] = (float)queue->rate;
	top->producers += stat->producer_count;
	top->consumers += stat->consumer_count;
	top->total_bytes += stat->total_bytes;
	return 0;
}

static int faster(const void *a, const void *b)
{
	const struct top_queue *left = *(struct top_queue *const *)a, *right = *(struct top_queue *const *)b;

	if (left->rate != right->rate)
		return left->rate < right->rate ? 1 : -1;
	if (!left->user_count != !right->user_count) /* of those that stand still, the ones somebody uses */
		return left->user_count ? -1 : 1;
	return left < right ? -1 : left > right; /* in order of name */
}

void top_sort(struct top *top)
{
	for (size_t i = 0; i < top->count; i++)
		top->order[i] = &top->queues[i];
	if (!top->by_name)
		qsort(top->order, top->count, sizeof *top->order, faster);
}

const char *top_sample(struct top *top)
{
	struct top now = { .by_name = top->by_name, .patterns = top->patterns, .sampled_ns = clock_ns() };
	struct walk walk = { .now = &now, .before = top };
	int result;

	if (top->sampled_ns)
		walk.seconds = (double)(now.sampled_ns - top->sampled_ns) / 1e9;
	result = mqshm_queue_list(add_queue, &walk);
	now.order = calloc(now.count ? now.count : 1, sizeof *now.order);
	if (result < 0 || walk.no_memory || !now.order) {
		top_free(&now);
		return result < 0 ? mqshm_last_error() : "no memory for so many queues";
	}
	top_sort(&now);
	top_free(top);
	*top = now;
	return NULL;
}

void top_free(struct top *top)
{
	for (size_t i = 0; i < top->count; i++)
		free(top->queues[i].users);
	free(top->queues);
	free(top->order);
	top->queues = NULL;
	top->order = NULL;
	top->count = 0;
}
