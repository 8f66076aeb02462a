/* SPDX-License-Identifier: MIT */
/*
 * What a fork must not do: keep a dead parent's roles alive, or let a child use them. All mappings of the process are
 * listed here, with what their owner word is.
 */
#ifndef MQSHM_FORK_H
#define MQSHM_FORK_H

#include "backend.h"

/*
 * List a mapping, give it its owner word, and let open_fd(mapping, fd), if given, open the descriptor that a child must not keep; no fork
 * happens between. In a child the backend's forked() is called. 0 -ENOMEM or what open_fd says.
 */
int mqshm_register(struct mqshm_mapping *mapping, int (*open_fd)(struct mqshm_mapping *mapping, int fd), int fd);
void mqshm_unregister(struct mqshm_mapping *mapping);

#endif
