// SPDX-License-Identifier: GPL-2.0
/*
 * A kprobe with only a pre-handler on the target. Counts the hits.
 */
#include "target.h"

MODULE_DESCRIPTION("rmcp test: kprobe user on " TARGET);

static atomic_t count;

static int before(struct kprobe *probe, struct pt_regs *regs)
{
	atomic_inc(&count);
	return 0;
}

static struct kprobe probe = { .symbol_name = TARGET_SYMBOL, .pre_handler = before };

static int get_calls(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(&count));
}
module_param_call(calls, NULL, get_calls, NULL, 0444);
MODULE_PARM_DESC(calls, "hits since loading (read only)");

static int __init start(void)
{
	return register_kprobe(&probe);
}
module_init(start);

static void __exit stop(void)
{
	unregister_kprobe(&probe);
}
module_exit(stop);
