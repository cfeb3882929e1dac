// SPDX-License-Identifier: GPL-2.0
/*
 * Calls the target, or another function of the same kind, so that rmcp's effect shows call by call. With
 * no buffer the function looks at nothing but its flags. The device is that of the first call of the
 * target that the driver itself makes; until then it is null, which rmcp knows nothing of.
 *
 *   echo 0x0 0x60 0x80 > parameters/request   calls it with each of these vm_flags
 *   cat parameters/entry                      the flags of the entry that it made of each
 *   echo 2 > parameters/storm                 starts 2 threads that call it all the time; 0 stops
 *   cat parameters/calls                      calls of the storm so far
 *   cat parameters/bad                        those whose entry was neither NC nor UC
 *
 * amdgpu must stay loaded as long as this module.
 */
#include <linux/kthread.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include "ftrace_user.h"

MODULE_DESCRIPTION("rmcp test: calls " TARGET);

#define MOST_REQUESTS 64
#define MOST_THREADS 8

typedef void get_vm_pte(void *adev, void *vm, void *bo, u32 vm_flags, u64 *flags);

static get_vm_pte *target;
static void *adev;

static void learn(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		  struct ftrace_regs *fregs)
{
	if (!adev)
		adev = (void *)ftrace_regs_get_argument(fregs, 0);
}

static struct ftrace_ops learn_ops = { .func = learn };

static u64 call(u32 vm_flags)
{
	/* Valid, readable, writeable: what the driver passes for VRAM. */
	u64 flags = 0x61;

	target(adev, NULL, NULL, vm_flags, &flags);
	return flags;
}

static u64 entries[MOST_REQUESTS];
static int entry_count;

static int set_request(const char *value, const struct kernel_param *kp)
{
	int count = 0, used;
	u32 vm_flags;

	if (!target)
		return -ENODEV;
	while (count < MOST_REQUESTS && sscanf(value, "%i%n", &vm_flags, &used) == 1) {
		entries[count++] = call(vm_flags);
		value += used;
		value = skip_spaces(value);
	}
	entry_count = count;
	return *value ? -EINVAL : 0;
}

static int get_entry(char *buffer, const struct kernel_param *kp)
{
	int len = 0, i;

	for (i = 0; i < entry_count; i++)
		len += sysfs_emit_at(buffer, len, "%s%016llx", i ? " " : "", entries[i]);
	return len + sysfs_emit_at(buffer, len, "\n");
}

static struct task_struct *threads[MOST_THREADS];
static int thread_count;
static atomic64_t bad;

static int storm(void *unused)
{
	while (!kthread_should_stop()) {
		int i;

		for (i = 0; i < 100; i++) {
			u64 mtype = call(0) >> 48 & 7;

			if (mtype != 0 && mtype != 3)
				atomic64_inc(&bad);
		}
		atomic64_add(100, &calls);
		/* Nobody that removes a hook may have to wait for us for ever. */
		cond_resched_tasks_rcu_qs();
	}
	return 0;
}

static void stop_storm(void)
{
	while (thread_count)
		kthread_stop(threads[--thread_count]);
}

static int set_storm(const char *value, const struct kernel_param *kp)
{
	int wanted, err = kstrtoint(value, 0, &wanted);

	if (err)
		return err;
	if (wanted < 0 || wanted > MOST_THREADS)
		return -EINVAL;
	if (!target)
		return -ENODEV;
	stop_storm();
	while (thread_count < wanted) {
		struct task_struct *thread;

		thread = kthread_run(storm, NULL, "rmcp_call/%d", thread_count);
		if (IS_ERR(thread))
			return PTR_ERR(thread);
		threads[thread_count++] = thread;
	}
	return 0;
}

static int get_storm(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", thread_count);
}

static int get_bad(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%lld\n", atomic64_read(&bad));
}

module_param_call(request, set_request, NULL, NULL, 0200);
MODULE_PARM_DESC(request, "vm_flags to call with, separated by spaces (write only)");
module_param_call(entry, NULL, get_entry, NULL, 0444);
MODULE_PARM_DESC(entry, "flags that came back for each request (read only)");
module_param_call(storm, set_storm, get_storm, NULL, 0644);
MODULE_PARM_DESC(storm, "threads that call all the time");
module_param_call(bad, NULL, get_bad, NULL, 0444);
MODULE_PARM_DESC(bad, "calls that gave neither NC nor UC (read only)");

static int get_device(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", adev != NULL);
}
module_param_call(device, NULL, get_device, NULL, 0444);
MODULE_PARM_DESC(device, "whether a device is known (read only)");

static int __init start(void)
{
	void *addr = look_up(function_symbol());

	if (IS_ERR(addr))
		return PTR_ERR(addr);
	target = callable(addr);
	return attach(&learn_ops);
}
module_init(start);

static void __exit stop(void)
{
	stop_storm();
	detach(&learn_ops);
}
module_exit(stop);
