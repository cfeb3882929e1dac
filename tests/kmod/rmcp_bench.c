// SPDX-License-Identifier: GPL-2.0
/*
 * Counts the instructions of a call of the target, for `cargo xtask bench`: as it is, with rmcp, and with
 * other ways to get the same effect. Makes sense only where rdtsc counts instructions, as under QEMU's
 * `-icount shift=0`.
 *
 *   echo 1 > parameters/learn         watches the target for a call with a buffer, to learn a real device,
 *                                     address space and buffer; 0 stops watching, which counting needs.
 *                                     Reads as 1 once they are known. The buffer must outlive the counting.
 *   echo NAME > parameters/mechanism  forces the memory type to UC by: none ops kprobe kretprobe fprobe
 *                                     fprobe_entry ipmodify direct
 *   echo VM_FLAGS FLAGS BUFFER > parameters/count
 *                                     calls it with these vm_flags, *flags, and the buffer (1) or none (0)
 *   cat parameters/count              calls of a batch, then in ticks of the TSC the least and the most that a
 *                                     batch took, the same for an empty function in the target's place, and
 *                                     what became of *flags
 */
#include <linux/fprobe.h>
#include <linux/objtool.h>
#include <asm/ibt.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include "ftrace_user.h"

MODULE_DESCRIPTION("rmcp bench: counts the instructions of " TARGET);

#define CALLS 1000
#define BATCHES 20

/* include/uapi/drm/amdgpu_drm.h */
#define PAGE_PRT (1 << 4)
#define MTYPE_MASK (0xf << 5)
#define MTYPE_UC (4 << 5)
/* Bits of a GFX10 entry. */
#define PTE_PRT BIT_ULL(51)
#define PTE_MTYPE (7ULL << 48)
#define PTE_MTYPE_UC (3ULL << 48)

typedef void get_vm_pte(void *adev, void *vm, void *bo, u32 vm_flags, u64 *flags);

/* The target: for callers, and behind the place at its entry where ftrace calls out. */
static get_vm_pte *target;
static unsigned long site;
/* Read by the assembly below. */
unsigned long rmcp_bench_body;

/* What the driver calls the target with. */

static void *adev, *vm, *bo;
static bool known, watching;

static void learn(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		  struct ftrace_regs *fregs)
{
	void *buffer = (void *)ftrace_regs_get_argument(fregs, 2);

	if (known || !buffer)
		return;
	adev = (void *)ftrace_regs_get_argument(fregs, 0);
	vm = (void *)ftrace_regs_get_argument(fregs, 1);
	bo = buffer;
	known = true;
}

static struct ftrace_ops learn_ops = { .func = learn };

static int set_learn(const char *value, const struct kernel_param *kp)
{
	bool wanted;
	int err = kstrtobool(value, &wanted);

	if (err || wanted == watching)
		return err;
	if (wanted) {
		known = false;
		err = attach(&learn_ops);
	} else {
		detach(&learn_ops);
	}
	if (!err)
		watching = wanted;
	return err;
}

static int get_learn(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", known);
}

/* The effect: every mapping is UC, except partially resident ones. */

static __always_inline u32 request_uc(u32 vm_flags)
{
	return vm_flags & PAGE_PRT ? vm_flags : (vm_flags & ~MTYPE_MASK) | MTYPE_UC;
}

static __always_inline void entry_uc(u64 *flags)
{
	if (!(*flags & PTE_PRT))
		*flags = (*flags & ~PTE_MTYPE) | PTE_MTYPE_UC;
}

/* An ftrace_ops that edits the argument, as rmcp's does. */

static void edit(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		 struct ftrace_regs *fregs)
{
	struct pt_regs *regs = &arch_ftrace_regs(fregs)->regs;

	regs->cx = request_uc(regs->cx);
}

static struct ftrace_ops edit_ops = { .func = edit };

static int arm_ops(void)
{
	return attach(&edit_ops);
}

static void disarm_ops(void)
{
	detach(&edit_ops);
}

/* A kprobe. */

static int kprobe_entered(struct kprobe *probe, struct pt_regs *regs)
{
	regs->cx = request_uc(regs->cx);
	return 0;
}

static struct kprobe kprobe;

static int arm_kprobe(void)
{
	/* Registering leaves traces in it. */
	kprobe = (struct kprobe){ .symbol_name = TARGET_SYMBOL, .pre_handler = kprobe_entered };
	return register_kprobe(&kprobe);
}

static void disarm_kprobe(void)
{
	unregister_kprobe(&kprobe);
}

/* A kretprobe: it edits what the function has written. */

static int kretprobe_entered(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	*(u64 **)instance->data = (u64 *)regs->r8;
	return 0;
}

static int kretprobe_left(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	entry_uc(*(u64 **)instance->data);
	return 0;
}

static struct kretprobe kretprobe;

static int arm_kretprobe(void)
{
	kretprobe = (struct kretprobe){
		.kp.symbol_name = TARGET_SYMBOL,
		.entry_handler = kretprobe_entered,
		.handler = kretprobe_left,
		.data_size = sizeof(u64 *),
	};
	return register_kretprobe(&kretprobe);
}

static void disarm_kretprobe(void)
{
	unregister_kretprobe(&kretprobe);
}

/* An fprobe: at the entry only, and at entry and exit. */

static int fprobe_edits(struct fprobe *fp, unsigned long entry, unsigned long parent,
			struct ftrace_regs *fregs, void *data)
{
	struct pt_regs *regs = &arch_ftrace_regs(fregs)->regs;

	regs->cx = request_uc(regs->cx);
	return 0;
}

static int fprobe_entered(struct fprobe *fp, unsigned long entry, unsigned long parent,
			  struct ftrace_regs *fregs, void *data)
{
	*(u64 **)data = (u64 *)ftrace_regs_get_argument(fregs, 4);
	return 0;
}

static void fprobe_left(struct fprobe *fp, unsigned long entry, unsigned long parent,
			struct ftrace_regs *fregs, void *data)
{
	entry_uc(*(u64 **)data);
}

static struct fprobe fprobe;

static int arm_fprobe(void)
{
	fprobe = (struct fprobe){
		.entry_handler = fprobe_entered,
		.exit_handler = fprobe_left,
		.entry_data_size = sizeof(u64 *),
	};
	return register_fprobe_ips(&fprobe, &site, 1);
}

static int arm_fprobe_entry(void)
{
	fprobe = (struct fprobe){ .entry_handler = fprobe_edits };
	return register_fprobe_ips(&fprobe, &site, 1);
}

static void disarm_fprobe(void)
{
	unregister_fprobe(&fprobe);
}

/* A replacement by IPMODIFY, which goes on to the driver's own code behind the call to ftrace. */

asm("	.pushsection .text, \"ax\", @progbits\n"
    "	.balign 16\n"
    "	.type rmcp_bench_original, @function\n"
    "	.globl rmcp_bench_original\n"
    "rmcp_bench_original:\n"
	ASM_ENDBR
    "	pushq rmcp_bench_body(%rip)\n"
	ASM_RET
    "	.size rmcp_bench_original, .-rmcp_bench_original\n"
    "	.popsection\n");

get_vm_pte rmcp_bench_original;
STACK_FRAME_NON_STANDARD(rmcp_bench_original);

static noinline notrace void replacement(void *adev, void *vm, void *bo, u32 vm_flags, u64 *flags)
{
	rmcp_bench_original(adev, vm, bo, request_uc(vm_flags), flags);
}

static void redirect(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
		     struct ftrace_regs *fregs)
{
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)replacement);
}

static struct ftrace_ops redirect_ops = { .func = redirect, .flags = FTRACE_OPS_FL_IPMODIFY };

static int arm_ipmodify(void)
{
	return attach(&redirect_ops);
}

static void disarm_ipmodify(void)
{
	detach(&redirect_ops);
}

/* A direct call to a few instructions of assembly. An odd address would mean a jump to ftrace. */

asm("	.pushsection .text, \"ax\", @progbits\n"
    "	.balign 16\n"
    "	.type rmcp_bench_direct, @function\n"
    "	.globl rmcp_bench_direct\n"
    "rmcp_bench_direct:\n"
	ASM_ENDBR
    "	testl $0x10, %ecx\n"
    "	jnz 1f\n"
    "	andl $~0x1e0, %ecx\n"
    "	orl $0x80, %ecx\n"
    "1:\n"
	ASM_RET
    "	.size rmcp_bench_direct, .-rmcp_bench_direct\n"
    "	.popsection\n");

void rmcp_bench_direct(void);

static struct ftrace_ops direct_ops;

static int arm_direct(void)
{
	int err = ftrace_set_filter_ip(&direct_ops, site, 0, 1);

	if (!err)
		err = register_ftrace_direct(&direct_ops, (unsigned long)rmcp_bench_direct);
	if (err)
		ftrace_free_filter(&direct_ops);
	return err;
}

static void disarm_direct(void)
{
	unregister_ftrace_direct(&direct_ops, (unsigned long)rmcp_bench_direct, true);
}

static int arm_none(void)
{
	return 0;
}

static void disarm_none(void)
{
}

static const struct mechanism {
	const char *name;
	int (*arm)(void);
	void (*disarm)(void);
} mechanisms[] = {
	{ "none", arm_none, disarm_none },
	{ "ops", arm_ops, disarm_ops },
	{ "kprobe", arm_kprobe, disarm_kprobe },
	{ "kretprobe", arm_kretprobe, disarm_kretprobe },
	{ "fprobe", arm_fprobe, disarm_fprobe },
	{ "fprobe_entry", arm_fprobe_entry, disarm_fprobe },
	{ "ipmodify", arm_ipmodify, disarm_ipmodify },
	{ "direct", arm_direct, disarm_direct },
};

static const struct mechanism *mechanism = mechanisms;

static int set_mechanism(const char *value, const struct kernel_param *kp)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(mechanisms); i++) {
		int err;

		if (!sysfs_streq(value, mechanisms[i].name))
			continue;
		mechanism->disarm();
		mechanism = mechanisms;
		err = mechanisms[i].arm();
		if (!err)
			mechanism = &mechanisms[i];
		return err;
	}
	return -EINVAL;
}

static int get_mechanism(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", mechanism->name);
}

/* The counting. */

struct request {
	u32 vm_flags;
	u64 flags;
	void *bo;
};

struct ticks {
	u64 least, most;
};

static noinline notrace void empty(void *adev, void *vm, void *bo, u32 vm_flags, u64 *flags)
{
	barrier();
}

/* Not cloned: the loop must be the same instructions for the target and for the empty function. */
static noinline notrace __attribute__((__noclone__)) u64 batch(get_vm_pte *callee, const struct request *request,
							      u64 *flags)
{
	unsigned long irqs;
	u64 begin, end;
	int i;

	local_irq_save(irqs);
	begin = rdtsc();
	for (i = 0; i < CALLS; i++) {
		*flags = request->flags;
		callee(adev, vm, request->bo, request->vm_flags, flags);
	}
	end = rdtsc();
	local_irq_restore(irqs);
	return end - begin;
}

static struct ticks batches(get_vm_pte *callee, const struct request *request, u64 *flags)
{
	struct ticks all = { U64_MAX, 0 };
	int i;

	/* The first call of a mechanism may set things up. */
	batch(callee, request, flags);
	for (i = 0; i < BATCHES; i++) {
		u64 one = batch(callee, request, flags);

		all.least = min(all.least, one);
		all.most = max(all.most, one);
	}
	return all;
}

static struct ticks counted, loop;
static u64 entry;

static int set_count(const char *value, const struct kernel_param *kp)
{
	struct request request = {};
	int buffer;
	u64 unused;

	if (sscanf(value, "%i %lli %d", &request.vm_flags, &request.flags, &buffer) != 3)
		return -EINVAL;
	if (!known)
		return -ENODATA;
	if (watching)
		return -EBUSY;
	request.bo = buffer ? bo : NULL;
	loop = batches(empty, &request, &unused);
	counted = batches(target, &request, &entry);
	return 0;
}

static int get_count(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d %llu %llu %llu %llu %016llx\n", CALLS, counted.least, counted.most,
			  loop.least, loop.most, entry);
}

module_param_call(learn, set_learn, get_learn, NULL, 0644);
MODULE_PARM_DESC(learn, "watch for a call to learn its arguments from");
module_param_call(mechanism, set_mechanism, get_mechanism, NULL, 0644);
MODULE_PARM_DESC(mechanism, "what forces the memory type");
module_param_call(count, set_count, get_count, NULL, 0644);
MODULE_PARM_DESC(count, "count the instructions of calls");

static int __init start(void)
{
	void *addr = look_up(TARGET_SYMBOL);

	if (IS_ERR(addr))
		return PTR_ERR(addr);
	target = callable(addr);
	site = (unsigned long)addr;
	/* Behind the 5 bytes that ftrace patches. */
	rmcp_bench_body = site + 5;
	return 0;
}
module_init(start);

static void __exit stop(void)
{
	if (watching)
		detach(&learn_ops);
	mechanism->disarm();
}
module_exit(stop);
