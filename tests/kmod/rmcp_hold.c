// SPDX-License-Identifier: GPL-2.0
/*
 * Holds tasks asleep inside the function, before it begins.
 *
 *   echo 1 > parameters/hold    the next call is held, or the next that the function `caller` makes
 *   cat parameters/held         waits until as many are held as were asked for, and tells how many
 *   echo 0 > parameters/hold    all go on in the function
 *
 * It owns the function's instruction pointer meanwhile. Unloading lets all go and waits for them.
 */
#include <linux/wait.h>
#include <asm/ibt.h>
#include <asm/linkage.h>
#include <asm/nospec-branch.h>
#include "ftrace_user.h"

MODULE_DESCRIPTION("rmcp test: holds tasks inside a function");

void rmcp_hold_function(void);
void rmcp_hold_wait(void *caller);

static char *caller = "";
module_param(caller, charp, 0444);
MODULE_PARM_DESC(caller, "hold only calls from this function (default any)");

static unsigned long body __used;
/* Calls that are still to be held, that are held, and tasks that are in this module's code. */
static atomic_t wanted, held, inside;
static bool open;
static DECLARE_WAIT_QUEUE_HEAD(changed);

/* Saves what may carry arguments; those on the stack are where they were when it goes on. */
asm (
"	.pushsection .text, \"ax\", @progbits\n"
"	.type rmcp_hold_function, @function\n"
"	.globl rmcp_hold_function\n"
"rmcp_hold_function:\n"
	ASM_ENDBR
"	pushq %rdi\n"
"	movq 8(%rsp), %rdi\n"
"	pushq %rsi\n"
"	pushq %rdx\n"
"	pushq %rcx\n"
"	pushq %r8\n"
"	pushq %r9\n"
"	pushq %rbp\n"
"	movq %rsp, %rbp\n"
"	andq $-16, %rsp\n"
"	call rmcp_hold_wait\n"
"	movq %rbp, %rsp\n"
"	popq %rbp\n"
"	popq %r9\n"
"	popq %r8\n"
"	popq %rcx\n"
"	popq %rdx\n"
"	popq %rsi\n"
"	popq %rdi\n"
"	pushq body(%rip)\n"
	ASM_RET
"	.size rmcp_hold_function, . - rmcp_hold_function\n"
"	.popsection\n"
);
STACK_FRAME_NON_STANDARD(rmcp_hold_function);

static bool comes_from(void *address)
{
	char name[KSYM_NAME_LEN], *at = name;

	/* The function's name, and behind a space that of its module. */
	snprintf(name, sizeof(name), "%ps", address);
	return !*caller || !strcmp(strsep(&at, " "), caller);
}

void rmcp_hold_wait(void *from)
{
	atomic_inc(&inside);
	if (atomic_read(&wanted) && comes_from(from) && atomic_dec_if_positive(&wanted) >= 0) {
		atomic_inc(&held);
		wake_up_all(&changed);
		/* Of its own will, and not counted as hung. */
		wait_event_idle(changed, READ_ONCE(open));
		atomic_dec(&held);
	}
	/* Last: who waits for 0 frees this code only after another synchronize_rcu_tasks(). */
	atomic_dec(&inside);
	wake_up_all(&changed);
}

static void entered(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		    struct ftrace_regs *fregs)
{
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)rmcp_hold_function);
}

static struct ftrace_ops ops = { .func = entered, .flags = FTRACE_OPS_FL_IPMODIFY };

static void let_go(void)
{
	atomic_set(&wanted, 0);
	WRITE_ONCE(open, true);
	wake_up_all(&changed);
	wait_event(changed, !atomic_read(&held));
}

static int asked_for;

static int set_hold(const char *value, const struct kernel_param *kp)
{
	int count, err = kstrtoint(value, 0, &count);

	if (err)
		return err;
	if (count < 0)
		return -EINVAL;
	let_go();
	WRITE_ONCE(open, false);
	asked_for = count;
	atomic_set(&wanted, count);
	return 0;
}

static int get_held(char *buffer, const struct kernel_param *kp)
{
	if (wait_event_killable(changed, atomic_read(&held) >= asked_for))
		return -EINTR;
	return sysfs_emit(buffer, "%d\n", atomic_read(&held));
}

module_param_call(hold, set_hold, NULL, NULL, 0200);
MODULE_PARM_DESC(hold, "how many of the next calls to hold; lets go those that are held (write only)");
module_param_call(held, NULL, get_held, NULL, 0444);
MODULE_PARM_DESC(held, "how many are held, once all are (read only)");

static int __init start(void)
{
	void *addr = look_up(function_symbol());

	if (IS_ERR(addr))
		return PTR_ERR(addr);
	body = (unsigned long)addr + MCOUNT_INSN_SIZE;
	return attach(&ops);
}
module_init(start);

static void __exit stop(void)
{
	let_go();
	detach(&ops);
	wait_event(changed, !atomic_read(&inside));
	synchronize_rcu_tasks();
}
module_exit(stop);
