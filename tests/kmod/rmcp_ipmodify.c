// SPDX-License-Identifier: GPL-2.0
/*
 * Owns the instruction pointer of the target, as a live patch does, and leaves it as it is.
 * Shows that rmcp lives with such an owner, in either order.
 */
#include "ftrace_user.h"

MODULE_DESCRIPTION("rmcp test: IPMODIFY user on " TARGET);

static void entered(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		    struct ftrace_regs *fregs)
{
	/* A live patch would set another instruction pointer here. */
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
