# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Every task a person has with this tree; "make help" lists them. Nothing is
# ever written outside $(BUILD), but by install.

VERSION := 1.0.0

BUILD ?= build
# one name for it, whoever calls: what a file depends on is known by that
override BUILD := $(patsubst $(CURDIR)/%,%,$(abspath $(BUILD)))
prefix ?= /usr/local
includedir ?= $(prefix)/include
libdir ?= $(prefix)/lib
pkgconfigdir ?= $(libdir)/pkgconfig
bindir ?= $(prefix)/bin
mandir ?= $(prefix)/share/man

CFLAGS ?= -O2 -g
override CFLAGS += -std=gnu11 -Wall -Wextra -Werror -pthread
# programs that run in a bare VM; STATIC= for a sanitizer or valgrind, which need the shared libc
STATIC ?= -static
override CPPFLAGS += -Iinclude -I. -MMD -MP

# The libraries, each after those that need it: its sources, and which it needs.
# librvm is all that is no other's, and core.
libraries := rvmsimple rds seg rvm
core_src := $(wildcard core/*.c)
rvmsimple_src := $(wildcard lib/simple*.c)
rvmsimple_needs := rvm
rds_src := $(wildcard lib/rds*.c)
rds_needs := seg rvm
seg_src := $(wildcard lib/loader*.c)
seg_needs := rvm
rvm_src := $(filter-out $(rvmsimple_src) $(rds_src) $(seg_src),$(wildcard lib/*.c)) $(core_src)

# one without sources is an empty archive
shared := $(foreach l,$(libraries),$(if $($(l)_src),$(l)))
needs = $(filter $(shared),$($(1)_needs))

comma := ,
obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
pic = $(patsubst %.c,$(BUILD)/pic/%.o,$(1))

archives := $(libraries:%=$(BUILD)/lib%.a)
libs := $(archives) $(shared:%=$(BUILD)/lib%.so)
tools := $(patsubst tools/%.c,$(BUILD)/%,$(wildcard tools/*.c))
# unit tests see core alone; the others are static, to run in a bare VM
unit_tests := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*.c))
examples := $(patsubst docs/%.c,$(BUILD)/%,$(wildcard docs/examples/*.c))
vm_tests := $(patsubst %.c,$(BUILD)/%,$(wildcard $(foreach d,api kernel crash tools,tests/$(d)/*.c)))

.DELETE_ON_ERROR:
.PHONY: all lib module module-tree tools peers tests examples fuzz-programs fuzz test test-full test-planted coverage check soak demo bench experiment install clean help

all: lib tools module	## build the libraries, the tools and rvm.ko into build/ (the default)

lib: $(libs)	## the libraries, static and shared
tools: $(tools)	## rvmbench and the others
examples: $(examples)	## the programs of docs/examples and docs/lab.md, into build/examples/
tests: $(unit_tests) $(vm_tests) $(examples) $(BUILD)/tests/tools/rvmstat $(BUILD)/peers $(BUILD)/guest/metadata	## the test programs

# its files may be asked for by their whole names
$(CURDIR)/$(BUILD)/%: $(BUILD)/% ;

# --- userland -----------------------------------------------------------------

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/pic/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -c -o $@ $<

# the one file of the library that knows the kernel's ABI
$(call obj,lib/engine_kernel.c) $(call pic,lib/engine_kernel.c): override CPPFLAGS += -Iinclude/uapi

# library NAME
define library
$(BUILD)/lib$(1).a: $(call obj,$($(1)_src))
$(BUILD)/lib$(1).so.$(VERSION): $(call pic,$($(1)_src)) lib/lib$(1).map $(patsubst %,$(BUILD)/lib%.so,$(call needs,$(1)))
	$$(CC) $$(CFLAGS) $$(LDFLAGS) -shared -Wl,-soname,lib$(1).so.1 -Wl,--version-script=lib/lib$(1).map \
		-Wl,--no-undefined -o $$@ $$(filter %.o,$$^) -L$(BUILD) $(patsubst %,-l%,$(call needs,$(1)))
endef
$(foreach l,$(libraries),$(eval $(call library,$(l))))

%.a: Makefile
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $(filter %.o,$^)

%.so: %.so.$(VERSION)
	ln -sf $(<F) $@.1
	ln -sf $(@F).1 $@

$(BUILD)/rvmbench: $(call obj,$(wildcard tools/rvmbench/*.c))
$(BUILD)/rvmutl: $(call obj,$(wildcard tools/rvmutl/*.c))
$(BUILD)/rvmutl: override LDLIBS += -ledit
$(tools): $(BUILD)/%: $(BUILD)/obj/tools/%.o $(archives)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS)

# a file system's metadata, for the experiment
$(BUILD)/guest/metadata: $(BUILD)/obj/tools/experiment/metadata.o $(BUILD)/librvm.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $(STATIC) -o $@ $^ $(LDLIBS)

# what else keeps data, for the experiment: tests/setup --experiment and --all install it
peers: $(BUILD)/peers	## RVM and what it is compared with, on one workload
$(BUILD)/peers: override LDLIBS += -llmdb -lsqlite3 -ldb -lpmemobj -lpmem
$(BUILD)/peers: $(call obj,$(wildcard tools/experiment/peers/*.c) $(addprefix tools/rvmbench/,arguments.c bank.c clock.c)) $(BUILD)/librvm.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# for a VM that holds nothing else
$(BUILD)/tests/tools/rvmstat: $(BUILD)/obj/tools/rvmstat.o
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $(STATIC) -o $@ $^ $(LDLIBS)

$(BUILD)/guest/rvmbench: $(BUILD)/obj/tools/rvmbench.o $(call obj,$(wildcard tools/rvmbench/*.c)) $(BUILD)/librvm.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $(STATIC) -o $@ $^ $(LDLIBS)

# the demo takes nothing of what the tests do
$(BUILD)/tests/demo/bank: $(BUILD)/obj/tests/demo/bank.o $(BUILD)/librvm.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $(STATIC) -o $@ $^ $(LDLIBS)

# it says "rvm.h", as courses do
$(BUILD)/obj/docs/examples/lab.o: override CPPFLAGS += -Iinclude/rvm/simple

# to run in a bare VM, too
$(examples): $(BUILD)/%: $(BUILD)/obj/docs/%.o $(archives)
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

$(vm_tests): $(BUILD)/%: $(BUILD)/obj/%.o $(archives)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $(STATIC) -o $@ $^

# it runs them
$(BUILD)/tests/api/examples: | $(examples)

# for QEMU, see tests/profile
$(BUILD)/tests/vm/profile.so: tests/vm/profile.c tests/vm/qemu_plugin.h tools/rvmbench/mark.h Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -fPIC -fvisibility=hidden -shared -o $@ $<

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
# links to them, one for each kernel, which one make at a time changes. BTF would
# take pahole, for nothing.
module-tree:
	@kdir="$(KDIR)" && kver=$$($(kver)) && \
	dir="$(abspath $(BUILD))/module-$$kver" && mkdir -p "$$dir" && exec 9<"$$dir" && flock 9 && \
	cp -asf $(addprefix "$(CURDIR)"/,Kbuild core module include) "$$dir" && \
	find "$$dir" -xtype l -delete && \
	$(MAKE) --no-print-directory -C "$$kdir" M="$$dir" CONFIG_DEBUG_INFO_BTF_MODULES= modules && \
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
	@tools/experiment/run --quick --print --no-plots --output $(BUILD)/bench engines

experiment:	## measure everything, or PARTS="NAME...", see tools/experiment/; QUICK=1 for less; sets itself up
	@tests/setup --experiment
	@tools/experiment/run $(if $(QUICK),--quick) $(PARTS)

# The names under which pkg-config knows the libraries. What a program links
# itself it needs, too: those which use the heap call librvm.
pc_rvm := rvm
pc_rds := rds
pc_seg := rvmseg
pc_rvmsimple := rvmsimple
what_rvm := recoverable virtual memory
what_rds := the recoverable heap
what_seg := the segment loader of recoverable memory
what_rvmsimple := the small interface to recoverable memory, for teaching
# the small interface has programs that include "rvm.h"
cflags_rvmsimple := -I$${includedir}/rvm/simple
libs_private_rvm := -pthread

relative = $(patsubst $(prefix)/%,$${prefix}/%,$(1))
# pkgconfig NAME: a command that prints the file
pkgconfig = printf '%s\n' 'prefix=$(prefix)' 'includedir=$(call relative,$(includedir))' \
	'libdir=$(call relative,$(libdir))' '' 'Name: $(pc_$(1))' 'Description: $(what_$(1))' \
	'Version: $(VERSION)' $(if $(call needs,$(1)),'Requires: $(foreach n,$(call needs,$(1)),$(pc_$(n)))') \
	'$(strip Cflags: -I$${includedir} $(cflags_$(1)))' 'Libs: -L$${libdir} -l$(1)' $(if $(libs_private_$(1)),'Libs.private: $(libs_private_$(1))')

# "PAGE NAME" for each name that a page has, the first that has it: a page is found by all of its names
page_names = awk '/^\.Sh/ { on = $$2 == "NAME" } on && /^\.Nm/ && !seen[$$2]++ { print FILENAME, $$2 }' $(sort $(wildcard man/*.[1-8]))

install: lib tools	## into DESTDIR and prefix; rvm.ko too if it was built for this kernel or KDIR=... is given
	install -d $(addprefix $(DESTDIR),$(includedir)/rvm/simple $(includedir)/linux $(pkgconfigdir) $(bindir) $(mandir))
	install -m 644 $(wildcard include/rvm/*.h) $(DESTDIR)$(includedir)/rvm/
	install -m 644 $(wildcard include/rvm/simple/*.h) $(DESTDIR)$(includedir)/rvm/simple/
	install -m 644 $(wildcard include/uapi/linux/rvm.h) $(DESTDIR)$(includedir)/linux/
	install -m 644 $(archives) $(DESTDIR)$(libdir)/
	for l in $(shared:%=lib%.so); do \
		install -m 755 $(BUILD)/$$l.$(VERSION) $(DESTDIR)$(libdir)/ && \
		ln -sf $$l.$(VERSION) $(DESTDIR)$(libdir)/$$l.1 && \
		ln -sf $$l.1 $(DESTDIR)$(libdir)/$$l || exit 1; \
	done
	$(foreach l,$(shared),$(call pkgconfig,$(l)) >$(DESTDIR)$(pkgconfigdir)/$(pc_$(l)).pc &&) :
	$(if $(tools),install -m 755 $(tools) $(DESTDIR)$(bindir)/)
	for page in $(wildcard man/*.[1-8]); do \
		install -D -m 644 $$page $(DESTDIR)$(mandir)/man$${page##*.}/$${page##*/} || exit 1; \
	done
	$(page_names) | while read -r page name; do \
		section=$${page##*.}; \
		[ -e man/$$name.$$section ] || echo ".so man$$section/$${page##*/}" \
			>$(DESTDIR)$(mandir)/man$$section/$$name.$$section || exit 1; \
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
