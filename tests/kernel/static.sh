#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kmod/ through the kernel's own checkers, taken from Debian's linux-source at test time: sparse, W=1, checkpatch and
# coccicheck, on kernel 6.1 of the cache; TAP.
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/kernel/kernel.bash
. tests/kernel/kernel.bash
kernel_install sparse coccinelle perl xz-utils "${kernel_packages[@]}" || exit 1
# shellcheck source=tests/tap.bash
. tests/tap.bash

kernel=6.1
source=$(tests/kernel/fetch_source.sh $kernel) || { result "the kernel's source" 1; conclude; }

# A copy, as the checkers write beside what they read.
sparse_clean() # [SED-EXPRESSION FILE]: with a bug planted
{
	local log=$OUT/sparse.log
	rm -rf "$OUT/sparse" && mkdir -p "$OUT/sparse" && cp -r kmod include "$OUT/sparse/" || return
	[[ $# == 0 ]] || sed -i "$1" "$OUT/sparse/$2" || return
	make -C "$cache/$kernel/root/$(< "$cache/$kernel/headers")" M="$OUT/sparse/kmod" C=2 W=1 modules > "$log" 2>&1 ||
		{ cat "$log"; return 1; }
	! grep -E 'warning|error:' "$log"
}

style() # a macro in a header may use an argument twice, as the kernel's own do
{
	perl "$source/scripts/checkpatch.pl" --no-tree --strict --no-summary --terse --show-types --max-line-length=130 \
		--ignore FILE_PATH_CHANGES,LINUX_VERSION_CODE,SPDX_LICENSE_TAG,EMBEDDED_FILENAME,MACRO_ARG_REUSE -f "$@"
}

# Each semantic patch that says it reports, on the module alone. One that spatch can't run (255) must not stop xargs.
coccinelle() # DIRECTORY
{
	local found
	# shellcheck disable=SC2016 # the inner shell expands it
	found=$(grep -rlE '^virtual report' "$source/scripts/coccinelle" --include='*.cocci' | sort |
		xargs -P "$(nproc)" -I PATCH sh -c 'spatch --very-quiet --no-show-diff -D report --cocci-file "$1" -I "$2/include" \
			-I include --dir "$3" 2> /dev/null || :' - PATCH "$source" "$1")
	[[ -z $found ]] || { echo "$found"; return 1; }
}

check "sparse and W=1" sparse_clean
check "checkpatch" style kmod/*.[ch]
check "coccicheck" coccinelle kmod
goes_red "sparse finds a user's pointer that is read" 'warning: .*(noderef|address space)' \
	sparse_clean '/^static int check_role/s/.*/int red(const struct mqshm_ioc_wait __user *w); int red(const struct mqshm_ioc_wait __user *w) { return *(const int *)w; }\n&/' kmod/file.c
printf '// SPDX-License-Identifier: GPL-2.0-only\nint red(int a) {\n    return(a);\n}\n' > "$OUT/red.c"
goes_red "checkpatch finds what is wrong" 'ERROR' style "$OUT/red.c"
mkdir -p "$OUT/red" && printf '%s\n' 'struct s { int x; };' 'int red(struct s *p)' '{' '	if (!p)' '		return p->x;' \
	'	return 0;' '}' > "$OUT/red/red.c"
goes_red "coccicheck finds what is wrong" 'NULL' coccinelle "$OUT/red"
conclude
