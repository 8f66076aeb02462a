# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# A terminal for the scripts that need one: a tmux server of their own with one pane of 80x24, in which a shell waits
# with the prompt "ready$". Sourced after lib.bash; terminal_begin skips the script where there is no tmux.

tm()
{
	TMUX='' tmux -S "$WORK/tmux" "$@"
}

terminal_begin()
{
	if ! command -v tmux > /dev/null; then
		skip "$1" "missing package: tmux"
		conclude
	fi
	trap terminal_end EXIT
	tm -f /dev/null new-session -d -s pane -x 80 -y 24 "env PS1='ready\$ ' bash --norc --noprofile"
	if ! tm has-session -t pane; then
		skip "$1" "tmux can't start here (no pseudo-terminals: is /dev/pts mounted?)"
		conclude
	fi
	wait_until shows '^ready\$'
}

terminal_end()
{
	tm kill-server 2> /dev/null
	finish
}

# send KEYS...: as tmux names them.
send()
{
	tm send-keys -t pane "$@"
}

resize()
{
	tm resize-window -t pane -x "$1" -y "$2"
}

screen()
{
	tm capture-pane -p -t pane
}

shows()
{
	screen | grep -Eq -- "$1"
}

# The shell of the pane has its prompt back, and the terminal its modes and its screen.
restored()
{
	wait_until shows '^ready\$' &&
		equal "$(tm display-message -p -t pane '#{alternate_on} #{cursor_flag} #{wrap_flag}')" '0 1 1' &&
		send 'clear; stty -a | grep -Eq "(^| )icanon .*echo " && echo modes=good' Enter &&
		wait_until shows '^modes=good$'
}
