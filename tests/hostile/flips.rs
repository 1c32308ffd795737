//! A good component with single bits flipped: each is refused, or works, or
//! traps; none takes the host with it.

use super::Hostile;
use super::guest::handling;
use hotdock::config::OutboundConfig;
use hotdock::outbound::Outbound;
use hotdock::runtime::{Runtime, compile};

/// How many flips are tried.
const FLIPS: usize = 400;

/// How many of the flipped components that still compile are deployed.
const DEPLOYED: usize = 25;

/// SplitMix64, for flips that are the same each time.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[tokio::test]
async fn a_flipped_bit_is_refused_or_does_no_harm() {
    let good = handling(
        "(local.set $x (call $begin (local.get $out)))
        (call $write-and-flush (local.get $x) (i32.const 0) (i32.const 100) (i32.const 200))",
    );
    let runtime = Runtime::new(Outbound::new(OutboundConfig::default())).expect("an engine");
    let folder = tempfile::tempdir().expect("a folder");
    let mut seed = 1;
    let mut linked = Vec::new();
    for flip in 0..FLIPS {
        let mut bytes = good.clone();
        let bit = next(&mut seed) as usize % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(code) = compile(&bytes) else { continue };
        let path = folder.path().join(format!("{flip}"));
        std::fs::write(&path, code).expect("a file");
        let loaded = runtime.load(&path);
        if loaded.is_ok_and(|loaded| runtime.link(&loaded).is_ok()) {
            linked.push((format!("flip-{flip}"), bytes));
        }
    }
    assert!(linked.len() > DEPLOYED && linked.len() < FLIPS, "{}", linked.len());
    let manifest = "[limits]\ncpu = \"100ms\"\ndeadline = \"1s\"\n";
    let guests: Vec<(&str, &str, Vec<u8>)> = linked
        .iter()
        .take(DEPLOYED)
        .map(|(name, bytes)| (name.as_str(), manifest, bytes.clone()))
        .collect();
    let host = Hostile::start(&guests).await;
    for (name, ..) in &guests {
        // Whatever it answers, or no more than half of it.
        let url = host.host.url(&format!("/{name}"));
        _ = host.host.client.try_request(http::Method::GET, &url, "").await;
        host.neighbour_answers().await;
    }
    host.ends_as_it_began().await;
}
