// SPDX-License-Identifier: GPL-2.0
/*
 * Lets calls of the function fail with -ENOMEM, without running it. For functions that return int.
 *
 *   echo 3 5 > parameters/fail    the third to the fifth call from now fail; 0 0: none
 *   cat parameters/failed         how many failed since that was written
 *
 * It owns the function's instruction pointer meanwhile.
 */
#include "ftrace_user.h"

MODULE_DESCRIPTION("rmcp test: lets calls of a function fail");

static atomic64_t failed;
/* Written while nobody calls. */
static long first, last, base;

static noinline int refuse(void)
{
	return -ENOMEM;
}

static void entered(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		    struct ftrace_regs *fregs)
{
	long call = atomic64_inc_return(&calls) - READ_ONCE(base);

	if (call >= READ_ONCE(first) && call <= READ_ONCE(last)) {
		atomic64_inc(&failed);
		ftrace_regs_set_instruction_pointer(fregs, (unsigned long)refuse);
	}
}

static struct ftrace_ops ops = { .func = entered, .flags = FTRACE_OPS_FL_IPMODIFY };

static int set_fail(const char *value, const struct kernel_param *kp)
{
	long from, to;

	if (sscanf(value, "%ld %ld", &from, &to) != 2)
		return -EINVAL;
	/* No call fails while the numbers change. */
	WRITE_ONCE(last, -1);
	WRITE_ONCE(base, atomic64_read(&calls));
	WRITE_ONCE(first, from);
	atomic64_set(&failed, 0);
	WRITE_ONCE(last, from > 0 ? to : -1);
	return 0;
}

static int get_failed(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%lld\n", atomic64_read(&failed));
}

module_param_call(fail, set_fail, NULL, NULL, 0200);
MODULE_PARM_DESC(fail, "first and last call from now that fail (write only)");
module_param_call(failed, NULL, get_failed, NULL, 0444);
MODULE_PARM_DESC(failed, "calls that failed (read only)");

static int __init start(void)
{
	last = -1;
	return attach(&ops);
}
module_init(start);

static void __exit stop(void)
{
	detach(&ops);
}
module_exit(stop);
