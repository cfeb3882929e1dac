// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counters in debugfs: one fact in a line, each beginning with the GPU's PCI address.

use serde::Serialize;
use std::collections::BTreeMap;

/// The counters of one GPU: the words between address and number are the name, such as `left-alone scope`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Its PCI address.
    pub address: String,
    /// Numbers by name.
    pub counts: BTreeMap<String, u64>,
}

impl Device {
    /// A number; 0 when it is not there, since what was never met is left out.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }
}

/// The counters of all GPUs that the module has met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Counters {
    /// By PCI address, in the file's order.
    pub devices: Vec<Device>,
}

impl Counters {
    /// Reads them. A line that does not end in a number, such as `fragment asked largest none`, counts nothing.
    pub fn parse(text: &str) -> Self {
        let mut devices: Vec<Device> = Vec::new();
        for line in text.lines() {
            let Some((address, rest)) = line.split_once(' ') else {
                continue;
            };
            let known = devices.iter().position(|device| device.address == address);
            let index = known.unwrap_or_else(|| {
                devices.push(Device {
                    address: address.to_owned(),
                    counts: BTreeMap::new(),
                });
                devices.len() - 1
            });
            let fact = rest.rsplit_once(' ');
            let Some((name, Ok(number))) = fact.map(|(name, number)| (name, number.parse())) else {
                continue;
            };
            if let Some(device) = devices.get_mut(index) {
                device.counts.insert(name.to_owned(), number);
            }
        }
        Self { devices }
    }

    /// Those of one GPU.
    pub fn device(&self, address: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.address == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_fact_of_a_gpu() {
        let counters = Counters::parse(
            "0000:03:00.0 mappings 12\n0000:03:00.0 requested default written uc 7\n\
             0000:03:00.0 fragment asked largest none\n0000:04:00.0 mappings 0\nnoise\n",
        );
        let first = counters.device("0000:03:00.0").unwrap();
        assert_eq!(first.count("mappings"), 12);
        assert_eq!(first.count("requested default written uc"), 7);
        assert_eq!(first.count("changed"), 0);
        assert_eq!(counters.devices.len(), 2);
        assert_eq!(counters.device("noise"), None);
    }
}
