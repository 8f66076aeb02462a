#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Shows that scan.sh finds each kind of bad line in a kernel's log, and takes none of those of a kernel that is well; TAP.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

while read -r line; do
	printf '[    1.234567] Run /init as init process\n[   12.345678] %s\n' "$line" > "$OUT/red.log"
	goes_red "found: $line" '.' tests/kernel/scan.sh "$OUT/red.log"
done << 'END_OF_BAD'
------------[ cut here ]------------
WARNING: CPU: 1 PID: 77 at kmod/queue.c:120 queue_free+0x12/0x80 [mqshm]
kernel BUG at kmod/queue.c:99!
BUG: kernel NULL pointer dereference, address: 0000000000000010
BUG: unable to handle page fault for address: ffffc90000000000
BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580
BUG: scheduling while atomic: insmod/71/0x00000002
BUG: KASAN: slab-use-after-free in owner_died+0x41/0x90 [mqshm]
BUG: KCSAN: data-race in role_end [mqshm] / role_end [mqshm]
BUG: KCSAN: data-race in _copy_to_user / role_end [mqshm]
BUG: KCSAN: assert: race in owner_died [mqshm]
BUG: soft lockup - CPU#0 stuck for 26s! [load:99]
BUG kmalloc-64 (Not tainted): Poison overwritten
Oops: 0002 [#1] PREEMPT SMP NOPTI
Oops: int3: 0000 [#1] SMP NOPTI
general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP
WARNING: possible circular locking dependency detected
WARNING: inconsistent lock state
WARNING: suspicious RCU usage
WARNING: bad unlock balance detected!
INFO: task rmmod:99 blocked for more than 120 seconds.
INFO: trying to register non-static key.
INFO: lockdep is turned off.
rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
rcu: INFO: rcu_preempt self-detected stall on CPU
UBSAN: array-index-out-of-bounds in kmod/role.c:40:12
kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)
unreferenced object 0xffff888004f3a000 (size 64):
refcount_t: underflow; use-after-free.
list_add corruption. prev->next should be next, but was dead000000000100.
Kernel panic - not syncing: Fatal exception
sysfs: cannot create duplicate filename '/class/mqshm'
ODEBUG: free active (active state 0) object: 0000 object type: work_struct hint: owner_work
kobject: (00000000): tried to init an initialized object, something is seriously wrong.
insmod: page allocation failure: order:4, mode:0xcc0(GFP_KERNEL)
load invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0
BUG: Bad page state in process load  pfn:0012a
mqshm: Unknown symbol zap_vma_ptes (err -2)
END_OF_BAD

cat > "$OUT/green.log" << 'END_OF_GOOD'
[    0.000000] Command line: console=ttyS0 loglevel=7 panic=-1 rcupdate.rcu_cpu_stall_timeout=300 nosoftlockup
[    0.052000] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible
[    0.061000] kasan: KernelAddressSanitizer initialized
[    0.100000] rcu: Hierarchical RCU implementation.
[    2.100000] mqshm: loading out-of-tree module taints kernel.
[    2.110000] mqshm: module verification failed: signature and/or required key missing - tainting kernel
[    9.000000] hostile[99]: segfault at 7f0000 ip 00005 sp 00007 error 7 in hostile[400000+1000]
[    9.100000] traps: hostile[100] general protection fault ip:401136 sp:7ffd error:0 in hostile[401000+1000]
[   10.000000] BUG: KCSAN: data-race in do_nanosleep / hrtimer_wakeup
[   99.000000] clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable because the skew is too large:
END_OF_GOOD
check "nothing is found in the log of a kernel that is well" tests/kernel/scan.sh "$OUT/green.log"
conclude
