# SPDX-License-Identifier: MIT
# `make help` says what there is to make. Everything is built below $(BUILD).

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
LIBDIR  ?= $(PREFIX)/lib
MANDIR  ?= $(PREFIX)/share/man

CFLAGS  ?= -O2 -g
WARN     = -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
override CFLAGS += -std=gnu11 $(WARN) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -MMD -MP $(EXTRA_CFLAGS)
override LDFLAGS += $(EXTRA_CFLAGS)

VERSION := $(shell sed -n 's/^.define MQSHM_VERSION "\(.*\)"/\1/p' include/mqshm.h)
MAJOR   := $(firstword $(subst ., ,$(VERSION)))
SO       = libmqshm.so.$(MAJOR)

LIB_OBJ   = $(patsubst %.c,$(BUILD)/%.o,$(wildcard lib/*.c))
TOOL_OBJ  = $(patsubst %.c,$(BUILD)/%.o,$(wildcard tools/*.c))
EXAMPLES  = $(patsubst %.c,$(BUILD)/%,$(wildcard examples/*.c))
TEST_BIN  = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*.c tests/conformance/*.c tests/death/*.c tests/abi/*.c))
MAN       = $(wildcard docs/man/*.[1-8])

.PHONY: all help check demo bench install uninstall clean tests examples FORCE
all: $(BUILD)/libmqshm.a $(BUILD)/$(SO) $(BUILD)/mqshm

help:
	@echo 'make                     library and tool, into $(BUILD)/'
	@echo 'make demo [INPUT=FILE]   stream a real file through a queue to five processes'
	@echo 'make check [INSTALL=1]   every test; INSTALL=1 installs missing Debian packages first'
	@echo 'make bench               throughput and latency beside a mutex ring; ARGS=--full for all'
	@echo 'make examples            the programs of examples/'
	@echo 'make install, uninstall  PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make clean'

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -fvisibility=hidden -c -o $@ $<

$(BUILD)/libmqshm.a: $(LIB_OBJ)
	$(AR) rcs $@ $^

$(BUILD)/libmqshm.so.$(VERSION): $(LIB_OBJ) lib/libmqshm.map
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SO) -Wl,--version-script,lib/libmqshm.map -Wl,-z,defs -o $@ $(LIB_OBJ) -pthread

$(BUILD)/$(SO): $(BUILD)/libmqshm.so.$(VERSION)
	ln -sf $(<F) $@
	ln -sf $(<F) $(BUILD)/libmqshm.so

$(BUILD)/mqshm: $(TOOL_OBJ) $(BUILD)/libmqshm.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lm -pthread

# Tests link the static library, so that they reach internal functions too.
tests: $(TEST_BIN)
$(BUILD)/tests/%: tests/%.c tests/test.h $(BUILD)/libmqshm.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -Ilib -Itests $(LDFLAGS) -o $@ $< $(BUILD)/libmqshm.a -lm -pthread

examples: $(EXAMPLES)
$(BUILD)/examples/%: examples/%.c $(BUILD)/libmqshm.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(BUILD)/libmqshm.a -lm -pthread

check:
	@INSTALL=$(INSTALL) BUILD=$(BUILD) tests/run

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
