#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Shows the lines of kernel logs by which the kernel says that something is wrong with it; status 1 if there are any:
#
#	tests/kernel/scan.sh LOG...
#
# What a program brings upon itself (a segfault) is none of them, nor a data race between two functions of the kernel's own.
patterns=(
	'BUG:' 'BUG at ' 'WARNING:' 'cut here' 'Oops' '\[#[0-9]+\]' 'Kernel panic' 'Call Trace:' 'invalid opcode'
	'general protection fault[,:]' 'double fault' 'stack guard page' 'kernel NULL pointer' 'unable to handle'
	'INFO: (task|rcu|trying|lockdep|possible|NMI|Slab)' 'blocked for more than' '(soft|hard) (lockup|LOCKUP)' 'detected stall' 'self-detected stall'
	'circular locking' 'lock state' 'recursive locking' 'locks? held' 'bad unlock' 'lock order' 'DEBUG_LOCKS_WARN'
	'suspicious RCU usage' 'scheduling while atomic' 'sleeping function called' 'KASAN' 'UBSAN' 'KCSAN' 'KFENCE:'
	'kmemleak: [0-9]+ new' 'unreferenced object' 'ODEBUG' 'refcount_t' 'list_(add|del)' 'corrupt' 'Poison overwritten'
	'Bad page' 'bad page' 'Bad rss' 'page allocation failure' 'oom-killer' 'Objects remaining' 'use-after-free'
	'cannot create duplicate' 'tried to init an initialized' 'does not have a release' 'still has .* in use'
	'nobody cared' 'workqueue: .* is flushing' 'Unknown symbol' 'disagrees about version'
)
# Said at boot by kernels that are well.
harmless='Spectre .*WARNING: Unprivileged eBPF|kasan: KernelAddressSanitizer initialized|kcsan: |BUG: KCSAN: data-race in [^[]*$|kfence: initialized|RCU callback double-/use-after-free debug is enabled|no locks held'
pattern=$(IFS='|'; echo "${patterns[*]}")
! grep -HnE "$pattern" "$@" | grep -vE "$harmless"
