//! Heads of requests by chance: the router, the guest and the scope of an idempotency key see one
//! request, by either version of HTTP and however it is spelled.
//!
//! `HOTDOCK_FUZZ_HEADS` says how many; `HOTDOCK_FUZZ_SEED` where they begin.

use crate::harness::wire::{Asked, Came};
use crate::harness::{Host, component, hello};

const HEADS: u64 = 150;

/// What paths are made of.
const PIECES: [&str; 22] = [
    "/", "/", "/", "/admin", "admin", "%61dmin", "/%41dmin", ".", "..", "/.", "/..", "%2e",
    "%2E%2e", "%2F", "%2f", "%5c", "\\", "x", "%7e", "%25", ";v=1", "%zz",
];
const QUERIES: [&str; 7] = ["", "?", "?a=b", "?a=%2F..", "?/../admin", "?%61", "??"];
const HOSTS: [&str; 8] =
    ["x", "X.example", "x.example.", "x:80", "x:", "[::1]:81", "[0:0::1]", "127.0.0.1"];
const CRUMBS: [&str; 5] = ["a=1", "b=2", "c=\"x y\"", "d", "hotdock=; e"];

/// Xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A head, and the cookies that it has.
struct Head {
    target: String,
    host: &'static str,
    crumbs: Vec<&'static str>,
    key: String,
}

impl Head {
    fn random(random: &mut Random, number: u64) -> Self {
        let pieces = 1 + random.below(5);
        let path: String = (0..pieces).map(|_| random.of(&PIECES)).collect();
        let crumbs = (0..random.below(4)).map(|_| random.of(&CRUMBS)).collect();
        Self {
            target: format!("/{}{}", path.trim_start_matches('/'), random.of(&QUERIES)),
            host: random.of(&HOSTS),
            crumbs,
            key: format!("\"key-{number}\""),
        }
    }

    /// The same with what needs no encoding encoded, and digits in the other case.
    fn respelled(&self, random: &mut Random) -> Self {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (self.target.as_str(), String::new()),
        };
        let mut other = String::new();
        let mut left = 0;
        for (index, each) in path.char_indices() {
            if each == '%' && is_encoded(&path[index..]) {
                left = 3;
            }
            if left > 0 {
                left -= 1;
                let flip = random.below(2) == 0;
                other.push(if flip {
                    each.to_ascii_lowercase()
                } else {
                    each.to_ascii_uppercase()
                });
            } else if (each.is_ascii_alphanumeric() || each == '.') && random.below(3) == 0 {
                other.push_str(&format!("%{:02x}", u32::from(each)));
            } else {
                other.push(each);
            }
        }
        Self {
            target: other + &query,
            host: self.host,
            crumbs: self.crumbs.clone(),
            key: self.key.clone(),
        }
    }

    fn asked(&self, in_crumbs: bool) -> Asked {
        let asked = Asked::new("POST", self.target.clone())
            .header("host", self.host)
            .header("idempotency-key", self.key.clone())
            .body("x");
        let cookies = if in_crumbs {
            self.crumbs.iter().map(|crumb| (*crumb).to_owned()).collect()
        } else if self.crumbs.is_empty() {
            Vec::new()
        } else {
            vec![self.crumbs.join("; ")]
        };
        cookies.into_iter().fold(asked, |asked, cookie| asked.header("cookie", cookie))
    }
}

fn is_encoded(text: &str) -> bool {
    let digits = text.as_bytes().get(1..3);
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// A path's first segment with what is encoded decoded, as a router of one's own would read it.
fn first_segment(target: &str) -> Vec<u8> {
    let path = target.split('?').next().expect("a path");
    let mut decoded = Vec::new();
    let bytes = path.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'/' {
        if bytes[at] == b'%' && is_encoded(&path[at..]) {
            let byte = u8::from_str_radix(&path[at + 1..at + 3], 16).expect("digits");
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    decoded
}

#[tokio::test(flavor = "multi_thread")]
async fn router_guest_and_idempotency_see_one_request() {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (heads, seed) = (number("HOTDOCK_FUZZ_HEADS", HEADS), number("HOTDOCK_FUZZ_SEED", 1));
    let host = Host::builder()
        .file("mirror.wasm", component("mirror").0)
        .file("mirror.toml", "[[route]]\npath = \"/admin\"\n")
        .file("hello.wasm", hello(1))
        .file("hello.toml", "[[route]]\npath = \"/\"\n")
        .start()
        .await;
    let (mut served, mut refused) = (0, 0);
    for head in 0..heads {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9).wrapping_add(head) | 1);
        random.below(2);
        let head = Head::random(&mut random, head);
        let first = head.asked(false);
        let Came::Answer(answer) = first.http1(host.address).await else { unreachable!() };
        let by_mirror = answer.header("content-type") == "application/json";
        if answer.status == 400 {
            refused += 1;
        } else {
            assert_eq!(answer.status, 200, "{first:?}: {answer:?}");
            served += 1;
            // The router read the path as the guest would.
            let is_admin = first_segment(&head.target) == b"admin";
            assert_eq!(by_mirror, is_admin, "{first:?}: {answer:?}");
        }
        if by_mirror {
            let seen = answer.json();
            let header = |name: &str| {
                let headers = seen["headers"].as_array().expect("headers").iter();
                let lines = headers.filter(|header| header[0] == name);
                lines.map(|header| header[1].as_str().expect("text").to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(seen["path_with_query"], head.target.as_str(), "{first:?}");
            assert_eq!(header("host"), [head.host], "{first:?}");
            let cookies = head.crumbs.join("; ");
            assert_eq!(header("cookie").join("|"), cookies, "{first:?}");
        }
        // The same request in other words is the same by its key, too.
        let respelled = head.respelled(&mut random).asked(true);
        let mut others = vec![(respelled.clone(), Some(respelled.http1(host.address).await))];
        for asked in [head.asked(true), respelled] {
            let came = asked.http2(host.address).await;
            others.push((asked, came));
        }
        for (asked, came) in others {
            let Some(came) = came else { continue };
            let other = came.answer();
            assert_eq!(other.status, answer.status, "{first:?} and {asked:?}: {other:?}");
            if answer.status == 200 {
                assert_eq!(other.header("idempotency-replayed"), "true", "{first:?} and {asked:?}");
                assert_eq!(other.text(), answer.text(), "{first:?} and {asked:?}");
            }
        }
    }
    assert!(served > heads / 10 && refused > heads / 20, "{served} served, {refused} refused");
}
