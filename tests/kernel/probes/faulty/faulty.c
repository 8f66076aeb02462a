// SPDX-License-Identifier: GPL-2.0-only
/*
 * One wrong thing for each detector of the kernels of tests/kernel/debug: loaded with bug=NAME it does that thing. kasan.sh
 * shows with it that the detector says so, and that the scan of the log sees it.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *bug = "";
module_param(bug, charp, 0444);
MODULE_PARM_DESC(bug, "what to do wrong: use_after_free out_of_bounds shift lock_order sleep_in_atomic rcu leak race");

/* The compiler must not see what comes. */
static volatile int seven = 7;

static void use_after_free(void)
{
	char *p = kmalloc(64, GFP_KERNEL);

	if (!p)
		return;
	kfree(p);
	((volatile char *)p)[seven] = 1;
}

static void out_of_bounds(void)
{
	char *p = kmalloc(64, GFP_KERNEL);

	if (!p)
		return;
	((volatile char *)p)[seven * 10] = 1;
	kfree(p);
}

static void shift(void)
{
	seven = 1 << (seven * 10);
}

static void lock_order(void)
{
	static DEFINE_MUTEX(a);
	static DEFINE_MUTEX(b);

	mutex_lock(&a);
	mutex_lock(&b);
	mutex_unlock(&b);
	mutex_unlock(&a);
	mutex_lock(&b);
	mutex_lock(&a);
	mutex_unlock(&a);
	mutex_unlock(&b);
}

static void sleep_in_atomic(void)
{
	static DEFINE_SPINLOCK(lock);
	static DEFINE_MUTEX(mutex);

	spin_lock(&lock);
	mutex_lock(&mutex);
	mutex_unlock(&mutex);
	spin_unlock(&lock);
}

static void rcu(void)
{
	static LIST_HEAD(list);
	struct list_head *entry;

	list_for_each_rcu(entry, &list)
		;
	/* Nobody holds the read lock. */
	(void)rcu_dereference(*(struct list_head __rcu **)&list.next);
}

static void leak(void)
{
	int i;

	/* Several: an old register or stack may still point to one. */
	for (i = 0; i < 16; i++)
		(void)!kmalloc(4000, GFP_KERNEL);
}

static long shared;

static int racer(void *unused)
{
	unsigned long end = jiffies + 3 * HZ;

	while (time_before(jiffies, end)) {
		int i;

		for (i = 0; i < 10000; i++) {
			shared++;
			barrier();
		}
		cond_resched();
	}
	while (!kthread_should_stop())
		msleep(10);
	return 0;
}

static void race(void)
{
	struct task_struct *a = kthread_run(racer, NULL, "racer_a");
	struct task_struct *b = kthread_run(racer, NULL, "racer_b");

	/* One that is stopped before it began never begins. */
	msleep(1000);
	if (!IS_ERR(a))
		kthread_stop(a);
	if (!IS_ERR(b))
		kthread_stop(b);
}

static const struct {
	const char *name;
	void (*make)(void);
} bugs[] = {
	{ "use_after_free", use_after_free },
	{ "out_of_bounds", out_of_bounds },
	{ "shift", shift },
	{ "lock_order", lock_order },
	{ "sleep_in_atomic", sleep_in_atomic },
	{ "rcu", rcu },
	{ "leak", leak },
	{ "race", race },
};

static int __init faulty_init(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bugs); i++) {
		if (!strcmp(bug, bugs[i].name)) {
			bugs[i].make();
			return 0;
		}
	}
	return -EINVAL;
}
module_init(faulty_init);

static void __exit faulty_exit(void)
{
}
module_exit(faulty_exit);

MODULE_DESCRIPTION("Planted bugs for the mqshm tests");
MODULE_LICENSE("GPL");
