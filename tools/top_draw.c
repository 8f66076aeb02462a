/* SPDX-License-Identifier: MIT */
/*
 * The screen of top: a title, a line for each queue with its users below it, and what was left out. Called by
 * cmd_top.c. It never writes more lines or columns than there are; queues come before users, and what did not fit is
 * counted in the last line.
 */
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "top.h"

#define LINE 512
#define FRAME_LINES 3  /* title, head, foot */
#define FIGURES_WIDTH 30 /* "%6s %8s %6s %4s" with the blanks around */
#define CLEAR "\033[2K"
#define CLEAR_BELOW "\033[J"
#define PLAIN "\033[0m"
#define BOLD "\033[1m"
#define REVERSE "\033[7m"
#define RED "\033[31m"

struct frame {
	FILE *out;
	int rows, columns;
	int name, state, history; /* widths */
	bool utf8;
};

/* 80 columns: 22 name, 30 figures, 17 state, 10 history; what is more goes to all three. */
static void lay_out(struct frame *frame, int columns)
{
	int more = columns > 80 ? columns - 80 : 0;

	frame->columns = columns;
	frame->name = 22 + (more / 3 > 41 ? 41 : more / 3);
	frame->state = 17 + (more / 4 > 12 ? 12 : more / 4);
	frame->history = columns - frame->name - FIGURES_WIDTH - frame->state - 1;
	if (frame->history > TOP_HISTORY)
		frame->history = TOP_HISTORY;
	if (frame->history < 0)
		frame->history = 0;
	frame->utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
}

/* Cut to the width. The line is cleared before: afterwards, the cursor of a full line still stands on its last column. */
static void put_line(struct frame *frame, const char *style, const char *text)
{
	fprintf(frame->out, CLEAR "%s%.*s%s\r\n", style, frame->columns, text, *style ? PLAIN : "");
}

static void put_row(struct frame *frame, char *line, const char *name, const char *msgs,
		    const char *bytes, const char *lag, const char *full, const char *state)
{
	snprintf(line, LINE, "%-*.*s %6s %8s %6s %4s  %-*.*s", frame->name, frame->name, name, msgs, bytes, lag, full,
		 frame->state, frame->state, state);
}

/* One cell a sample, the newest at the right edge, as high as its share of the highest that is shown. */
static void put_history(struct frame *frame, const struct top_queue *queue)
{
	static const char *const blocks[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char plain[] = " .:-=+*#@";
	const float *samples = queue->history + TOP_HISTORY - frame->history;
	float highest = 0;

	for (int i = 0; i < frame->history; i++)
		if (samples[i] > highest)
			highest = samples[i];
	for (int i = 0; i < frame->history; i++) {
		int level = samples[i] <= 0 ? 0 : 1 + (int)(samples[i] / highest * 7.49f);

		if (frame->utf8)
			fputs(blocks[level], frame->out);
		else
			fputc(plain[level], frame->out);
	}
}

/* The share of the capacity. A lossy consumer can be further behind than that: it will miss messages. */
static void put_full(char text[8], uint64_t lag, uint32_t node_count)
{
	if (lag > node_count)
		snprintf(text, 8, "over");
	else
		snprintf(text, 8, "%.0f%%", node_count ? 100.0 * (double)lag / node_count : 0);
}

static const char *queue_state(const struct top_queue *queue, char *text, size_t size)
{
	const struct mqshm_stat *s = &queue->stat;
	char comm[16];

	for (size_t i = 0; i < queue->user_count; i++) {
		const struct top_user *user = &queue->users[i];

		if (user->producer && !user->stat.alive)
			return "producer died";
		if (!user->producer && s->blocked_by >= 0 && user->stat.id == (uint32_t)s->blocked_by) {
			stat_comm(&user->stat, comm);
			snprintf(text, size, "full: %s", comm);
			return text;
		}
	}
	if (!s->producer_count)
		return s->producer_state == MQSHM_PRODUCER_NONE ? "no producer" : stat_producer_state(s);
	if (queue->rate > 0)
		return s->consumer_count ? "flows" : "no consumers";
	return s->consumer_count ? "idle" : "no consumers";
}

static void draw_queue(struct frame *frame, const struct top_queue *queue)
{
	const struct mqshm_stat *s = &queue->stat;
	char line[LINE], state[32], full[8];

	if (s->error) {
		snprintf(line, sizeof line, "%-*.*s %.300s", frame->name, frame->name, s->name, s->error_text);
		put_line(frame, RED, line);
		return;
	}
	put_full(full, s->depth, s->node_count);
	put_row(frame, line, s->name, unit_count(queue->rate).text, unit_bytes(queue->byte_rate).text,
		unit_count((double)s->depth).text, full, queue_state(queue, state, sizeof state));
	fprintf(frame->out, CLEAR BOLD "%.*s" PLAIN " ", frame->columns, line);
	put_history(frame, queue);
	fputs("\r\n", frame->out);
}

/* Whom it blocks, and since when: in 17 columns with a pid of 7 digits. */
static void blocker_state(const struct top_queue *queue, const struct top_user *user, char *text, size_t size)
{
	struct unit_text since = unit_seconds(user->stat.blocks_ns);

	if (queue->stat.producer_count == 1 && queue->user_count)
		snprintf(text, size, "blocks %d %s", (int)queue->users[0].stat.pid, since.text);
	else
		snprintf(text, size, "blocks all %s", since.text);
}

/* Who waits for whom, for the producers' and the consumers' lines. */
static void user_state(const struct top_queue *queue, const struct top_user *user, char *text, size_t size)
{
	const struct mqshm_stat *s = &queue->stat;

	text[0] = '\0';
	if (!user->stat.alive)
		snprintf(text, size, "dead");
	else if (!user->producer && s->blocked_by >= 0 && user->stat.id == (uint32_t)s->blocked_by)
		blocker_state(queue, user, text, size);
	else if (user->producer && s->blocked_by >= 0)
		for (size_t i = 0; i < queue->user_count; i++) {
			if (!queue->users[i].producer && queue->users[i].stat.id == (uint32_t)s->blocked_by)
				snprintf(text, size, "waits for %d", (int)queue->users[i].stat.pid);
		}
	else if (user->stat.leased)
		snprintf(text, size, "leased for %s", unit_seconds(user->stat.lease_ms * 1000000ull).text);
	else if (user->stat.demoted)
		snprintf(text, size, "demoted, -%s", unit_count((double)user->stat.missed).text);
	else if (user->stat.missed)
		snprintf(text, size, "missed %s", unit_count((double)user->stat.missed).text);
	else if (user->stat.lossy)
		snprintf(text, size, "lossy");
}

static void draw_user(struct frame *frame, const struct top_queue *queue, const struct top_user *user)
{
	char line[LINE], name[80], state[48], full[8] = "", comm[16];
	const struct mqshm_participant_stat *s = &user->stat;
	bool blocks = !user->producer && queue->stat.blocked_by >= 0 && s->id == (uint32_t)queue->stat.blocked_by;

	stat_comm(s, comm);
	if (s->name[0])
		snprintf(name, sizeof name, "  < %d %.31s (%s)", (int)s->pid, s->name, comm);
	else
		snprintf(name, sizeof name, "  %c %d %s", user->producer ? '>' : '<', (int)s->pid, comm);
	user_state(queue, user, state, sizeof state);
	if (!user->producer)
		put_full(full, s->lag, queue->stat.node_count);
	put_row(frame, line, name, user->producer ? "" : unit_count(user->rate).text, "",
		user->producer ? "" : unit_count((double)s->lag).text, full, state);
	put_line(frame, blocks || !s->alive ? RED : "", line);
}

/* Of lines that are left when each queue has one: an equal share for each, in turn, what one does not need goes on. */
static void share_lines(const struct top *top, size_t shown, size_t left, size_t *users)
{
	bool given = true;

	memset(users, 0, shown * sizeof *users);
	while (left && given) {
		given = false;
		for (size_t i = 0; i < shown && left; i++) {
			if (users[i] < top->order[i]->user_count) {
				users[i]++;
				left--;
				given = true;
			}
		}
	}
}

static void draw_title(struct frame *frame, const struct top *top)
{
	char line[LINE], left[256], clock[16];
	time_t now = time(NULL);
	struct tm local;
	int gap;

	localtime_r(&now, &local);
	strftime(clock, sizeof clock, "%H:%M:%S", &local);
	snprintf(left, sizeof left, "mqshm top: %zu queue%s, %zu producer%s, %zu consumer%s, %s", top->count,
		 plural(top->count), top->producers, plural(top->producers), top->consumers, plural(top->consumers),
		 unit_bytes((double)top->total_bytes).text);
	gap = frame->columns - (int)strlen(left) - (int)strlen(clock);
	snprintf(line, sizeof line, "%s%*s%s", left, gap > 1 ? gap : 1, "", clock);
	put_line(frame, "", line);
	put_row(frame, line, "QUEUE / PROCESS", "MSG/S", "BYTES/S", "LAG", "FULL", "STATE");
	snprintf(left, sizeof left, "%.200s %-*s", line, frame->history, frame->history > 6 ? "HISTORY" : "");
	put_line(frame, REVERSE, left);
}

static void draw_foot(struct frame *frame, const struct top *top, size_t queues_left_out, size_t users_left_out)
{
	char line[LINE], rest[128] = "";

	if (queues_left_out)
		snprintf(rest, sizeof rest, "; not shown: %zu queue%s, %zu process%s", queues_left_out,
			 plural(queues_left_out), users_left_out, users_left_out == 1 ? "" : "es");
	else if (users_left_out)
		snprintf(rest, sizeof rest, "; not shown: %zu process%s", users_left_out,
			 users_left_out == 1 ? "" : "es");
	snprintf(line, sizeof line, "q quit, s sort (now by %s)%s", top->by_name ? "name" : "rate", rest);
	/* On the last line, wherever the table ended; without a newline, which would scroll. */
	fprintf(frame->out, CLEAR_BELOW "\033[%d;1H" CLEAR "%.*s", frame->rows, frame->columns, line);
}

void top_draw(FILE *out, const struct top *top, int rows, int columns)
{
	struct frame frame = { .out = out, .rows = rows };
	size_t room = rows > FRAME_LINES ? (size_t)(rows - FRAME_LINES) : 0;
	size_t shown = top->count < room ? top->count : room, users_shown = 0;
	size_t *users = calloc(shown + 1, sizeof *users);

	if (!users)
		return;
	lay_out(&frame, columns);
	share_lines(top, shown, room - shown, users);
	fputs("\033[H", out);
	if (rows >= FRAME_LINES)
		draw_title(&frame, top);
	for (size_t i = 0; i < shown; i++) {
		draw_queue(&frame, top->order[i]);
		for (size_t j = 0; j < users[i]; j++)
			draw_user(&frame, top->order[i], &top->order[i]->users[j]);
		users_shown += users[i];
	}
	if (!top->count && room)
		put_line(&frame, "", "no queue yet: each will be shown as it comes");
	draw_foot(&frame, top, top->count - shown, top->producers + top->consumers - users_shown);
	free(users);
}
