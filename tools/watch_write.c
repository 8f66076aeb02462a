/* SPDX-License-Identifier: MIT */
/* One line an event, for people or as JSON. Called by cmd_watch.c. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "watch.h"

static const char *const words[] = {
	[MQSHM_WATCH_THERE] = "there",
	[MQSHM_WATCH_CREATED] = "created",
	[MQSHM_WATCH_REMOVED] = "removed",
	[MQSHM_WATCH_CLOSED] = "closed",
	[MQSHM_WATCH_CRASHED] = "crashed",
	[MQSHM_WATCH_UNREADABLE] = "unreadable",
	[MQSHM_WATCH_ATTACHED] = "attached",
	[MQSHM_WATCH_LEFT] = "left",
	[MQSHM_WATCH_DIED] = "died",
	[MQSHM_WATCH_EVICTED] = "evicted",
	[MQSHM_WATCH_DEMOTED] = "demoted",
	[MQSHM_WATCH_LEASED] = "leased",
	[MQSHM_WATCH_RESUMED] = "resumed",
	[MQSHM_WATCH_EXPIRED] = "expired",
	[MQSHM_WATCH_MISSED] = "missed",
};

static const char *word_of(const struct mqshm_watch_event *event)
{
	return event->type < sizeof words / sizeof *words && words[event->type] ? words[event->type] : "?";
}

static const char *role_of(const struct mqshm_watch_event *event)
{
	return event->role == MQSHM_WATCH_PRODUCER ? "producer" : "consumer";
}

static void write_who(const struct mqshm_watch_event *event)
{
	printf("  %s %u", role_of(event), (unsigned)event->id);
	if (*event->name)
		printf(" '%s'", event->name);
	if (event->type != MQSHM_WATCH_MISSED)
		printf("  pid %d (%s)", (int)event->pid, event->comm);
}

/* What words of their own say better than the event's. */
static const char *remark(const struct mqshm_watch_event *event)
{
	switch (event->type) {
	case MQSHM_WATCH_CLOSED:
		return "the stream has ended";
	case MQSHM_WATCH_CRASHED:
		return "the stream was broken off";
	default:
		return event->text;
	}
}

void watch_write_line(const struct mqshm_watch_event *event)
{
	static int width = 12; /* of names: grows with them */
	time_t seconds = (time_t)(event->time_ns / 1000000000u);
	struct tm tm;
	char time[16];

	localtime_r(&seconds, &tm);
	strftime(time, sizeof time, "%H:%M:%S", &tm);
	if ((int)strlen(event->queue) > width)
		width = (int)strlen(event->queue);
	printf("%s.%03u  %-10s  ", time, (unsigned)(event->time_ns / 1000000u % 1000u), word_of(event));
	if (event->role) {
		printf("%-*s", width, event->queue);
		write_who(event);
	} else {
		printf("%s", event->queue);
	}
	if (event->type == MQSHM_WATCH_MISSED && event->role)
		printf("  %" PRIu64 " more came and went", event->count);
	else if (event->type == MQSHM_WATCH_MISSED)
		printf("  another one of this name came and went");
	else if (*remark(event))
		printf("  %s", remark(event));
	if (event->by_pid)
		printf(", by pid %d", (int)event->by_pid);
	putchar('\n');
}

static void text(const char *key, const char *value, size_t size)
{
	printf(", \"%s\": ", key);
	json_string(stdout, value, strnlen(value, size));
}

void watch_write_json(const struct mqshm_watch_event *event)
{
	printf("{\"time_ns\": %" PRIu64, event->time_ns);
	text("event", word_of(event), 16);
	text("queue", event->queue, sizeof event->queue);
	if (event->role) {
		text("role", role_of(event), 16);
		printf(", \"id\": %u", (unsigned)event->id);
	}
	if (event->role && event->type != MQSHM_WATCH_MISSED) {
		printf(", \"pid\": %d", (int)event->pid);
		text("comm", event->comm, sizeof event->comm);
		if (*event->name)
			text("name", event->name, sizeof event->name);
	}
	if (event->type == MQSHM_WATCH_MISSED)
		printf(", \"count\": %" PRIu64, event->count);
	if (*event->text)
		text(event->type == MQSHM_WATCH_UNREADABLE ? "error" : "reason", event->text, sizeof event->text);
	if (event->type == MQSHM_WATCH_UNREADABLE)
		printf(", \"error_code\": %d", (int)event->error);
	if (event->by_pid)
		printf(", \"by_pid\": %d", (int)event->by_pid);
	fputs("}\n", stdout);
}
