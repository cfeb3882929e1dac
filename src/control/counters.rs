// SPDX-License-Identifier: GPL-2.0

//! The counters as a file in debugfs: `/sys/kernel/debug/rmcp/counters`.
//!
//! Reading it adds up what each CPU has counted and costs the hooks nothing. A counter is never set
//! back, since that would race with the hooks; a reset remembers what it was.

use crate::amdgpu::devices::{self, Counters};
use crate::logic::{
    counters::{write_report, Cell},
    device::PciAddress,
};
use kernel::{
    debugfs::{Dir, File},
    fmt, new_mutex,
    prelude::*,
    sync::Mutex,
    uaccess::UserSliceReader,
};

/// What every counter of a GPU was at its last reset.
type Baseline = KVec<u64>;

/// The counters and their last reset.
#[pin_data]
struct Shown {
    counters: Counters,
    #[pin]
    baselines: Mutex<KVec<Baseline>>,
}

impl Shown {
    fn new(counters: Counters) -> Result<impl PinInit<Self>> {
        let mut baselines = KVec::with_capacity(devices::MOST, GFP_KERNEL)?;
        for _ in 0..devices::MOST {
            baselines.push(KVec::from_elem(0, Cell::COUNT, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(pin_init!(Self {
            counters,
            baselines <- new_mutex!(baselines),
        }))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let baselines = self.baselines.lock();
        for (index, device) in self.counters.devices() {
            let baseline = baselines.get(index);
            let count = |cell: Cell| {
                let before = baseline.and_then(|baseline| baseline.get(usize::from(cell.number())));
                let total = self.counters.total(index, cell);
                total.wrapping_sub(before.copied().unwrap_or(0))
            };
            write_report(f, device, &count)?;
        }
        Ok(())
    }

    /// Sets the counters of one GPU to 0, or of all.
    fn reset(&self, only: Option<PciAddress>) {
        let mut baselines = self.baselines.lock();
        for (index, device) in self.counters.devices() {
            if only.is_some_and(|only| only != device) {
                continue;
            }
            let Some(baseline) = baselines.get_mut(index) else {
                continue;
            };
            for cell in Cell::all() {
                if let Some(before) = baseline.get_mut(usize::from(cell.number())) {
                    *before = self.counters.total(index, cell);
                }
            }
        }
    }

    /// A PCI address resets that GPU's counters; `all`, `0` or an empty line those of all.
    fn take(&self, reader: &mut UserSliceReader) -> Result {
        let mut text = [0; 16];
        let length = reader.len();
        let text = text.get_mut(..length).ok_or(EINVAL)?;
        reader.read_slice(text)?;
        match text.trim_ascii() {
            b"" | b"all" | b"0" => self.reset(None),
            address => self.reset(Some(PciAddress::parse(address).ok_or(EINVAL)?)),
        }
        Ok(())
    }
}

/// The counters, and their file while it lives.
pub(crate) struct CounterFile {
    _file: Pin<KBox<File<Shown>>>,
}

impl CounterFile {
    /// Makes the file. Without debugfs there is none, which is no error.
    pub(crate) fn new(counters: Counters) -> Result<Self> {
        let folder = Dir::new(c"rmcp");
        let file = folder.read_write_callback_file(
            c"counters",
            Shown::new(counters)?,
            &|shown: &Shown, f: &mut fmt::Formatter<'_>| shown.write(f),
            &|shown: &Shown, reader: &mut UserSliceReader| shown.take(reader),
        );
        Ok(Self {
            _file: KBox::pin_init(file, GFP_KERNEL)?,
        })
    }
}
