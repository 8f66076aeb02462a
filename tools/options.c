/* SPDX-License-Identifier: MIT */
/*
 * What was typed on the command line, read strictly. Called by every command before it touches a queue. Whatever
 * returns false, -1 or '?' has already said as a usage error what is wrong; nothing is ever guessed.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static const char name_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

/* How the option was typed that getopt has just refused. */
static const char *refused_option(char **argv)
{
	static char letter[3];

	if (optopt && isprint(optopt) && strncmp(argv[optind - 1], "--", 2)) {
		snprintf(letter, sizeof letter, "-%c", optopt);
		return letter;
	}
	return argv[optind - 1];
}

/* getopt_long(), with our own messages. letters begins with ':'. '?': refused; -1: no more. */
int next_option(int argc, char **argv, const char *letters, const struct option *options)
{
	int code;

	opterr = 0;
	code = getopt_long(argc, argv, letters, options, NULL);
	if (code == ':')
		usage_error("option '%s' needs a value", refused_option(argv));
	else if (code == '?' && strchr(refused_option(argv), '=') && optopt)
		usage_error("option '%s' takes no value", refused_option(argv));
	else if (code == '?')
		usage_error("unknown option '%s'", refused_option(argv));
	return code == ':' ? '?' : code;
}

/* Decimal digits, and with units one of K M G behind them. False: not that. Too large becomes UINT64_MAX. */
static bool read_number(const char *text, bool units, uint64_t *number)
{
	static const char letters[] = "KMG";
	const char *unit;
	uint64_t n = 0;

	if (!isdigit((unsigned char)*text))
		return false;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
			n = UINT64_MAX;
	if (units && *text && (unit = strchr(letters, toupper((unsigned char)*text)))) {
		unsigned shift = 10 * (unsigned)(unit - letters + 1);

		n = n > UINT64_MAX >> shift ? UINT64_MAX : n << shift;
		text++;
	}
	*number = n;
	return *text == '\0';
}

static bool parse_within(const char *what, const char *text, bool units, uint64_t min, uint64_t max, uint64_t *number)
{
	const char *kind = units ? "a number of bytes (with K, M or G for 1024, 1024^2, 1024^3)" : "a number";

	if (!read_number(text, units, number)) {
		usage_error("%s: '%s' is not %s; allowed is %llu to %llu", what, text, kind,
			    (unsigned long long)min, (unsigned long long)max);
		return false;
	}
	if (*number < min || *number > max) {
		usage_error("%s: %s is out of range; allowed is %llu to %llu", what, text, (unsigned long long)min,
			    (unsigned long long)max);
		return false;
	}
	return true;
}

bool parse_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
	return parse_within(what, text, false, min, max, number);
}

bool parse_bytes(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
	return parse_within(what, text, true, min, max, number);
}

/* Access rights in octal. 0 is refused: in mqshm_queue_options it means the default. */
bool parse_mode(const char *what, const char *text, uint32_t *mode)
{
	size_t length = strlen(text);

	if (length < 1 || length > 8 || strspn(text, "01234567") != length ||
	    (*mode = (uint32_t)strtoul(text, NULL, 8)) < 1 || *mode > 0777) {
		usage_error("%s: '%s' is not a mode; allowed is 0001 to 0777, octal", what, text);
		return false;
	}
	return true;
}

int parse_choice(const char *what, const char *text, const char *const *choices)
{
	char list[128] = "";

	for (int i = 0; choices[i]; i++) {
		if (!strcmp(text, choices[i]))
			return i;
		if (i)
			strncat(list, choices[i + 1] ? ", " : " or ", sizeof list - strlen(list) - 1);
		strncat(list, choices[i], sizeof list - strlen(list) - 1);
	}
	usage_error("%s: '%s' is not one of %s", what, text, list);
	return -1;
}

/* A policy and its time are one word, so that neither can be forgotten. */
bool parse_slow(const char *what, const char *text, struct mqshm_queue_options *queue)
{
	static const char *const policies[] = { "block", "evict", "demote", NULL };
	static const uint32_t codes[] = { MQSHM_SLOW_BLOCK, MQSHM_SLOW_EVICT, MQSHM_SLOW_DEMOTE };
	const char *colon = strchr(text, ':');
	uint64_t ms = 0;
	char policy[8];
	int choice;

	snprintf(policy, sizeof policy, "%.*s", colon ? (int)(colon - text) : (int)sizeof policy, text);
	choice = parse_choice(what, policy, policies);
	if (choice < 0)
		return false;
	if (!choice != !colon) {
		usage_error(choice ? "%s: '%s' needs a time: %s:MS" : "%s: '%s' has no time", what, policy, policy);
		return false;
	}
	if (colon && !parse_number(what, colon + 1, 1, MQSHM_SLOW_MS_MAX, &ms))
		return false;
	queue->slow_policy = codes[choice];
	queue->slow_ms = (uint32_t)ms;
	return true;
}

bool parse_consumer_name(const char *what, const char *text)
{
	size_t length = strlen(text);

	if (length >= 1 && length <= MQSHM_CONSUMER_NAME_MAX && strspn(text, name_letters) == length)
		return true;
	usage_error("%s: '%.40s' is not a name; allowed are 1 to %d of A-Z a-z 0-9 . _ -", what, text,
		    MQSHM_CONSUMER_NAME_MAX);
	return false;
}

/* The library would refuse a bad name too, but with -EINVAL: here it is known to be a usage error. */
bool parse_name(const char *text)
{
	size_t length = strlen(text);

	if (!length)
		usage_error("the queue name is empty");
	else if (length > MQSHM_NAME_MAX)
		usage_error("the queue name '%.20s...' is longer than %d characters", text, MQSHM_NAME_MAX);
	else if (*text == '.')
		usage_error("the queue name '%s' begins with a dot", text);
	else if (strspn(text, name_letters) != length)
		usage_error("the queue name '%s' has characters other than A-Z a-z 0-9 . _ -", text);
	else if (!strcmp(text, "control"))
		usage_error("the queue name 'control' is reserved");
	else
		return true;
	return false;
}

bool parse_pattern(const char *text)
{
	return text[strcspn(text, "*?[\\")] || parse_name(text);
}

/* After the options: at most that many arguments are left; missing: what the first one is, NULL if it may lack. */
bool check_arguments(int argc, char **argv, int most, const char *missing)
{
	if (argc - optind > most) {
		usage_error("surplus argument '%s'", argv[optind + most]);
		return false;
	}
	if (argc == optind && missing) {
		usage_error("%s is missing", missing);
		return false;
	}
	return true;
}
