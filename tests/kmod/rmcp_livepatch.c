// SPDX-License-Identifier: GPL-2.0
/*
 * A live patch of the function: the new function counts the call and goes on in the old one.
 *
 *   echo 0 > /sys/kernel/livepatch/rmcp_livepatch/enabled    must come before rmmod
 */
#include <linux/livepatch.h>
#include <asm/ibt.h>
#include <asm/linkage.h>
#include <asm/nospec-branch.h>
#include "function.h"

MODULE_DESCRIPTION("rmcp test: live patch");
MODULE_INFO(livepatch, "Y");

void rmcp_livepatch_function(void);

/* Where the old function goes on behind the place where ftrace calls out. */
static unsigned long body __used;

/* Touches no register but the flags, so that any function can be passed on to. */
asm (
"	.pushsection .text, \"ax\", @progbits\n"
"	.type rmcp_livepatch_function, @function\n"
"	.globl rmcp_livepatch_function\n"
"rmcp_livepatch_function:\n"
	ASM_ENDBR
"	lock incq calls(%rip)\n"
"	pushq body(%rip)\n"
	ASM_RET
"	.size rmcp_livepatch_function, . - rmcp_livepatch_function\n"
"	.popsection\n"
);
STACK_FRAME_NON_STANDARD(rmcp_livepatch_function);

static struct klp_func funcs[] = { { .new_func = rmcp_livepatch_function }, { } };
static struct klp_object objects[] = { { .name = "amdgpu", .funcs = funcs }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init start(void)
{
	unsigned long addr = (unsigned long)look_up(function_symbol());

	if (IS_ERR_VALUE(addr))
		return (long)addr;
	body = addr + MCOUNT_INSN_SIZE;
	funcs[0].old_name = function;
	return klp_enable_patch(&patch);
}
module_init(start);

static void __exit stop(void)
{
}
module_exit(stop);
