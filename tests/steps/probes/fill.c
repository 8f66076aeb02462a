/* SPDX-License-Identifier: MIT */
/* What a user does between reserve and commit: stores to shared memory, too. */
#include "step.h"
#include "world.h"

void fill_reservation(void *to, const void *from, size_t bytes)
{
	LABELLED_COPY("copy to the user's reservation", to, from, bytes);
}
