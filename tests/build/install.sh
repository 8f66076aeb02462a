#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `make install` into an empty tree: everything is there, a C and a C++ program build against it by pkg-config and run;
# `make uninstall` leaves no file.
set -u
# shellcheck source=tests/tap.bash
. tests/tap.bash

tree=$OUT/tree
rm -rf "$tree"
to_tree()
{
	make -j"$JOBS" BUILD="$OUT/build" PREFIX=/usr DESTDIR="$tree" "$@"
}
check "make install" to_tree install

version=$(sed -n 's/^#define MQSHM_VERSION "\(.*\)"/\1/p' include/mqshm.h)
wanted()
{
	local m headers
	mapfile -t headers < <(printf '%s\n' include/mqshm/*.h include/mqshm/*.hpp | grep -v '/\(ring\|atomic\)\.h$')
	printf '%s\n' bin/mqshm include/mqshm.h include/mqshm.hpp include/mqshm_uring.h "${headers[@]}" lib/libmqshm.a lib/libmqshm.so \
		"lib/libmqshm.so.${version%%.*}" "lib/libmqshm.so.$version" lib/pkgconfig/mqshm.pc \
		share/bash-completion/completions/mqshm share/zsh/site-functions/_mqshm
	for m in docs/man/*.[1-8]; do
		echo "share/man/man${m##*.}/${m##*/}"
	done
}
check "it installs headers, libraries, mqshm.pc, tool, man pages and completions, nothing else" \
	same "$(wanted | sort)" "$(cd "$tree/usr" && find . ! -type d | sed 's|^\./||' | sort)"
check "there are man pages" test -s "$tree/usr/share/man/man1/mqshm.1"
nothing_outside()
{
	[[ $(ls -A "$tree") == usr ]]
}
check "all of it lies below PREFIX" nothing_outside
readable()
{
	! find "$tree" ! -type l ! -perm -a+r | grep .
}
check "everybody may read it" readable
no_build_path()
{
	! grep -rlF "$OUT" "$tree/usr/lib/pkgconfig" "$tree/usr/share" "$tree/usr/include"
}
check "no file names the build directory" no_build_path
check "the installed tool runs" same "mqshm $version" "$("$tree/usr/bin/mqshm" --version | head -n 1)"

cat > "$OUT/program.c" << 'END'
#include <stdio.h>
#include <string.h>
#include <mqshm.h>

int main(int argc, char **argv)
{
	struct mqshm_queue_options queue;
	struct mqshm_producer *producer;
	struct mqshm_consumer *consumer;
	char got[8] = "";

	memset(&queue, 0, sizeof queue);
	queue.size = sizeof queue;
	queue.node_count = 4;
	queue.block_size = 8;
	if (argc != 2 || mqshm_producer_open(&producer, argv[1], &queue, NULL) ||
	    mqshm_consumer_open(&consumer, argv[1], NULL, NULL) || mqshm_producer_push(producer, "hello", 6, 0) ||
	    mqshm_consumer_pop(consumer, got, sizeof got, NULL, 0) != 6)
		fprintf(stderr, "%s\n", mqshm_last_error());
	else
		puts(got);
	return strcmp(got, "hello") || mqshm_producer_close(producer) || mqshm_consumer_close(consumer);
}
END
cp "$OUT/program.c" "$OUT/program.cpp"
cat > "$OUT/classes.cpp" << 'END'
#include <array>
#include <cstdio>
#include <mqshm.hpp>

int main(int argc, char **argv)
try {
	std::array<char, 8> got{};
	mqshm::Producer producer(argv[argc - 1], mqshm::QueueOptions{}.nodes(4).block(8));
	mqshm::Consumer consumer(argv[argc - 1]);
	producer.push("hello");
	std::puts(std::string(consumer.pop(got)->text()).c_str());
	multiqueue::QueueConfig config;
	config.queue_name = std::string(argv[argc - 1]) + "-ring";
	multiqueue::RingQueue ring(config);
	return !(ring.push("x", 1) && ring.pop());
} catch (const mqshm::Error &error) {
	std::fprintf(stderr, "%s\n", error.what());
	return 1;
}
END
cat > "$OUT/layout.cpp" << 'END'
#include <mqshm/abi.h>
static_assert(sizeof(struct mqshm_info) == 2048, "");
END

pkg()
{
	PKG_CONFIG_PATH=$tree/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$tree PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 \
		PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 pkg-config "$@" mqshm
}
build() # COMPILER SOURCE PROGRAM OPTION...
{
	local flags
	read -ra flags < <(pkg --cflags --libs | tr '\n' ' ')
	"$1" "${@:4}" -Wall -Wextra -Werror -o "$3" "$2" "${flags[@]}"
}
run() # PROGRAM
{
	same hello "$(LD_LIBRARY_PATH=$tree/usr/lib "$1" "$Q-install")"
}
linked_to_tree()
{
	LD_LIBRARY_PATH=$tree/usr/lib ldd "$1" | grep -qF "$tree/usr/lib/libmqshm.so.${version%%.*}"
}
if have pkg-config pkgconf "programs build by pkg-config"; then
	check "mqshm.pc has the version of the header" same "$version" "$(pkg --modversion)"
	for std in c99 gnu17; do
		check "a C program builds by pkg-config (-std=$std)" build gcc "$OUT/program.c" "$OUT/c" -std=$std
	done
	check "... and runs with the installed library" run "$OUT/c"
	check "... which is the one it is linked to" linked_to_tree "$OUT/c"
	static_build()
	{
		local flags
		read -ra flags < <(pkg --static --cflags --libs | tr '\n' ' ')
		gcc -static -o "$OUT/static" "$OUT/program.c" "${flags[@]}" && "$OUT/static" "$Q-static"
	}
	check "a static program builds by pkg-config --static and runs" static_build
	if have g++ g++ "a C++ program builds by pkg-config"; then
		for std in c++11 c++20; do
			check "a C++ program builds by pkg-config (-std=$std)" \
				build g++ "$OUT/program.cpp" "$OUT/cpp" -std=$std
		done
		check "... and runs with the installed library" run "$OUT/cpp"
		for std in c++17 c++20; do
			check "a program with mqshm.hpp builds by pkg-config (-std=$std)" \
				build g++ "$OUT/classes.cpp" "$OUT/classes" -std=$std
		done
		check "... and runs with the installed library" run "$OUT/classes"
		check "abi.h is C++ too" g++ -std=c++11 -Wall -Wextra -Werror -fsyntax-only \
			"-I$tree/usr/include" "$OUT/layout.cpp"
	fi
fi

check "make uninstall" to_tree uninstall
nothing_left()
{
	! find "$tree" ! -type d | grep . && [[ ! -e $tree/usr/include/mqshm ]]
}
check "it leaves no file and no directory of its own" nothing_left
check "make uninstall a second time" to_tree uninstall
rm -rf "$tree"

moved()
{
	make BUILD="$OUT/build" DESTDIR="$tree" PREFIX=/opt/x LIBDIR=/opt/x/lib64 install &&
		grep -qx 'libdir=/opt/x/lib64' "$tree/opt/x/lib64/pkgconfig/mqshm.pc" &&
		make BUILD="$OUT/build" DESTDIR="$tree" PREFIX=/opt/x LIBDIR=/opt/x/lib64 uninstall && nothing_left
}
check "PREFIX and LIBDIR may be others" moved
rm -rf "$tree"
conclude
