/* SPDX-License-Identifier: MIT */
/*
 * What a stat means, in words. Called by stat, list, top and push's progress line. Names of programs come from
 * other processes: they are made printable here before they reach a terminal.
 */
#include <string.h>

#include "tool.h"

const char *stat_producer_state(const struct mqshm_stat *stat)
{
	switch (stat->producer_state) {
	case MQSHM_PRODUCER_ACTIVE:
		return "active";
	case MQSHM_PRODUCER_CLOSED:
		return "closed";
	case MQSHM_PRODUCER_CRASHED:
		return "crashed";
	default:
		return "none";
	}
}

const struct mqshm_participant_stat *stat_blocker(const struct mqshm_stat *stat)
{
	for (uint32_t i = 0; i < stat->consumer_count && stat->blocked_by >= 0; i++)
		if (stat->consumers[i].id == (uint32_t)stat->blocked_by)
			return &stat->consumers[i];
	return NULL;
}

const char *stat_slow_policy(const struct mqshm_stat *stat)
{
	switch (stat->slow_policy) {
	case MQSHM_SLOW_EVICT:
		return "evict";
	case MQSHM_SLOW_DEMOTE:
		return "demote";
	default:
		return "block";
	}
}

void stat_flags(const struct mqshm_stat *stat, char *text, size_t size)
{
	static const struct {
		uint32_t flag;
		const char *word;
	} words[] = {
		{ MQSHM_SHARED, "shared" },
		{ MQSHM_OVERWRITE, "overwrite" },
		{ MQSHM_HOLD, "hold" },
		{ MQSHM_PERSISTENT, "persistent" },
		{ MQSHM_TIMESTAMP_OFF, "no timestamps" },
		{ MQSHM_TIMESTAMP_OWN, "own timestamps" },
	};
	size_t length = 0;

	snprintf(text, size, "-");
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (stat->flags & words[i].flag && length < size)
			length += (size_t)snprintf(text + length, size - length, "%s%s", length ? ", " : "",
						   words[i].word);
	if (stat->slow_policy && length < size)
		snprintf(text + length, size - length, "%s%s after %u ms", length ? ", " : "", stat_slow_policy(stat),
			 (unsigned)stat->slow_ms);
}

void stat_comm(const struct mqshm_participant_stat *who, char text[16])
{
	size_t length = strnlen(who->comm, 15);

	for (size_t i = 0; i < length; i++)
		text[i] = who->comm[i] < ' ' || who->comm[i] > '~' ? '?' : who->comm[i];
	text[length] = '\0';
}
