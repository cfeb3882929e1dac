// SPDX-License-Identifier: GPL-2.0

//! Replacement hooks: our function runs instead of the driver's, and may call the driver's own.
//!
//! An `ftrace_ops` that owns the instruction pointer (IPMODIFY) and points it at our function, which
//! then runs as if the caller had called it: in the caller's context, where it may sleep. A function
//! can have one such owner; a live patch is another.
//!
//! The driver's own code is reached behind the place where ftrace calls out. That is no function's
//! beginning, and where the CPU checks indirect branches (IBT) one could not call it; returning to
//! an address is not checked, so it is pushed and returned to.
//!
//! # Taking it away
//!
//! A task may sleep in the driver's own code when called from ours, and returns into ours. So before
//! our code may go, three things happen, in this order:
//!
//! 1. The ops is unregistered, which ends in `synchronize_rcu_tasks()`: every task has since slept
//!    of its own will or been in user space. Nobody comes any more, and who was on the way from
//!    ftrace to our function's first instruction, even preempted there, has counted itself in.
//! 2. We wait until as many have left as came in.
//! 3. `synchronize_rcu_tasks()` again: who has counted itself out, even preempted on the way to the
//!    return, has returned. No task sleeps there of its own will.
//!
//! A task counts itself in on one CPU and out on another, so only the sums mean something.

use super::percpu::{Cells, PerCpu};
use super::registration::{is_stuck, saved_registers, ArmError, Registration};
use super::symbol::Site;
use core::{
    arch::global_asm,
    marker::PhantomData,
    mem::ManuallyDrop,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use kernel::{bindings, prelude::*, sync::atomic as lkmm};

/// What runs instead of a function `int f(a, b, c, d, e)` of five integers or pointers.
pub(crate) trait Replace: 'static {
    /// Called instead of the function, in its caller's context. Of an integer with less than 64 bits,
    /// the upper bits mean nothing.
    fn replace(arguments: [u64; 5], original: Original) -> c_int;
}

/// The replaced function, for the one call in which it was handed out.
pub(crate) struct Original(PhantomData<*mut ()>);

impl Original {
    /// Runs the driver's own code. Other users of ftrace do not see this call; they have seen the one
    /// that is being replaced.
    #[inline(always)]
    pub(crate) fn call(&self, arguments: [u64; 5]) -> c_int {
        let [a, b, c, d, e] = arguments;
        // SAFETY: an `Original` is only made while a call is being replaced, so that `BODY` points
        // into the function, whose code the task that called it keeps. Whoever armed the hook
        // promised that it takes five integers or pointers.
        unsafe { rmcp_call_original(a, b, c, d, e) }
    }
}

/// Where the replaced function goes on behind the place where ftrace calls out.
static BODY: AtomicUsize = AtomicUsize::new(0);

/// The [`Cells`] of the armed hook, or 0. Not 0 also means that the statics are in use.
static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

/// Keeps two hooks from using the statics. 0: nobody does.
static CLAIMED: lkmm::Atomic<u32> = lkmm::Atomic::new(0);

/// Counter of tasks that came into our code.
const CAME: usize = 0;
/// Counter of tasks that left it.
const LEFT: usize = 1;
const COUNTERS: usize = 2;

/// What a return is: the kernel wants its thunk to be used where it has one, and patches the jump.
#[cfg(CONFIG_MITIGATION_RETHUNK)]
macro_rules! return_instruction {
    () => {
        "jmp __x86_return_thunk"
    };
}
#[cfg(not(CONFIG_MITIGATION_RETHUNK))]
macro_rules! return_instruction {
    () => {
        "ret"
    };
}

// The stack at the end is as if our caller had called the body. `int3` stops speculation behind the
// return. objtool is told not to look for a balanced stack.
global_asm!(
    r#"
    .pushsection .text
    .balign 16
    .type rmcp_call_original, @function
rmcp_call_original:
    endbr64
    push qword ptr [rip + {body}]
    "#,
    return_instruction!(),
    r#"
    int3
    .size rmcp_call_original, . - rmcp_call_original
    .popsection
    .pushsection .discard.func_stack_frame_non_standard, "aw"
    .balign 8
    .quad rmcp_call_original
    .popsection
    "#,
    body = sym BODY,
);

unsafe extern "C" {
    /// The driver's own code.
    ///
    /// # Safety
    ///
    /// `BODY` points into a function with this prototype, whose code stays during the call.
    fn rmcp_call_original(a: u64, b: u64, c: u64, d: u64, e: u64) -> c_int;
}

/// What ftrace calls at the entry: sends the task to [`run`].
///
/// # Safety
///
/// Only for ftrace, from an ops with `FTRACE_OPS_FL_IPMODIFY`.
unsafe extern "C" fn redirect<R: Replace>(
    _ip: c_ulong,
    _parent_ip: c_ulong,
    _ops: *mut bindings::ftrace_ops,
    fregs: *mut bindings::ftrace_regs,
) {
    // SAFETY: ftrace has just passed it.
    let regs = unsafe { saved_registers(fregs) };
    let to: unsafe extern "C" fn(u64, u64, u64, u64, u64) -> c_int = run::<R>;
    // SAFETY: these are initialised registers; ftrace goes on at the instruction pointer that it
    // finds in them.
    unsafe { (&raw mut (*regs.as_ptr()).ip).write(to as usize) };
}

/// What runs instead of the function, with its registers and stack.
///
/// # Safety
///
/// Only to be reached through [`redirect`].
unsafe extern "C" fn run<R: Replace>(a: u64, b: u64, c: u64, d: u64, e: u64) -> c_int {
    // SAFETY: stored before the ops was registered; freed after the last task has left this
    // function.
    let in_flight = unsafe { Cells::<COUNTERS>::from_raw(IN_FLIGHT.load(Relaxed)) };
    in_flight.add(CAME);
    let result = R::replace([a, b, c, d, e], Original(PhantomData));
    in_flight.add(LEFT);
    result
}

/// A replacement hook that is in place. Dropping it takes it away, and waits until no task is in
/// `R::replace` or in the driver's own code called from it.
///
/// # Invariants
///
/// `BODY` and `IN_FLIGHT` belong to this hook, and the latter names `in_flight`.
pub(crate) struct ReplacementHook {
    registration: ManuallyDrop<Registration>,
    in_flight: ManuallyDrop<InFlight>,
}

/// The counters of tasks in our code, and the claim on the statics.
struct InFlight(PerCpu<COUNTERS>);

impl InFlight {
    /// Claims the statics and fills them in.
    fn claim(site: &Site) -> Result<Self> {
        let counters = PerCpu::new()?;
        if CLAIMED.cmpxchg(0, 1, lkmm::Full).is_err() {
            return Err(EBUSY);
        }
        BODY.store(site.body(), Relaxed);
        // SAFETY: used only by `run`, which nobody is in when `counters` are dropped.
        IN_FLIGHT.store(unsafe { counters.cells() }.into_raw(), Relaxed);
        Ok(Self(counters))
    }

    /// Sleeps until everybody has left. Nobody may come in meanwhile.
    fn wait_until_drained(&self) {
        /// The kernel says nothing when a task leaves, and having our code say it would cost each
        /// call a barrier.
        const STEP_MS: c_uint = 1;

        // Who leaves is counted last, so it is read first: then the sums are only equal when all
        // who came have left.
        while self.0.sum(LEFT) != self.0.sum(CAME) {
            // SAFETY: taking a hook away may sleep.
            unsafe { bindings::msleep(STEP_MS) };
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        IN_FLIGHT.store(0, Relaxed);
        BODY.store(0, Relaxed);
        CLAIMED.xchg(0, lkmm::Full);
    }
}

impl ReplacementHook {
    /// Sets the hook and makes sure that it took effect. On failure nothing stays behind. One can be
    /// in place at a time.
    ///
    /// # Safety
    ///
    /// - The module that holds the function must not be freed during the call.
    /// - The function must return an `int` and take five integers or pointers, and `R::replace` must
    ///   do with them what its callers rely on.
    pub(crate) unsafe fn arm<R: Replace>(site: &Site) -> Result<Self, ArmError> {
        let in_flight = InFlight::claim(site).map_err(ArmError::Failed)?;
        // SAFETY: the first promise is passed on. `redirect` is code of this module, does not sleep,
        // and `run`, to which it leads, fits the function.
        let registration = unsafe {
            Registration::new(
                redirect::<R>,
                bindings::FTRACE_OPS_FL_IPMODIFY,
                core::slice::from_ref(site),
            )
        };
        let registration = match registration {
            Ok(registration) => registration,
            Err(error) => {
                if is_stuck() {
                    // ftrace may still send tasks to `run`.
                    let _kept = ManuallyDrop::new(in_flight);
                }
                return Err(error);
            }
        };
        // INVARIANT: `in_flight` has claimed the statics.
        Ok(Self {
            registration: ManuallyDrop::new(registration),
            in_flight: ManuallyDrop::new(in_flight),
        })
    }
}

impl Drop for ReplacementHook {
    fn drop(&mut self) {
        // SAFETY: taken once; nobody looks at it afterwards.
        let registration = unsafe { ManuallyDrop::take(&mut self.registration) };
        if !registration.remove() {
            // Tasks still come: the counters stay, as does the module.
            return;
        }
        self.in_flight.wait_until_drained();
        // SAFETY: this may sleep, and no lock is held that a task in our code could want.
        unsafe { bindings::synchronize_rcu_tasks() };
        // SAFETY: taken once; nobody is in `run` any more.
        unsafe { ManuallyDrop::drop(&mut self.in_flight) };
    }
}
