#!/bin/bash
# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Description: what "make install" puts there can be used: headers, the libraries
# with all their symbols through pkg-config, and the small interface under the
# standard one's names. Run in an empty folder.

set -u
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
build=$(cd "$top" && readlink -m "${BUILD:-build}")
. "$top/tests/tools/tap"
# the test has its own
unset CFLAGS LDFLAGS MAKEFLAGS prefix libdir includedir

cc="gcc -std=gnu11 -Wall -Wextra -Werror"
dest=$PWD/dest own=$PWD/own

install_to() { make -C "$top" -s BUILD="$build" install "$@"; }

# as a package is built: made for /usr, put elsewhere
pc() { PKG_CONFIG_SYSROOT_DIR=$dest PKG_CONFIG_LIBDIR=$dest/usr/lib/x/pkgconfig pkg-config "$@"; }

check "install into DESTDIR" install_to DESTDIR="$dest" prefix=/usr libdir=/usr/lib/x
check "install under another prefix" install_to DESTDIR="$own" prefix=/opt/rvm
# rvm.ko is in /lib
nothing_else() { ! find "$dest" -mindepth 1 -maxdepth 1 ! -name usr ! -name lib | grep -q .; }
check "nothing beside them" nothing_else

# --- manual pages -----------------------------------------------------------------

man=$dest/usr/share/man
# page NAME: the file that man would show for it
page() {
	local so to
	read -r so to <"$man/man3/$1.3" || return
	[ "$so" = .so ] && echo "$man/$to" || echo "$man/man3/$1.3"
}
documented() {
	local name status=0
	# other names of the small interface's, and a variable
	for name in $(sed -n 's/^[[:blank:]]*\(rvm_[a-z_]*\);.*/\1/p' "$top"/lib/*.map |
		grep -v -e '^rvm_simple_' -e '^rvm_no_yield$') "$@"; do
		grep -q "^\.Nm $name\( ,\)*$" "$(page "$name")" || { echo "no manual page: $name"; status=1; }
	done
	return $status
}
own_pages() { [ "$(page rvm_map)" = "$man/man3/rvm_map.3" ] && [ "$(page rvm_unmap)" = "$man/man3/rvm_map.3" ]; }
check "each function has a manual page, by its name" documented RVM_INIT RVM_STATISTICS RVM_ADD_OFFSETS
check "and none took another's place" own_pages

# --- headers --------------------------------------------------------------------

strict="-Wall -Wextra -pedantic -Werror -fsyntax-only -I$dest/usr/include"
for header in $(cd "$dest/usr/include" && find rvm -name '*.h' | sort); do
	# twice, which must do no harm
	printf '#include <%s>\n#include <%s>\nint main(void);\n' "$header" "$header" >header.c
	cp header.c header.cc
	check "$header in C99" gcc -std=c99 $strict header.c
	check "$header in C11" gcc -std=c11 $strict header.c
	check "$header in C++17" g++ -std=c++17 $strict header.cc
done

# --- every symbol of every library ------------------------------------------------

# as the version script has it
symbols() {
	sed -n '/global:/,/local:/s/^[[:blank:]]*\([A-Za-z_][A-Za-z0-9_]*\);.*/\1/p' "$top/lib/$1.map"
}
# what the shared library exports is what its version script says, no more, no less
exports() {
	diff <(symbols "$1" | sort) <(nm -D --defined-only "$dest/usr/lib/x/$1.so" |
		awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort)
}

for file in "$dest"/usr/lib/x/lib*.so; do
	library=$(basename "$file" .so)
	lib=${library#lib}
	module=$(cd "$dest/usr/lib/x/pkgconfig" && grep -lE -e "^Libs: .*-l$lib\$" -- *.pc)
	module=${module%.pc}
	check "$library exports what it should" exports "$library"
	check "$module has the project's version" pc --exact-version="$(sed -n 's/^VERSION := //p' "$top/Makefile")" "$module"
	{
		# their headers say what the symbols are
		case $lib in
		rvmsimple) echo '#include "rvm.h"' ;;
		rvm) printf '#include <%s>\n' $(cd "$dest/usr/include" && find rvm -maxdepth 1 -name '*.h' ! -name rds.h ! -name rvm_segment.h ! -name simple.h) ;;
		rds) echo '#include <rvm/rds.h>' ;;
		seg) echo '#include <rvm/rvm_segment.h>' ;;
		esac
		echo '#include <stdio.h>'
		# and those that no header has old programs declare themselves
		for symbol in $(symbols "$library"); do
			grep -rqw -e "$symbol" "$dest/usr/include/rvm" || echo "extern char ${symbol}[];"
		done
		echo 'int main(void) { const void *volatile all[] = {'
		symbols "$library" | sed 's/.*/(const void *)\&&,/'
		echo '}; unsigned int i, n = 0; for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) n += all[i] != NULL;'
		printf '%s\n' 'printf("%u\n", n); return 0; }'
	} >"$lib.c"
	expected=$(symbols "$library" | wc -l)
	runs() { [ "$("$@")" = "$expected" ]; }
	shared() { $cc "$lib.c" -o "$lib-shared" $(pc --cflags --libs "$module"); }
	static() { $cc -static "$lib.c" -o "$lib-static" $(pc --cflags --static --libs "$module"); }
	check "$module: all $expected symbols, shared" shared
	check "$module: and it runs" runs env LD_LIBRARY_PATH="$dest/usr/lib/x" "./$lib-shared"
	check "$module: all of them, static" static
	check "$module: and it runs" runs "./$lib-static"
done
count() { find "$dest/usr/lib/x" -name "$1" | wc -l; }
no_empty_ones() { [ "$(count 'lib*.so')" = "$(count '*.pc')" ]; }
check "a shared library for each module" no_empty_ones

# --- a course's program, unchanged --------------------------------------------------

in_own() { PKG_CONFIG_SYSROOT_DIR=$own PKG_CONFIG_LIBDIR=$own/opt/rvm/lib/pkgconfig pkg-config "$@"; }
program=$top/tests/tools/install/course.c
ok() { rm -rf rvm_segments more_segments; [ "$("$@")" = OK ]; }

check "a course's program, shared" $cc "$program" -o course $(in_own --cflags --libs rvmsimple)
check "it runs" ok env LD_LIBRARY_PATH="$own/opt/rvm/lib" ./course
check "static" $cc -static "$program" -o course-static $(in_own --cflags --static --libs rvmsimple)
check "it runs, static" ok ./course-static
check "as C++" g++ -x c++ -std=c++17 -Wall -Wextra "$program" -o course-cc -x none $(in_own --cflags --libs rvmsimple)
check "it runs, as C++" ok env LD_LIBRARY_PATH="$own/opt/rvm/lib" ./course-cc
check "in the tree, as README.md says" $cc -I"$top/include/rvm/simple" "$program" -o course-tree \
	"$build/librvmsimple.a" "$build/librvm.a" -pthread
check "it runs, from the tree" ok ./course-tree

# --- both interfaces in one program, in two files -----------------------------------

cat >small.c <<'END'
#include "rvm.h"
#include <string.h>
void *small(void);
void *small(void)
{
	rvm_t rvm = rvm_init("small");
	void *base = rvm_map(rvm, "s", 100);
	trans_t t = rvm_begin_trans(rvm, 1, &base);

	rvm_about_to_modify(t, base, 0, 10);
	strcpy(base, "small");
	rvm_commit_trans(t);
	rvm_unmap(rvm, base);
	return rvm_map(rvm, "s", 100);
}
END
cat >large.c <<'END'
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <rvm/rvm.h>
void *small(void);
int main(void)
{
	rvm_options_t options;
	rvm_region_t region;
	rvm_tid_t tid;

	rvm_init_options(&options);
	options.log_dev = "large.log";
	options.create_log_file = access("large.log", F_OK) ? rvm_true : rvm_false;
	options.create_log_size = RVM_MK_OFFSET(0, 1 << 20);
	rvm_init_region(&region);
	region.data_dev = "large.segment";
	region.dev_length = RVM_MK_OFFSET(0, 4096);
	close(open("large.segment", O_CREAT | O_RDWR, 0600));
	rvm_init_tid(&tid);
	if (RVM_INIT(&options) || strcmp(small(), "small") || rvm_map(&region, NULL) ||
	    rvm_begin_transaction(&tid, restore) || rvm_modify_bytes(&tid, region.vmaddr, "x", 2) ||
	    rvm_end_transaction(&tid, flush) || rvm_unmap(&region) || rvm_terminate())
		return 1;
	puts("OK");
	return 0;
}
END
for order in "rvmsimple rvm" "rvm rvmsimple"; do
	rm -rf small large.log large.segment
	check "both interfaces, -l in the order $order" $cc small.c large.c -o both $(in_own --cflags --libs $order)
	check "it runs" ok env LD_LIBRARY_PATH="$own/opt/rvm/lib" ./both
	check "both, static" $cc -static small.c large.c -o both-static $(in_own --cflags --static --libs $order)
	check "it runs" ok ./both-static
done
printf '#include <rvm/simple.h>\n#include <rvm/rvm.h>\n' >wrong.c
refused() { ! $cc -fsyntax-only wrong.c $(in_own --cflags rvmsimple) 2>wrong && grep -q conflict wrong; }
check "the two headers in the wrong order are refused" refused

echo "1..$tests"
