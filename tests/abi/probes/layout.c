/* SPDX-License-Identifier: MIT */
/* Prints offset and size of every field of include/mqshm/abi.h, and its constants: one listing for all processes. */
#include <stdio.h>

#include "mqshm/abi.h"

#define STRUCT(s) printf("struct %s: size %zu align %zu\n", #s, sizeof(struct s), _Alignof(struct s))
#define FIELD(s, f) printf("  %4zu %4zu %s\n", __builtin_offsetof(struct s, f), sizeof(((struct s *)0)->f), #f)
#define CONSTANT(c) printf("%s %#llx\n", #c, (unsigned long long)(c))

int main(void)
{
#include "fields.h"
	return 0;
}
