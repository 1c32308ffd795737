//! Those that are to be compiled, each told when it is its turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::turn::{Order, Turns, Urgency};
use crate::name::ServiceName;

/// All that are to be compiled.
#[derive(Debug, Default)]
pub(in super::super) struct Queue {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    turns: Turns,
    told: HashMap<u64, watch::Sender<Order>>,
}

/// One that is to be compiled; no longer when dropped.
#[derive(Debug)]
pub(in super::super) struct Place {
    queue: Arc<Queue>,
    service: ServiceName,
    id: u64,
    orders: watch::Receiver<Order>,
}

impl Queue {
    /// Has a component of the service wait for its turn.
    pub(in super::super) fn enter(
        self: &Arc<Self>,
        service: &ServiceName,
        urgency: Urgency,
    ) -> Place {
        let mut inner = self.lock();
        let id = inner.turns.enter(service, urgency, Instant::now());
        let (sender, orders) = watch::channel(Order::Wait);
        inner.told.insert(id, sender);
        inner.tell();
        Place { queue: Arc::clone(self), service: service.clone(), id, orders }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell(&mut self) {
        for (id, order) in self.turns.orders(Instant::now()) {
            if let Some(told) = self.told.get(&id) {
                told.send_if_modified(|before| std::mem::replace(before, order) != order);
            }
        }
    }
}

impl Place {
    /// Waits until it is its turn to begin.
    pub(in super::super) async fn turn(&mut self) {
        let told = self.orders.wait_for(|order| *order == Order::Run).await;
        told.expect("the sender goes with this place");
    }

    /// Waits for another order.
    pub(super) async fn order(&mut self) -> Order {
        let told = self.orders.changed().await;
        told.expect("the sender goes with this place");
        *self.orders.borrow_and_update()
    }

    /// Says what its process has used by now.
    pub(super) fn uses(&self, cpu: Duration) {
        let mut inner = self.queue.lock();
        inner.turns.uses(self.id, cpu, Instant::now());
        inner.tell();
    }

    /// Tells whoever looks why it takes so long.
    pub(super) fn tell(&self, stops: bool) {
        let service = self.service.as_str();
        match stops {
            true => tracing::info!(service, "its compilation makes room for others"),
            false => tracing::info!(service, "its compilation goes on"),
        }
    }

    /// Says that its process was ended, as it was told.
    pub(super) fn has_ended(&self) {
        let service = self.service.as_str();
        tracing::info!(service, "its compilation made room for others and begins anew later");
        let mut inner = self.queue.lock();
        inner.turns.has_ended(self.id, Instant::now());
        inner.tell();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        inner.turns.leave(self.id);
        inner.told.remove(&self.id);
        inner.tell();
    }
}
