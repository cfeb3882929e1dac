// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a GPU is called.
//!
//! libdrm's list knows products by PCI revision, pci.ids by device; where neither is installed, the chip's name stands for
//! the product. Our own table is that of the driver (`pciidlist` in `amdgpu_drv.c`), RDNA1 and RDNA2 only.

use crate::system::{System, clean};
use serde::Serialize;

/// A GPU's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Product {
    /// The name.
    pub name: String,
    /// The file that has it; `rmcpctl` for our own table.
    pub source: &'static str,
}

impl Product {
    /// A product by libdrm's list.
    pub fn by_libdrm(list: &str, device: u64, revision: u64) -> Option<Self> {
        let name = libdrm(list, device, revision)?;
        Some(Self {
            name,
            source: LIBDRM,
        })
    }

    /// A device by the text of a pci.ids, whose first place is named.
    pub fn by_pci_ids(list: &str, device: u64) -> Option<Self> {
        let [source, ..] = PCI_IDS;
        let name = pci_ids(list, device)?;
        Some(Self { name, source })
    }
}

const LIBDRM: &str = "usr/share/libdrm/amdgpu.ids";
const PCI_IDS: [&str; 3] = [
    "usr/share/misc/pci.ids",
    "usr/share/hwdata/pci.ids",
    "var/lib/pciutils/pci.ids",
];
/// pci.ids has 1.6 MB in 2026.
const LARGEST: usize = 16 << 20;
/// AMD, as pci.ids writes it.
const VENDOR: &str = "1002 ";

/// Device numbers, chip, and the first two numbers of its GC version (`amdgpu_drv.c`, `amdgpu_discovery.c`).
const CHIPS: &[(&[u64], &str, (u8, u8))] = &[
    (
        &[
            0x7310, 0x7312, 0x7318, 0x7319, 0x731a, 0x731b, 0x731e, 0x731f,
        ],
        "Navi 10",
        (10, 1),
    ),
    (&[0x7360, 0x7362], "Navi 12", (10, 1)),
    (&[0x7340, 0x7341, 0x7347, 0x734f], "Navi 14", (10, 1)),
    (&[0x13fe, 0x143f], "Cyan Skillfish", (10, 1)),
    (
        &[
            0x73a0, 0x73a1, 0x73a2, 0x73a3, 0x73a5, 0x73a8, 0x73a9, 0x73ab, 0x73ac, 0x73ad, 0x73ae,
            0x73af, 0x73bf,
        ],
        "Navi 21",
        (10, 3),
    ),
    (
        &[
            0x73c0, 0x73c1, 0x73c3, 0x73da, 0x73db, 0x73dc, 0x73dd, 0x73de, 0x73df,
        ],
        "Navi 22",
        (10, 3),
    ),
    (
        &[
            0x73e0, 0x73e1, 0x73e2, 0x73e3, 0x73e8, 0x73e9, 0x73ea, 0x73eb, 0x73ec, 0x73ed, 0x73ef,
            0x73ff,
        ],
        "Navi 23",
        (10, 3),
    ),
    (
        &[0x7420, 0x7421, 0x7422, 0x7423, 0x7424, 0x743f],
        "Navi 24",
        (10, 3),
    ),
    (&[0x163f, 0x1435], "Van Gogh", (10, 3)),
    (&[0x164d, 0x1681], "Rembrandt", (10, 3)),
    (&[0x164e], "Raphael", (10, 3)),
    (&[0x1506], "Mendocino", (10, 3)),
];

fn chip(device: u64) -> Option<&'static (&'static [u64], &'static str, (u8, u8))> {
    CHIPS.iter().find(|(devices, ..)| devices.contains(&device))
}

/// The first two numbers of the GC version, when the driver does not tell.
pub(super) fn core(device: u64) -> Option<(u8, u8)> {
    chip(device).map(|(_, _, core)| *core)
}

/// The best name that there is.
pub(super) fn product(
    system: &System,
    folder: &str,
    device: u64,
    revision: u64,
) -> Option<Product> {
    let named = |name: String, source| Product { name, source };
    // Boards with a memory for such facts tell it themselves; on others the file is there and empty.
    let own = system.text(&format!("{folder}/product_name")).ok();
    if let Some(name) = own.filter(|name| !name.is_empty()) {
        return Some(named(name, "product_name"));
    }
    let listed = read(system, LIBDRM);
    if let Some(product) = listed.and_then(|list| Product::by_libdrm(&list, device, revision)) {
        return Some(product);
    }
    for path in PCI_IDS {
        let listed = read(system, path);
        if let Some(product) = listed.and_then(|list| Product::by_pci_ids(&list, device)) {
            return Some(Product {
                source: path,
                ..product
            });
        }
    }
    chip(device).map(|(_, name, _)| named((*name).to_owned(), "rmcpctl"))
}

fn read(system: &System, path: &str) -> Option<String> {
    let bytes = system.files().read(path, LARGEST).ok()?;
    Some(clean(&bytes))
}

/// `DEVICE,<tab>REVISION,<tab>name`, numbers in hex; `#` begins a remark.
fn libdrm(text: &str, device: u64, revision: u64) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ',').map(str::trim);
        let same = hex(fields.next()?)? == device && hex(fields.next()?)? == revision;
        let name = fields.next()?;
        (same && !name.is_empty()).then(|| name.to_owned())
    })
}

/// Vendors begin lines, their devices stand below with one tab, subsystems with two.
fn pci_ids(text: &str, device: u64) -> Option<String> {
    let ours = text.lines().skip_while(|line| !line.starts_with(VENDOR));
    let below = ours
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(['\t', '#']));
    below
        .filter_map(|line| line.strip_prefix('\t')?.split_once(' '))
        .find(|(number, _)| hex(number) == Some(device))
        .map(|(_, name)| name.trim().to_owned())
}

fn hex(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libdrm_knows_products_by_revision() {
        let list = "# List\n1.0.0\n731F,\tC0,\tAMD Radeon RX 5700 XT 50th Anniversary\n\
                    731F,\tC1,\tAMD Radeon RX 5700 XT\n";
        let name = |device, revision| libdrm(list, device, revision);
        assert_eq!(name(0x731f, 0xc1).as_deref(), Some("AMD Radeon RX 5700 XT"));
        assert_eq!(name(0x731f, 0xc9), None);
        assert_eq!(name(0x1, 0), None);
    }

    #[test]
    fn pci_ids_knows_devices_of_the_vendor_only() {
        let list = "1001  Other\n\t731f  Not ours\n1002  AMD\n# remark\n\t731f  Navi 10\n\
                    \t\t1002 0b36  Reference\n1003  Next\n\t73bf  Not ours\n";
        assert_eq!(pci_ids(list, 0x731f).as_deref(), Some("Navi 10"));
        assert_eq!(pci_ids(list, 0x73bf), None);
        assert_eq!(pci_ids("", 0x731f), None);
    }
}
