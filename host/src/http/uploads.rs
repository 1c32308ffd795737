//! Request bodies that take their time: how many of them there may be, in all and of one
//! address. One that is here soon is none of them.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::client::Client;
use crate::config::{HttpLimits, site};

/// How many bodies there are that take their time.
#[derive(Debug)]
pub struct Uploads {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of_site: HashMap<Ipv6Addr, usize>,
}

/// Shows them.
#[derive(Debug)]
pub struct UploadsCollector(pub Arc<Uploads>);

impl Collector for UploadsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Request bodies on their way that take their time";
        let open = encoder.encode_descriptor("hotdock_uploads", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(self.0.open()).unwrap_or(i64::MAX)).encode(open)?;
        let help = "Requests refused since there were as many of them as may be";
        let name = "hotdock_uploads_refused";
        let refused = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(self.0.refused.load(Ordering::Relaxed)).encode(refused)
    }
}

/// One of them; over when dropped.
#[derive(Debug)]
pub(super) struct Upload {
    uploads: Arc<Uploads>,
    site: Ipv6Addr,
}

/// There are as many as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooMany {
    /// In all.
    All,
    /// Of this address.
    Address,
}

impl Uploads {
    /// None yet, within these limits.
    #[must_use]
    pub fn new(limits: &HttpLimits) -> Self {
        Self {
            max: limits.max_uploads,
            max_per_address: limits.max_uploads_per_address,
            taken: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// One more, of this client.
    pub(super) fn take(self: &Arc<Self>, client: &Client) -> Result<Upload, TooMany> {
        let taken = self.take_of(site(client.peer.address.ip()), client.peer.trusted);
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// How many there are.
    #[must_use]
    pub fn open(&self) -> usize {
        self.lock().all
    }

    fn take_of(self: &Arc<Self>, site: Ipv6Addr, is_exempt: bool) -> Result<Upload, TooMany> {
        let mut taken = self.lock();
        if taken.all >= self.max {
            return Err(TooMany::All);
        }
        let of_site = taken.of_site.entry(site).or_default();
        if !is_exempt && *of_site >= self.max_per_address {
            return Err(TooMany::Address);
        }
        *of_site += 1;
        taken.all += 1;
        Ok(Upload { uploads: Arc::clone(self), site })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut taken = self.uploads.lock();
        taken.all -= 1;
        if let Some(of_site) = taken.of_site.get_mut(&self.site) {
            *of_site -= 1;
            if *of_site == 0 {
                taken.of_site.remove(&self.site);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_in_all_and_of_one_address() {
        let limits =
            HttpLimits { max_uploads: 4, max_uploads_per_address: 2, ..HttpLimits::default() };
        let uploads = Arc::new(Uploads::new(&limits));
        let take = |site: u128| uploads.take_of(Ipv6Addr::from_bits(site), site == 0);
        let mut held = vec![take(1).expect("room"), take(1).expect("room")];
        assert_eq!(take(1).err(), Some(TooMany::Address));
        held.extend([take(0).expect("room"), take(2).expect("room")]);
        assert_eq!((take(3).err(), uploads.open()), (Some(TooMany::All), 4));
        drop(held);
        assert!(take(1).is_ok());
        assert_eq!((uploads.open(), uploads.lock().of_site.len()), (0, 0));
    }
}
