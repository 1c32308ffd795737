//! The host's slots for instances: as many as its pools of memories, tables and stacks
//! have room for. An instance takes as many as it can need, whether it comes to that or
//! not, so that none finds a pool empty. The last of them are kept for services that
//! have few, so that no service takes what another's first requests need.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::in_use::InUse;

/// The part of the slots that is kept for services that have few.
const RESERVED_PART: u32 = 4;

/// The part of the slots that is few.
const FEW_PART: u32 = 64;

/// All slots.
pub(super) struct Slots {
    free: Arc<Semaphore>,
    total: u32,
    /// How many look for slots that idle instances have, or wait.
    wanting: AtomicUsize,
}

/// Somebody looks for slots or waits for them, until dropped.
pub(super) struct Wanting<'a>(&'a Slots);

/// Some slots, until dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
    service: Arc<InUse>,
    count: u32,
}

/// What is left is kept for other services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its service has {taken} of the host's {total} instance slots and an instance takes {count} \
     of them; the {free} that are free are kept for others"
)]
pub(crate) struct OverShare {
    taken: u32,
    total: u32,
    count: u32,
    free: usize,
}

/// Why there is no slot now.
pub(super) enum NoSlot {
    /// There is one when an instance is freed.
    Full,
    OverShare(OverShare),
}

impl Slots {
    pub(super) fn new(total: u32) -> Self {
        let free = Arc::new(Semaphore::new(total as usize));
        Self { free, total, wanting: AtomicUsize::new(0) }
    }

    /// So many slots, if they are free and not kept for others.
    pub(super) fn try_take(&self, service: &Arc<InUse>, count: u32) -> Result<Slot, NoSlot> {
        let slots = Arc::clone(&self.free).try_acquire_many_owned(count);
        let slot = Slot::new(slots.map_err(|_| NoSlot::Full)?, service, count);
        let taken = service.slots.load(Ordering::Relaxed);
        let free = self.free.available_permits();
        if self.is_few(taken, count) || free >= (self.total / RESERVED_PART) as usize {
            return Ok(slot);
        }
        let (taken, free) = (taken - count, free + count as usize);
        Err(NoSlot::OverShare(OverShare { taken, total: self.total, count, free }))
    }

    /// The same; waits for them where that is all it takes.
    pub(super) async fn take(&self, service: &Arc<InUse>, count: u32) -> Result<Slot, OverShare> {
        match self.try_take(service, count) {
            Ok(slot) => return Ok(slot),
            Err(NoSlot::OverShare(over)) => return Err(over),
            Err(NoSlot::Full) => {}
        }
        let taken = service.slots.load(Ordering::Relaxed);
        if !self.is_few(taken + count, count) {
            return Err(OverShare { taken, total: self.total, count, free: self.free() });
        }
        let slots = Arc::clone(&self.free).acquire_many_owned(count).await;
        Ok(Slot::new(slots.expect("the semaphore is never closed"), service, count))
    }

    /// Has those who would keep an idle instance free it, from here on.
    pub(super) fn want(&self) -> Wanting<'_> {
        self.wanting.fetch_add(1, Ordering::AcqRel);
        Wanting(self)
    }

    /// Whether an idle instance's slots are somebody's who waits.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanting.load(Ordering::Acquire) > 0
    }

    /// How many are free.
    pub(super) fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Whether a service that has so many has few: one instance is, whatever it takes.
    fn is_few(&self, taken: u32, count: u32) -> bool {
        taken <= (self.total / FEW_PART).max(count)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.wanting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Slot {
    fn new(permit: OwnedSemaphorePermit, service: &Arc<InUse>, count: u32) -> Self {
        service.slots.fetch_add(count, Ordering::Relaxed);
        Self { _permit: permit, service: Arc::clone(service), count }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.service.slots.fetch_sub(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_slots_are_for_services_that_have_few() {
        let slots = Slots::new(128);
        let (greedy, modest): (Arc<InUse>, Arc<InUse>) = Default::default();
        let mut held = Vec::new();
        let over = loop {
            match slots.take(&greedy, 10).await {
                Ok(slot) => held.push(slot),
                Err(over) => break over,
            }
        };
        assert_eq!(over, OverShare { taken: 90, total: 128, count: 10, free: 38 });
        let first = slots.take(&modest, 1).await.expect("a slot");
        let _second = slots.take(&modest, 1).await.expect("a slot");
        assert!(slots.take(&modest, 1).await.is_ok());
        drop(first);
        held.pop();
        assert!(slots.take(&greedy, 8).await.is_ok());
    }

    #[tokio::test]
    async fn a_first_instance_is_waited_for_however_much_it_takes() {
        let slots = Slots::new(8);
        let (one, other): (Arc<InUse>, Arc<InUse>) = Default::default();
        let slot = slots.take(&one, 6).await.expect("slots");
        assert!(matches!(slots.try_take(&other, 6), Err(NoSlot::Full)));
        let (taken, ()) = tokio::join!(slots.take(&other, 6), async { drop(slot) });
        assert!(taken.is_ok());
        assert_eq!(slots.free(), 2);
    }
}
