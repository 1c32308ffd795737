//! Events through the whole host: none is lost, none has its effect twice, a
//! key's are in order; whatever fails when.

mod crash;
mod load;
mod shop;
mod stores;

/// How often: in the suite, and in `make soak`.
fn soak(suite: usize, soak: usize) -> usize {
    if std::env::var_os("HOTDOCK_SOAK").is_some() { soak } else { suite }
}
