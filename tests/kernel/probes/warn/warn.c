// SPDX-License-Identifier: GPL-2.0-only
/* Warns once when it is loaded: check.sh shows with it that the scan of the log of a real machine finds that. */
#include <linux/bug.h>
#include <linux/module.h>

static int __init warn_init(void)
{
	WARN(1, "planted by the mqshm tests\n");
	return 0;
}
module_init(warn_init);

static void __exit warn_exit(void)
{
}
module_exit(warn_exit);

MODULE_DESCRIPTION("A planted warning for the mqshm tests");
MODULE_LICENSE("GPL");
