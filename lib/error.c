/* SPDX-License-Identifier: MIT */
/* mqshm_last_error() and mqshm_version(). */
#include <stdarg.h>
#include <stdio.h>

#include "error.h"
#include "mqshm.h"

static __thread char sentence[256];

void mqshm_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
}

const char *mqshm_last_error(void)
{
	return sentence;
}

const char *mqshm_version(void)
{
	return MQSHM_VERSION;
}
