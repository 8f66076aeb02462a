/* SPDX-License-Identifier: MIT */
/*
 * What the tool says on stderr. Called by every command. Each message is exactly one line that begins with the
 * command's name, also when it quotes something that was typed with control characters in it.
 */
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

#define TEXT 1024 /* longer ones are cut */

const char *message_command;
static bool line_open;

void message_line_is_open(bool open)
{
	line_open = open;
}

/* Other programs name files and queues too: nothing of it may move the cursor or end the line. */
static void make_printable(char *text)
{
	for (size_t left = strlen(text), length; left; text += length, left -= length) {
		length = printable_length((const uint8_t *)text, left);
		if (!length) {
			length = 1;
			*text = '?';
		}
	}
}

static void say(char *text, const char *hint)
{
	make_printable(text);
	if (line_open)
		fputs("\r\033[K", stderr);
	line_open = false;
	fprintf(stderr, "mqshm%s%s: %s%s\n", message_command ? " " : "", message_command ? message_command : "",
		text, hint);
}

void complain(const char *format, ...)
{
	char text[TEXT];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	say(text, "");
}

int usage_error(const char *format, ...)
{
	char text[TEXT], hint[64];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	snprintf(hint, sizeof hint, " (see mqshm %s%s--help)", message_command ? message_command : "",
		 message_command ? " " : "");
	say(text, hint);
	return EXIT_USAGE;
}

int library_error(void)
{
	complain("%s", mqshm_last_error());
	return EXIT_FAILED;
}
