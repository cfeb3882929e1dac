// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device as a library: serves one guest, and writes the address space of every process that it saw as JSON.
//!
//! ```text
//! cargo run -p rdna-emu --example walks -- gpu.sock walks
//! ```
//! Then start QEMU as the README says, load amdgpu in the guest, let programs use the GPU, and power off.

use rdna_emu::{Chip, Gpu, Options};
use std::path::PathBuf;
use std::{env, error, fs};

fn main() -> Result<(), Box<dyn error::Error>> {
    let mut arguments = env::args_os().skip(1);
    let (Some(socket), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("expected a socket's path and a folder for the walks".into());
    };
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder)?;
    let gpu = Gpu::start(Options::new(Chip::Navi10, socket))?;
    gpu.wait()?;
    for (number, space) in gpu.spaces().iter().enumerate() {
        let pasid = space.pasid.map_or("none".to_owned(), |p| p.to_string());
        let file = folder.join(format!("{number}-pasid-{pasid}.json"));
        match gpu.walk(space.root) {
            Ok(walk) => {
                fs::write(&file, serde_json::to_string_pretty(&walk)?)?;
                println!("{}: {} entries", file.display(), walk.entries.len());
            }
            // The memory of a process that has gone may hold anything by now.
            Err(error) => println!("{}: {error}", file.display()),
        }
    }
    for unknown in gpu.unknowns() {
        println!("not modelled: {}", unknown.what);
    }
    Ok(())
}
