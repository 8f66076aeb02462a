/* SPDX-License-Identifier: MIT */
/*
 * Numbers and sentences for people, and the clock they are about.
 */
#include <stdio.h>
#include <time.h>

#include "demo.h"

struct words exact(uint64_t count)
{
	struct words out;
	char digits[24];
	size_t length = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)count), at = 0;

	for (size_t i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			out.text[at++] = ',';
		out.text[at++] = digits[i];
	}
	out.text[at] = '\0';
	return out;
}

struct words in_bytes(double bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	struct words out;
	unsigned unit = 0;

	while (bytes >= 1024 && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	snprintf(out.text, sizeof(out.text), unit ? "%.1f %s" : "%.0f %s", bytes,
		 !unit && bytes == 1 ? "byte" : units[unit]);
	return out;
}

struct words counted(uint64_t count, const char *what)
{
	struct words out;

	snprintf(out.text, sizeof(out.text), "%.32s %.24s%s", exact(count).text, what, count == 1 ? "" : "s");
	return out;
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int fail(struct report *report, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(report->error, sizeof(report->error), format, args);
	va_end(args);
	return -1;
}
