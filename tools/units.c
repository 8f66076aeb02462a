/* SPDX-License-Identifier: MIT */
/*
 * Numbers for people: sizes, counts, ages. Called by all output that is not JSON. At most UNIT_TEXT - 1 characters,
 * and unit_bytes() and unit_count() at most 8 and 5, so that columns stay straight.
 */
#include <string.h>
#include <time.h>

#include "tool.h"

/* Three digits that count, and the unit for which that is so. */
static struct unit_text scaled(double value, double step, const char *const *units)
{
	struct unit_text out;
	int unit = 0;

	if (value < 0)
		value = 0;
	while (value >= (unit ? 999.5 : step) && units[unit + 1]) {
		value /= step;
		unit++;
	}
	snprintf(out.text, sizeof out.text, unit && value < 99.95 ? "%.1f%s" : "%.0f%s", value, units[unit]);
	return out;
}

struct unit_text unit_bytes(double bytes)
{
	static const char *const units[] = { " B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB", NULL };

	return scaled(bytes, 1024, units);
}

struct unit_text unit_count(double count)
{
	static const char *const units[] = { "", "k", "M", "G", "T", "P", "E", NULL };

	return scaled(count, 1000, units);
}

struct unit_text unit_exact(uint64_t count)
{
	struct unit_text out;
	char digits[24];
	size_t length = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
	char *to = out.text;

	if (length + (length - 1) / 3 >= sizeof out.text) { /* 18 digits and more: without commas */
		memcpy(out.text, digits, length + 1);
		return out;
	}
	for (size_t i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return out;
}

struct unit_text unit_time(uint64_t ns)
{
	struct unit_text out;
	double seconds = (double)ns / 1e9;

	if (seconds < 1)
		snprintf(out.text, sizeof out.text, "%.0f ms", seconds * 1e3);
	else if (seconds < 120)
		snprintf(out.text, sizeof out.text, "%.1f s", seconds);
	else if (seconds < 7200)
		snprintf(out.text, sizeof out.text, "%.0f min", seconds / 60);
	else if (seconds < 172800)
		snprintf(out.text, sizeof out.text, "%.0f h", seconds / 3600);
	else
		snprintf(out.text, sizeof out.text, "%.0f days", seconds / 86400);
	return out;
}

struct unit_text unit_seconds(uint64_t ns)
{
	struct unit_text out;
	uint64_t seconds = ns / 1000000000u;

	if (seconds < 100)
		snprintf(out.text, sizeof out.text, "%us", (unsigned)seconds);
	else if (seconds < 6000)
		snprintf(out.text, sizeof out.text, "%um", (unsigned)(seconds / 60));
	else if (seconds < 360000)
		snprintf(out.text, sizeof out.text, "%uh", (unsigned)(seconds / 3600));
	else
		snprintf(out.text, sizeof out.text, "%ud", (unsigned)(seconds / 86400 < 999 ? seconds / 86400 : 999));
	return out;
}

struct unit_text unit_ago(uint64_t then_ns)
{
	struct timespec now;
	uint64_t now_ns;

	clock_gettime(CLOCK_REALTIME, &now);
	now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	return unit_time(now_ns > then_ns ? now_ns - then_ns : 0);
}

uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

const char *plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}
