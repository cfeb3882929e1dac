// SPDX-License-Identifier: GPL-2.0
/*
 * A second tracer on the function, of the same kind as rmcp's hooks. Counts the calls.
 */
#include "ftrace_user.h"

MODULE_DESCRIPTION("rmcp test: another ftrace user");

static void entered(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		    struct ftrace_regs *fregs)
{
	atomic64_inc(&calls);
}

static struct ftrace_ops ops = { .func = entered };

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
