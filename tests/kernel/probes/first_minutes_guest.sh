# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# Runs in the guest for first_minutes.sh. "1$", "2$" and "3$" are terminals, "#" is root.
failed=0
q=/sys/class/mqshm/q

# type PROMPT COMMAND: show it, and what it says.
type()
{
	echo "$1 $2"
	sh -c "$2" 2>&1
}

# background PROMPT COMMAND [INPUT]: in a terminal of its own; its pid in $pid.
background()
{
	echo "$1 $2 &"
	sh -c "exec $2" < "${3:-/dev/null}" 2>&1 &
	pid=$!
}

# Until something is so; it needn't be at once, but it must be.
await()
{
	for _ in $(seq 600); do
		eval "$1" && return
		sleep 0.1
	done
	echo "never: $1"
	failed=1
}

must()
{
	eval "$1" || { echo "not so: $1"; failed=1; }
}

echo "# kernel $(uname -r)"
cd / || exit
type '#' 'insmod mqshm.ko'
type '#' 'ls -l /dev/mqshm'
background '1$' 'mqshm pop q --lines'
reader=$pid
sleep 1
mkfifo /tmp/typed
background '2$' 'mqshm push q --lines' /tmp/typed
exec 3> /tmp/typed
for i in 1 2 3; do
	echo "line $i" >&3
done
await "[ \"\$(cat $q/total_popped 2> /dev/null)\" = 3 ]"
type '3$' 'ls -l /dev/mqshm; mqshm list'
type '3$' "ls $q"
type '3$' "cd $q; grep . producer_* consumer_count total_* depth consumers/0/*" | grep -v evict
must "[ \"\$(cat $q/consumers/0/pid)\" = $reader ]"
type '3$' "kill -9 $reader"
wait "$reader"
await "[ ! -e $q/consumers/0 ]"
type '3$' "cat $q/consumer_count; ls $q/consumers"
type '#' 'rmmod mqshm'
must '[ -e /sys/module/mqshm ]'
echo '2$ ^D'
exec 3>&-
await "[ ! -e $q ]"
type '3$' 'ls /dev/mqshm'
type '#' 'rmmod mqshm; ls /dev/mqshm'
must '[ ! -e /sys/module/mqshm ]'
exit $failed
