/* SPDX-License-Identifier: MIT */
/* Who uses a queue, and so who is in somebody's way, in words. */
#include <stdio.h>
#include <unistd.h>

#include "backend.h"
#include "error.h"

static bool has_user(uint32_t word)
{
	return slot_is_live(word) || MQSHM_SLOT_STATE(word) == MQSHM_SLOT_LEASED;
}

void mqshm_name_users(const struct mqshm_participant *table, uint32_t slots, char *text, size_t size)
{
	size_t used = 0;
	uint32_t more = 0;

	text[0] = 0;
	for (uint32_t i = 0; i < slots; i++) {
		char who[64];

		if (!has_user(smp_load_acquire(&table[i].state)))
			continue;
		if (used > size - 80 || more++ >= 3)
			continue;
		used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
					 mqshm_who(&table[i], who, sizeof who));
	}
	if (more > 3)
		snprintf(text + used, size - used, " and %u more", more - 3);
}

int mqshm_no_place(const char *queue, enum mqshm_role role, const struct mqshm_participant *first, uint32_t count)
{
	char who[64];

	if (count == 1 && role == MQSHM_ROLE_PRODUCER)
		return mqshm_error(-EBUSY, "queue '%s' has a live producer: %s", queue, mqshm_who(first, who, sizeof who));
	return mqshm_error(-EBUSY, "queue '%s' has %u %s, the most it was created for", queue, count,
			   role == MQSHM_ROLE_CONSUMER ? "consumers" : "producers");
}

int mqshm_may_take_on(const char *queue, const struct mqshm_attach *how, const struct mqshm_participant *participant)
{
	uint32_t uid = READ_ONCE(participant->uid);
	char who[64];

	if (MQSHM_SLOT_STATE(smp_load_acquire(&participant->state)) != MQSHM_SLOT_LEASED)
		return mqshm_error(-EBUSY, "queue '%s' has a live consumer '%s': %s", queue, how->consumer_name,
				   mqshm_who(participant, who, sizeof who));
	if (uid != geteuid())
		return mqshm_error(-EBUSY, "consumer '%s' of queue '%s' belongs to user %u", how->consumer_name, queue, uid);
	if (!(READ_ONCE(participant->flags) & MQSHM_ROLE_LOSSY) != !(how->flags & MQSHM_LOSSY))
		return mqshm_error(-EBUSY, "consumer '%s' of queue '%s' was attached %s", how->consumer_name, queue,
				   how->flags & MQSHM_LOSSY ? "reliable" : "lossy");
	return 0;
}
