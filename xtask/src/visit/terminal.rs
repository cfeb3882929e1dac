// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program of the guest on the person's own terminal.
//!
//! The terminal hands every key on, so Ctrl-C and the like act in the guest. One key is ours, Ctrl-\, which stops the
//! machine; so does losing the terminal.

use std::io::{IsTerminal, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use guest::proto::{Ended, Session, SessionInput, SessionOutput, TerminalSize};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::vm::Vm;
use crate::vm::session::{News, Teller};

/// The signal that Ctrl-\ stands for.
pub(super) const QUIT: i32 = SIGQUIT;
/// What a terminal sends for it.
const QUIT_KEY: u8 = 0x1c;

/// Refuses to go on without a terminal.
pub(super) fn demand() -> Result<()> {
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return Ok(());
    }
    bail!("--shell needs a terminal; use --exec COMMAND for a command")
}

/// Runs it on this terminal until it ends; none when the person stopped the machine.
pub(super) fn attend(vm: &mut Vm, mut session: Session) -> Result<Option<Ended>> {
    session.terminal = Some(size()?);
    let raw = Raw::enter()?;
    let mut program = vm.begin(session)?;
    let teller = Arc::new(Mutex::new(program.teller()?));
    let stopped = Arc::new(AtomicBool::new(false));
    watch_signals(Arc::clone(&teller), Arc::clone(&stopped))?;
    watch_keys(teller, Arc::clone(&stopped));
    let result = loop {
        match program.news() {
            Ok(News::Said(SessionOutput::Out(bytes) | SessionOutput::Err(bytes))) => {
                let mut out = std::io::stdout();
                if out.write_all(&bytes.0).and_then(|()| out.flush()).is_err() {
                    // The terminal is gone.
                    stopped.store(true, Ordering::Relaxed);
                    break Ok(None);
                }
            }
            Ok(News::Ended(ended)) => break Ok(Some(ended)),
            Err(_) if stopped.load(Ordering::Relaxed) => break Ok(None),
            Err(error) => break Err(error),
        }
    };
    drop(raw);
    if stopped.load(Ordering::Relaxed) {
        return Ok(None);
    }
    result
}

type Shared = Arc<Mutex<Teller>>;

fn stop(teller: &Shared, stopped: &AtomicBool) {
    stopped.store(true, Ordering::Relaxed);
    teller
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .hang_up();
}

fn tell(teller: &Shared, what: &SessionInput) -> Result<()> {
    teller
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .tell(what)
}

/// Hands keys on until the terminal or the machine is gone.
fn watch_keys(teller: Shared, stopped: Arc<AtomicBool>) {
    thread::spawn(move || {
        let mut keys = [0; 1024];
        loop {
            match std::io::stdin().read(&mut keys) {
                Ok(0) | Err(_) => return stop(&teller, &stopped),
                Ok(count) if keys[..count].contains(&QUIT_KEY) => return stop(&teller, &stopped),
                Ok(count) => {
                    let bytes = SessionInput::Bytes((&keys[..count]).into());
                    if tell(&teller, &bytes).is_err() {
                        return;
                    }
                }
            }
        }
    });
}

fn watch_signals(teller: Shared, stopped: Arc<AtomicBool>) -> Result<()> {
    let mut signals =
        Signals::new([SIGWINCH, SIGHUP, SIGTERM]).context("cannot watch for signals")?;
    thread::spawn(move || {
        for signal in &mut signals {
            if signal != SIGWINCH {
                return stop(&teller, &stopped);
            }
            if let Ok(size) = size() {
                if tell(&teller, &SessionInput::Size(size)).is_err() {
                    return;
                }
            }
        }
    });
    Ok(())
}

fn size() -> Result<TerminalSize> {
    let size = tcgetwinsize(std::io::stdin()).context("cannot ask for the terminal's size")?;
    Ok(TerminalSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// The terminal while it hands every key on; as it was when dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Drain, &raw)
            .context("cannot change the terminal's settings")?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}
