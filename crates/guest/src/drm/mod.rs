// SPDX-License-Identifier: MIT OR Apache-2.0
//! DRM: the open clients, and behind them the calls ([`calls`]), one client's life ([`client`]), its memory
//! ([`memory`]) and what it does in bulk ([`bulk`]).

mod bulk;
mod calls;
mod client;
mod memory;

pub(crate) use calls::ioctls;
pub(crate) use client::Client;

use guest::proto::ClientId;
use std::collections::BTreeMap;

use crate::fail::{Result, failure};

/// All DRM clients of PID 1, each with its own address space.
#[derive(Default)]
pub(crate) struct Clients {
    next: u32,
    open: BTreeMap<ClientId, Client>,
}

impl Clients {
    pub(crate) fn open(&mut self, node: &str) -> Result<ClientId> {
        let client = Client::open(node)?;
        let id = ClientId(self.next);
        self.next += 1;
        self.open.insert(id, client);
        Ok(id)
    }

    pub(crate) fn get(&mut self, id: ClientId) -> Result<&mut Client> {
        self.open
            .get_mut(&id)
            .ok_or_else(|| failure(format!("no DRM client {} is open", id.0)))
    }

    pub(crate) fn close(&mut self, id: ClientId) -> Result<()> {
        self.open
            .remove(&id)
            .map(drop)
            .ok_or_else(|| failure(format!("no DRM client {} is open", id.0)))
    }
}
