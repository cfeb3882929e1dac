// SPDX-License-Identifier: GPL-2.0
/*
 * An fprobe on the function's entry and exit. Counts the exits of calls whose entry it has seen.
 */
#include <linux/fprobe.h>
#include "function.h"

MODULE_DESCRIPTION("rmcp test: fprobe user");

#define MARK 0x726d6370

static int entered(struct fprobe *probe, unsigned long entry, unsigned long ret,
		   struct ftrace_regs *regs, void *data)
{
	*(u32 *)data = MARK;
	return 0;
}

static void left(struct fprobe *probe, unsigned long entry, unsigned long ret,
		 struct ftrace_regs *regs, void *data)
{
	if (*(u32 *)data == MARK)
		atomic64_inc(&calls);
}

static struct fprobe probe = {
	.entry_handler = entered,
	.exit_handler = left,
	.entry_data_size = sizeof(u32),
};

static int __init start(void)
{
	unsigned long addr = (unsigned long)look_up(function_symbol());

	if (IS_ERR_VALUE(addr))
		return (long)addr;
	return register_fprobe_ips(&probe, &addr, 1);
}
module_init(start);

static void __exit stop(void)
{
	unregister_fprobe(&probe);
}
module_exit(stop);
