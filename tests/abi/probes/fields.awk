# SPDX-License-Identifier: MIT
# From abi.h to the C lines that probes/layout.c includes: STRUCT, FIELD, CONSTANT. So a field that is added is in the
# listing without anybody thinking of it.
/^struct mqshm_[a-z_]* \{/ { name = $2; print "STRUCT(" name ");"; next }
/^\};/ { name = ""; next }
name != "" {
	sub(/\/\*.*/, "")
	gsub(/\[[^]]*\]/, "")
	if (!match($0, /;/)) next
	sub(/;.*/, "")
	# "__u32 a, b": the type, then names
	sub(/^[ \t]*(struct )?[a-zA-Z0-9_]+[ \t]+/, "")
	n = split($0, names, /[ \t]*,[ \t]*/)
	for (i = 1; i <= n; i++) print "FIELD(" name ", " names[i] ");"
}
/^#define MQSHM_[A-Z_0-9]+ / && $2 !~ /\(/ { print "CONSTANT(" $2 ");" }
