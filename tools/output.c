/* SPDX-License-Identifier: MIT */
/*
 * Writes to stdout that are checked. Called by every command that prints. A command only ends with 0 when all it
 * wrote has arrived: a full disk or a reader that went away is a failure.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

int output_failed(int error)
{
	complain("can't write to stdout: %s", strerror(error));
	return EXIT_FAILED;
}

int output_finish(int code)
{
	errno = 0;
	if (fflush(stdout) || ferror(stdout))
		return output_failed(errno ? errno : EIO);
	return code;
}

int output_text(const char *text)
{
	fputs(text, stdout);
	return output_finish(EXIT_DONE);
}

/* A pipe whose reader has left, or a terminal that is gone: noticed without writing. */
bool output_gone(void)
{
	struct pollfd fd = { .fd = STDOUT_FILENO };

	return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLERR | POLLNVAL));
}
