// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The names of codes, modes and record types, for messages. */
#include <stddef.h>

#include <rvm/rvm.h>
#include <rvm/rvm_tracking.h>

static const char *const return_names[rvm_last_code - rvm_first_code] = {
#define R(code)	[code - rvm_first_code] = #code
	R(RVM_EINIT), R(RVM_EINTERNAL), R(RVM_EIO), R(RVM_ELOG),
	R(RVM_ELOG_VERSION_SKEW), R(RVM_EMODE), R(RVM_ENAME_TOO_LONG),
	R(RVM_ENO_MEMORY), R(RVM_ENOT_MAPPED), R(RVM_EOFFSET), R(RVM_EOPTIONS),
	R(RVM_EOVERLAP), R(RVM_EPAGER), R(RVM_ERANGE), R(RVM_EREGION),
	R(RVM_EREGION_DEF), R(RVM_ESRC), R(RVM_ESTATISTICS),
	R(RVM_ESTAT_VERSION_SKEW), R(RVM_ETERMINATED), R(RVM_ETHREADS),
	R(RVM_ETID), R(RVM_ETOO_BIG), R(RVM_EUNCOMMIT), R(RVM_EVERSION_SKEW),
	R(RVM_EVM_OVERLAP),
};

static const char *const mode_names[rvm_last_mode - rvm_first_mode] = {
#define M(mode)	[mode - rvm_first_mode] = #mode
	M(restore), M(no_restore), M(flush), M(no_flush),
};

static const char *const type_names[rvm_last_struct_id - rvm_first_struct_id] = {
#define T(id)	[id - rvm_first_struct_id] = #id
	T(rvm_region_id), T(rvm_options_id), T(rvm_tid_id), T(rvm_statistics_id),
};

/* The standard has these return char *, without const. */
static char *name(const char *const *names, long first, long last, long value,
		  const char *unknown)
{
	const char *found = NULL;

	if (value > first && value < last)
		found = names[value - first];
	return (char *)(found ? found : unknown);
}

char *rvm_return(rvm_return_t code)
{
	if (code == RVM_SUCCESS)
		return (char *)"RVM_SUCCESS";
	if (code == RVM_EUNDECLARED)
		return (char *)"RVM_EUNDECLARED";
	return name(return_names, rvm_first_code, rvm_last_code, code,
		    "unknown RVM return code");
}

char *rvm_mode(rvm_mode_t mode)
{
	return name(mode_names, rvm_first_mode, rvm_last_mode, mode, "unknown RVM mode");
}

char *rvm_type(rvm_struct_id_t id)
{
	return name(type_names, rvm_first_struct_id, rvm_last_struct_id, id,
		    "unknown RVM record type");
}
