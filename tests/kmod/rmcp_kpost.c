// SPDX-License-Identifier: GPL-2.0
/*
 * A kprobe with a post-handler on the function: the kernel makes it the owner of the instruction
 * pointer. Counts the hits of the post-handler.
 */
#include "function.h"

MODULE_DESCRIPTION("rmcp test: kprobe user with post-handler");

static int before(struct kprobe *probe, struct pt_regs *regs)
{
	return 0;
}

static void after(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
	atomic64_inc(&calls);
}

static struct kprobe probe = { .pre_handler = before, .post_handler = after };

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
