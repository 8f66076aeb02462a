/* SPDX-License-Identifier: MIT */
/*
 * The level meter: a consumer that shows how loud the recording is and how far the stream has come. On a terminal it
 * draws one line again and again, elsewhere it writes a line each second. A file that is no recording is taken as
 * samples of 8 bits.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "demo.h"

#define BAR 32		  /* characters */
#define FLOOR_DB (-60.0)  /* the left end of the bar; its right end is 0 dB, the loudest there can be */
#define DRAW_NS 100000000ull
#define LINE_NS 1000000000ull

struct meter {
	const struct demo *demo;
	const struct report *report;
	int64_t sum, square_sum, samples; /* since it was drawn last */
	int lowest, highest;
	uint64_t drawn_ns;
};

static void restart(struct meter *meter)
{
	meter->sum = meter->square_sum = meter->samples = 0;
	meter->lowest = INT_MAX;
	meter->highest = INT_MIN;
}

static void add_sample(struct meter *meter, int sample)
{
	meter->sum += sample;
	meter->square_sum += (int64_t)sample * sample;
	if (sample < meter->lowest)
		meter->lowest = sample;
	if (sample > meter->highest)
		meter->highest = sample;
	meter->samples++;
}

static void add_message(struct meter *meter, const struct mqshm_message *message)
{
	const unsigned char *byte = message->data;

	if (meter->demo->input.int16)
		for (size_t i = 0; i + 1 < message->size; i += 2)
			add_sample(meter, (int16_t)(byte[i] | byte[i + 1] << 8));
	else
		for (size_t i = 0; i < message->size; i++)
			add_sample(meter, byte[i] - 128);
}

/* Of an amplitude, 1 being the greatest. */
static double decibel(double amplitude)
{
	double db = amplitude > 0 ? 20 * log10(amplitude) : FLOOR_DB;

	return db < FLOOR_DB ? FLOOR_DB : db > 0 ? 0 : db;
}

static int column(double db)
{
	return (int)lround((db - FLOOR_DB) / -FLOOR_DB * BAR);
}

/* "#####-----|      ": # up to the average (RMS), | at the peak. A constant offset is no sound. */
static double draw_bar(const struct meter *meter, char *bar)
{
	double full = meter->demo->input.int16 ? 32768 : 128, n = (double)meter->samples;
	double mean = n ? (double)meter->sum / n : 0;
	double variance = n ? (double)meter->square_sum / n - mean * mean : 0;
	double rms = decibel(sqrt(variance > 0 ? variance * 2 : 0) / full); /* a full sine wave is 0 dB */
	double peak = n ? decibel((meter->highest - meter->lowest) / 2.0 / full) : FLOOR_DB;
	int average_at = column(rms), peak_at = column(peak);

	for (int i = 0; i < BAR; i++)
		bar[i] = i < average_at ? '#' : i < peak_at ? '-' : ' ';
	if (peak_at > 0)
		bar[peak_at - 1] = '|';
	bar[BAR] = '\0';
	return rms;
}

static int terminal_width(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col ? 80 : size.ws_col;
}

/* One write: the first process writes to the same terminal. */
static void put(const struct meter *meter, const char *line, bool last)
{
	char text[256];
	int length;

	if (meter->demo->terminal)
		length = snprintf(text, sizeof(text), "\r\033[K%.*s%s", terminal_width() - 1, line, last ? "\n" : "");
	else
		length = snprintf(text, sizeof(text), "%s\n", line);
	if (write(STDOUT_FILENO, text, (size_t)length) < 0)
		return; /* nobody looks: the stream goes on */
}

static void draw(struct meter *meter, bool last)
{
	uint64_t now = now_ns(), begun = atomic_load(&meter->demo->shared->report[PRODUCER].begun_ns);
	uint64_t bytes = atomic_load(&meter->report->bytes), all = meter->demo->input.bytes;
	char bar[BAR + 1], line[160];
	double rms = draw_bar(meter, bar);

	snprintf(line, sizeof(line), "%5.1f s  [%s] %3.0f dB  %3u%%  %s", begun ? (double)(now - begun) / 1e9 : 0, bar,
		 rms, (unsigned)(bytes * 100 / all), in_bytes((double)bytes).text);
	put(meter, line, last);
	meter->drawn_ns = now;
	restart(meter);
}

static int show(void *arg, const struct mqshm_message *message)
{
	struct meter *meter = arg;

	if (message)
		add_message(meter, message);
	if (now_ns() - meter->drawn_ns >= (meter->demo->terminal ? DRAW_NS : LINE_NS))
		draw(meter, false);
	return 0;
}

int meter_run(struct demo *demo, struct report *report)
{
	struct meter meter = { .demo = demo, .report = report, .drawn_ns = now_ns() };
	int rc;

	restart(&meter);
	rc = follow(demo->queue, MQSHM_FROM_LATEST, report, show, &meter);
	if (rc == 0 && !told_to_stop())
		draw(&meter, true);
	return rc;
}
