//! stand-in
#![allow(missing_docs)]
use std::{net::IpAddr, time::Duration};
#[derive(Clone, Debug)]
pub struct HttpLimits { pub header_read_timeout: Duration, pub max_headers: usize, pub max_header_bytes: usize, pub max_concurrent_streams: u32, pub keep_alive: Option<Duration>, pub max_connections: usize }
impl HttpLimits { pub fn trusts(&self, _: IpAddr) -> bool { false } }
