// SPDX-License-Identifier: GPL-2.0
/*
 * Owns the instruction pointer of the target, as a live patch does, and leaves it as it is.
 * Shows that rmcp lives with such an owner, in either order.
 */
#include <linux/ftrace.h>
#include "target.h"

MODULE_DESCRIPTION("rmcp test: IPMODIFY user on " TARGET);

static void entered(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		    struct ftrace_regs *fregs)
{
	/* A live patch would set another instruction pointer here. */
}

static struct ftrace_ops ops = { .func = entered, .flags = FTRACE_OPS_FL_IPMODIFY };

static int __init start(void)
{
	/* By address: a filter by name looks at every function of the kernel, which takes long. */
	void *addr = look_up(TARGET_SYMBOL);
	int err;

	if (IS_ERR(addr))
		return PTR_ERR(addr);
	err = ftrace_set_filter_ip(&ops, (unsigned long)addr, 0, 1);
	if (!err)
		err = register_ftrace_function(&ops);
	if (err)
		ftrace_free_filter(&ops);
	return err;
}
module_init(start);

static void __exit stop(void)
{
	unregister_ftrace_function(&ops);
	ftrace_free_filter(&ops);
}
module_exit(stop);
