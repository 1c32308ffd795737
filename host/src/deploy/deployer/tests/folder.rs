//! How files come into a folder.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;

use super::bench::{Bench, component};
use crate::deploy::Notice;

#[tokio::test]
async fn a_slow_overwrite_in_place_makes_one_version() {
    let mut bench = Bench::start().await;
    bench.drop_component("slow", "one");
    bench.serving().await;
    let new = component("two");
    let opened = OpenOptions::new().write(true).truncate(true).open(bench.path("slow.wasm"));
    let mut file = opened.expect("open");
    for (index, part) in new.chunks(new.len().div_ceil(4)).enumerate() {
        file.write_all(part).expect("written");
        // Meanwhile another file settles, so time passed and the folder was watched.
        let service = format!("meanwhile-{index}");
        bench.drop_component(&service, "three");
        assert_eq!(bench.serving().await, format!("{service} v1 /{service}"));
        assert_eq!(bench.version("slow").expect("a version").id.number, 1);
    }
    drop(file);
    assert_eq!(bench.serving().await, "slow v2 /slow");
}

#[tokio::test]
async fn a_file_moved_into_place_makes_one_version() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    bench.serving().await;
    let draft = bench.folders.path().join("cart.new");
    fs::write(&draft, component("two")).expect("written");
    fs::rename(&draft, bench.path("cart.wasm")).expect("renamed");
    assert_eq!(bench.serving().await, "cart v2 /cart");
}

#[tokio::test]
async fn a_pair_that_is_dropped_together_makes_one_version() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    bench.drop_bytes("cart.toml", b"[[route]]\npath = \"/pair\"\n");
    assert_eq!(bench.serving().await, "cart v1 /pair");
    // Removed and put back at once: a replacement, never undeployed.
    bench.remove("cart.wasm");
    bench.drop_component("cart", "two");
    let either = |each: &Notice| matches!(each, Notice::Undeployed { .. } | Notice::Serving { .. });
    let notice = bench.until(either).await;
    assert!(matches!(notice, Notice::Serving { .. }), "{notice:?}");
}

#[tokio::test]
async fn other_files_and_folders_are_none_of_ours() {
    let mut bench = Bench::start().await;
    for name in [".cart.wasm.swp", ".cart.wasm", "cart.wasm~", "cart.wasm.part", "notes.txt"] {
        bench.drop_bytes(name, b"x");
    }
    bench.drop_bytes("lonely.toml", b"[limits]\n");
    fs::create_dir(bench.path("folder")).expect("a folder");
    bench.drop_component("cart", "one");
    assert_eq!(bench.serving().await, "cart v1 /cart");
    assert!(bench.status().files.is_empty(), "{:#?}", bench.status());
}

#[tokio::test]
async fn links_are_followed_and_a_swap_behind_them_is_a_change() {
    let mut bench = Bench::start().await;
    for (version, name) in [("..1", "one"), ("..2", "two")] {
        fs::create_dir(bench.path(version)).expect("a folder");
        fs::write(bench.path(version).join("cart.wasm"), component(name)).expect("written");
    }
    symlink("..1", bench.path("..data")).expect("a link");
    symlink("..data/cart.wasm", bench.path("cart.wasm")).expect("a link");
    assert_eq!(bench.serving().await, "cart v1 /cart");
    symlink("..2", bench.path("..new")).expect("a link");
    fs::rename(bench.path("..new"), bench.path("..data")).expect("swapped");
    assert_eq!(bench.serving().await, "cart v2 /cart");
    // Written behind the link: no event tells, a look around finds it.
    fs::write(bench.path("..2").join("cart.wasm"), component("three")).expect("written");
    assert_eq!(bench.serving().await, "cart v3 /cart");
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_watched_again() {
    let mut bench = Bench::start().await;
    bench.drop_component("cart", "one");
    bench.serving().await;
    let (folder, aside) =
        (bench.folders.path().join("plugins"), bench.folders.path().join("aside"));
    fs::create_dir(&aside).expect("a folder");
    fs::copy(bench.path("cart.wasm"), aside.join("cart.wasm")).expect("copied");
    fs::rename(&folder, bench.folders.path().join("old")).expect("moved away");
    fs::rename(&aside, &folder).expect("moved here");
    bench.drop_component("order", "two");
    assert_eq!(bench.serving().await, "order v1 /order");
    File::create(bench.path("later.wasm")).expect("created");
    assert_eq!(bench.refused().await, ["later.wasm is empty"]);
    assert_eq!(bench.version("cart").expect("a version").id.number, 1);
}
