/* SPDX-License-Identifier: MIT */
/*
 * The progress line of push on a terminal: bytes, rate, back-pressure (the share of time the queue was full) and who
 * blocks. Called by cmd_push.c and while data is fed. It is drawn at most five times a second, stays within the
 * terminal's width and is the only thing that writes to stderr without a newline.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "push.h"

#define DRAW_NS 200000000u
#define BAR_MAX 30
#define BAR_MIN 4
#define BLOCKER_TYPICAL 25 /* ", waits for 12345 (mqshm)" */
#define SMOOTH 0.6 /* weight of what was shown before */

static int terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
		return 80;
	return size.ws_col;
}

/*
 * Who has most to read yet: lossy ones only count at the end, when all are waited for. blocked_by does not help here:
 * it is set while the producer sleeps, and just now it is us who look.
 */
static const struct mqshm_participant_stat *slowest(const struct mqshm_stat *stat, bool draining)
{
	const struct mqshm_participant_stat *slow = NULL;

	for (uint32_t i = 0; i < stat->consumer_count; i++) {
		const struct mqshm_participant_stat *c = &stat->consumers[i];

		if (c->alive && c->lag && (draining || !c->lossy) && (!slow || c->lag > slow->lag))
			slow = c;
	}
	return slow;
}

/* Asks the queue, so only while the producer is held up. */
static void find_blocker(struct push *push, bool draining)
{
	const struct mqshm_participant_stat *slow;
	struct mqshm_stat *stat;
	char comm[16];

	push->blocker[0] = '\0';
	if (mqshm_queue_stat(push->name, &stat) < 0)
		return;
	slow = slowest(stat, draining);
	if (slow) {
		stat_comm(slow, comm);
		if (slow->leased)
			snprintf(push->blocker, sizeof push->blocker, ", waits for %.20s to return", slow->name);
		else
			snprintf(push->blocker, sizeof push->blocker, ", waits for %d (%s)", (int)slow->pid, comm);
	}
	mqshm_stat_free(stat);
}

static void smooth(struct push *push, uint64_t now)
{
	double seconds = (double)(now - push->drawn.at_ns) / 1e9;
	double rate, full;

	if (seconds <= 0)
		return;
	rate = (double)(push->bytes - push->drawn.bytes) / seconds;
	full = (double)(push->stalled_ns - push->drawn.stalled_ns) / 1e9 / seconds;
	if (push->drawn.at_ns != push->begun_ns) {
		rate = SMOOTH * push->drawn.rate + (1 - SMOOTH) * rate;
		full = SMOOTH * push->drawn.full + (1 - SMOOTH) * full;
	}
	push->drawn.rate = rate;
	push->drawn.full = full > 1 ? 1 : full;
	push->drawn.at_ns = now;
	push->drawn.bytes = push->bytes;
	push->drawn.stalled_ns = push->stalled_ns;
}

/* " [====>    ]  42%"; nothing when the size of the input is not known or there is no room. */
static void draw_bar(const struct push *push, char *text, size_t size, int width)
{
	static const char full[BAR_MAX + 1] = "==============================";
	double part = (double)push->bytes / (double)(push->input_bytes ? push->input_bytes : 1);
	int filled;

	text[0] = '\0';
	if (!push->input_bytes || width < BAR_MIN)
		return;
	width = width > BAR_MAX ? BAR_MAX : width;
	part = part > 1 ? 1 : part;
	filled = (int)(part * width);
	snprintf(text, size, " [%.*s%s%*s] %3d%%", filled > 0 ? filled - 1 : 0, full,
		 filled > 0 ? (filled < width ? ">" : "=") : "", width - filled, "", (int)(part * 100));
}

/* The bar's width leaves room for the name of a blocker, so that it does not change as one comes and goes. */
static void draw(const struct push *push)
{
	char line[256], bar[64];
	int width = terminal_width() - 1;
	int rest = (int)strlen(push->name) + (int)strlen(" [] 100% 99.9 MiB, 99.9 MiB/s, full 100%") + BLOCKER_TYPICAL;

	draw_bar(push, bar, sizeof bar, width - rest);
	snprintf(line, sizeof line, "%s%s %s, %s/s, full %.0f%%%s", push->name, bar, unit_bytes((double)push->bytes).text,
		 unit_bytes(push->drawn.rate).text, push->drawn.full * 100, push->blocker);
	fprintf(stderr, "\r%.*s\033[K", width, line);
	fflush(stderr);
	message_line_is_open(true);
}

void progress_begin(struct push *push)
{
	push->begun_ns = push->drawn.at_ns = clock_ns();
}

void progress_tick(struct push *push, bool draining)
{
	uint64_t now;

	if (!push->show || (now = clock_ns()) - push->drawn.at_ns < DRAW_NS)
		return;
	if (push->stalled_ns != push->drawn.stalled_ns || draining)
		find_blocker(push, draining);
	else
		push->blocker[0] = '\0';
	smooth(push, now);
	draw(push);
}

/* Over the whole time, as the last word. */
void progress_end(struct push *push)
{
	uint64_t now = clock_ns();

	if (!push->show || now <= push->begun_ns)
		return;
	push->drawn.rate = (double)push->bytes * 1e9 / (double)(now - push->begun_ns);
	push->drawn.full = (double)push->stalled_ns / (double)(now - push->begun_ns);
	push->blocker[0] = '\0';
	draw(push);
	fputc('\n', stderr);
	message_line_is_open(false);
}
