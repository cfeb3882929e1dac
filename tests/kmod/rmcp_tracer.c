// SPDX-License-Identifier: GPL-2.0
/*
 * A second tracer on the target, of the same kind as rmcp's hook. Counts the calls.
 */
#include "ftrace_user.h"

MODULE_DESCRIPTION("rmcp test: another ftrace user on " TARGET);

static atomic_t count;

static void entered(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		    struct ftrace_regs *fregs)
{
	atomic_inc(&count);
}

static struct ftrace_ops ops = { .func = entered };

static int get_calls(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(&count));
}
module_param_call(calls, NULL, get_calls, NULL, 0444);
MODULE_PARM_DESC(calls, "calls of the target since loading (read only)");

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
