/* SPDX-License-Identifier: MIT */
/*
 * The terminal of top: alternate screen, keys without Enter, resizes, Ctrl-Z. Called by cmd_top.c. Whatever way top
 * ends, terminal_close() has put everything back before; it may run twice.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "top.h"

/* alternate screen, no cursor, no wrapping at the right edge; and back */
static const char enter[] = "\033[?1049h\033[?25l\033[?7l\033[H\033[2J";
static const char leave[] = "\033[?7h\033[?25h\033[0m\033[?1049l";

static struct termios before; /* of stdin */
static bool has_keys, is_open;
static volatile sig_atomic_t resized, suspended, continued; /* written by the handler only */

static void note_signal(int signal_number)
{
	if (signal_number == SIGWINCH)
		resized = 1;
	else if (signal_number == SIGTSTP)
		suspended = 1;
	else
		continued = 1;
}

static void catch_signals(void)
{
	static const int caught[] = { SIGWINCH, SIGTSTP, SIGCONT };
	struct sigaction action = { .sa_handler = note_signal };

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
		sigaction(caught[i], &action, NULL);
}

static void put(const char *text)
{
	size_t length = strlen(text);

	while (length) {
		ssize_t written = write(STDOUT_FILENO, text, length);

		if (written < 0 && errno != EINTR)
			return; /* the terminal is gone: nothing to restore */
		if (written > 0) {
			text += written;
			length -= (size_t)written;
		}
	}
}

static void set_keys(void)
{
	struct termios raw = before;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* ISIG stays: Ctrl-C is a signal */
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (has_keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

bool terminal_open(void)
{
	if (!isatty(STDOUT_FILENO))
		return false;
	has_keys = isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &before);
	catch_signals();
	set_keys();
	put(enter);
	is_open = true;
	return true;
}

void terminal_close(void)
{
	if (!is_open)
		return;
	is_open = false;
	put(leave);
	if (has_keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

void terminal_size(int *rows, int *columns)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
		size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	*rows = size.ws_row;
	*columns = size.ws_col;
}

/* Ctrl-Z: leave the screen, stop, come back. Also after a SIGSTOP, when the shell has used the terminal meanwhile. */
static void stop_or_come_back(void)
{
	if (suspended) {
		suspended = 0;
		terminal_close();
		raise(SIGSTOP);
		continued = 1;
	}
	if (continued) {
		continued = 0;
		set_keys();
		put(enter);
		is_open = true;
		resized = 1;
	}
}

int terminal_wait(int timeout_ms)
{
	struct pollfd fd = { .fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN };
	unsigned char key;
	int ready;

	stop_or_come_back();
	if (resized) {
		resized = 0;
		return 0;
	}
	ready = poll(&fd, 1, timeout_ms);
	stop_or_come_back();
	if (ready <= 0)
		return 0;
	if (read(STDIN_FILENO, &key, 1) == 1)
		return key;
	return errno == EINTR || errno == EAGAIN ? 0 : -1;
}
