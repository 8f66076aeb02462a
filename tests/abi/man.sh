#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The man pages against the header and the tool: each function has a page, no page names what does not exist, prototypes and
# structs are those of the header, mqshm.1 has the options that the tool has, and mandoc and groff have nothing to say.
# Speaks TAP. Run from the root of the repository; BUILD is the build directory.

set -u -o pipefail

headers=(include/mqshm.h)
for header in include/mqshm/*.h; do # public ones: not the layout, nor what is internal
	[[ $header =~ /(abi|ring|atomic)\.h$ ]] || headers+=("$header")
done
inlines=(include/mqshm_uring.h) # static inline: in no symbol map
map=lib/libmqshm.map
pages=docs/man
tool=${BUILD:-build}/mqshm
cc=${CC:-cc}
number=0 failed=0

# result NAME PROBLEMS: one TAP line; PROBLEMS, when not empty, is why it failed.
result()
{
	number=$((number + 1))
	if [ -z "${2//[[:space:]]/}" ]; then
		echo "ok $number - $1"
		return
	fi
	failed=$((failed + 1))
	while IFS= read -r line; do
		[ -z "$line" ] || echo "# $line"
	done <<<"$2"
	echo "not ok $number - $1"
}

skip()
{
	number=$((number + 1))
	echo "ok $number - $1 # SKIP $2"
}

is_link()
{
	[ "$(head -c 4 "$1")" = ".so " ]
}

# The functions that the headers declare, those that they define, and those that the map exports.
declared=$(sed 's|^[ /]\*.*||' "${headers[@]}" | grep -o '\bmqshm_[a-z0-9_]*(' | tr -d '(' | sort -u)
inlined=$(grep -o '^static inline .*\bmqshm_[a-z0-9_]*(' "${inlines[@]}" | grep -o '\bmqshm_[a-z0-9_]*($' | tr -d '(')
exported=$(grep -o '\bmqshm_[a-z0-9_]*;' "$map" | tr -d ';' | sort -u)

exists()
{
	grep -qxF "$1" <<<"$declared"$'\n'"$inlined"
}

problems=$(diff <(echo "$declared") <(echo "$exported") |
	sed -n -e "s|^< |declared in a header, not exported by $map: |p" -e "s|^> |exported, not declared: |p")
result "header and symbol map name the same functions" "$problems"

problems=
for function in $declared $inlined; do
	page=$pages/$function.3
	if [ ! -f "$page" ]; then
		problems+="$page is missing"$'\n'
		continue
	fi
	is_link "$page" && page=$pages/$(sed -n '1s|^\.so man3/||p' "$page")
	grep -q "^\.Nm $function\( ,\)\?$" "$page" || problems+="$page does not have .Nm $function"$'\n'
done
result "each function has a man page that names it" "$problems"

problems=
for page in "$pages"/*.3; do
	exists "$(basename "$page" .3)" || problems+="$page is for no function of a header"$'\n'
done
for page in "$pages"/*.[1-8]; do
	while read -r function; do
		exists "$function" || problems+="$page names $function()"$'\n'
	done < <(sed -n -e 's/^\.F[no] \(mqshm_[a-z0-9_]*\).*/\1/p' -e 's/.*\b\(mqshm_[a-z0-9_]*\)(.*/\1/p' "$page")
	while read -r name section; do
		[ -f "$pages/$name.$section" ] || problems+="$page refers to $name($section)"$'\n'
	done < <(sed -n 's/^\.Xr \(mqshm[a-z0-9_]*\) \([0-9]\).*/\1 \2/p' "$page")
	while read -r macro; do
		grep -qw "$macro" "${headers[@]}" || problems+="$page names $macro"$'\n'
	done < <(grep -v '^\.\(Dt\|Ev\|It Ev\) ' "$page" | grep -o '\bMQSHM_[A-Z_]*[A-Z]\b')
done
result "no page names what does not exist" "$problems"

# The synopses as C: a prototype that differs from the header's does not compile beside it.
prototypes()
{
	printf '#include "%s"\n' "${headers[@]#include/}" "${inlines[@]#include/}"
	for page in "$pages"/mqshm_*.3; do
		is_link "$page" || awk '
			function words(line, out) { # "a b" "c d" or bare words, joined by commas
				out = ""
				while (match(line, /"[^"]*"|[^ "]+/)) {
					out = out (out == "" ? "" : ", ") substr(line, RSTART, RLENGTH)
					line = substr(line, RSTART + RLENGTH)
				}
				gsub(/"/, "", out)
				return out
			}
			/^\.Sh DESCRIPTION/ { exit }
			/^\.Ft / { sub(/^\.Ft /, ""); gsub(/"/, ""); printf "%s ", $0 }
			/^\.Fn / { name = $2; sub(/^\.Fn [^ ]+ /, ""); print name "(" words($0) ");" }
			/^\.Fo / { printf "%s(", $2; comma = "" }
			/^\.Fa / { sub(/^\.Fa /, ""); printf "%s%s", comma, words($0); comma = ", " }
			/^\.Fc/ { print ");" }' "$page"
	done
}
if command -v "$cc" >/dev/null; then
	shown=$(prototypes)
	problems=$("$cc" -std=gnu11 -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c - <<<"$shown" 2>&1)
	for function in $declared $inlined; do
		grep -q "\b$function(" <<<"$shown" || problems+=$'\n'"no prototype of $function"
	done
	result "the prototypes are those of the header" "$problems"
else
	skip "the prototypes are those of the header" "missing package: gcc"
fi

# One line a struct, without comments and spaces.
structs()
{
	"$cc" -fpreprocessed -dD -E -P -x c - 2>/dev/null | tr -d '[:space:]' |
		sed 's/};/&\n/g' | grep -o 'structmqshm_[a-z_]*{.*' | sort
}
if command -v "$cc" >/dev/null; then
	problems=$(comm -23 <(sed -n '/^struct mqshm.*{$/,/^};$/p' "$pages"/*.3 | structs) <(cat "${headers[@]}" | structs))
	result "the structs are those of the header" "$problems"
else
	skip "the structs are those of the header" "missing package: gcc"
fi

# options COMMAND: what its --help has and what its section of mqshm.1 has, both without --help.
help_options()
{
	"$tool" "$1" --help | grep -o -- '--[a-z][a-z-]*' | grep -vx -- --help | sort -u
}
page_options()
{
	awk -v command="$1" '/^\.S[hs] / { on = $2 == command } on' "$pages/mqshm.1" |
		grep -o '\\-[a-z][a-z\\-]*' | sed -e 's/\\//g' -e 's/^/-/' | sort -u
}
problems=
[ -x "$tool" ] || problems="$tool was not built"
for command in $("$tool" --help | sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
	problems+=$(diff <(help_options "$command") <(page_options "$command") |
		sed -n -e "s|^< |$command --help has, mqshm.1 has not: |p" -e "s|^> |mqshm.1 has, $command --help has not: |p")$'\n'
done
result "mqshm.1 has the options of the tool" "$problems"

if command -v mandoc >/dev/null; then
	problems=
	for page in "$pages"/*.[1-8]; do
		is_link "$page" || problems+=$(mandoc -T lint -W warning "$page" 2>&1)
	done
	result "mandoc -T lint -W warning" "$problems"
else
	skip "mandoc -T lint -W warning" "missing package: mandoc"
fi

if groff -mdoc -Tutf8 /dev/null >/dev/null 2>&1; then
	problems=
	for page in "$pages"/*.[1-8]; do
		is_link "$page" || problems+=$(groff -mandoc -ww -Tutf8 "$page" 2>&1 >/dev/null)
	done
	result "groff -ww" "$problems"
else
	skip "groff -ww" "missing package: groff-base"
fi

echo "1..$number"
[ "$failed" -eq 0 ]
