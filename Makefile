# SPDX-License-Identifier: MIT
# `make help` says what there is to make. Everything is built below $(BUILD).

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
BINDIR  ?= $(PREFIX)/bin
LIBDIR  ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR  ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR  ?= $(PREFIX)/share/zsh/site-functions

CFLAGS  ?= -O2 -g
CXXFLAGS ?= -O2 -g
WARN     = -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
override CFLAGS += -std=gnu11 $(WARN) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -MMD -MP $(EXTRA_CFLAGS)
override CXXFLAGS += -std=c++17 -Wall -Wextra -Werror -Wshadow -Wconversion -D_FILE_OFFSET_BITS=64 -Iinclude -MMD -MP $(EXTRA_CFLAGS)
override LDFLAGS += $(EXTRA_CFLAGS)

# V=1 shows whole commands.
Q = $(if $(V),,@)
say = @$(if $(V),:,printf '  %-4s%s\n')

VERSION := $(shell sed -n 's/^.define MQSHM_VERSION "\(.*\)"/\1/p' include/mqshm.h)
MAJOR   := $(firstword $(subst ., ,$(VERSION)))
SO       = libmqshm.so.$(MAJOR)

LIB_OBJ   = $(patsubst %.c,$(BUILD)/%.o,$(wildcard lib/*.c))
TOOL_OBJ  = $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/*.c tools/bench/*.c))
EXAMPLES  = $(patsubst %.c,$(BUILD)/%,$(wildcard examples/*.c))
EXAMPLES_CXX = $(patsubst %.cpp,$(BUILD)/%-cpp,$(wildcard examples/*.cpp))
TEST_BIN  = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/*/*.c))
MAN       = $(wildcard docs/man/*.[1-8])

.PHONY: all kmod dkms-tree dkms-install dkms-uninstall help check check-kernel check-kasan bench-kernel kernel-shell torture demo demo-python bench bench-python python install uninstall clean tests examples FORCE
all: $(BUILD)/libmqshm.a $(BUILD)/$(SO) $(BUILD)/mqshm

help:
	@echo 'make                     library and tool, into $(BUILD)/'
	@echo 'make demo [INPUT=FILE]   stream a real file through a queue to five processes'
	@echo 'make check [INSTALL=1]   every test; INSTALL=1 installs missing Debian packages first'
	@echo 'make check-kernel        the kernel module in emulated machines; KERNELS="6.1 6.12 sid", INSTALL=1'
	@echo 'make check-kasan         the same on kernels with KASAN, lockdep, kmemleak, UBSAN, then KCSAN; hours, by hand'
	@echo 'make bench-kernel        the module beside POSIX shared memory in one such machine; KERNELS=6.1'
	@echo 'make kernel-shell        a root shell in such a machine, with the module loaded, to try things; KERNEL=6.1'
	@echo 'make torture             the long form of the proofs of docs/verification.md: hours'
	@echo 'make bench               throughput and latency beside a mutex ring; ARGS=--full for all'
	@echo 'make examples            the programs of examples/'
	@echo 'make python              the package multiqueue_shm, in the environment $(BUILD)/python/venv'
	@echo 'make demo-python         three Python scripts, two queues, a picture of wave and spectrum (python3-matplotlib)'
	@echo 'make bench-python        its speed beside multiprocessing, pyzmq and the C library; ARGS=--help'
	@echo 'make kmod [KDIR=DIR]     the kernel module, for the running kernel or the headers in DIR'
	@echo 'make dkms-install        the module, for every kernel of this machine; dkms-uninstall'
	@echo 'make install, uninstall  PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make clean'
	@echo 'V=1 shows whole commands'

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -fvisibility=hidden -c -o $@ $<

$(BUILD)/libmqshm.a: $(LIB_OBJ)
	$(say) AR $@
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/libmqshm.so.$(VERSION): $(LIB_OBJ) lib/libmqshm.map
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SO) -Wl,--version-script,lib/libmqshm.map -Wl,-z,defs -o $@ $(LIB_OBJ) -pthread

$(BUILD)/$(SO): $(BUILD)/libmqshm.so.$(VERSION)
	$(Q)ln -sf $(<F) $@
	$(Q)ln -sf $(<F) $(BUILD)/libmqshm.so

$(BUILD)/mqshm: $(TOOL_OBJ) $(BUILD)/libmqshm.a
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lm -pthread

# Tests link the static library, so that they reach internal functions too.
tests: $(TEST_BIN)
$(BUILD)/tests/%: tests/%.c tests/test.h $(BUILD)/libmqshm.a
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -Ilib -Itests $(LDFLAGS) -o $@ $< $(BUILD)/libmqshm.a -lm -pthread

# Those in C++ where there is a compiler: nothing else needs one.
examples: $(EXAMPLES) $(if $(shell command -v $(CXX)),$(EXAMPLES_CXX))
$(BUILD)/examples/%: examples/%.c $(BUILD)/libmqshm.a
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(BUILD)/libmqshm.a -lm -pthread

$(BUILD)/examples/%-cpp: examples/%.cpp $(BUILD)/libmqshm.a
	@mkdir -p $(@D)
	$(say) CXX $<
	$(Q)$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(LDFLAGS) -o $@ $< $(BUILD)/libmqshm.a -pthread

# The demo: one program of several files. INPUT goes through the environment, so that any file name will do.
DEMO_OBJ  = $(patsubst %.c,$(BUILD)/%.o,$(wildcard examples/demo/*.c))
$(BUILD)/demo: $(DEMO_OBJ) $(BUILD)/libmqshm.a
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lm -pthread

demo: $(BUILD)/demo
	@$(BUILD)/demo $${INPUT:+-- "$$INPUT"}

# What a program built with libmqshm needs, and abi.h for who reads the memory; ring.h and atomic.h are internal.
HEADERS  = $(filter-out %/ring.h %/atomic.h,$(wildcard include/mqshm/*.h include/mqshm/*.hpp))
LIBFILES = libmqshm.a libmqshm.so.$(VERSION) $(SO) libmqshm.so

install: all
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBDIR)/pkgconfig $(INCLUDEDIR)/mqshm $(BASHDIR) $(ZSHDIR))
	install -m 755 $(BUILD)/mqshm $(DESTDIR)$(BINDIR)/mqshm
	install -m 644 include/mqshm.h include/mqshm.hpp include/mqshm_uring.h $(DESTDIR)$(INCLUDEDIR)
	install -m 644 $(HEADERS) $(DESTDIR)$(INCLUDEDIR)/mqshm
	install -m 644 $(BUILD)/libmqshm.a $(DESTDIR)$(LIBDIR)/libmqshm.a
	install -m 755 $(BUILD)/libmqshm.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libmqshm.so.$(VERSION)
	ln -sf libmqshm.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SO)
	ln -sf $(SO) $(DESTDIR)$(LIBDIR)/libmqshm.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
		-e 's|@VERSION@|$(VERSION)|' packaging/mqshm.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/mqshm.pc
	chmod 644 $(DESTDIR)$(LIBDIR)/pkgconfig/mqshm.pc
	install -m 644 packaging/completion/mqshm.bash $(DESTDIR)$(BASHDIR)/mqshm
	install -m 644 packaging/completion/_mqshm $(DESTDIR)$(ZSHDIR)/_mqshm
	$(foreach m,$(MAN),install -D -m 644 $(m) $(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(m)))/$(notdir $(m)) &&) true
	[ -n "$(DESTDIR)" ] || [ "$$(id -u)" != 0 ] || ldconfig || true # else programs don't find the library in /usr/local/lib

# Directories that others use too stay.
uninstall:
	rm -f $(DESTDIR)$(BINDIR)/mqshm $(addprefix $(DESTDIR)$(LIBDIR)/,$(LIBFILES) pkgconfig/mqshm.pc)
	rm -f $(addprefix $(DESTDIR)$(INCLUDEDIR)/,mqshm.h mqshm.hpp mqshm_uring.h) $(addprefix $(DESTDIR)$(INCLUDEDIR)/mqshm/,$(notdir $(HEADERS)))
	rm -f $(DESTDIR)$(BASHDIR)/mqshm $(DESTDIR)$(ZSHDIR)/_mqshm
	rm -f $(foreach m,$(MAN),$(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(m)))/$(notdir $(m)))
	[ ! -d $(DESTDIR)$(INCLUDEDIR)/mqshm ] || rmdir $(DESTDIR)$(INCLUDEDIR)/mqshm

# The module, for the running kernel or the headers in KDIR. kbuild writes beside what it reads, so that is a copy in $(BUILD).
KDIR   ?= /lib/modules/$(shell uname -r)/build
KBUILD_TREE = $(abspath $(BUILD))/kmod
kmod:
	@[ -e $(KDIR)/Makefile ] || { echo "no kernel headers in $(KDIR): install linux-headers-$$(uname -r), or name others with KDIR="; exit 1; }
	$(Q)$(MAKE) --no-print-directory dkms-tree DKMS_TREE=$(KBUILD_TREE)
	$(Q)env -u CFLAGS -u LDFLAGS -u CPPFLAGS -u BUILD $(MAKE) -C $(KDIR) M=$(KBUILD_TREE) MAKEOVERRIDES= modules
	@echo "$(BUILD)/kmod/mqshm.ko is ready: sudo insmod $(BUILD)/kmod/mqshm.ko"

# What DKMS builds from, complete in itself.
DKMS_TREE ?= $(DESTDIR)/usr/src/mqshm-$(VERSION)
dkms-tree:
	$(Q)install -d $(DKMS_TREE)/include/mqshm
	$(Q)install -m 644 kmod/* $(DKMS_TREE)
	$(Q)install -m 644 include/mqshm/abi.h $(DKMS_TREE)/include/mqshm
	$(Q)sed 's|@VERSION@|$(VERSION)|' packaging/dkms.conf > $(DKMS_TREE)/dkms.conf

# Module for this kernel and all to come, the group that may create queues, and loading at boot. With DESTDIR: the files alone.
dkms-install: dkms-tree
	install -D -m 644 packaging/60-mqshm.rules $(DESTDIR)/usr/lib/udev/rules.d/60-mqshm.rules
	install -D -m 644 packaging/modules-load-mqshm.conf $(DESTDIR)/usr/lib/modules-load.d/mqshm.conf
	install -D -m 644 packaging/sysusers-mqshm.conf $(DESTDIR)/usr/lib/sysusers.d/mqshm.conf
	[ -n "$(DESTDIR)" ] || { { systemd-sysusers mqshm.conf 2> /dev/null || groupadd -f -r mqshm; } && \
		dkms install mqshm/$(VERSION) && udevadm control --reload; }

dkms-uninstall:
	[ -n "$(DESTDIR)" ] || dkms remove mqshm/$(VERSION) --all || true
	rm -rf $(DKMS_TREE)
	rm -f $(DESTDIR)/usr/lib/udev/rules.d/60-mqshm.rules $(DESTDIR)/usr/lib/modules-load.d/mqshm.conf \
		$(DESTDIR)/usr/lib/sysusers.d/mqshm.conf

bench: $(BUILD)/mqshm
	$(BUILD)/mqshm bench $(ARGS)

# The Python package, with Debian's python3 and its tools, without a network. What a plain pip would leave in python/ goes
# to $(BUILD). The library is built into it.
PYTHON ?= /usr/bin/python3
PYDIR   = $(abspath $(BUILD))/python
$(PYDIR)/venv/bin/pip:
	$(say) VENV $(PYDIR)/venv
	$(Q)$(PYTHON) -m venv --system-site-packages $(PYDIR)/venv
	@printf '[build]\nbuild_base=%s\n[egg_info]\negg_base=%s\n' $(PYDIR)/build $(PYDIR) > $(PYDIR)/setup.cfg

python: $(PYDIR)/venv/bin/pip
	$(say) PIP multiqueue_shm
	$(Q)DIST_EXTRA_CONFIG=$(PYDIR)/setup.cfg $< install --quiet --disable-pip-version-check --force-reinstall --no-deps \
		--no-index --no-build-isolation ./python

demo-python: python
	@$(PYDIR)/venv/bin/python -B examples/python/demo.py --out $(PYDIR) $(ARGS)

$(BUILD)/bench-python: tests/python/bench/c_side.c $(BUILD)/libmqshm.a
	$(say) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(BUILD)/libmqshm.a -lm -pthread

bench-python: python $(BUILD)/bench-python
	$(PYDIR)/venv/bin/python -B tests/python/bench/bench.py --c-side $(BUILD)/bench-python $(ARGS)

check:
	@INSTALL=$(INSTALL) BUILD=$(BUILD) tests/run

# Nothing is loaded into the kernel of this machine.
check-kernel:
	@INSTALL=$(INSTALL) BUILD=$(BUILD) $(if $(KERNELS),KERNELS="$(KERNELS)") tests/kernel/check.sh

check-kasan:
	@INSTALL=$(INSTALL) BUILD=$(BUILD) $(if $(KERNELS),KERNELS="$(KERNELS)") tests/kernel/kasan.sh

bench-kernel:
	@INSTALL=$(INSTALL) BUILD=$(BUILD) $(if $(KERNELS),KERNELS="$(KERNELS)") tests/kernel/bench.sh

kernel-shell: $(BUILD)/mqshm
	@INSTALL=$(INSTALL) BUILD=$(BUILD) tests/kernel/shell.sh $(KERNEL)

# The suites that have a long form; MQSHM_LONG asks for it.
torture:
	@INSTALL=$(INSTALL) BUILD=$(BUILD) MQSHM_LONG=1 TEST_LIMIT=$(or $(TEST_LIMIT),14400) \
		tests/run steps/ torture/ hostile/ model/ arch/

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' -type f 2>/dev/null)
