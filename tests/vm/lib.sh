# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# What tests/vm/run and tests/vm/suite share: options, the initramfs, QEMU.
# To be sourced by bash.

here=$(dirname "$(readlink -f "$0")")
top=$(readlink -f "$here/../..")
build=$(cd "$top" && readlink -m "${BUILD:-build}")
me=tests/vm/${0##*/}

PATH=$PATH:/usr/sbin:/sbin

say() { echo "$me: $*" >&2; }
die() { say "$*"; exit 2; }

common_options='  -k, --kernel NAME        6.1 (the default), 6.12, debug or kcsan, see tests/vm/kernel
  -m, --memory MIB         memory, 1024 by default
  -c, --cpus N             CPUs, 2 by default
  -d, --disk IMAGE         a raw image as the next of /dev/vda, /dev/vdb...
  -t, --time SECONDS       time limit for everything
  -a, --append ARGS        more arguments for the kernel
  -M, --load "NAME ARGS"   load this kernel module first, with those arguments
  -o, --output FILE        save what is left in /out in the VM to FILE, a tar
  --module-args ARGS       parameters for rvm.ko
  --no-module              do without rvm.ko
  --icount                 one CPU whose time is the number of instructions
  --qemu ARGS              more arguments for QEMU
  --console FILE           save the console to FILE
  -h, --help               this text'

kernel=6.1 memory=1024 cpus=2 limit= append= module_args= module=1 icount= output= save_console= patience=
disks=() load=() qemu_args=() rest=()

# parse_options ARG...: sets the above, and rest to what follows the options
parse_options() {
	local words
	words=$(getopt -n "$me" -o +k:m:c:d:t:a:M:o:h -l kernel:,memory:,cpus:,disk:,time:,append: \
		-l load:,output:,module-args:,no-module,icount,qemu:,console:,help -- "$@") || { usage >&2; exit 2; }
	eval "set -- $words"
	while :; do
		case $1 in
		-k | --kernel) kernel=$2 ;;
		-m | --memory) memory=$2 ;;
		-c | --cpus) cpus=$2 ;;
		-d | --disk) disks+=("$2") ;;
		-t | --time) limit=$2 ;;
		-a | --append) append=$2 ;;
		-M | --load) load+=("$2") ;;
		-o | --output) output=$2 ;;
		--module-args) module_args=$2 ;;
		--qemu) qemu_args+=($2) ;;
		--console) save_console=$2 ;;
		--no-module) module=; shift; continue ;;
		--icount) icount=1; shift; continue ;;
		-h | --help) usage; exit 0 ;;
		--) shift; break ;;
		esac
		shift 2
	done
	rest=("$@")
	case $kernel in
	6.1 | 6.12 | debug | kcsan) ;;
	*) die "there is no kernel '$kernel', but 6.1, 6.12, debug and kcsan" ;;
	esac
	local n
	for n in "$memory" "$cpus" "${limit:-1}"; do
		[[ $n =~ ^[1-9][0-9]*$ ]] || die "'$n' is no number of anything"
	done
	for n in "${disks[@]}"; do
		[ -r "$n" ] && [ -w "$n" ] || die "can't read and write the disk image $n"
	done
	type -P qemu-system-x86_64 >/dev/null || die "there is no QEMU; tests/setup installs what is needed"
}

# Starts the initramfs, in $work/root. Its modules are those named, with what
# they depend on, in loading order; then rvm.ko, built for that kernel.
prepare() {
	local vars spec name path file
	vars=$("$here/kernel" "$kernel") || exit 2
	eval "$vars"
	work=$(mktemp -d) || exit 2
	trap cleanup EXIT
	trap 'exit 143' TERM HUP
	trap 'exit 130' INT

	root=$work/root
	mkdir -p "$root"/{bin,modules,dev}
	cp /bin/busybox "$root/bin/"
	cp "$here/init" "$root/init"
	if [ -n "$module" ]; then
		build_module
		cp "$build/module-$KVER/rvm.ko" "$root/" || exit 2
		echo "$module_args" >"$root/rvm.args"
		# what it needs; and on stock kernels the checksum by the CPU's own instruction
		set -- "$@" $(modinfo -F depends "$root/rvm.ko" | tr , ' ')
		[[ $kernel != 6.* ]] || set -- "$@" crc32c_intel
	fi
	for spec in "$@" "${load[@]}"; do
		name=${spec%% *}
		path=$(modprobe -d "$MODROOT" -S "$KVER" -D "$name") || die "$kernel has no module $name"
		# "builtin NAME" lines are none of our business
		sed -n 's/^insmod \([^ ]*\).*/\1/p' <<<"$path" | while read -r path; do
			file=${path##*/}
			file=${file%.xz}
			case $path in
			*.xz) xz -dc "$path" >"$root/modules/$file" ;;
			*) cp "$path" "$root/modules/" ;;
			esac
			[ "$(tr - _ <<<"${file%.ko}")" = "$(tr - _ <<<"$name")" ] && file+=${spec#"$name"}
			echo "$file"
		done
	done | awk '!seen[$1]++' >"$root/modules/order"
	[ "${PIPESTATUS[0]}" = 0 ] || exit 2
}

build_module() {
	mkdir -p "$build"
	if ! make -s -C "$top" BUILD="$build" KDIR="$KDIR" module-tree >"$work/make.log" 2>&1; then
		cat "$work/make.log" >&2
		die "rvm.ko does not build for $kernel"
	fi
}

cleanup() {
	local status=$?
	[ ! -s "$work/pid" ] || kill -KILL "$(<"$work/pid")" 2>/dev/null
	[ -z "$save_console" ] || cp "$work/console" "$save_console" 2>/dev/null
	rm -rf "$work"
	exit $status
}

# boot [QEMU-ARG...]: runs the VM to its end. Sets result to ok, timeout, silent (for
# more than $patience seconds) or dead.
# ttyS1 goes to fd 3, ttyS2 to fd 4.
boot() {
	local args=() kargs="console=ttyS0 loglevel=5 panic=-1 oops=panic nokaslr" disk try
	# all tasks and all CPUs, see watch()
	[ -z "$patience" ] || kargs+=" unknown_nmi_panic panic_print=0x41"
	(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 >"$work/initrd") || exit 2
	if [ -n "$icount" ]; then
		args+=(-accel tcg,thread=single -icount shift=0,sleep=off,align=off -smp 1 -seed 1)
		args+=(-rtc base=2020-01-01,clock=vm -machine pc,hpet=off)
		kargs+=" norandmaps randomize_kstack_offset=off"
	else
		args+=(-accel tcg,thread=multi -smp "$cpus" -machine pc)
	fi
	[ "$kernel" != debug ] || kargs+=" kasan_multi_shot page_table_check=on"
	for disk in "${disks[@]}"; do
		args+=(-drive "file=${disk//,/,,},format=raw,if=virtio,cache=writeback")
	done
	for try in 1 2 3; do
		run_qemu "${args[@]}" -append "$kargs $append" "$@" "${qemu_args[@]}"
		[ -e "$work/hung" ] || panicked_at_boot || break
		say "$kernel: the VM hung or panicked while its kernel booted (try $try of 3)"
	done
	if [ -n "$output" ]; then
		cp "$work/out.tar" "$output" || exit 2
	fi
}

# An emulated CPU can miss that the kernel patched code that it runs. Then it spins
# for ever, or meets with a breakpoint that is gone, at boot, where most of that is
# done. Such a VM is no result.
panicked_at_boot() {
	grep -aqs 'Kernel panic' "$work/console" && ! grep -aq 'init: begin' "$work/console"
}

# One whose tests then say nothing for longer than the longest may take is shown
# to hang by its own kernel: that panics for an NMI, with the stacks of all tasks.
watch() {
	until grep -aq 'init: begin' "$work/console"; do
		if grep -aq 'soft lockup\|self-detected stall\|detected stalls' "$work/console" ||
			[ $((SECONDS - start)) -gt 300 ]; then
			touch "$work/hung"
			kill -KILL "$(<"$work/pid")"
			return
		fi
		sleep 3
	done
	[ -n "$patience" ] || return
	while [ $(($(date +%s) - $(stat -c %Y "$work/console"))) -le "$patience" ]; do
		sleep 3
	done
	touch "$work/silent"
	echo nmi >"$work/monitor.in"
	sleep 60
	kill -KILL "$(<"$work/pid")"
}

# run_qemu QEMU-ARG...: one try.
run_qemu() {
	local start=$SECONDS status watch
	rm -f "$work"/{tty1,tty2,monitor.in,monitor.out,hung,silent,console}
	mkfifo "$work"/{tty1,tty2,monitor.in,monitor.out}
	cat "$work/tty1" >&3 &
	cat "$work/tty2" >&4 &
	# it must not hold open what others read to the end
	watch >/dev/null 2>&1 3>&- 4>&- &
	watch=$!
	timeout -s KILL "$limit" qemu-system-x86_64 -cpu max,-erms,-fsrm -m "$memory" \
		-nodefaults -no-user-config -display none -no-reboot -monitor "pipe:$work/monitor" -net none \
		-kernel "$KERNEL" -initrd "$work/initrd" \
		-serial "file:$work/console" -serial "file:$work/tty1" -serial "file:$work/tty2" \
		-serial "file:$work/out.tar" -pidfile "$work/pid" \
		-device isa-debug-exit,iobase=0xf4,iosize=0x04 \
		"$@" </dev/null >"$work/qemu.log" 2>&1 &
	{ wait $!; } 2>/dev/null
	status=$?
	{ kill $watch && wait $watch; } 2>/dev/null
	if [ -e "$work/silent" ]; then
		result=silent
	elif [ $status = 33 ]; then
		result=ok
	elif [ $status = 137 ] && [ $((SECONDS - start)) -ge "$limit" ]; then
		result=timeout
	else
		result=dead
		cat "$work/qemu.log" >&2
	fi
	# let the readers go if it never opened them; then wait for what is on its way
	: 7<>"$work/tty1" 8<>"$work/tty2"
	wait
}

splat_words='BUG:|WARNING:|KASAN:|UBSAN:|KCSAN:|Oops|general protection|[Kk]ernel BUG|invalid opcode|Kernel panic|ODEBUG'
splat_words+='|possible (recursive|circular|irq)|inconsistent lock state|suspicious RCU|lock held when returning'
splat_words+='|INFO: (task|possible|trying|rcu)|blocked for more than|soft lockup|hard LOCKUP|detected stall|page dumped because'

# The stock kernel has data races of its own, which KCSAN reports as well: of
# its reports, which end in a line of =, those count in which one of the two
# functions is our module's, or both accesses were made by calls from it; what
# it was interrupted for is not its own.
our_races() {
	awk '
		/BUG: KCSAN:/ { report = ""; kcsan = 1; ours = /\[rvm\]/ ? 2 : 0 }
		!kcsan { print; next }
		{ report = report $0 "\n" }
		/(read|write|read-write) .*to 0x/ { called = !/by interrupt/ }
		/Reported by/ { called = 0 }
		called && /\[rvm\]/ { ours++; called = 0 }
		/================================/ { if (ours > 1) printf "%s", report; kcsan = 0 }
		END { if (kcsan) printf "%s", report }'
}

# The kernel's complaints on the console, each with the test that it fell into.
# Lockdep sets no taint bit: nothing but reading the console finds them all.
splats() {
	tr -d '\r' <"$work/console" | our_races | awk -v words="$splat_words" '
		/\] test: begin / { sub(/.*test: begin /, ""); test = $0; next }
		/\] test: end / { test = ""; next }
		$0 ~ words { if (!left) print "in " (test == "" ? "no test" : test) ":"; left = 40; found = 1 }
		left { print "  " $0; left-- }
		END { exit !found }'
}
