// SPDX-License-Identifier: GPL-2.0
/*
 * Holds ftrace_enabled at 0 while it is loaded, for newcomers: Linux 7.3 ignores a write of 0 to
 * kernel.ftrace_enabled, so the state in which rmcp has to refuse can only be made this way. Load it
 * while nobody traces.
 */
#include "target.h"

MODULE_DESCRIPTION("rmcp test: ftrace switched off");

static int *enabled;

static int __init start(void)
{
	unsigned long (*by_name)(const char *name) = look_up("kallsyms_lookup_name");

	if (IS_ERR(by_name))
		return PTR_ERR(by_name);
	by_name = callable(by_name);
	enabled = (int *)by_name("ftrace_enabled");
	if (!enabled)
		return -ENOENT;
	WRITE_ONCE(*enabled, 0);
	return 0;
}
module_init(start);

static void __exit stop(void)
{
	WRITE_ONCE(*enabled, 1);
}
module_exit(stop);
