# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Every task a person has with this tree; "make help" lists them. Nothing is
# ever written outside $(BUILD), but by install.

VERSION := 1.0.0
SONAME := librvm.so.1

BUILD ?= build
prefix ?= /usr/local
includedir ?= $(prefix)/include
libdir ?= $(prefix)/lib
bindir ?= $(prefix)/bin
mandir ?= $(prefix)/share/man

CFLAGS ?= -O2 -g
override CFLAGS += -std=gnu11 -Wall -Wextra -Werror -pthread
# programs that run in a bare VM; STATIC= for a sanitizer or valgrind, which need the shared libc
STATIC ?= -static
override CPPFLAGS += -Iinclude -I. -MMD -MP

# librds is lib/rds*.c, libseg is lib/loader*.c, librvm all the rest and core
core_src := $(wildcard core/*.c)
rds_src := $(wildcard lib/rds*.c)
seg_src := $(wildcard lib/loader*.c)
rvm_src := $(filter-out $(rds_src) $(seg_src),$(wildcard lib/*.c)) $(core_src)

comma := ,
obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
pic = $(patsubst %.c,$(BUILD)/pic/%.o,$(1))

libs := $(addprefix $(BUILD)/,librvm.a librds.a libseg.a librvm.so)
tools := $(patsubst tools/%.c,$(BUILD)/%,$(wildcard tools/*.c))
# unit tests see core alone; the others are static, to run in a bare VM
unit_tests := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*.c))
vm_tests := $(patsubst %.c,$(BUILD)/%,$(wildcard $(foreach d,api kernel crash tools,tests/$(d)/*.c)))

.DELETE_ON_ERROR:
.PHONY: all lib module module-tree tools tests fuzz-programs fuzz test test-full test-planted coverage check soak demo bench install clean help

all: lib tools module	## build the libraries, the tools and rvm.ko into build/ (the default)

lib: $(libs)	## librvm.a, librvm.so, librds.a, libseg.a
tools: $(tools)	## rvmbench and the others
tests: $(unit_tests) $(vm_tests) $(BUILD)/tests/tools/rvmstat	## the test programs

# --- userland -----------------------------------------------------------------

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/pic/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -c -o $@ $<

# the one file of the library that knows the kernel's ABI
$(call obj,lib/engine_kernel.c) $(call pic,lib/engine_kernel.c): override CPPFLAGS += -Iinclude/uapi

$(BUILD)/librvm.a: $(call obj,$(rvm_src))
$(BUILD)/librds.a: $(call obj,$(rds_src))
$(BUILD)/libseg.a: $(call obj,$(seg_src))
%.a: Makefile
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $(filter %.o,$^)

$(BUILD)/librvm.so.$(VERSION): $(call pic,$(rvm_src)) lib/librvm.map
	$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=lib/librvm.map \
		-Wl,--no-undefined -o $@ $(filter %.o,$^)

$(BUILD)/librvm.so: $(BUILD)/librvm.so.$(VERSION)
	ln -sf $(<F) $(@D)/$(SONAME)
	ln -sf $(SONAME) $@

$(BUILD)/rvmbench: $(call obj,$(wildcard tools/rvmbench/*.c))
$(BUILD)/rvmutl: $(call obj,$(wildcard tools/rvmutl/*.c))
$(BUILD)/rvmutl: override LDLIBS += -ledit
$(tools): $(BUILD)/%: $(BUILD)/obj/tools/%.o $(BUILD)/librvm.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS)

# for a VM that holds nothing else
$(BUILD)/tests/tools/rvmstat: $(BUILD)/obj/tools/rvmstat.o
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $(STATIC) -o $@ $^ $(LDLIBS)

# the demo takes nothing of what the tests do
$(BUILD)/tests/demo/bank: $(BUILD)/obj/tests/demo/bank.o $(BUILD)/librvm.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $(STATIC) -o $@ $^ $(LDLIBS)

# --- test programs ------------------------------------------------------------

# kselftest_harness.h, out of the kernel's source package
$(BUILD)/selftest:
	@mkdir -p $(@D)
	d=$$(tests/vm/kernel selftest) && ln -sfn $$d $@

test_obj := $(patsubst $(BUILD)/%,$(BUILD)/obj/%.o,$(unit_tests) $(vm_tests))
$(test_obj): override CPPFLAGS += -Iinclude/uapi -isystem $(BUILD)/selftest
$(test_obj): | $(BUILD)/selftest

$(unit_tests): $(BUILD)/%: $(BUILD)/obj/%.o $(call obj,$(core_src))
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

$(vm_tests): $(BUILD)/%: $(BUILD)/obj/%.o $(BUILD)/librds.a $(BUILD)/libseg.a $(BUILD)/librvm.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $(STATIC) -o $@ $^

# --- fuzz targets -------------------------------------------------------------

# What is tested is instrumented for coverage, the harness is not. The user
# engine's system calls go to tests/fuzz/files.h.
FUZZ_CC ?= clang
fuzz_flags := -fsanitize=address,undefined -fno-sanitize-recover=all
fuzz_programs := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/*.c))
fuzz_obj = $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(1))
fuzz_calls := open close stat fstat flock ioctl pread pwrite fsync fdatasync fprintf

fuzz-programs: $(fuzz_programs)

$(BUILD)/fuzz/obj/core/%.o $(BUILD)/fuzz/obj/lib/%.o: override fuzz_flags += -fsanitize=fuzzer-no-link

$(BUILD)/fuzz/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(FUZZ_CC) $(CPPFLAGS) $(CFLAGS) $(fuzz_flags) -c -o $@ $<
	$(if $(filter lib/%,$<),objcopy $(foreach c,$(fuzz_calls),--redefine-sym $(c)=file_$(c)) $@)

$(BUILD)/fuzz/recover: $(call fuzz_obj,$(wildcard lib/user*.c) lib/engine.c lib/engine_user.c)
$(fuzz_programs): $(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/%.o $(call fuzz_obj,$(core_src))
	$(FUZZ_CC) $(CFLAGS) $(fuzz_flags) -fsanitize=fuzzer -o $@ $^

# makes inputs out of real logs
$(BUILD)/fuzz/seeds: $(BUILD)/obj/tests/fuzz/seeds/seeds.o $(BUILD)/librvm.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -static -o $@ $^

# the library's calls can be made to fail in it
wrapped := malloc calloc realloc aligned_alloc posix_memalign mmap open fallocate ftruncate \
	pread pwrite fsync fdatasync
$(BUILD)/tests/api/user_faults: override LDFLAGS += $(addprefix -Wl$(comma)--wrap=,$(wrapped))

# objects of programs are no intermediate files
.SECONDARY:

-include $(shell find $(BUILD)/obj $(BUILD)/pic $(BUILD)/fuzz/obj -name '*.d' 2>/dev/null)

# --- the module ---------------------------------------------------------------

# The running kernel if it can have modules built, else the stock test kernel.
KDIR ?= $(or $(wildcard /lib/modules/$(shell uname -r)/build),$(shell tests/vm/kernel 6.1 | sed -n 's/^KDIR=//p'))

# what uname -r says under that kernel; Debian's kernel.release is not that
kver = sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' "$(KDIR)/include/generated/utsrelease.h"

# Kbuild leaves its objects beside the sources, so it is given a mirror of
# links to them, one for each kernel. BTF would take pahole, for nothing.
module-tree:
	@kdir="$(KDIR)" && kver=$$($(kver)) && \
	dir="$(abspath $(BUILD))/module-$$kver" && mkdir -p "$$dir" && \
	cp -asf $(addprefix "$(CURDIR)"/,Kbuild core module include) "$$dir" && \
	find "$$dir" -xtype l -delete && \
	flock "$$dir" $(MAKE) --no-print-directory -C "$$kdir" M="$$dir" CONFIG_DEBUG_INFO_BTF_MODULES= modules && \
	echo "$$kver" >$(BUILD)/module-last

module: module-tree	## rvm.ko, for the kernel that KDIR=... is the build folder of
	@ln -sf "module-$$(cat $(BUILD)/module-last)/rvm.ko" $(BUILD)/rvm.ko
	@echo "$(BUILD)/rvm.ko is for $$(cat $(BUILD)/module-last)"

# --- tasks --------------------------------------------------------------------

export BUILD

test:	## run all tests, natively and in VMs; sets itself up
	@tests/setup --all
	@tests/run

test-full:	## the same, on the kernels that look for faults too and with many more crashes; takes hours
	@tests/setup --all
	@tests/run --debug --kcsan --full

test-planted:	## plant bugs, and see that the crash tests find them
	@tests/setup --all
	@tests/planted/run

coverage:	## how much of core, lib and module the tests execute; takes some 20 minutes
	@tests/setup --all
	@tests/coverage

fuzz:	## fuzz what reads log images, for MINUTES=n (10); sets itself up
	@tests/setup --all
	@tests/fuzz/run --seconds $$(($(or $(MINUTES),10) * 60))

check:	## check the sources with sparse, checkpatch, clang-tidy, cppcheck, shellcheck...; sets itself up
	@tests/setup --all
	@tests/check

soak:	## all that is random, with ever new seeds, for MINUTES=n (60), see tests/soak; sets itself up
	@tests/setup --all
	@tests/soak --minutes $(or $(MINUTES),60)

demo:	## show the whole thing in a VM (HOST=1: on this machine's kernel); sets itself up
	@tests/setup
	@HOST=$(HOST) tests/demo/run

bench:	## compare both engines, in instructions; sets itself up
	@tests/setup
	@tests/bench

install: lib tools	## into DESTDIR and prefix; rvm.ko too if it was built for this kernel or KDIR=... is given
	install -d $(addprefix $(DESTDIR),$(includedir)/rvm $(includedir)/linux $(libdir) $(bindir) $(mandir))
	install -m 644 $(wildcard include/rvm/*.h) $(DESTDIR)$(includedir)/rvm/
	install -m 644 $(wildcard include/uapi/linux/rvm.h) $(DESTDIR)$(includedir)/linux/
	install -m 644 $(addprefix $(BUILD)/,librvm.a librds.a libseg.a) $(DESTDIR)$(libdir)/
	install -m 755 $(BUILD)/librvm.so.$(VERSION) $(DESTDIR)$(libdir)/
	ln -sf librvm.so.$(VERSION) $(DESTDIR)$(libdir)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(libdir)/librvm.so
	$(if $(tools),install -m 755 $(tools) $(DESTDIR)$(bindir)/)
	for page in $(wildcard man/*.[1-8]); do \
		install -D -m 644 $$page $(DESTDIR)$(mandir)/man$${page##*.}/$${page##*/} || exit 1; \
	done
	kver=$(if $(filter command line environment,$(origin KDIR)),$$($(kver)),$$(uname -r)); \
	if [ -e $(BUILD)/module-$$kver/rvm.ko ]; then \
		install -D -m 644 $(BUILD)/module-$$kver/rvm.ko $(DESTDIR)/lib/modules/$$kver/extra/rvm.ko && \
		$(if $(DESTDIR),:,depmod $$kver); \
	fi
	$(if $(DESTDIR),,ldconfig)

clean:	## remove build/
	rm -rf $(BUILD)

help:	## this list
	@sed -n 's/^\([a-z-]*\):.*	## /\1\t/p' Makefile | expand -t 12
	@echo; echo "BUILD=dir builds elsewhere than in build/. Kernels and sources for the tests are kept in ~/.cache/rvm."
