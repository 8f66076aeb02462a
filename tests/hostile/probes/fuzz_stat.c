/* SPDX-License-Identifier: MIT */
/* lib/posix_stat.c over an image in memory, for fuzz_image.c: the file is an array, everybody is alive. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ssize_t image_read(int fd, void *to, size_t bytes, off_t at);
static int image_close(int fd);

#define pread image_read
#define close image_close
#include "posix_stat.c"
#undef close

static const unsigned char *image;
static size_t image_size;
static uint64_t image_file_bytes;

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

static int image_close(int fd)
{
	(void)fd;
	return 0;
}

int posix_open_object(const char *name, int flags, struct stat *st)
{
	(void)name;
	(void)flags;
	memset(st, 0, sizeof *st);
	st->st_size = (off_t)image_file_bytes;
	return 3;
}

uint64_t posix_pid_namespace(void)
{
	return 0;
}

uint64_t posix_lease_left(const struct mqshm_participant *participant)
{
	return participant->lease_until_ns;
}

bool posix_alive(int fd, const struct mqshm_participant *participant, uint32_t i, uint64_t pid_namespace)
{
	(void)fd;
	(void)participant;
	(void)pid_namespace;
	return i % 2;
}

int fuzz_stat(const void *at, size_t size, uint64_t file_bytes, struct mqshm_stat **out);
int fuzz_stat(const void *at, size_t size, uint64_t file_bytes, struct mqshm_stat **out)
{
	image = at;
	image_size = size;
	image_file_bytes = file_bytes;
	return posix_stat("fuzz", out);
}
