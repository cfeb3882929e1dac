// SPDX-License-Identifier: GPL-2.0
/*
 * A kretprobe on the function. Counts the returns of calls whose entry it has seen.
 */
#include "function.h"

MODULE_DESCRIPTION("rmcp test: kretprobe user");

#define MARK 0x726d6370

static int entered(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	*(u32 *)instance->data = MARK;
	return 0;
}

static int returned(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	if (*(u32 *)instance->data == MARK)
		atomic64_inc(&calls);
	return 0;
}

static struct kretprobe probe = {
	.entry_handler = entered,
	.handler = returned,
	.data_size = sizeof(u32),
	.maxactive = 64,
};

static int __init start(void)
{
	probe.kp.symbol_name = function_symbol();
	return register_kretprobe(&probe);
}
module_init(start);

static void __exit stop(void)
{
	unregister_kretprobe(&probe);
}
module_exit(stop);
