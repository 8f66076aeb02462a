/* SPDX-License-Identifier: MIT */
/* Creates many small queues, lists them, removes them; prints the times in ms. many PREFIX COUNT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mqshm.h"

static const char *prefix;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int count_ours(const struct mqshm_stat *stat, void *arg)
{
	*(int *)arg += !strncmp(stat->name, prefix, strlen(prefix)) && !stat->error && stat->node_count == 1;
	return 0;
}

int main(int argc, char **argv)
{
	struct mqshm_queue_options queue = { .size = sizeof queue, .node_count = 1, .block_size = 8, .max_consumers = 1 };
	int wanted = argc == 3 ? atoi(argv[2]) : 0, created = 0, listed = 0, removed = 0;
	double times[4];
	char name[64];

	if (wanted <= 0)
		return 2;
	prefix = argv[1];
	times[0] = now_ms();
	for (; created < wanted; created++) {
		snprintf(name, sizeof name, "%s-%d", prefix, created);
		if (mqshm_queue_create(name, &queue)) {
			printf("creating %s: %s\n", name, mqshm_last_error());
			break;
		}
	}
	times[1] = now_ms();
	if (mqshm_queue_list(count_ours, &listed) < listed)
		printf("list: %s\n", mqshm_last_error());
	times[2] = now_ms();
	for (int i = 0; i < created; i++) {
		snprintf(name, sizeof name, "%s-%d", prefix, i);
		removed += !mqshm_queue_remove(name, 0);
	}
	times[3] = now_ms();
	printf("%d created, %d listed, %d removed\n", created, listed, removed);
	printf("create %.0f list %.0f remove %.0f ms\n", times[1] - times[0], times[2] - times[1], times[3] - times[2]);
	return created != wanted || listed != wanted || removed != wanted;
}
