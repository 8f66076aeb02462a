/* SPDX-License-Identifier: MIT */
/*
 * Which file is streamed: the one that was asked for, else the largest WAV file under /usr/share/sounds, else the
 * largest file under /usr/share. Called by demo.c before any other process is started.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "demo.h"

#define SEARCH_FDS 32 /* nftw keeps open at most */

/* nftw() hands nothing through to its callback. */
static struct {
	bool wav_only;
	off_t size;
	char path[PATH_MAX];
} largest;

static bool is_wav_name(const char *path)
{
	size_t length = strlen(path);

	return length > 4 && !strcasecmp(path + length - 4, ".wav");
}

static int look_at(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)where;
	if (type != FTW_F || !S_ISREG(st->st_mode) || st->st_size <= largest.size)
		return 0;
	if ((largest.wav_only && !is_wav_name(path)) || strlen(path) >= sizeof(largest.path) || access(path, R_OK) < 0)
		return 0;
	largest.size = st->st_size;
	strcpy(largest.path, path);
	return 0;
}

/* The largest readable regular file below a directory, on its file system; NULL if there is none. */
static const char *find_largest(const char *directory, bool wav_only)
{
	largest.wav_only = wav_only;
	largest.size = 0;
	nftw(directory, look_at, SEARCH_FDS, FTW_PHYS | FTW_MOUNT);
	return largest.size ? largest.path : NULL;
}

static const char *choose(const char **why)
{
	const char *path = find_largest("/usr/share/sounds", true);

	*why = "the largest WAV file under /usr/share/sounds";
	if (!path) {
		path = find_largest("/usr/share", false);
		*why = "the largest file under /usr/share (there is no WAV file)";
	}
	return path;
}

static unsigned little_endian(const unsigned char *byte, int count)
{
	unsigned value = 0;

	while (count--)
		value = value << 8 | byte[count];
	return value;
}

/* RIFF, size, WAVE, then chunks: name, size, content. The "fmt " chunk ends with the bits of a sample. */
static void look_for_samples(struct input *input)
{
	unsigned char head[4096];
	ssize_t got = pread(input->fd, head, sizeof(head), 0);

	if (got < 12 || memcmp(head, "RIFF", 4) || memcmp(head + 8, "WAVE", 4))
		return;
	for (size_t at = 12; at + 24 <= (size_t)got; ) {
		unsigned size = little_endian(head + at + 4, 4);

		if (!memcmp(head + at, "fmt ", 4)) {
			input->int16 = little_endian(head + at + 22, 2) == 16;
			return;
		}
		if (size > sizeof(head))
			return;
		at += 8 + size + (size & 1);
	}
}

static int refuse(const char *path, const char *reason)
{
	fprintf(stderr, "demo: cannot stream '%s': %s\n", path, reason);
	return -1;
}

int input_open(struct input *input, const char *path)
{
	struct stat st;

	input->why = "as asked for";
	if (!path)
		path = choose(&input->why);
	if (!path) {
		fputs("demo: there is no readable file under /usr/share; give one: make demo INPUT=FILE\n", stderr);
		return -1;
	}
	if (strlen(path) >= sizeof(input->path))
		return refuse(path, strerror(ENAMETOOLONG));
	strcpy(input->path, path);
	input->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* a FIFO shall not block */
	if (input->fd < 0 || fstat(input->fd, &st) < 0)
		return refuse(path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return refuse(path, S_ISDIR(st.st_mode) ? "it is a directory" : "it is not a regular file");
	if (!st.st_size)
		return refuse(path, "it is empty");
	input->size = (uint64_t)st.st_size;
	look_for_samples(input);
	input_cut(input, MOST_BYTES);
	return 0;
}

void input_cut(struct input *input, uint64_t most)
{
	input->bytes = input->size < most ? input->size : most;
	input->blocks = (input->bytes + BLOCK - 1) / BLOCK;
}
