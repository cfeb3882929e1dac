// SPDX-License-Identifier: GPL-2.0
/*
 * Owns the instruction pointer of the function, as a live patch does, and leaves it as it is.
 * Counts the calls.
 */
#include "ftrace_user.h"

MODULE_DESCRIPTION("rmcp test: owner of the instruction pointer");

static void entered(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		    struct ftrace_regs *fregs)
{
	/* A live patch would set another instruction pointer here. */
	atomic64_inc(&calls);
}

static struct ftrace_ops ops = { .func = entered, .flags = FTRACE_OPS_FL_IPMODIFY };

static int __init start(void)
{
	return attach(&ops);
}
module_init(start);

static void __exit stop(void)
{
	detach(&ops);
}
module_exit(stop);
