# SPDX-License-Identifier: MIT
# Bash completion of mqshm: commands, options, their values, names of queues. Sourced by bash-completion when mqshm is
# completed first; it uses nothing else of that. Names come from /dev/shm, so that no process is started.

# Anybody can make files there and compgen -W expands what it gets: only proper names pass.
_mqshm_queues()
{
	local file name
	for file in /dev/shm/mqshm.*; do
		name=${file#/dev/shm/mqshm.}
		[[ -e $file && $name =~ ^[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}$ ]] && printf '%s\n' "$name"
	done
}

_mqshm()
{
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]} words='' i names=0

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W 'create list stat top watch push pop merge evict rm gc bench --help --version' -- "$current")
		return
	fi
	case $previous in
	--from) words='latest oldest beginning' ;;
	--overflow) words='block overwrite' ;;
	--slow) words='block evict:500 demote:500' ;;
	--nodes | --block | --consumers | --metadata | --mode | --wait | --count | --timeout | --sync | --as | --lease | --only | --reps | --at-most | --seconds-per-run) return ;;
	esac
	if [[ -n $words ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
		return
	fi
	case $command in
	create) words='--nodes --block --consumers --metadata --overflow --slow --hold --shared --persistent --mode' ;;
	list | stat) words='--json' ;;
	watch) words='--json --new --count --timeout' ;;
	push) words='--lines --block --nodes --slow --wait --verbose' ;;
	pop) words='--from --count --timeout --lines --raw --json --lossy --as --lease --leave' ;;
	merge) words='--sync --from --count --timeout --lines --raw --json --lossy' ;;
	rm) words='--force' ;;
	gc) words='--quiet' ;;
	bench) words='--full --only --list --reps --until-class-reps --at-most --seconds-per-run --json --check' ;;
	esac
	if [[ $current == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words --help" -- "$current")
		return
	fi
	for ((i = 2; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--nodes | --block | --slow | --wait | --from | --count | --timeout | --sync | --as | --lease) ((i++)) ;;
		-*) ;;
		*) ((names++)) ;;
		esac
	done
	case $command:$names in
	stat:0 | push:0 | pop:0 | evict:0 | gc:0 | merge:* | rm:* | top:* | watch:*)
		mapfile -t COMPREPLY < <(compgen -W "$(_mqshm_queues)" -- "$current")
		;;
	push:1)
		compopt -o filenames 2> /dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		;;
	esac
}

complete -F _mqshm mqshm
