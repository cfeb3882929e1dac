// SPDX-License-Identifier: GPL-2.0
/*
 * A kprobe with only a pre-handler on the function. Counts the hits.
 */
#include "function.h"

MODULE_DESCRIPTION("rmcp test: kprobe user");

static int before(struct kprobe *probe, struct pt_regs *regs)
{
	atomic64_inc(&calls);
	return 0;
}

static struct kprobe probe = { .pre_handler = before };

static int __init start(void)
{
	probe.symbol_name = function_symbol();
	return register_kprobe(&probe);
}
module_init(start);

static void __exit stop(void)
{
	unregister_kprobe(&probe);
}
module_exit(stop);
