/* SPDX-License-Identifier: MIT */
/* lib/stat.c over an image in memory, for fuzz_image.c: the file is an array, everybody is alive. */
#include <string.h>
#include <unistd.h>

static ssize_t image_read(int fd, void *to, size_t bytes, off_t at);

#define pread image_read
#include "stat.c"

static const unsigned char *image;
static size_t image_size;

static ssize_t image_read(int fd, void *to, size_t bytes, off_t at)
{
	(void)fd;
	if ((size_t)at > image_size)
		return 0;
	if (bytes > image_size - (size_t)at)
		bytes = image_size - (size_t)at;
	memcpy(to, image + at, bytes);
	return (ssize_t)bytes;
}

static bool alive(const struct mqshm_look *how, const struct mqshm_participant *participant, uint32_t i)
{
	(void)how;
	(void)participant;
	return i % 2;
}

int fuzz_stat(const void *at, size_t size, uint64_t file_bytes, struct mqshm_stat **out);
int fuzz_stat(const void *at, size_t size, uint64_t file_bytes, struct mqshm_stat **out)
{
	image = at;
	image_size = size;
	return mqshm_look(&(struct mqshm_look){ .name = "fuzz", .backend = "fuzz", .bytes = file_bytes, .alive = alive }, out);
}
