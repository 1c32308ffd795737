//! Serializable, through the whole host.

use futures_util::future::join_all;

use crate::harness::Host;

/// Asks all of these at once.
async fn all(host: &Host, paths: impl Iterator<Item = String>) -> Vec<String> {
    let work = paths.map(|path| async move {
        let reply = host.post(&path, "").await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.text()
    });
    join_all(work).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_conflicting_invocations_lose_no_update() {
    let host = Host::builder()
        .plugin_with("probe", "[limits]\nqueue = 2000\ndeadline = \"30s\"\n")
        .start()
        .await;
    all(&host, (0..1_000).map(|_| "/probe/increment?key=n&spin_us=50".to_owned())).await;
    let last = host.post("/probe/increment?key=n", "").await;
    assert!(last.text().contains("1001"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn write_skew_across_two_keys_is_impossible() {
    let host = Host::builder().plugin_with("probe", "[limits]\nqueue = 2000\n").start().await;
    for round in 0..50 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        for key in [&a, &b] {
            let path = format!("/probe/kv?op=set&bucket=skew&key={key}&value=");
            host.post(&format!("{path}{}", if *key == a { 1 } else { 0 }), "").await;
        }
        let paths =
            [format!("/probe/skew?mine={a}&other={b}"), format!("/probe/skew?mine={b}&other={a}")];
        let took = all(&host, paths.into_iter()).await;
        assert_eq!(took.iter().filter(|text| text.contains("true")).count(), 1, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn write_skew_across_a_listed_bucket_is_impossible() {
    for _ in 0..5 {
        let host = Host::builder().plugin_with("probe", "[limits]\nqueue = 2000\n").start().await;
        let booked =
            all(&host, (0..20).map(|guest| format!("/probe/book?name=guest{guest}&seats=3"))).await;
        assert_eq!(booked.iter().filter(|text| text.contains("true")).count(), 3, "{booked:?}");
    }
}

/// They take longer than any may hold the writer, so that none can have it to itself.
#[tokio::test(flavor = "multi_thread")]
async fn slow_invocations_that_conflict_all_come_to_their_end() {
    let host = Host::builder().plugin_with("probe", "[limits]\ndeadline = \"30s\"\n").start().await;
    for wait in ["spin_us=150000", "sleep_ms=150"] {
        let key = &wait[..5];
        all(&host, (0..8).map(|_| format!("/probe/increment?key={key}&{wait}"))).await;
        // Also where quick ones come first again and again.
        let quick = (0..40).map(|_| format!("/probe/increment?key={key}"));
        let slow = (0..4).map(|_| format!("/probe/increment?key={key}&{wait}"));
        all(&host, slow.chain(quick)).await;
        let last = host.post(&format!("/probe/increment?key={key}"), "").await;
        assert!(last.text().contains("53"), "{last:?}");
    }
}

/// Also where new ones begin all the time, each as the one before it ends.
#[tokio::test(flavor = "multi_thread")]
async fn slow_invocations_that_come_and_come_beat_none_that_waits() {
    let host = Host::builder().plugin_with("probe", "[limits]\ndeadline = \"30s\"\n").start().await;
    let client = async || {
        for _ in 0..6 {
            all(&host, ["/probe/increment?key=n&sleep_ms=120".to_owned()].into_iter()).await;
        }
    };
    join_all((0..4).map(|_| client())).await;
    let last = host.post("/probe/increment?key=n", "").await;
    assert!(last.text().contains("25"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_lease_holder_fails_alone_and_holds_nobody_up() {
    let host = Host::builder().plugin("probe").plugin("cart").start().await;
    // Longer than the 100 ms that a holder has when it runs first and alone.
    host.post("/probe/sql-slow?ms=400", "").await.problem(503, "lease-expired");
    let count = host.post("/probe/sql?mode=query&sql=SELECT%20count(*)%20FROM%20probe", "[]").await;
    assert!(count.text().contains('0'), "nothing of it is there: {count:?}");
    let slow = async { host.post("/probe/sql-slow?ms=60", "").await };
    let quick = all(&host, (0..50).map(|key| format!("/probe/increment?key=k{key}")));
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!(slow.status, 200, "{slow:?}");
    assert_eq!(quick.len(), 50);
}
