/* SPDX-License-Identifier: MIT */
/*
 * For programs that run under qemu-user, linked with -Wl,--wrap=open64. qemu makes up /proc/self/stat and
 * /proc/<own pid>/stat, with a start time of its own, while other processes see what the kernel says: each would think
 * the others dead and their pids reused. It knows these files by their names, so they get another name here.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int __wrap_open64(const char *path, int flags, ...);
int __real_open64(const char *path, int flags, mode_t mode);

int __wrap_open64(const char *path, int flags, ...)
{
	char other[64];
	mode_t mode = 0;
	va_list list;

	va_start(list, flags);
	if (flags & (O_CREAT | __O_TMPFILE))
		mode = va_arg(list, mode_t);
	va_end(list);
	if (!strncmp(path, "/proc/", 6) && strstr(path, "/stat")) {
		snprintf(other, sizeof other, "/%s", path);
		path = other;
	}
	return __real_open64(path, flags, mode);
}
